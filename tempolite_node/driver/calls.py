"""Between attempts and the log: what attempts ask for becomes commands, and what those come to, their answers.

Belongs to the driver's thread alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct

from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.inputs import SignalChecked
from tempolite_node.driver.pending import PendingCommand
from tempolite_node.driver.runs import AttemptEnd, RunningAttempt
from tempolite_node.engine import formats
from tempolite_node.engine.commands import (
    AnyRequest,
    BeginSideEffect,
    CompleteAttempt,
    CompleteSideEffect,
    ContinueAsNew,
    CrashAttempt,
    FailAttempt,
    FailSideEffect,
    FromAttempt,
    ReceiveSignal,
    SendSignalFromAttempt,
    SetSignalAside,
    Sleep,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.effects import AnyOutcome, AttemptOver, Granted, Reason, Refused, Rejection, Value
from tempolite_node.engine.model import OperationKind
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


class Requests:
    def __init__(
        self,
        dispatch: Dispatch,
        children: ResolveChild,
        signals: SignalCheck,
        *,
        put: Callable[[SignalChecked], None],
        format: Callable[[], int],
    ) -> None:
        """put: has what comes later come in as an input of the driver. format: of the log, that is in use."""
        self._dispatch = dispatch
        self._children = children
        self._signals = signals
        self._put = put
        self._format = format

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
            if call.leased:
                dispatch.give_back(host, 1)
            run = dispatch.run_of(host, call)
            if run is None:
                continue
            request = call.request
            if isinstance(request, BeginSideEffect) and call.leased:
                dispatch.announced(run, call, request.key)
                continue
            if isinstance(request, BeginSideEffect) and request.fresh and is_current:
                dispatch.begin_side_effect(run, call, request.key, Granted(attempt=1))
                continue
            if isinstance(request, messages.ChildRequest):
                made = self._children(request, at_ms)
                if isinstance(made, Refused):
                    dispatch.answer(run, call, made)
                    continue
                request = made
            if isinstance(request, SetSignalAside) and self._format() < 2:
                message = "a node of an earlier version can't set signals aside"
                dispatch.answer(run, call, Refused(reason=Reason.WRONG_STATE, message=message))
                continue
            if isinstance(request, ContinueAsNew) and self._format() < formats.EXACT_REPLAY:
                message = "a node of an earlier version can't continue executions as new"
                dispatch.answer(run, call, Refused(reason=Reason.WRONG_STATE, message=message))
                continue
            if isinstance(request, SendSignalFromAttempt) and request.to is not None:
                found = self._signals(request)
                if isinstance(found, Undecided):
                    found.ask(partial(self._checked, host, call))
                    continue
                if found is not None:
                    dispatch.answer(run, call, found)
                    continue
            yield self._pending(run, call, request, at_ms=at_ms)

    def _checked(self, host: int, call: messages.AttemptCall, refused: Refused | None) -> None:
        self._put(SignalChecked(host, call, refused))

    def signal_checked(self, checked: SignalChecked, *, at_ms: int) -> Iterator[PendingCommand]:
        """A signal of which it could not be told at once whether its receiver takes it."""
        call = checked.call
        run = self._dispatch.run_of(checked.host, call)
        if run is None:
            return
        assert isinstance(call.request, SendSignalFromAttempt), f"{type(call.request).__name__} is no signal"
        if checked.refused is not None:
            self._dispatch.answer(run, call, checked.refused)
        else:
            yield self._pending(run, call, call.request, at_ms=at_ms)

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
        return PendingCommand(command, _Answering(self._dispatch, run, call, request))

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


class _Answering:
    """Takes the outcome of a call to the attempt that made it."""

    __slots__ = ("_call", "_dispatch", "_request", "_run")

    def __init__(
        self, dispatch: Dispatch, run: RunningAttempt, call: messages.AttemptCall, request: AnyRequest
    ) -> None:
        self._dispatch = dispatch
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
        match request:
            case BeginSideEffect(key=key):
                dispatch.begin_side_effect(run, call, key, outcome)  # type: ignore[arg-type]
            case CompleteSideEffect(key=key) | FailSideEffect(key=key):
                dispatch.end_side_effect(run, call, key, outcome)  # type: ignore[arg-type]
            case CompleteAttempt() | FailAttempt() | UnwindAttempt() | SuspendAttempt():
                dispatch.end(run, _END_OF[type(request)], request.failure if isinstance(request, FailAttempt) else None)
            case ContinueAsNew():
                dispatch.answer(run, call, outcome)  # type: ignore[arg-type]
                if isinstance(outcome, Value):
                    dispatch.end(run, AttemptEnd.CONTINUED_AS_NEW)
            case WaitForExecution(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.WAIT, key)
            case ReceiveSignal(key=key) | SetSignalAside(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.SIGNAL, key)
            case Sleep(key=key) if outcome is None:
                dispatch.wait(run, call, OperationKind.TIMER, key)
            case _:
                assert outcome is not None, f"{type(request).__name__} has no answer"
                dispatch.answer(run, call, outcome)  # type: ignore[arg-type]
