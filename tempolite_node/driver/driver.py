"""Joins log, engine, store and worker hosts. Its thread is the only writer.

Each round takes what waits (see `inputs.py`, and timers that are due), proposes as much of it as the log takes in one
batch, and lets nothing out before no failure can undo what the log has ordered. Nothing waits for a batch to fill: what
comes in while one commits is the next.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import apsw

from tempolite_node.driver.calls import Requests, ResolveChild, SignalCheck
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.inputs import (
    Barrier,
    HostDown,
    HostMessages,
    HostUp,
    Input,
    Inputs,
    Inspect,
    Reconfigure,
    RunInDriver,
    SignalChecked,
    Stop,
    Submit,
    SubmitBatch,
)
from tempolite_node.driver.node_changes import log_node_changes
from tempolite_node.driver.outputs import Happening, Outputs, RoundOutput
from tempolite_node.driver.pending import PendingCommand, PendingCommands, commands_of_batch
from tempolite_node.driver.readiness import Readiness, Stage
from tempolite_node.engine import formats, sizes
from tempolite_node.engine.commands import (
    AnyCommand,
    Batch,
    FireTimer,
    LoseNode,
    NoteRest,
    PlaceExecutions,
    RegisterNode,
    StartAttempt,
    ids_of_new,
)
from tempolite_node.engine.decide import admit, decide
from tempolite_node.engine.effects import (
    Admission,
    AnyEffect,
    AnyOutcome,
    Closed,
    Halted,
    HostCrashed,
    JournalGrown,
    NodeDied,
    Ready,
    Registered,
    Rejection,
    RunAttempt,
    RunCompensation,
    SignalSent,
    SignalSetAside,
    Wake,
)
from tempolite_node.engine.model import Component, Execution
from tempolite_node.engine.work import Work
from tempolite_node.errors import NodeError, StorageFailed, Unavailable
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.store.database import explained
from tempolite_node.store.writer import StoreWriter

_ROUND_MAX = 2_000  #: inputs of one round: bounds how long a transaction holds its answers back
_TIMERS_MAX = 250  #: timers of one round, besides what was asked
_BYTES_MAX = 8 * 1024**2  #: of executions that a round starts, or whose timers it fires: it reads and writes them
_UNSAVED_MAX = 1_000  #: entries that changed nothing, and so need no commit of their own
_GIVE_BACK_S = 0.02  #: between two times that pages of the store are given back
_PLACED_MAX = 500  #: executions of one round that are given to another node


class Registration(Protocol):
    """What this node tells the others of itself."""

    def __call__(self, at_ms: int, boot_id: str) -> RegisterNode: ...


class Driver:
    def __init__(
        self,
        *,
        node_id: str,
        executions: StoreWriter,
        dispatch: Dispatch,
        inputs: Inputs,
        outputs: Outputs,
        children: ResolveChild,
        signals: SignalCheck,
        registration: Registration,
        log: Callable[[StateMachine], Log],
    ) -> None:
        self._node_id = node_id
        self._executions = executions
        self._outputs = outputs
        self._registration = registration
        self._log = log(self)
        self.inputs = inputs
        self._work = Work(executions)
        self._at_ms = 0
        self._fired = False  #: timers that are due are on their way
        self._bytes_left = _BYTES_MAX  #: of executions that this round may start
        self._gives_back = False  #: pages of the store that hold nothing: there are more
        self._next_give_back_s = 0.0
        self._readiness = Readiness()
        self._look_for_misplaced = True
        self._stopping = False
        self._pending = PendingCommands()
        self._requests = Requests(
            dispatch,
            children,
            signals,
            put=self.inputs.put,
            work=self._work,
        )
        self._answers: list[tuple[Callable[[Any], None], Any]] = []
        self._inspections: list[Inspect] = []
        self._closed: list[Execution] = []
        self._signalled: list[str] = []
        self._happened: list[Happening] = []
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
        return len(self.inputs) + len(self._pending)

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
    def registered(self) -> bool:
        """Whether the log knows this process, which it does once it has caught up."""
        return self._readiness.registered

    @property
    def boot_id(self) -> str:
        """Names this process of the node, among all that there were."""
        return self._readiness.boot_id

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
        self._bytes_left = _BYTES_MAX
        for given in inputs:
            match given:
                case HostMessages():
                    calls = self._requests.on_messages(
                        given.host, given.calls, at_ms=self._at_ms, is_current=self._is_current
                    )
                    self._pending.add_all(calls)
                case Submit():
                    self._submit(given)
                case SubmitBatch():
                    answer = partial(self._answer, given.answer)
                    self._pending.add_all(commands_of_batch(given.commands, answer))
                case RunInDriver():
                    given.act()
                case Barrier():
                    self._log.barrier(partial(self._answer, given.answer))
                case Inspect():
                    self._inspections.append(given)
                case Reconfigure():
                    self._answers.append((given.answer, given.reconfigure()))
                case HostUp():
                    self.dispatch.host_up(given.host, given.handlers, given.stepped, hash_seed=given.hash_seed)
                    self.dispatch.refill(everything=True)
                case HostDown():
                    lost = self._requests.host_down(given, at_ms=self._at_ms)
                    self._pending.add_all(lost)
                case SignalChecked():
                    self._pending.add_all(self._requests.signal_checked(given, at_ms=self._at_ms))
                case Stop():
                    self._stopping = True
        self._advance()
        while self.dispatch.refill():
            self._advance()
        self._publish()
        self._give_back()
        return not self._stopping or self._holds_back

    def _give_back(self) -> None:
        """Pages of the store that hold nothing, a few at a time: it is no hurry, and others wait meanwhile."""
        now_s = time.monotonic()
        if now_s >= self._next_give_back_s:
            more = self._executions.give_back()
            self._next_give_back_s = time.monotonic() + _GIVE_BACK_S if more else 0.0
            self._gives_back = more

    @property
    def _holds_back(self) -> bool:
        """Something was asked that the log would take now: it was more than one round may propose."""
        return bool(self._pending) and self._log.idle and self._readiness.registered

    def _idle_s(self) -> float | None:
        if not self._log.idle or self._readiness.stage is Stage.CATCHING_UP:
            return None  # what becomes of the batch that is under way comes in, or that it has caught up
        registers = not self._readiness.registered
        if self._holds_back or self._bytes_left <= 0 or registers or (self._log.leads and self._look_for_misplaced):
            return 0.0
        waits = []
        if self._log.leads and (due_ms := self._due_ms()) is not None:
            waits.append(max(0.0, (due_ms - self._log.now_ms()) / 1000))
        rate_limited_s = self.dispatch.rate_limited_s()
        if rate_limited_s is not None:
            waits.append(rate_limited_s)
        if (host_due_s := self.dispatch.hosts.due_s()) is not None:
            waits.append(host_due_s)
        if (trial_due_s := self.dispatch.trial_due_s()) is not None:
            waits.append(trial_due_s)
        if self._gives_back:
            waits.append(_GIVE_BACK_S)
        # A day at most: the clock may be set while the thread sleeps.
        return min([*waits, 86_400.0]) if waits else None

    def _due_ms(self) -> int | None:
        """When the next timer is due, of those in the store that were not fired."""
        return None if self._fired else self._executions.next_due_ms()

    # --- in

    def _answer(self, answer: Callable[[Any], None], value: Any) -> None:
        """Once this round's commit is on disk."""
        self._answers.append((answer, value))

    def _submit(self, given: Submit) -> None:
        answer = None if given.answer is None else partial(self._answer, given.answer)
        self._pending.add(PendingCommand(given.command, answer, answer))

    # --- through the log

    def _advance(self) -> None:
        """Saves what the log has ordered, proposes what a round may for as long as it takes it, and saves that too."""
        self._save()
        limit = self._log.round_max(len(self._pending))
        while self._log.idle and (pending := self._next_commands(limit)):
            limit = max(0, limit - len(pending))
            self._pending.propose(pending, self._log)
        if not self._log.idle:
            self._grant()  # who has a stack here and waits for a slot only, need not wait for the log
        elif self._readiness.live and self.dispatch.holds_side_effects:
            self._log.renew()
        self._save()

    def _next_commands(self, limit: int) -> list[PendingCommand]:
        """The registration first; then what was asked, up to the limit, and the starts that free slots allow."""
        if not self._readiness.registered:
            return self._to_register()
        duties = self._duties() if self._log.leads else []
        if self.dispatch.rested:
            duties += self._at_rest()
        return duties + self._pending.take(limit) + self._starts()

    def _at_rest(self) -> list[PendingCommand]:
        rested, self.dispatch.rested = self.dispatch.rested, []
        return [
            PendingCommand(NoteRest(at_ms=self._at_ms, execution_id=run.execution_id, epoch=run.epoch))
            for run in rested
        ]

    def _to_register(self) -> list[PendingCommand]:
        readiness = self._readiness
        if readiness.stage is Stage.BEHIND:
            readiness.stage = Stage.CATCHING_UP
            self._log.catch_up(readiness.caught_up)  # a log that has nobody to ask calls back at once
        if readiness.stage is not Stage.CAUGHT_UP:
            return []
        return [PendingCommand(self._registration(self._at_ms, readiness.boot_id), self._registered)]

    def _registered(self, outcome: AnyOutcome) -> None:
        if isinstance(outcome, Registered):
            self._happened.append(outcome)

    def _duties(self) -> list[PendingCommand]:
        """What one node does for all of them: it fires timers, and places what its owner can't run."""
        duties: list[PendingCommand] = []
        due_ms = self._due_ms()
        if due_ms is not None and due_ms <= self._at_ms:
            for execution_id, timer in self._executions.due_timers(self._at_ms, _TIMERS_MAX, _BYTES_MAX):
                command = FireTimer(
                    at_ms=self._at_ms,
                    execution_id=execution_id,
                    name=timer.name,
                    due_ms=timer.due_ms,
                    jitter=random.uniform(-1, 1),
                )
                duties.append(PendingCommand(command))
            self._fired = True
        if self._look_for_misplaced:
            misplaced = self._executions.misplaced(_PLACED_MAX)
            self._look_for_misplaced = len(misplaced) == _PLACED_MAX
            if misplaced:
                duties.append(PendingCommand(PlaceExecutions(at_ms=self._at_ms, execution_ids=tuple(misplaced))))
        return duties

    def _starts(self) -> list[PendingCommand]:
        self._grant()
        starts: list[PendingCommand] = []
        if self._bytes_left <= 0:
            return starts
        for component, execution_id in self.dispatch.starts():
            start = StartAttempt(at_ms=self._at_ms, execution_id=execution_id, node_id=self._node_id, pool=component)
            starts.append(PendingCommand(start, partial(self._started, component, execution_id)))
            execution = self._work.execution(execution_id)
            self._bytes_left -= 0 if execution is None else sizes.of_execution(execution)
            if self._bytes_left <= 0:
                break  # the next round goes on
        return starts

    def _grant(self) -> None:
        self.dispatch.grant(side_effects=self._is_current)

    @property
    def _is_current(self) -> bool:
        """See `Log`. One that was given up is not, whatever it had ordered since: others may have what it ran."""
        return self._readiness.live and self._log.is_current

    def _started(self, component: Component, execution_id: str, outcome: AnyOutcome) -> None:
        if isinstance(outcome, Rejection):
            self.dispatch.start_failed(component, execution_id)

    # --- the state machine of the log

    @property
    def applied_index(self) -> int:
        return self._executions.applied_index

    def apply(self, commands: Sequence[AnyCommand], *, own: bool) -> None:
        under_way = self._pending.ordered() if own else []
        self._executions.look_up(ids_of_new(commands))
        work = self._work
        for index, command in enumerate(commands):
            outcome = decide(work, command)
            # A call is answered, and its frame loses its slot if it waits, before effects of later commands wake it.
            if under_way and not (pending := under_way[index]).given_up and pending.on_outcome is not None:
                pending.on_outcome(outcome)
            if work.effects:
                self._take_effects()
        if work.nodes:
            self._check_format()
            self._follow_own_state()

    def _follow_own_state(self) -> None:
        own = self._work.node(self._node_id)
        if own is None and self._readiness.registered:
            self._outputs.removed()
        if own is not None and own.boot_id == self.boot_id and own.hash_seed is not None:
            self.dispatch.hosts.use_hash_seed(own.hash_seed)
        self._readiness.follow(own)

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
        self._pending.ordered()

    def fail_pending(self, *, under_way: NodeError, waiting: NodeError) -> None:
        self._pending.fail(under_way=under_way, waiting=waiting)

    def requeue(self) -> None:
        self._pending.requeue()

    @property
    def live_boot_ids(self) -> Mapping[str, str]:
        return {node.id: node.boot_id for node in self._executions.nodes().values() if node.live}

    def lost(self, node_id: str, boot_id: str) -> None:
        if self.live_boot_ids.get(node_id) == boot_id and node_id != self._node_id:
            self._pending.add(PendingCommand(LoseNode(at_ms=self._at_ms, node_id=node_id, boot_id=boot_id)))

    def reset(self, *, unclear: NodeError) -> None:
        """The store was replaced by another node's, a later one: what runs here may have been given away unseen.

        unclear: what the clients are told whose commands are under way.
        """
        self._pending.fail_all(unclear)
        self.dispatch.abandon_all()
        self.dispatch.refill(everything=True)
        self._begin_work()
        self._check_format()
        self._readiness.reset()
        self._look_for_misplaced = True
        self._outputs.restored()

    def _take_effects(self) -> None:
        effects = self._work.effects
        for effect in effects:
            self._take_effect(effect)
        effects.clear()

    def _take_effect(self, effect: AnyEffect) -> None:
        match effect:
            case Ready() | Wake():  # what there is most of comes first
                self.dispatch.take(effect)
            case RunAttempt() | RunCompensation():
                # An earlier process of this node may have asked for it; the registration queues it again then.
                if self._readiness.registered:
                    self.dispatch.take(effect)
            case Closed():
                self._closed.append(effect.execution)
            case SignalSent():
                self._signalled.append(effect.execution_id)
            case Halted() | HostCrashed() | NodeDied() | JournalGrown() | SignalSetAside():
                self._happened.append(effect)
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
            log_node_changes(self._node_id, before, self._executions.nodes())
            if formats.in_use(self._executions.nodes().values()) > formats.in_use(before.values()):
                self._tell_more()
            if self._node_id in work.nodes:
                self.dispatch.refill(everything=True)  # it may have been refused starts meanwhile
        self._begin_work()
        self._log.saved()

    def _begin_work(self) -> None:
        self._work = self._requests.work = Work(self._executions)

    def _tell_more(self) -> None:
        """Says again what this node serves, if the format that has come into use has room for more of it."""
        own = self._executions.nodes().get(self._node_id)
        if own is None or own.boot_id != self._readiness.boot_id:
            return
        told = self._registration(self._at_ms, own.boot_id)
        if told.handlers != own.handlers or own.hash_seed is None:
            self._pending.add(PendingCommand(told))

    # --- out

    def _publish(self) -> None:
        self.dispatch.look_after_hosts()
        outgoing, closing = self.dispatch.collect()
        to_replace = self.dispatch.hosts.take_to_replace()
        for inspection in self._inspections:
            self._answers.append((inspection.answer, inspection.inspect()))
        self._inspections = []
        revision = self._executions.applied_index
        if not (outgoing or closing or to_replace or self._answers or revision != self._published):
            return
        self._published = revision
        answers, self._answers = self._answers, []
        closed, self._closed = self._closed, []
        signalled, self._signalled = self._signalled, []
        happened, self._happened = [*self._happened, *self.dispatch.take_trace()], []
        output = RoundOutput(
            frames=outgoing,
            hosts_to_close=closing,
            hosts_to_replace=to_replace,
            hash_seed=self.dispatch.hosts.hash_seed,
            answers=answers,
            closed=closed,
            signalled=signalled,
            happened=happened,
            revision=revision,
        )
        idle = not self.inputs and not self._holds_back
        self._log.when_durable(partial(self._outputs.publish, output), idle=idle)
