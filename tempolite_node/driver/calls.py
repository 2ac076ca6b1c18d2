"""Between attempts and the log: what attempts ask for becomes commands, and what those come to, their answers.

Belongs to the driver's thread alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from tempolite_node.driver.dispatch import NO_END, Dispatch, End
from tempolite_node.driver.inputs import SignalChecked
from tempolite_node.driver.pending import PendingCommand
from tempolite_node.driver.runs import AttemptEnd, RunningAttempt
from tempolite_node.engine.commands import (
    AnyRequest,
    BeginSideEffect,
    BeginStep,
    CancelFromAttempt,
    CompleteAttempt,
    CompleteSideEffect,
    CompleteStep,
    ContinueAsNew,
    CrashAttempt,
    EnqueueChild,
    FailAttempt,
    FailSideEffect,
    FailStep,
    FromAttempt,
    GiveUp,
    ReceiveSignal,
    RecordMarker,
    RecordRefusal,
    SendSignalFromAttempt,
    SetSignalAside,
    Sleep,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.effects import AnyOutcome, AttemptOver, Granted, Reason, Refused, Rejection, Value
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import Operation, OperationKind
from tempolite_node.protocol import messages

_END_OF = {
    CompleteAttempt: AttemptEnd.COMPLETED,
    FailAttempt: AttemptEnd.FAILED,
    UnwindAttempt: AttemptEnd.UNWOUND,
    SuspendAttempt: AttemptEnd.SUSPENDED,
}


class ResolveChild(Protocol):
    """Turns what an attempt asks for a child into the engine's request; or says why that can't be."""

    def __call__(self, request: messages.ChildRequest, at_ms: int) -> AnyRequest | Refused: ...


class Undecided(Struct, gc=False):
    """Whether a signal is refused can't be told at once."""

    #: Asks, and has the answer called with the refusal, or None, in any thread.
    ask: Callable[[Callable[[Refused | None], None]], object]


class SignalCheck(Protocol):
    """Says why a signal to another execution can't be sent; None: it can, as far as is known here."""

    def __call__(self, request: SendSignalFromAttempt) -> Refused | Undecided | None: ...


class FindOperation(Protocol):
    def __call__(self, row: int, kind: OperationKind, key: str) -> Operation | None: ...


class Requests:
    def __init__(
        self,
        dispatch: Dispatch,
        children: ResolveChild,
        signals: SignalCheck,
        *,
        put: Callable[[SignalChecked], None],
        format: Callable[[], int],
        operation: FindOperation,
    ) -> None:
        """put: has what comes later come in as an input of the driver. format: of the log, that is in use.

        operation: as of the command that was decided last.
        """
        self._dispatch = dispatch
        self._children = children
        self._signals = signals
        self._put = put
        self._format = format
        self._operation = operation

    def on_messages(
        self, host: int, calls: Sequence[messages.ForDriver], *, at_ms: int, is_current: bool
    ) -> Iterator[PendingCommand]:
        """What a worker host says. Part of it is done at once: it changes nothing that is stored.

        is_current: side effects that are new may start without the log.
        """
        dispatch = self._dispatch
        for call in calls:
            if isinstance(call, messages.ReturnSlots):
                dispatch.give_back(host, call.slots)
                continue
            if isinstance(call, messages.SendMore):
                dispatch.send_more(host)
                continue
            if isinstance(call, messages.WornOut):
                dispatch.replace(host, call.reason)
                continue
            if isinstance(call, messages.CodeLingers):
                dispatch.code_lingers(host, call.execution_id, call.epoch, abandoned=False)
                continue
            if isinstance(call, messages.CodeEnded):
                dispatch.code_ended(host, call.execution_id, call.epoch, abandoned=call.abandoned)
                continue
            if isinstance(call, messages.AttemptCall) and call.leased:
                dispatch.give_back(host, 1)
            run = dispatch.run_of(host, call)
            if run is None:
                continue
            if isinstance(call, messages.Quiet):
                dispatch.quiet(run, call.released)
                continue
            request = self._to_decide(run, host, call, at_ms=at_ms, is_current=is_current)
            if request is not None:
                yield self._pending(run, call, request, at_ms=at_ms)
            if call.quiet is not None:
                dispatch.quiet(run, call.quiet)

    def _to_decide(
        self, run: RunningAttempt, host: int, call: messages.AttemptCall, *, at_ms: int, is_current: bool
    ) -> AnyRequest | None:
        """What the log is asked for the call; None: it is not, or not yet."""
        dispatch, request = self._dispatch, call.request
        if isinstance(request, BeginSideEffect) and call.leased:
            dispatch.announced(run, call, request.key)
            return None
        if isinstance(request, BeginSideEffect) and request.fresh and is_current:
            dispatch.begin_side_effect(run, call, request.key, Granted(attempt=1))
            return None
        dispatch.asked(run, call)
        if isinstance(request, messages.ChildRequest):
            made = self._children(request, at_ms)
            return self._refused(run, call, made) if isinstance(made, Refused) else made
        if isinstance(request, SetSignalAside) and self._format() < 2:
            message = "a node of an earlier version can't set signals aside"
            return self._refused(run, call, Refused(reason=Reason.WRONG_STATE, message=message))
        if isinstance(request, CancelFromAttempt) and self._format() < EXACT_REPLAY:
            message = "a node of an earlier version can't cancel for an execution"
            return self._refused(run, call, Refused(reason=Reason.WRONG_STATE, message=message))
        if isinstance(request, ContinueAsNew) and self._format() < EXACT_REPLAY:
            message = "a node of an earlier version can't continue executions as new"
            return self._refused(run, call, Refused(reason=Reason.WRONG_STATE, message=message))
        if isinstance(request, SendSignalFromAttempt) and request.to is not None:
            found = self._signals(request)
            if isinstance(found, Undecided):
                found.ask(partial(self._checked, host, call))
                return None
            if found is not None:
                return self._refused(run, call, found)
        return request

    def _refused(self, run: RunningAttempt, call: messages.AttemptCall, refused: Refused) -> AnyRequest | None:
        """Has the log record that this node refuses it, so that replay is refused it too; None: it is told at once."""
        if run.exact and (recorded := _refusal_of(call.request, refused)) is not None:
            return recorded
        self._dispatch.decided(run, call)
        self._dispatch.answer(run, call, refused)
        return None

    def _checked(self, host: int, call: messages.AttemptCall, refused: Refused | None) -> None:
        self._put(SignalChecked(host, call, refused))

    def signal_checked(self, checked: SignalChecked, *, at_ms: int) -> Iterator[PendingCommand]:
        """A signal of which it could not be told at once whether its receiver takes it."""
        call = checked.call
        run = self._dispatch.run_of(checked.host, call)
        if run is None:
            return
        assert isinstance(call.request, SendSignalFromAttempt), f"{type(call.request).__name__} is no signal"
        request: AnyRequest | None = call.request
        if checked.refused is not None:
            request = self._refused(run, call, checked.refused)
        if request is not None:
            yield self._pending(run, call, request, at_ms=at_ms)

    def _pending(
        self, run: RunningAttempt, call: messages.AttemptCall, request: AnyRequest, *, at_ms: int
    ) -> PendingCommand:
        command = FromAttempt(
            at_ms=at_ms,
            execution_id=run.execution_id,
            epoch=run.epoch,
            jitter=random.uniform(-1, 1),
            side_effect_failures=call.side_effect_failures,
            request=request,
        )
        return PendingCommand(command, _Answering(self._dispatch, self._operation, run, call, request))

    def host_down(self, host: int, message: str, *, crashed: bool, at_ms: int) -> Iterator[PendingCommand]:
        """The attempts that it held are lost. crashed: those that ran may be to blame."""
        for run, was_running in self._dispatch.host_down(host):
            command = CrashAttempt(
                at_ms=at_ms,
                execution_id=run.execution_id,
                epoch=run.epoch,
                suspect=was_running and crashed,
                jitter=random.uniform(-1, 1),
                message=message,
            )
            yield PendingCommand(command)


def _refusal_of(request: AnyRequest | messages.ChildRequest, refused: Refused) -> RecordRefusal | None:
    """The record that an operation was refused; None: of a request that is no operation of its own."""
    match request:
        case messages.ChildRequest():
            kind, target = OperationKind.CHILD, request.handler
        case SendSignalFromAttempt():
            kind, target = OperationKind.SIGNAL_SENT, f"{request.name} to {request.to}"
        case _:
            return None
    return RecordRefusal(
        kind=kind,
        key=request.key,
        target=target,
        digest=request.digest,
        reason=refused.reason,
        message=refused.message,
    )


#: What a request that may be answered is about.
_KINDS: Mapping[type[AnyRequest], OperationKind] = {
    BeginSideEffect: OperationKind.SIDE_EFFECT,
    CompleteSideEffect: OperationKind.SIDE_EFFECT,
    FailSideEffect: OperationKind.SIDE_EFFECT,
    BeginStep: OperationKind.STEP,
    CompleteStep: OperationKind.STEP,
    FailStep: OperationKind.STEP,
    EnqueueChild: OperationKind.CHILD,
    WaitForExecution: OperationKind.WAIT,
    ReceiveSignal: OperationKind.SIGNAL,
    SetSignalAside: OperationKind.SIGNAL,
    Sleep: OperationKind.TIMER,
    RecordMarker: OperationKind.MARKER,
    SendSignalFromAttempt: OperationKind.SIGNAL_SENT,
}


def _place_of(request: AnyRequest) -> tuple[OperationKind, str] | None:
    """The operation that a request is about; None: it is about none that has an answer."""
    if isinstance(request, GiveUp | RecordRefusal):
        return request.kind, request.key
    kind = _KINDS.get(type(request))
    return None if kind is None else (kind, request.key)  # type: ignore[union-attr]


class _Answering:
    """Takes the outcome of a call to the attempt that made it."""

    __slots__ = ("_call", "_dispatch", "_operation", "_request", "_run")

    def __init__(
        self,
        dispatch: Dispatch,
        operation: FindOperation,
        run: RunningAttempt,
        call: messages.AttemptCall,
        request: AnyRequest,
    ) -> None:
        self._dispatch = dispatch
        self._operation = operation
        self._run = run
        self._call = call
        self._request = request

    def __call__(self, outcome: AnyOutcome) -> None:
        dispatch, run, call, request = self._dispatch, self._run, self._call, self._request
        if run.over:
            return  # abandoned by a command before it in the same round
        if isinstance(outcome, AttemptOver):
            return
        if isinstance(outcome, Rejection):
            assert outcome.reason is Reason.STALE_EPOCH, f"{type(request).__name__}: {outcome}"
            dispatch.lost(run, call)
            return
        dispatch.decided(run, call)
        end = self._end() if run.exact and outcome is not None else NO_END
        match request:
            case BeginSideEffect(key=key):
                dispatch.begin_side_effect(run, call, key, outcome, end)  # type: ignore[arg-type]
            case CompleteSideEffect(key=key) | FailSideEffect(key=key):
                dispatch.end_side_effect(run, call, key, outcome, end)  # type: ignore[arg-type]
            case GiveUp():
                dispatch.given_up(run, call, request, outcome, end)  # type: ignore[arg-type]
            case CompleteAttempt() | FailAttempt() | UnwindAttempt() | SuspendAttempt():
                dispatch.end(run, _END_OF[type(request)], request.failure if isinstance(request, FailAttempt) else None)
            case ContinueAsNew():
                if isinstance(outcome, Value):
                    dispatch.hand_over(run, call, outcome, end)
                else:
                    dispatch.answer(run, call, outcome, end)  # type: ignore[arg-type]
            case WaitForExecution(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.WAIT, key)
            case ReceiveSignal(key=key) | SetSignalAside(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.SIGNAL, key)
            case Sleep(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.TIMER, key)
            case _:
                assert outcome is not None, f"{type(request).__name__} has no answer"
                dispatch.answer(run, call, outcome, end)  # type: ignore[arg-type]

    def _end(self) -> End:
        """Of the operation that the call is about: the answer has its place. A step that begins has none yet."""
        place = _place_of(self._request)
        operation = None if place is None else self._operation(self._run.row, *place)
        return NO_END if operation is None else (operation.end_seq, operation.closed_ms or 0)
