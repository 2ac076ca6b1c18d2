"""Joins log, engine, store and worker hosts. Its thread is the only writer.

Each round takes everything that waits (commands of clients, calls of attempts, timers that are due), proposes it as
one entry, and lets nothing out before the entry is on disk. Nothing waits for a batch to fill: what comes in while one
commits is the next.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import apsw
from msgspec import Struct

from tempolite_node import frames
from tempolite_node.engine.commands import (
    AnyCommand,
    AnyRequest,
    BeginSideEffect,
    CompleteAttempt,
    CompleteSideEffect,
    CrashAttempt,
    FailAttempt,
    FailSideEffect,
    FireTimer,
    FromAttempt,
    ReceiveSignal,
    RegisterNode,
    Sleep,
    StartAttempt,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import (
    AnyEffect,
    AnyOutcome,
    Closed,
    Go,
    Reason,
    Refused,
    Rejection,
    SignalSent,
)
from tempolite_node.engine.model import Component, Execution, OperationKind
from tempolite_node.engine.work import Work
from tempolite_node.errors import StorageFailed
from tempolite_node.hosts.dispatch import Dispatch
from tempolite_node.hosts.runs import Run
from tempolite_node.log.local import LocalLog
from tempolite_node.stats import stats_of
from tempolite_node.store.database import explained
from tempolite_node.store.executions import Executions
from tempolite_node.views import Stats

_ROUND_MAX = 2_000  #: inputs of one round: bounds how long a transaction holds its answers back
_TIMERS_MAX = 1_000  #: timers of one round


class Ask(Struct):
    """A command, and who wants its outcome. Called in the driver's thread, after the commit."""

    command: AnyCommand
    answer: Callable[[AnyOutcome], None] | None = None


class AskAll(Struct):
    """Commands, and who wants all of their outcomes. Called in the driver's thread, after the commit."""

    commands: Sequence[AnyCommand]
    answer: Callable[[list[AnyOutcome]], None]


class Look(Struct):
    """A question to the driver's own state, answered after the round's commit."""

    look: Callable[[], Any]
    answer: Callable[[Any], None]


class Change(Struct):
    """A change of what decides which work starts. Made before the round's starts, answered after its commit."""

    change: Callable[[], Any]
    answer: Callable[[Any], None]


class HostUp(Struct):
    host: int
    handlers: tuple[str, ...]


class HostSaid(Struct):
    host: int
    calls: list[frames.Call | frames.SlotsReturned]


class HostDown(Struct):
    host: int
    message: str


class Stop(Struct):
    pass


Input = Ask | AskAll | Look | Change | HostUp | HostSaid | HostDown | Stop


class Outputs(Protocol):
    """Where the results of a round go. Called in the driver's thread; must not block."""

    def publish(
        self,
        *,
        frames_to_send: Mapping[int, Sequence[frames.ToHost]],
        hosts_to_close: list[int],
        answers: list[tuple[Callable[[Any], None], Any]],
        closed: list[Execution],
        signalled: list[str],
        stats: Stats,
    ) -> None: ...

    def driver_failed(self, error: BaseException) -> None: ...


class Children(Protocol):
    """Turns what an attempt asks for a child into the engine's request; or says why that can't be."""

    def __call__(self, request: frames.ChildRequest, at_ms: int) -> AnyRequest | Refused: ...


class Driver:
    def __init__(
        self,
        *,
        node_id: str,
        incarnation: int,
        executions: Executions,
        dispatch: Dispatch,
        outputs: Outputs,
        children: Children,
        now_ms: Callable[[], int],
    ) -> None:
        self._node_id = node_id
        self._incarnation = incarnation
        self._executions = executions
        self._outputs = outputs
        self._children = children
        self._now_ms = now_ms
        self._log = LocalLog(self)
        self._inputs: SimpleQueue[Input] = SimpleQueue()
        self._work = Work(executions)
        self._at_ms = 0
        self._next_due_ms: int | None = None
        self._proposals: list[AnyCommand] = []
        self._on_outcome: list[Callable[[AnyOutcome], None] | None] = []
        self._applied = 0  #: proposals of this round that were decided
        self._answers: list[tuple[Callable[[Any], None], Any]] = []
        self._looks: list[Look] = []
        self._closed: list[Execution] = []
        self._signalled: list[str] = []
        self._published = -1  #: applied index at the last publication
        self._thread = threading.Thread(target=self._run, name="driver", daemon=True)
        self.dispatch = dispatch

    # --- called from other threads

    def start(self) -> None:
        self._thread.start()

    def put(self, given: Input) -> None:
        self._inputs.put(given)

    def waiting_inputs(self) -> int:
        return self._inputs.qsize()

    def stop(self) -> None:
        """Ends the thread after the round that is under way."""
        self._inputs.put(Stop())
        self._thread.join()

    # --- the thread

    def _run(self) -> None:
        try:
            self._register()
            while self._round():
                pass
        except apsw.Error as error:
            # Nothing of this round was acknowledged. What the disk holds now is unknown, so nothing more is written.
            self._outputs.driver_failed(StorageFailed(f"the store failed: {type(error).__name__}: {explained(error)}"))
        except BaseException as error:
            self._outputs.driver_failed(error)

    def _register(self) -> None:
        """Queues again what an earlier incarnation ran, and looks at what is queued."""
        self._at_ms = self._now_ms()
        command = RegisterNode(at_ms=self._at_ms, node_id=self._node_id, incarnation=self._incarnation, handlers=())
        self._propose(command)
        self._commit()
        self._next_due_ms = self._executions.next_due_ms()

    def _round(self) -> bool:
        """One batch: in, decided, saved, out. False: it is time to stop."""
        inputs = self._take()
        self._at_ms = self._now_ms()
        stopping = False
        for given in inputs:
            match given:
                case HostSaid():
                    self._host_said(given)
                case Ask():
                    self._propose(given.command, self._later(given.answer))
                case AskAll():
                    self._ask_all(given)
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
                    stopping = True
        self._fire_timers()
        self._commit()
        while self.dispatch.refill():
            self._commit()
        self._publish()
        return not stopping

    def _take(self) -> list[Input]:
        """Everything that waits; if nothing does, whatever comes next or the next timer."""
        inputs: list[Input] = []
        try:
            inputs.append(self._inputs.get(timeout=self._idle_s()))
            while len(inputs) < _ROUND_MAX:
                inputs.append(self._inputs.get_nowait())
        except Empty:
            pass
        return inputs

    def _idle_s(self) -> float | None:
        waits = [] if self._next_due_ms is None else [max(0.0, (self._next_due_ms - self._now_ms()) / 1000)]
        rate_limited_s = self.dispatch.rate_limited_s()
        if rate_limited_s is not None:
            waits.append(rate_limited_s)
        # A day at most: the clock may be set while the thread sleeps.
        return min([*waits, 86_400.0]) if waits else None

    # --- in

    def _propose(self, command: AnyCommand, on_outcome: Callable[[AnyOutcome], None] | None = None) -> None:
        self._proposals.append(command)
        self._on_outcome.append(on_outcome)

    def _later(self, answer: Callable[[AnyOutcome], None] | None) -> Callable[[AnyOutcome], None] | None:
        return None if answer is None else lambda outcome: self._answers.append((answer, outcome))

    def _ask_all(self, given: AskAll) -> None:
        outcomes: list[AnyOutcome] = []
        for command in given.commands:
            self._propose(command, outcomes.append)
        self._answers.append((given.answer, outcomes))  # filled by the time that answers leave

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
                self._published = -1  # the stats have changed, although nothing is saved
                continue
            if isinstance(request, BeginSideEffect) and request.fresh:
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
            self._propose(command, _Answering(self.dispatch, run, call, request))

    def _host_down(self, given: HostDown) -> None:
        for run, was_running in self.dispatch.host_down(given.host):
            self._propose(
                CrashAttempt(
                    at_ms=self._at_ms,
                    execution_id=run.execution_id,
                    epoch=run.epoch,
                    suspect=was_running,
                    jitter=random.uniform(-1, 1),
                    message=given.message,
                )
            )

    def _fire_timers(self) -> None:
        if self._next_due_ms is None or self._next_due_ms > self._at_ms:
            return
        for execution_id, timer in self._executions.due_timers(self._at_ms, _TIMERS_MAX):
            self._propose(
                FireTimer(
                    at_ms=self._at_ms,
                    execution_id=execution_id,
                    name=timer.name,
                    due_ms=timer.due_ms,
                    jitter=random.uniform(-1, 1),
                )
            )

    # --- the state machine of the log

    @property
    def applied_index(self) -> int:
        return self._executions.applied_index

    def _commit(self) -> None:
        """Proposes what this round brought, with the starts that free slots allow."""
        self._applied = 0
        proposals, self._proposals = self._proposals, []
        self._log.propose(proposals or self._starts())
        self._on_outcome.clear()

    def apply(self, commands: Sequence[AnyCommand]) -> Sequence[AnyCommand]:
        """Decides, and returns the starts for which slots are free by then."""
        for command in commands:
            outcome = decide(self._work, command)
            on_outcome = self._on_outcome[self._applied]
            self._applied += 1
            # A call is answered, and its frame loses its slot if it waits, before effects of later commands wake it.
            if on_outcome is not None:
                on_outcome(outcome)
            self._take_effects()
        return self._starts()

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
            case _:
                self.dispatch.take(effect)

    def _starts(self) -> list[AnyCommand]:
        self.dispatch.grant()
        starts: list[AnyCommand] = []
        for component, execution_id in self.dispatch.starts():
            start = StartAttempt(at_ms=self._at_ms, execution_id=execution_id, node_id=self._node_id, pool=component)
            starts.append(start)
            self._on_outcome.append(partial(self._started, component))
        return starts

    def _started(self, component: Component, outcome: AnyOutcome) -> None:
        if isinstance(outcome, Rejection):
            self.dispatch.start_failed(component)

    def save(self, index: int) -> None:
        work = self._work
        if not work.changed:
            return
        self._executions.save(work, index)
        if work.timers or work.timers_cleared:
            self._next_due_ms = self._executions.next_due_ms()
        self._work = Work(self._executions)

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
        self._outputs.publish(
            frames_to_send=outgoing,
            hosts_to_close=closing,
            answers=answers,
            closed=closed,
            signalled=signalled,
            stats=stats_of(self._executions, self.dispatch),
        )


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


def wall_clock_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
