"""Joins log, engine, store and worker hosts. Its thread is the only writer.

Each round takes what waits (see `inputs.py`, and timers that are due), proposes as much of it as the log takes in one
batch, and lets nothing out before no failure can undo what the log has ordered. Nothing waits for a batch to fill: what
comes in while one commits is the next.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

import apsw
import structlog
from msgspec import Struct

from tempolite_node import frames
from tempolite_node.engine import formats
from tempolite_node.engine.commands import (
    AnyCommand,
    AnyRequest,
    Batch,
    BeginSideEffect,
    CompleteAttempt,
    CompleteSideEffect,
    CrashAttempt,
    FailAttempt,
    FailSideEffect,
    FireTimer,
    FromAttempt,
    LoseNode,
    PlaceExecutions,
    ReceiveSignal,
    RegisterNode,
    Sleep,
    StartAttempt,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
    ids_of_new,
)
from tempolite_node.engine.decide import admit, decide
from tempolite_node.engine.effects import (
    Admission,
    AnyEffect,
    AnyOutcome,
    Closed,
    Go,
    Reason,
    Refused,
    Rejection,
    RunAttempt,
    RunCompensation,
    SignalSent,
)
from tempolite_node.engine.model import Component, Execution, NodeState, OperationKind
from tempolite_node.engine.work import Work
from tempolite_node.errors import NodeError, OutcomeUnknown, StorageFailed, Unavailable
from tempolite_node.hosts.dispatch import Dispatch
from tempolite_node.hosts.runs import Run
from tempolite_node.ids import new_run
from tempolite_node.inputs import (
    Ask,
    AskAll,
    Barrier,
    Change,
    Do,
    HostDown,
    HostSaid,
    HostUp,
    Input,
    Inputs,
    Look,
    Stop,
)
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.store.database import explained
from tempolite_node.store.executions import Executions

log = structlog.get_logger("driver")

_ROUND_MAX = 2_000  #: inputs of one round: bounds how long a transaction holds its answers back
_TIMERS_MAX = 250  #: timers of one round, besides what was asked
_UNSAVED_MAX = 1_000  #: entries that changed nothing, and so need no commit of their own
_PLACED_MAX = 500  #: executions of one round that are given to another node


class Standing(Enum):
    """How far the other nodes can count on this one. On its way up it goes through all of them, in this order."""

    BEHIND = auto()  #: its store may lack what the others have
    CATCHING_UP = auto()  #: it has asked the log how far that is
    CAUGHT_UP = auto()  #: it may register
    REGISTERED = auto()  #: the log knows this process, and what an earlier one ran is queued again


class Proposal(Struct, gc=False):
    """A command on its way through the log, and who is told of it."""

    command: AnyCommand
    on_outcome: Callable[[AnyOutcome], None] | None = None
    give_up: Callable[[NodeError], None] | None = None  #: of a client, who does not wait for ever
    given_up: bool = False


class Outputs(Protocol):
    """Where the results of a round go. Called in any thread, and must not block."""

    def publish(
        self,
        *,
        frames_to_send: Mapping[int, Sequence[frames.ToHost]],
        hosts_to_close: list[int],
        answers: list[tuple[Callable[[Any], None], Any]],
        closed: list[Execution],
        signalled: list[str],
        revision: int,
    ) -> None: ...

    def restored(self) -> None:
        """The store was replaced by that of another node: whatever was followed may have moved on unseen."""
        ...

    def removed(self) -> None:
        """This node is no part of the cluster any more."""
        ...

    def driver_failed(self, error: BaseException) -> None: ...


class Children(Protocol):
    """Turns what an attempt asks for a child into the engine's request; or says why that can't be."""

    def __call__(self, request: frames.ChildRequest, at_ms: int) -> AnyRequest | Refused: ...


class Registration(Protocol):
    """What this node tells the others of itself."""

    def __call__(self, at_ms: int, run: str) -> RegisterNode: ...


class Driver:
    def __init__(
        self,
        *,
        node_id: str,
        executions: Executions,
        dispatch: Dispatch,
        outputs: Outputs,
        children: Children,
        registration: Registration,
        log: Callable[[StateMachine], Log],
    ) -> None:
        self._node_id = node_id
        self._executions = executions
        self._outputs = outputs
        self._children = children
        self._registration = registration
        self._log = log(self)
        self.inputs = Inputs()
        self._work = Work(executions)
        self._at_ms = 0
        self._fired = False  #: timers that are due are on their way
        self._run = new_run()
        self._standing = Standing.BEHIND
        self._live = False  #: and registered: what is given to it is not given to others
        self._look_for_misplaced = True
        self._stopping = False
        self._proposals: list[Proposal] = []
        self._under_way: list[Proposal] = []
        self._answers: list[tuple[Callable[[Any], None], Any]] = []
        self._looks: list[Look] = []
        self._closed: list[Execution] = []
        self._signalled: list[str] = []
        self._published = -1  #: applied index at the last publication
        self._thread = threading.Thread(target=self._drive, name="driver", daemon=True)
        self.dispatch = dispatch

    # --- called from other threads

    def start(self) -> None:
        """StartError: the log can't work here."""
        self._log.start()
        self._thread.start()

    def put(self, given: Input) -> None:
        self.inputs.put(given)

    def waiting_inputs(self) -> int:
        return len(self.inputs) + len(self._proposals)

    def stop(self) -> None:
        """Ends the thread after the round that is under way. All that it saved is on disk then, and let out."""
        if self._thread.is_alive():
            self.inputs.put(Stop())
            self._thread.join()
        self.inputs.close()
        try:
            self._log.stop()
        except BaseException as error:
            self._outputs.driver_failed(error)  # there is no round any more that would hear of it

    def now_ms(self) -> int:
        """Unix milliseconds, by the clock that decides what is due."""
        return self._log.now_ms()

    @property
    def run(self) -> str:
        """Names this process of the node, among all that there were."""
        return self._run

    # --- the thread

    def _drive(self) -> None:
        try:
            while self._round():
                pass
        except apsw.Error as error:
            # Nothing of this round was acknowledged. What the disk holds now is unknown, so nothing more is written.
            self._outputs.driver_failed(StorageFailed(f"the store failed: {type(error).__name__}: {explained(error)}"))
        except BaseException as error:
            self._outputs.driver_failed(error)

    def _round(self) -> bool:
        """One batch: in, decided, saved, out. False: it is time to stop."""
        inputs = self.inputs.take(_ROUND_MAX, self._idle_s)
        self._at_ms = self._log.now_ms()
        for given in inputs:
            match given:
                case HostSaid():
                    self._host_said(given)
                case Ask():
                    self._ask(given)
                case AskAll():
                    self._ask_all(given)
                case Do():
                    given.act()
                case Barrier():
                    self._log.barrier(partial(self._answer, given.answer))
                case Look():
                    self._looks.append(given)
                case Change():
                    self._answers.append((given.answer, given.change()))
                case HostUp():
                    self.dispatch.host_up(given.host, given.handlers)
                    self.dispatch.refill(everything=True)
                case HostDown():
                    self._host_down(given)
                case Stop():
                    self._stopping = True
        self._advance()
        while self.dispatch.refill():
            self._advance()
        self._publish()
        return not self._stopping or self._holds_back

    @property
    def _holds_back(self) -> bool:
        """Something was asked that the log would take now: it was more than one round may propose."""
        return bool(self._proposals) and self._log.idle and self._standing is Standing.REGISTERED

    def _idle_s(self) -> float | None:
        if not self._log.idle or self._standing is Standing.CATCHING_UP:
            return None  # what becomes of the batch that is under way comes in, or that it has caught up
        registers = self._standing is not Standing.REGISTERED
        if self._holds_back or registers or (self._log.leads and self._look_for_misplaced):
            return 0.0
        waits = []
        if self._log.leads and (due_ms := self._due_ms()) is not None:
            waits.append(max(0.0, (due_ms - self._log.now_ms()) / 1000))
        rate_limited_s = self.dispatch.rate_limited_s()
        if rate_limited_s is not None:
            waits.append(rate_limited_s)
        # A day at most: the clock may be set while the thread sleeps.
        return min([*waits, 86_400.0]) if waits else None

    def _due_ms(self) -> int | None:
        """When the next timer is due, of those in the store that were not fired."""
        return None if self._fired else self._executions.next_due_ms()

    # --- in

    def _answer(self, answer: Callable[[Any], None], value: Any) -> None:
        """Once this round's commit is on disk."""
        self._answers.append((answer, value))

    def _ask(self, given: Ask) -> None:
        told = None if given.answer is None else partial(self._answer, given.answer)
        self._proposals.append(Proposal(given.command, told, told))

    def _ask_all(self, given: AskAll) -> None:
        outcomes: list[AnyOutcome] = []
        given_up: list[NodeError] = []

        def decided(outcome: AnyOutcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == len(given.commands) and not given_up:
                self._answers.append((given.answer, outcomes))

        def give_up(error: NodeError) -> None:
            if not given_up:
                given_up.append(OutcomeUnknown("some of the batch was stored, the rest was not") if outcomes else error)
                self._answers.append((given.answer, given_up[0]))

        self._proposals += [Proposal(command, decided, give_up) for command in given.commands]

    def _host_said(self, given: HostSaid) -> None:
        for call in given.calls:
            if isinstance(call, frames.SlotsReturned):
                self.dispatch.give_back(given.host, call.slots)
                continue
            if call.lent:
                self.dispatch.give_back(given.host, 1)
            run = self.dispatch.run_of(given.host, call)
            if run is None:
                continue
            request = call.request
            if isinstance(request, BeginSideEffect) and call.lent:
                self.dispatch.announced(run, call, request.key)
                continue
            if isinstance(request, BeginSideEffect) and request.fresh and self._is_current:
                self.dispatch.begin_side_effect(run, call, request.key, Go(attempt=1))
                continue
            if isinstance(request, frames.ChildRequest):
                made = self._children(request, self._at_ms)
                if isinstance(made, Refused):
                    self.dispatch.answer(run, call, made)
                    continue
                request = made
            command = FromAttempt(
                at_ms=self._at_ms,
                execution_id=run.execution_id,
                epoch=run.epoch,
                jitter=random.uniform(-1, 1),
                side_effect_failures=call.side_effect_failures,
                request=request,
            )
            self._proposals.append(Proposal(command, _Answering(self.dispatch, run, call, request)))

    def _host_down(self, given: HostDown) -> None:
        for run, was_running in self.dispatch.host_down(given.host):
            command = CrashAttempt(
                at_ms=self._at_ms,
                execution_id=run.execution_id,
                epoch=run.epoch,
                suspect=was_running,
                jitter=random.uniform(-1, 1),
                message=given.message,
            )
            self._proposals.append(Proposal(command))

    # --- through the log

    def _advance(self) -> None:
        """Saves what the log has ordered, proposes what a round may for as long as it takes it, and saves that too."""
        self._save()
        limit = self._log.round_max(len(self._proposals))
        while self._log.idle and (proposals := self._next_proposals(limit)):
            limit = max(0, limit - len(proposals))
            # Before it is proposed: a log that has nobody to agree with applies it at once.
            self._under_way = proposals
            taken = self._log.propose([proposal.command for proposal in proposals])
            if taken < len(proposals):
                self._under_way, self._proposals = proposals[:taken], proposals[taken:] + self._proposals
        if not self._log.idle:
            self._grant()  # who has a stack here and waits for a slot only, need not wait for the log
        elif self._live and self.dispatch.holds_side_effects:
            self._log.renew()
        self._save()

    def _next_proposals(self, limit: int) -> list[Proposal]:
        """The registration first; then what was asked, up to the limit, and the starts that free slots allow."""
        if self._standing is not Standing.REGISTERED:
            return self._to_register()
        duties = self._duties() if self._log.leads else []
        proposals, self._proposals = self._proposals[:limit], self._proposals[limit:]
        return duties + proposals + self._starts()

    def _to_register(self) -> list[Proposal]:
        """Others give it work as soon as it has registered, and it can't run what it has not heard of."""
        if self._standing is Standing.BEHIND:
            self._standing = Standing.CATCHING_UP
            self._log.catch_up(self._caught_up)  # a log that has nobody to ask calls back at once
        caught_up = self._standing is Standing.CAUGHT_UP
        return [Proposal(self._registration(self._at_ms, self._run))] if caught_up else []

    def _caught_up(self) -> None:
        if self._standing is Standing.CATCHING_UP:
            self._standing = Standing.CAUGHT_UP

    def _duties(self) -> list[Proposal]:
        """What one node does for all of them: it fires timers, and places what its owner can't run."""
        duties: list[Proposal] = []
        due_ms = self._due_ms()
        if due_ms is not None and due_ms <= self._at_ms:
            for execution_id, timer in self._executions.due_timers(self._at_ms, _TIMERS_MAX):
                command = FireTimer(
                    at_ms=self._at_ms,
                    execution_id=execution_id,
                    name=timer.name,
                    due_ms=timer.due_ms,
                    jitter=random.uniform(-1, 1),
                )
                duties.append(Proposal(command))
            self._fired = True
        if self._look_for_misplaced:
            misplaced = self._executions.misplaced(_PLACED_MAX)
            self._look_for_misplaced = len(misplaced) == _PLACED_MAX
            if misplaced:
                duties.append(Proposal(PlaceExecutions(at_ms=self._at_ms, execution_ids=tuple(misplaced))))
        return duties

    def _starts(self) -> list[Proposal]:
        self._grant()
        starts: list[Proposal] = []
        for component, execution_id in self.dispatch.starts():
            start = StartAttempt(at_ms=self._at_ms, execution_id=execution_id, node_id=self._node_id, pool=component)
            starts.append(Proposal(start, partial(self._started, component)))
        return starts

    def _grant(self) -> None:
        self.dispatch.grant(side_effects=self._is_current)

    @property
    def _is_current(self) -> bool:
        """See `Log`. One that was given up is not, whatever it had ordered since: others may have what it ran."""
        return self._live and self._log.is_current

    def _started(self, component: Component, outcome: AnyOutcome) -> None:
        if isinstance(outcome, Rejection):
            self.dispatch.start_failed(component)

    # --- the state machine of the log

    @property
    def applied_index(self) -> int:
        return self._executions.applied_index

    def apply(self, commands: Sequence[AnyCommand], *, own: bool) -> None:
        under_way: list[Proposal] = []
        if own:
            under_way, self._under_way = self._under_way, []
        self._executions.look_up(ids_of_new(commands))
        for place, command in enumerate(commands):
            outcome = decide(self._work, command)
            # A call is answered, and its frame loses its slot if it waits, before effects of later commands wake it.
            if under_way and not (proposal := under_way[place]).given_up and proposal.on_outcome is not None:
                proposal.on_outcome(outcome)
            self._take_effects()
        if self._work.nodes:
            self._check_format()
            self._follow_own_state()

    def _follow_own_state(self) -> None:
        """Whether the others know this process. If not, or if they took it for dead, it registers again.

        One that stops has told them so, and is not to be counted on again.
        """
        own = self._work.node(self._node_id)
        if own is None and self._standing is Standing.REGISTERED:
            self._outputs.removed()
        known = own if own is not None and own.run == self._run else None
        self._live = known is not None and known.live
        if known is not None and (known.live or known.draining):
            self._standing = Standing.REGISTERED
        elif self._standing is Standing.REGISTERED:
            self._standing = Standing.BEHIND

    @property
    def format(self) -> int:
        return self._work.format

    def _check_format(self) -> None:
        """This version may not decide, or save, what comes behind an entry that brought a later format into use."""
        if self.format > formats.FORMAT:
            raise Unavailable(formats.too_old(self._node_id, formats.FORMAT, self.format))

    def admit(self, batch: Batch) -> Admission:
        return admit(self._work, batch)

    def forget(self) -> None:
        self._under_way = []

    def give_up(self, *, under_way: NodeError, waiting: NodeError) -> None:
        for proposals, error in ((self._under_way, under_way), (self._proposals, waiting)):
            for proposal in proposals:
                if proposal.give_up is not None and not proposal.given_up:
                    proposal.given_up = True
                    proposal.give_up(error)
        self._proposals = [proposal for proposal in self._proposals if not proposal.given_up]

    def take_back(self) -> None:
        self._proposals = [proposal for proposal in self._under_way if not proposal.given_up] + self._proposals
        self._under_way = []

    def lost(self, node_id: str) -> None:
        node = self._executions.nodes().get(node_id)
        if node is not None and node.live and node_id != self._node_id:
            self._proposals.append(Proposal(LoseNode(at_ms=self._at_ms, node_id=node_id, run=node.run)))

    def begin_anew(self, *, unclear: NodeError) -> None:
        """The store was replaced by another node's, a later one: what runs here may have been given away unseen.

        unclear: what the clients are told whose commands are under way.
        """
        self.give_up(under_way=unclear, waiting=unclear)
        self._under_way = [Proposal(proposal.command, given_up=True) for proposal in self._under_way]
        self._proposals = []
        self.dispatch.abandon_all()
        self.dispatch.refill(everything=True)
        self._work = Work(self._executions)
        self._check_format()
        self._run, self._live = new_run(), False
        if self._standing is not Standing.CATCHING_UP:
            self._standing = Standing.BEHIND
        self._look_for_misplaced = True
        self._outputs.restored()

    def _take_effects(self) -> None:
        effects = self._work.effects
        if not effects:
            return
        for effect in effects:
            self._take_effect(effect)
        effects.clear()

    def _take_effect(self, effect: AnyEffect) -> None:
        match effect:
            case Closed():
                self._closed.append(effect.execution)
            case SignalSent():
                self._signalled.append(effect.execution_id)
            case RunAttempt() | RunCompensation() if self._standing is not Standing.REGISTERED:
                pass  # an earlier process of this node asked for it; the registration queues it again
            case _:
                self.dispatch.take(effect)

    def _save(self) -> None:
        if self._fired and self._log.idle:
            self._fired = False
        work = self._work
        if not work.changed and self._log.index - self._executions.applied_index < _UNSAVED_MAX:
            return
        before = self._executions.nodes()
        self._executions.save(work, self._log.index)
        if work.nodes:
            self._look_for_misplaced = True
            self._tell_changes(before)
            if self._node_id in work.nodes:
                self.dispatch.refill(everything=True)  # it may have been refused starts meanwhile
        self._work = Work(self._executions)
        self._log.saved()

    def _tell_changes(self, before: Mapping[str, NodeState]) -> None:
        """Operators want to read in the log of any node what becomes of the others."""
        after = self._executions.nodes()
        for node_id in sorted({*before, *after} - {self._node_id}):
            was, now = (None if node is None else _word(node) for node in (before.get(node_id), after.get(node_id)))
            if was != now:
                log.info("a node has changed", node=node_id, was=was or "unknown", now=now or "removed")
        self._tell_format(before.values(), after.values())

    def _tell_format(self, before: Collection[NodeState], after: Collection[NodeState]) -> None:
        """And during an upgrade, what it still lacks."""
        used, former = formats.in_use(after), formats.in_use(before)
        older, were_older = ([node.id for node in nodes if node.format < formats.FORMAT] for nodes in (after, before))
        if used > former:
            log.info("all nodes know a later format of the log: it is in use now", format=used)
        if older and older != were_older:
            log.info("the log stays in its format until these nodes are upgraded", format=used, older=older)

    # --- out

    def _publish(self) -> None:
        outgoing, closing = self.dispatch.collect()
        for look in self._looks:
            self._answers.append((look.answer, look.look()))
        self._looks = []
        revision = self._executions.applied_index
        if not (outgoing or closing or self._answers or revision != self._published):
            return
        self._published = revision
        answers, self._answers = self._answers, []
        closed, self._closed = self._closed, []
        signalled, self._signalled = self._signalled, []
        publish = partial(
            self._outputs.publish,
            frames_to_send=outgoing,
            hosts_to_close=closing,
            answers=answers,
            closed=closed,
            signalled=signalled,
            revision=revision,
        )
        self._log.when_durable(publish, idle=not self.inputs and not self._holds_back)


def _word(node: NodeState) -> str:
    return "up" if node.takes_work else "stopping" if node.live else "down"


class _Answering:
    """Takes the outcome of a call to the attempt that made it."""

    __slots__ = ("_call", "_dispatch", "_request", "_run")

    def __init__(self, dispatch: Dispatch, run: Run, call: frames.Call, request: AnyRequest) -> None:
        self._dispatch = dispatch
        self._run = run
        self._call = call
        self._request = request

    def __call__(self, outcome: AnyOutcome) -> None:
        dispatch, run, call, request = self._dispatch, self._run, self._call, self._request
        if run.over:
            return  # abandoned by a command before it in the same round
        if isinstance(outcome, Rejection):
            assert outcome.reason is Reason.STALE_EPOCH, f"{type(request).__name__}: {outcome}"
            dispatch.lost(run, call)
            return
        match request:
            case BeginSideEffect(key=key):
                dispatch.begin_side_effect(run, call, key, outcome)  # type: ignore[arg-type]
            case CompleteSideEffect(key=key) | FailSideEffect(key=key):
                dispatch.end_side_effect(run, call, key, outcome)  # type: ignore[arg-type]
            case CompleteAttempt() | FailAttempt() | UnwindAttempt() | SuspendAttempt():
                dispatch.end(run, well=isinstance(request, CompleteAttempt))
            case WaitForExecution(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.WAIT, key)
            case ReceiveSignal(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.SIGNAL, key)
            case Sleep(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.TIMER, key)
            case _:
                assert outcome is not None, f"{type(request).__name__} has no answer"
                dispatch.answer(run, call, outcome)  # type: ignore[arg-type]
