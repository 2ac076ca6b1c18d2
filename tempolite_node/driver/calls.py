"""Between attempts and the log: what attempts ask for becomes commands, and what those come to, their answers.

Belongs to the driver's thread alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, assert_never

from msgspec import Struct

from tempolite_node.driver.dispatch import NO_END, Dispatch, End
from tempolite_node.driver.inputs import HostDown, SignalChecked
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
from tempolite_node.engine.model import OperationKind
from tempolite_node.engine.work import Work
from tempolite_node.protocol import messages

_NoCall = (
    messages.Quiet
    | messages.ReturnSlots
    | messages.SendMore
    | messages.WornOut
    | messages.CodeLingers
    | messages.CodeEnded
)

#: Requests that this node may refuse, or has to complete, before the log is asked.
_Checked = messages.ChildRequest | SetSignalAside | CancelFromAttempt | ContinueAsNew | SendSignalFromAttempt

_END_OF = {
    CompleteAttempt: AttemptEnd.COMPLETED,
    FailAttempt: AttemptEnd.FAILED,
    UnwindAttempt: AttemptEnd.UNWOUND,
    SuspendAttempt: AttemptEnd.SUSPENDED,
}


#: Requests whose answers begin or end a frame, or a wait that holds one back.
_MOVE_FRAMES = frozenset({BeginSideEffect, CompleteSideEffect, FailSideEffect, GiveUp, ContinueAsNew})


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


class Requests:
    def __init__(
        self,
        dispatch: Dispatch,
        children: ResolveChild,
        signals: SignalCheck,
        *,
        put: Callable[[SignalChecked], None],
        work: Work,
    ) -> None:
        """put: has what comes later come in as an input of the driver."""
        self._dispatch = dispatch
        self._children = children
        self._signals = signals
        self._put = put
        self.work = work  #: what is decided now, or next

    def on_messages(
        self, host: int, calls: Sequence[messages.ForDriver], *, at_ms: int, is_current: bool
    ) -> Iterator[PendingCommand]:
        """What a worker host says. Part of it is done at once: it changes nothing that is stored.

        is_current: side effects that are new may start without the log.
        """
        dispatch = self._dispatch
        for call in calls:
            if not isinstance(call, messages.AttemptCall):
                self._take(host, call)
                continue
            if call.leased:
                dispatch.give_back(host, 1)
            run = dispatch.run_of(host, call)
            if run is None:
                continue
            request = self._to_decide(run, host, call, at_ms=at_ms, is_current=is_current)
            if request is not None:
                yield self._pending(run, call, request, at_ms=at_ms)
            if call.quiet is not None:
                dispatch.quiet(run, call.quiet)

    def _take(self, host: int, message: _NoCall) -> None:
        dispatch = self._dispatch
        match message:
            case messages.Quiet():
                run = dispatch.run_of(host, message)
                if run is not None:
                    dispatch.quiet(run, message.released)
            case messages.ReturnSlots():
                dispatch.give_back(host, message.slots)
            case messages.SendMore():
                dispatch.send_more(host)
            case messages.WornOut():
                dispatch.hosts.worn_out(host, message.reason, full=message.full)
            case messages.CodeLingers():
                dispatch.hosts.code_lingers(host, message.execution_id, message.epoch, abandoned=False)
            case messages.CodeEnded():
                dispatch.code_ended(host, message.execution_id, message.epoch, abandoned=message.abandoned)
            case _:
                assert_never(message)

    def _to_decide(
        self, run: RunningAttempt, host: int, call: messages.AttemptCall, *, at_ms: int, is_current: bool
    ) -> AnyRequest | None:
        """What the log is asked for the call; None: it is not, or not yet."""
        dispatch, request = self._dispatch, call.request
        if isinstance(request, BeginSideEffect):
            if call.leased:
                dispatch.announced(run, call, request.key)
                return None
            if request.fresh and is_current:
                dispatch.begin_side_effect(run, call, request.key, Granted(attempt=1))
                return None
        if not call.frame:
            run.root.undecided += 1
        if not isinstance(request, _Checked):
            return request
        checked = self._check(request, host, call, at_ms=at_ms)
        return self._refused(run, call, checked) if isinstance(checked, Refused) else checked

    def _check(
        self, request: _Checked, host: int, call: messages.AttemptCall, *, at_ms: int
    ) -> AnyRequest | Refused | None:
        """What the log is asked, or why it is not; None: that can't be told yet."""
        match request:
            case messages.ChildRequest():
                return self._children(request, at_ms)
            case SetSignalAside() if self.work.format < 2:
                return _too_early("set signals aside")
            case CancelFromAttempt() if self.work.format < EXACT_REPLAY:
                return _too_early("cancel for an execution")
            case ContinueAsNew() if self.work.format < EXACT_REPLAY:
                return _too_early("continue executions as new")
            case SendSignalFromAttempt() if request.to is not None:
                found = self._signals(request)
                if isinstance(found, Undecided):
                    found.ask(partial(self._checked, host, call))
                    return None
                return found or request
            case _:
                return request

    def _refused(self, run: RunningAttempt, call: messages.AttemptCall, refused: Refused) -> AnyRequest | None:
        """Has the log record that this node refuses it, so that replay is refused it too; None: it is told at once."""
        if run.exact and (recorded := _refusal_of(call.request, refused)) is not None:
            return recorded
        if not call.frame:
            run.root.undecided -= 1
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
            jitter=2 * random.random() - 1,
            side_effect_failures=call.side_effect_failures,
            request=request,
        )
        return PendingCommand(command, partial(self._decided, run, call, request))

    def _decided(
        self, run: RunningAttempt, call: messages.AttemptCall, request: AnyRequest, outcome: AnyOutcome
    ) -> None:
        """Takes the outcome of a call to the attempt that made it."""
        dispatch = self._dispatch
        if run.over or isinstance(outcome, AttemptOver):
            return  # or it was abandoned by a command before it in the same round
        if isinstance(outcome, Rejection):
            assert outcome.reason is Reason.STALE_EPOCH, f"{type(request).__name__}: {outcome}"
            dispatch.lost(run, call)
            return
        if not call.frame:
            run.root.undecided -= 1
        kind = type(request)
        if kind in _END_OF:
            dispatch.end(run, _END_OF[kind], request.failure if isinstance(request, FailAttempt) else None)
            return
        end = self._end(run, request) if run.exact and outcome is not None else NO_END
        if outcome is not None and kind not in _MOVE_FRAMES:
            dispatch.answer(run, call, outcome, end)  # type: ignore[arg-type]
            return
        match request:
            case CompleteSideEffect(key=key) | FailSideEffect(key=key):
                dispatch.end_side_effect(run, call, key, outcome, end)  # type: ignore[arg-type]
            case BeginSideEffect(key=key):
                dispatch.begin_side_effect(run, call, key, outcome, end)  # type: ignore[arg-type]
            case GiveUp():
                dispatch.given_up(run, call, request, outcome, end)  # type: ignore[arg-type]
            case ContinueAsNew():
                hand_over = dispatch.hand_over if isinstance(outcome, Value) else dispatch.answer
                hand_over(run, call, outcome, end)  # type: ignore[arg-type]
            case WaitForExecution() | ReceiveSignal() | SetSignalAside() | Sleep():
                dispatch.wait(run, call, _KINDS[type(request)], request.key)
            case _:
                raise AssertionError(f"{type(request).__name__} has no answer")

    def _end(self, run: RunningAttempt, request: AnyRequest) -> End:
        """Of the operation that the request is about: the answer has its place. A step that begins has none yet."""
        kind = _KINDS.get(type(request))
        if kind is None:
            if not isinstance(request, GiveUp | RecordRefusal):
                return NO_END  # it is about none
            kind = request.kind
        row, key, operation = run.row, request.key, self.work.recorded  # type: ignore[union-attr]
        if operation is None or operation.key != key or operation.execution_row != row or operation.kind is not kind:
            operation = self.work.operation(row, kind, key)
        return NO_END if operation is None else (operation.end_seq, operation.closed_ms or 0)

    def host_down(self, given: HostDown, *, at_ms: int) -> Iterator[PendingCommand]:
        """The attempts that it held are lost."""
        for run, was_running in self._dispatch.host_down(given.host):
            command = CrashAttempt(
                at_ms=at_ms,
                execution_id=run.execution_id,
                epoch=run.epoch,
                suspect=was_running and given.crashed,
                jitter=random.uniform(-1, 1),
                message=given.message,
                out_of_memory=given.out_of_memory,
            )
            yield PendingCommand(command)


def _too_early(what: str) -> Refused:
    return Refused(reason=Reason.WRONG_STATE, message=f"a node of an earlier version can't {what}")


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
    CancelFromAttempt: OperationKind.CANCEL,
}
