"""Gives slots to work and work to worker hosts. Belongs to the driver's thread alone.

A slot is a counted permit of a pool. A frame without an open wait holds one; a wait gives it back, and its answer goes
out when the frame has one again. A frame that is stepped gives it back when it is quiet. What is decided here is not
durable: it follows from effects, and after a restart it follows from the store.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import Protocol

from tempolite_node.driver import run_messages
from tempolite_node.driver.handovers import Handover, Handovers
from tempolite_node.driver.hosts import Hosts
from tempolite_node.driver.pools import WINDOW_MAX, Pool
from tempolite_node.driver.runs import AttemptEnd, AttemptStep, Due, Frame, OpenCall, RunningAttempt
from tempolite_node.driver.suspects import SUSPECTS_MAX, Suspects
from tempolite_node.driver.trials import Trials
from tempolite_node.engine.commands import GiveUp, Heartbeat
from tempolite_node.engine.effects import (
    Abandon,
    AnyAnswer,
    AnyEffect,
    Failed,
    Granted,
    Ready,
    RequestCancel,
    RunAttempt,
    RunCompensation,
    Trusted,
    Wake,
)
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import Component, Execution, Failure, Isolation, OperationKind
from tempolite_node.protocol import messages

#: Those whose slots executions start in.
_ROOTS = (Component.HANDLER, Component.SAGA, Component.COMPENSATION)

_SMALL_BYTES = 16 * 1024  #: of arguments: a first attempt with fewer is handed out at once, and not in its turn

End = tuple[int, int]  #: of an operation: its place in the order of ends, and when it was; see `messages.Reply`
NO_END = (0, 0)


class Source(run_messages.Source, Protocol):
    """What is stored, as the hosts need it."""

    def execution(self, execution_id: str) -> Execution | None: ...
    def ready(self, pool: Component, owner: str, handlers: Collection[str], limit: int) -> list[Execution]: ...


class PoolSettings(Protocol):
    @property
    def workers(self) -> int: ...
    @property
    def rate_limit(self) -> float: ...


class Dispatch:
    def __init__(
        self,
        source: Source,
        *,
        node_id: str,
        pools: Mapping[Component, PoolSettings],
        clock_s: Callable[[], float],
        window_max: int = WINDOW_MAX,
        leases: bool = True,
        suspects_max: int = SUSPECTS_MAX,
        lingering_timeout_s: float = 30.0,
        lingering_max: int = 100,
        retiring_timeout_s: float = 60.0,
        hash_seed: int = 0,
    ) -> None:
        """leases: side effects may begin in slots that hosts have, unasked: no other node can take them over.

        suspects_max: processes of attempts that a crash isolated, alive at a time.
        lingering_max: executions of which code lingers in a host before it is replaced.
        lingering_timeout_s: for which code of an abandoned attempt may go on before its host is replaced.
        retiring_timeout_s: for which what runs in a host may go on once it is replaced.
        hash_seed: of the hosts that are started first.
        """
        self.hosts = Hosts(
            clock_s,
            hash_seed=hash_seed,
            lingering_timeout_s=lingering_timeout_s,
            lingering_max=lingering_max,
            retiring_timeout_s=retiring_timeout_s,
        )
        self._source = source
        self._node_id = node_id
        self._clock_s = clock_s
        self._window_max = window_max
        self._leases = leases
        self._runs: dict[str, RunningAttempt] = {}
        self._suspects = Suspects(suspects_max)
        self._trials = Trials()
        self.rested: list[RunningAttempt] = []  #: that nodes may have died of: their code only waits
        self._held: set[str] = set()  #: executions that wait for no more than the end of their own code
        self._handlers: frozenset[str] = frozenset()
        self._stepped: frozenset[str] = frozenset()
        self._to_run: list[RunAttempt | RunCompensation] = []
        self._handovers = Handovers(source)
        self._outgoing: defaultdict[int, list[messages.ToHost]] = defaultdict(list)
        self._closing: list[int] = []
        self._leased: Counter[int] = Counter()  #: slots of the side-effect pool that each host has, running and spare
        self._side_effects_ended: Counter[int] = Counter()  #: on each host, in this round
        self.traces = False  #: attempts, for `take_trace`. Set by any thread
        self._trace: list[AttemptStep] = []
        self.pools: dict[Component, Pool[Due]] = {
            component: Pool(settings.workers, settings.rate_limit, clock_s(), window_max=window_max)
            for component, settings in pools.items()
        }
        self.holds_side_effects = False  #: they wait for the log to be current
        self.ended: Counter[tuple[Component, bool]] = (
            Counter()
        )  #: side effects and compensations since the start, by success

    # --- worker hosts

    def host_up(
        self, host: int, handlers: Collection[str], stepped: Collection[str] = (), *, hash_seed: int = 0
    ) -> None:
        """stepped: those of the handlers whose attempts say when they are quiet."""
        self._handlers = frozenset(handlers)
        self._stepped = frozenset(stepped)
        retired = self.hosts.host_up(host, hash_seed)
        if retired is not None:
            self._send(retired, messages.Drain())

    def host_down(self, host: int) -> list[tuple[RunningAttempt, bool]]:
        """The attempts that it held, each with whether its code was running, so that it may be what killed it."""
        self._handovers.forget(host)
        self._suspects.process_ended(host)
        for execution_id in self.hosts.host_down(host):
            self._release_held(execution_id)
        self.give_back(host, self._leased[host])
        lost = [run for run in self._runs.values() if run.host == host]
        return [(run, self._forget(run, AttemptEnd.LOST)) for run in lost]

    def code_ended(self, host: int, execution_id: str, epoch: int, *, abandoned: bool) -> None:
        if self.hosts.lingering.ends((host, execution_id, epoch, abandoned)):
            self._release_held(execution_id)

    def look_after_hosts(self) -> None:
        """Once a round."""
        for host in self.hosts.look_after():
            self._close(host)

    def _release_held(self, execution_id: str) -> None:
        """It may start again, if it still waits for that."""
        if execution_id not in self._held:
            return
        self._held.discard(execution_id)
        execution = self._source.execution(execution_id)
        if execution is not None and execution.ready_at is not None and execution.owner == self._node_id:
            ready = self.pools[execution.pool].ready
            ready.push(execution.queue_order, execution.id, suspect=execution.suspect, alone=execution.tried_alone)
            self._trials.wanted |= execution.tried_alone

    @property
    def attempts(self) -> int:
        """Attempts that worker hosts hold, parked ones included."""
        return len(self._runs)

    # --- looked at

    def run_at(self, execution_id: str) -> RunningAttempt | None:
        """The attempt that a worker host holds."""
        return self._runs.get(execution_id)

    def holders(self, component: Component, limit: int) -> list[str]:
        """Executions of which code has a slot of the pool, so many at most; the longest here first."""
        runs = (run for run in self._runs.values() if any(f.slot and f.pool is component for f in run.frames.values()))
        return [run.execution_id for run in islice(runs, limit)]

    def rate_wait_s(self, component: Component) -> float:
        """Seconds until the pool's rate limit lets something start."""
        return self.pools[component].rate.wait_s(self._clock_s())

    @property
    def tried_alone(self) -> str | None:
        """The execution beside which nothing starts."""
        return self._trials.trying

    # --- effects

    def take(self, effect: AnyEffect) -> None:
        """Notes what a decision asks for. Nothing leaves before `collect`."""
        match effect:
            case Ready():
                # If no host here serves it, it waits in the store for a node that does.
                if effect.owner == self._node_id and effect.handler in self._handlers:
                    self.pools[effect.pool].ready.push(
                        effect.order, effect.execution_id, suspect=effect.suspect, alone=effect.alone
                    )
                    if effect.alone:
                        self._trials.wanted = True
            case RunAttempt() | RunCompensation():
                if effect.owner == self._node_id:
                    self._to_run.append(effect)
            case Wake():
                self._wake(effect)
            case RequestCancel():
                self._request_cancel(effect)
            case Abandon():
                self._abandon(effect)
            case Trusted():
                self._trials.over(effect.execution_id)
            case _:
                pass  # for those who watch: see Watch

    def _request_cancel(self, effect: RequestCancel) -> None:
        run = self._runs.get(effect.execution_id)
        if run is None or run.epoch != effect.epoch:
            return
        message = messages.CancelAttempt(
            execution_id=run.execution_id,
            epoch=run.epoch,
            reason=effect.reason,
            cancel_seq=effect.cancel_seq,
            at_ms=effect.at_ms,
        )
        if run.root.stepped:
            self._release_to(run, run.root, message)
        else:
            self._send(run.host, message)

    def _wake(self, effect: Wake) -> None:
        run = self._runs.get(effect.execution_id)
        if run is None or run.epoch != effect.epoch:
            return
        open_call = run.calls.pop((effect.kind, effect.key), None)
        if open_call is None:
            if run.handover is not None:
                run.handover.changed((effect.kind, effect.key))
            return  # the attempt has not asked again since its stack was lost; replay will find it recorded
        self._over(run, open_call, effect.key, effect.answer, (effect.end_seq, effect.at_ms))

    def _over(self, run: RunningAttempt, call: OpenCall, key: str, answer: AnyAnswer, end: End) -> None:
        """An open call has its answer: a side effect may start, or one wait less holds its frame back."""
        if isinstance(answer, Granted):
            self._start_side_effect(run, call, key, answer)
            return
        frame, reply = call.frame, _reply(run, call.number, answer, end)
        if frame.stepped:
            self._release_to(run, frame, reply)
            return
        frame.outstanding -= 1
        if frame.outstanding == 0 and not frame.slot:
            self._wake_with(run, frame, reply)
        else:
            self._send(run.host, reply)

    def _wake_with(self, run: RunningAttempt, frame: Frame, answer: messages.ToHost) -> None:
        """The answer goes out when the frame, which has no slot, gets one."""
        frame.answers.append(answer)
        if frame.waking is None:
            frame.waking = Due(run, frame)
            self.pools[frame.pool].waking.append(frame.waking)

    def _release_to(self, run: RunningAttempt, frame: Frame, answer: messages.Reply | messages.CancelAttempt) -> None:
        """An answer of a frame that is stepped, which is to have a slot before it goes on."""
        if frame.slot:
            self._send_to(run, frame, answer)
        else:
            self._wake_with(run, frame, answer)

    def _send_to(self, run: RunningAttempt, frame: Frame, answer: messages.ToHost) -> None:
        frame.quiet = False
        if isinstance(answer, messages.Reply):
            frame.sent = answer.end_seq or frame.sent
        elif isinstance(answer, messages.CancelAttempt):
            frame.sent = answer.cancel_seq
        self._send(run.host, answer)

    def _abandon(self, effect: Abandon) -> None:
        run = self._runs.get(effect.execution_id)
        if run is None or run.epoch != effect.epoch:
            return
        self._forget(run, AttemptEnd.ABANDONED)
        self.hosts.code_lingers(run.host, run.execution_id, run.epoch, abandoned=True)
        if run.host < 0:
            self._close(run.host)
        else:
            self._send(run.host, messages.AbandonAttempt(execution_id=run.execution_id, epoch=run.epoch))

    def abandon_all(self) -> None:
        """Every attempt here has lost its right to run."""
        for run in list(self._runs.values()):
            self._abandon(Abandon(execution_id=run.execution_id, epoch=run.epoch))
        self._to_run.clear()
        self._handovers.clear()
        self._suspects.forget_starts()
        self._trials = Trials()
        self.rested.clear()
        for pool in self.pools.values():
            pool.busy = 0
            pool.waking.clear()
            pool.starting.clear()
            pool.ready.refill(())

    # --- calls of attempts

    def run_of(self, host: int, call: messages.AttemptCall | messages.Quiet) -> RunningAttempt | None:
        """The attempt that calls, or None when it has lost its right to run; then it is told so."""
        run = self._runs.get(call.execution_id)
        if run is not None and run.epoch == call.epoch and run.host == host:
            return run
        self._send(host, messages.AbandonAttempt(execution_id=call.execution_id, epoch=call.epoch))
        return None

    def quiet(self, run: RunningAttempt, released: int) -> None:
        """The attempt's own code waits, unless an answer is on its way to it."""
        frame = run.root
        if released == messages.BUSY:
            frame.stepped, frame.sent = True, 0  # all that was sent to it so far, its code has
        # What its journal had is not sent, and earlier. A word that another one has overtaken takes nothing back.
        frame.quiet = frame.quiet or released >= frame.sent
        self._rest(run, frame)

    def _rest(self, run: RunningAttempt, frame: Frame) -> None:
        if frame.can_rest:
            self._release(frame)
            if run.doubted:
                self._look_at_doubted(run)

    def _look_at_doubted(self, run: RunningAttempt) -> None:
        """Once it only waits, the node has not died of it."""
        if run.only_waits:
            run.doubted = False
            self.rested.append(run)
            self._trials.over(run.execution_id)

    def answer(self, run: RunningAttempt, call: messages.AttemptCall, answer: AnyAnswer, end: End = NO_END) -> None:
        """The call is over as soon as it was made."""
        frame, reply = run.frames.get(call.frame, run.root), _reply(run, call.call, answer, end)
        if not frame.stepped:
            self._outgoing[run.host].append(reply)
        elif isinstance(call.request, Heartbeat | GiveUp):  # nobody waits for these
            self._send(run.host, reply)
            self._rest(run, frame)
        else:
            self._release_to(run, frame, reply)

    def hand_over(self, run: RunningAttempt, call: messages.AttemptCall, answer: AnyAnswer, end: End) -> None:
        """The run is over, and the next one begins. Its code is told at once: it has no slot to wait for any more."""
        self._send(run.host, _reply(run, call.call, answer, end))
        self.end(run, AttemptEnd.CONTINUED_AS_NEW)

    def given_up(
        self, run: RunningAttempt, call: messages.AttemptCall, request: GiveUp, answer: AnyAnswer, end: End
    ) -> None:
        """One of the attempt's waits is nobody's any more: it holds its frame back no longer."""
        waiting = run.calls.pop((request.kind, request.key), None)
        frame = run.frames.get(call.frame, run.root) if waiting is None else waiting.frame
        if frame.stepped:
            self.answer(run, call, answer, end)
            return
        if waiting is not None:
            frame.outstanding -= 1
        if frame.outstanding == 0 and not frame.slot:
            self._wake_with(run, frame, _reply(run, call.call, answer, end))
        else:
            self.answer(run, call, answer, end)

    def wait(self, run: RunningAttempt, call: messages.AttemptCall, kind: OperationKind, key: str) -> None:
        """The call is a wait that is not over: its frame holds no slot from here on, or from when it is quiet."""
        frame = run.frames.get(call.frame, run.root)  # a task may outlive the side effect that made it
        run.calls[kind, key] = OpenCall(call.call, frame)
        if frame.stepped:
            self._rest(run, frame)
            return
        frame.outstanding += 1
        self._release(frame)
        if run.doubted:
            self._look_at_doubted(run)
        if frame.waking is not None:  # another task waits for a slot, which the frame is not to have by now
            frame.waking = None
            self._send_answers(run, frame)

    def _send_answers(self, run: RunningAttempt, frame: Frame) -> None:
        answers, frame.answers = frame.answers, []
        for answer in answers:
            self._send_to(run, frame, answer)

    def begin_side_effect(
        self, run: RunningAttempt, call: messages.AttemptCall, key: str, answer: AnyAnswer | None, end: End = NO_END
    ) -> None:
        """A side effect waits for its slot, or for the end of its backoff (no answer yet), or is recorded already."""
        if answer is not None and not isinstance(answer, Granted):
            self.answer(run, call, answer, end)
            return
        self.wait(run, call, OperationKind.SIDE_EFFECT, key)
        if answer is not None:
            open_call = run.calls.pop((OperationKind.SIDE_EFFECT, key))
            self._start_side_effect(run, open_call, key, answer)

    def send_more(self, host: int) -> None:
        """The host has taken what it was sent of attempts that it is to run."""
        self._handovers.send_more(host)

    # --- slots that are leased: see docs/design/slots.md

    @property
    def leased(self) -> int:
        """Slots of the side-effect pool of which only the hosts know whether something runs in them."""
        return self._leased.total()

    def give_back(self, host: int, slots: int) -> None:
        """A host has no more than it was leased, whatever it says."""
        given = min(slots, self._leased[host])
        self._leased[host] -= given
        for _ in range(given):
            self.pools[Component.SIDE_EFFECT].release()

    def announced(self, run: RunningAttempt, call: messages.AttemptCall, key: str) -> None:
        """A side effect runs in a slot that was leased, and is given back: it is one like any other from here on."""
        if call.frame not in run.frames:
            return  # a task that outlives the side effect that made it: nobody waits for it
        self.wait(run, call, OperationKind.SIDE_EFFECT, key)
        around = run.calls.pop((OperationKind.SIDE_EFFECT, key)).frame
        run.frames[key] = Frame(key, Component.SIDE_EFFECT, parent=around, slot=True)
        self.pools[Component.SIDE_EFFECT].take()

    def _lease(self) -> None:
        """Where side effects ended, others are likely to begin: they need not ask, as long as nobody waits for a slot.

        One slot stays here, so that whoever asks next gets it at once.
        """
        ended, self._side_effects_ended = self._side_effects_ended, Counter()
        pool = self.pools[Component.SIDE_EFFECT]
        if not self._leases or not ended or pool.paused or pool.rate.limits:
            return
        if any(pool.waited_for for pool in self.pools.values()):
            return
        for host, count in ended.items():
            slots = min(count, pool.workers - pool.busy - 1)
            if slots <= 0 or host not in self.hosts.up:
                continue
            for _ in range(slots):
                pool.take()
            self._leased[host] += slots
            self._outgoing[host].insert(0, messages.LeaseSlots(slots=slots))  # before the answers that make use of them

    def _start_side_effect(self, run: RunningAttempt, call: OpenCall, key: str, go: Granted) -> None:
        frame = Frame(key, Component.SIDE_EFFECT, parent=call.frame)
        frame.answers.append(_reply(run, call.number, go, NO_END))
        run.frames[key] = frame
        self.pools[Component.SIDE_EFFECT].starting.append(Due(run, frame))

    def end_side_effect(
        self, run: RunningAttempt, call: messages.AttemptCall, key: str, answer: AnyAnswer | None, end: End = NO_END
    ) -> None:
        """A side effect ran. No answer: it failed and is made again after its backoff."""
        self.ended[Component.SIDE_EFFECT, answer is not None and not isinstance(answer, Failed)] += 1
        self._side_effects_ended[run.host] += 1
        if call.leased:
            self._end_unannounced(run, call, key, answer, end)
            return
        frame = run.frames.get(key)
        if frame is not None:
            assert frame.parent is not None, f"{run.execution_id}: side effect {key} has no frame around it"
            self._leave(run, frame)
            open_call = OpenCall(call.call, frame.parent)
        elif (waiting := run.calls.pop((OperationKind.SIDE_EFFECT, key), None)) is not None:
            open_call = OpenCall(call.call, waiting.frame)  # it was given up in its backoff
        else:
            if answer is not None:
                self.answer(run, call, answer, end)  # it was given up when it was over: the two words crossed
            return
        if answer is None:
            run.calls[OperationKind.SIDE_EFFECT, key] = open_call
        else:
            self._over(run, open_call, key, answer, end)

    def _end_unannounced(
        self, run: RunningAttempt, call: messages.AttemptCall, key: str, answer: AnyAnswer | None, end: End
    ) -> None:
        """A side effect that was not heard of before: the frame around it did not wait, and may begin to now."""
        if answer is None:
            self.wait(run, call, OperationKind.SIDE_EFFECT, key)
        else:
            self.answer(run, call, answer, end)

    def _leave(self, run: RunningAttempt, ended: Frame) -> None:
        """The frame is over, with all that was begun inside of it and not waited for."""
        inside = [ended] if not ended.outstanding else [f for f in run.frames.values() if f.is_within(ended)]
        for frame in inside:
            frame.over = True
            self._release(frame)
            del run.frames[frame.key]
        if not ended.outstanding:
            return
        for operation in [operation for operation, call in run.calls.items() if call.frame.over]:
            del run.calls[operation]

    def lost(self, run: RunningAttempt, call: messages.AttemptCall) -> None:
        """The call came too late: the attempt has lost its right to run."""
        self._abandon(Abandon(execution_id=run.execution_id, epoch=call.epoch))

    def end(self, run: RunningAttempt, end: AttemptEnd, failure: Failure | None = None) -> None:
        """The attempt is over, or was unwound. Nobody waits for an answer to its last call."""
        if run.root.pool is Component.COMPENSATION:
            self.ended[Component.COMPENSATION, end is AttemptEnd.COMPLETED] += 1
        self._forget(run, end, failure)
        if run.host < 0:
            self._close(run.host)

    def _close(self, host: int) -> None:
        self._closing.append(host)
        self._handovers.forget(host)

    def _forget(self, run: RunningAttempt, end: AttemptEnd, failure: Failure | None = None) -> bool:
        """Gives back its slots. Returns whether its code was running."""
        if self.traces:
            self._note(run, end, failure)
        was_running = False
        for frame in run.frames.values():
            if frame.slot:
                self._release(frame)
                was_running = True
        run.over = True
        self._runs.pop(run.execution_id, None)
        self._trials.over(run.execution_id)
        self.hosts.attempt_ended(run.host)
        return was_running

    def _note(self, run: RunningAttempt, end: AttemptEnd | None = None, failure: Failure | None = None) -> None:
        self._trace.append(
            AttemptStep(run.execution_id, run.handler, run.attempt, run.compensation, run.host, end, failure)
        )

    def take_trace(self) -> list[AttemptStep]:
        """The attempts that started and ended since it was asked before, if they are traced."""
        trace, self._trace = self._trace, []
        return trace

    def _release(self, frame: Frame) -> None:
        if frame.slot:
            frame.slot = False
            self.pools[frame.pool].release()

    def _send(self, host: int, message: messages.ToHost) -> None:
        self._outgoing[host].append(message)

    # --- slots

    def grant(self, *, side_effects: bool) -> None:
        """Gives free slots to those whose stacks are here: first to those that wake, then, if they may start, to
        side effects."""
        self.holds_side_effects = False
        for pool in self.pools.values():
            if pool.waking:
                self._grant_to(pool, pool.waking, limited=False)
            if not pool.starting:
                continue
            if not side_effects:
                self.holds_side_effects = True
            elif not pool.paused:
                self._grant_to(pool, pool.starting, limited=True)

    def _grant_to(self, pool: Pool[Due], waiting: deque[Due], *, limited: bool) -> None:
        """limited: by the pool's rate of starts."""
        while waiting and pool.free:
            due = waiting[0]
            answered = not limited and due.frame.waking is not due
            if due.run.over or due.frame.over or answered:
                waiting.popleft()
                continue
            if limited and pool.rate.take(self._clock_s()) > 0:
                return
            waiting.popleft()
            pool.take()
            due.frame.slot = True
            due.frame.waking = None
            self._send_answers(due.run, due.frame)

    def starts(self) -> Iterator[tuple[Component, str]]:
        """Executions that a free slot is taken for, with the pool; each is to be started, or `start_failed`."""
        if self.hosts.all_are_unfit:
            return
        if self._trials.active:
            yield from self._to_try()
            if self._trials.holds:
                return
        if self.hosts.are_full:
            return
        for component, pool in self.pools.items():
            ready = pool.ready
            if not ready.others and not ready.suspects:
                continue
            while (ready.others or ready.suspects) and pool.free and not pool.paused:
                suspect = bool(ready.suspects) and ready.suspect_first and not self._suspects.full
                if not suspect and not ready.others:
                    break
                if pool.rate.limits and pool.rate.take(self._clock_s()) > 0:
                    break
                pool.take()
                execution_id = ready.pop_suspect() if suspect else ready.pop()
                if execution_id in self.hosts.lingering.executions:
                    self._held.add(execution_id)
                    pool.release()
                    pool.rate.give_back()
                    continue
                if suspect:
                    self._suspects.start(execution_id)
                yield component, execution_id
            if ready.suspects and pool.free and not pool.paused:
                self._make_room(len(ready.suspects))

    def _to_try(self) -> Iterator[tuple[Component, str]]:
        """The first that is tried alone, once nothing else runs, or all that does is free of blame.

        Until then, and until it is over, nothing else starts: see `Trials.holds`.
        """
        now_s = self._clock_s()
        if self._trials.under_way(now_s):
            return
        found = next(self._pools_to_try(), None)
        if found is None:
            self._trials.wanted = any(pool.ready.alone for pool in self.pools.values())
            self._trials.give_up()
            return
        component, pool = found
        if self.hosts.are_full or pool.rate.take(now_s) > 0:
            self._trials.give_up()
            return
        if not self._trials.may_begin(now_s, nothing_runs=self._nothing_runs):
            pool.rate.give_back()
            return
        execution_id = pool.ready.pop_alone()
        if execution_id in self.hosts.lingering.executions:
            self._held.add(execution_id)
            pool.rate.give_back()
            return
        pool.take()
        self._trials.begin(execution_id, now_s)
        yield component, execution_id

    def _pools_to_try(self) -> Iterator[tuple[Component, Pool[Due]]]:
        for component, pool in self.pools.items():
            if pool.ready.alone and pool.free and not pool.paused:
                yield component, pool

    @property
    def _nothing_runs(self) -> bool:
        """But what was tried, and is cleared by now."""
        cleared = [run for run in self._runs.values() if run.tried]
        busy = sum(self.pools[component].busy for component in _ROOTS)
        others = (run for run in self._runs.values() if not run.tried)
        return busy == sum(run.root.slot for run in cleared) and all(run.only_waits for run in others)

    def trial_due_s(self) -> float | None:
        """Seconds until a trial is over, or begins whatever runs."""
        return self._trials.due_s(self._clock_s()) if self._trials.active and self.hosts.up else None

    def _make_room(self, wanted: int) -> None:
        """Suspects wait for a process while others that have one only wait: those are unwound."""
        for host in self._suspects.to_unwind(wanted):
            self._send(host, messages.Drain())

    def start_failed(self, component: Component, execution_id: str) -> None:
        """The execution was no longer waiting for a slot."""
        self._suspects.start_failed(execution_id)
        self._trials.over(execution_id)
        self.pools[component].release()
        self.pools[component].rate.give_back()

    def rate_limited_s(self) -> float | None:
        """Seconds until a rate limit lets something start that waits for nothing else."""
        waits = []
        for pool in self.pools.values():
            ready = pool.ready.others or pool.ready.alone or (pool.ready.suspects and not self._suspects.full)
            if (pool.starting or ready) and pool.free and not pool.paused:
                wait_s = pool.rate.take(self._clock_s())
                if wait_s > 0:
                    waits.append(wait_s)
                else:
                    pool.rate.give_back()
        return min(waits, default=None)

    def refill(self, *, everything: bool = False) -> bool:
        """Fetches the front of the stored queues where the window ran out. Returns whether any was."""
        refilled = False
        for component in _ROOTS:
            ready = self.pools[component].ready
            if everything or ready.wants_refill:
                executions = self._source.ready(component, self._node_id, self._handlers, self._window_max)
                suspects = {execution.id for execution in executions if execution.suspect}
                alone = {execution.id for execution in executions if execution.tried_alone}
                ready.refill([(execution.queue_order, execution.id) for execution in executions], suspects, alone)
                self._trials.wanted |= bool(alone)
                refilled = True
        return refilled

    # --- what leaves, after the commit

    def collect(self) -> tuple[Mapping[int, list[messages.ToHost]], list[int]]:
        """What is to be sent to each host, and the hosts of isolated attempts that are to be closed after that."""
        for effect in self._to_run:
            self._hand_out(effect)
        self._to_run.clear()
        if self._handovers:
            for host, piece in self._handovers.pieces():
                self._send(host, piece)
        self._lease()
        outgoing, self._outgoing = self._outgoing, defaultdict(list)
        closing, self._closing = self._closing, []
        return outgoing, closing

    def _hand_out(self, effect: RunAttempt | RunCompensation) -> None:
        execution = self._source.execution(effect.execution_id)
        assert execution is not None, f"{effect.execution_id} was started and is not stored"
        if execution.epoch != effect.epoch:
            self.pools[_pool_of(effect, execution)].release()
            self._suspects.start_failed(execution.id)
            self._trials.over(execution.id)
            return  # it ended in the batch that started it
        host = self._host_for(execution)
        root = Frame("", execution.pool, parent=None, slot=True)
        run = RunningAttempt(
            execution.id,
            execution.row,
            execution.epoch,
            execution.handler,
            host,
            root,
            execution.attempt,
            frames={"": root},
        )
        run.exact = execution.format >= EXACT_REPLAY
        self._runs[execution.id] = run
        if host < 0 and execution.suspect:
            self._suspects.started(run)
        else:
            self._suspects.start_failed(execution.id)
        self.hosts.attempt_began(host)
        if execution.node_deaths:
            run.doubted, run.tried = True, execution.tried_alone
        if isinstance(effect, RunCompensation):
            undone = self._source.operation(execution.row, OperationKind.COMPENSATION, effect.key)
            assert undone is not None, f"{execution.id}: compensation {effect.key} was started and is not stored"
            run.compensation, run.attempt = effect.key, undone.attempt
        else:
            root.stepped = run.exact and execution.handler in self._stepped
        fresh = execution.epoch == 1 and not execution.cancel_requested  # it has no journal
        if fresh and not run.compensation and len(execution.arguments) < _SMALL_BYTES:
            self._send(host, run_messages.run(execution, (), isolated=host < 0))
        else:
            self._handovers.add(Handover(run, effect))
        if self.traces:
            self._note(run)

    def _host_for(self, execution: Execution) -> int:
        """The least loaded host; a process of its own for what asked for one, or may have killed a host before."""
        if execution.options.isolation is Isolation.PROCESS or execution.suspect or not self.hosts.up:
            return self.hosts.isolated()
        return self.hosts.least_loaded()


def _reply(run: RunningAttempt, call: int, answer: AnyAnswer, end: End) -> messages.Reply:
    end_seq, at_ms = end
    return messages.Reply(
        execution_id=run.execution_id, epoch=run.epoch, call=call, answer=answer, end_seq=end_seq, at_ms=at_ms
    )


def _pool_of(effect: RunAttempt | RunCompensation, execution: Execution) -> Component:
    return Component.COMPENSATION if isinstance(effect, RunCompensation) else execution.component
