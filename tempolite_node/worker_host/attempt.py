"""One attempt in the worker host: its journal, its open calls, and whether it still has the right to run."""

from __future__ import annotations

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from threading import get_ident
from typing import Any, NamedTuple, NoReturn, Protocol

from msgspec.structs import replace

from tempolite_node.clock import node_clock_ms
from tempolite_node.engine import formats
from tempolite_node.engine.commands import (
    AnyRequest,
    BeginSideEffect,
    CompleteAttempt,
    CompleteSideEffect,
    FailAttempt,
    FailSideEffect,
    GiveUp,
    SuspendAttempt,
    TimedSideEffect,
    UnwindAttempt,
)
from tempolite_node.engine.effects import AnyAnswer
from tempolite_node.engine.model import Failure, OperationKind, operation_id
from tempolite_node.protocol import messages
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.failures import cancelled, failure_of, is_a, is_cancelled
from tempolite_node.worker_host.journal import Journal
from tempolite_node.worker_host.leased_slots import LeasedSlots
from tempolite_node.worker_host.logs import AttemptScope
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.reads import Reads
from tempolite_node.worker_host.registry import Handler, Registry
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_node.worker_host.scopes import Scope, current_scope
from tempolite_sdk.errors import ContextMisuse, InvalidArgument
from tempolite_sdk.operations import Beside, Facts, Operation, WaitForCompletion
from tempolite_sdk.payload import encode
from tempolite_sdk.values.written import Written, encode_as

#: Operations that the code may give up.
WAITS = (OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER)

_ENDS_SIDE_EFFECT = (CompleteSideEffect, FailSideEffect)


class AttemptOver(BaseException):
    """Raised in user code whose attempt, or side effect, is over. Whatever it returns then is ignored."""


class Waiter(Protocol):
    """Who waits for the answer to a call, in a thread or on a loop."""

    def wake(self, answer: AnyAnswer | None) -> None:
        """None: the attempt is over."""
        ...


class Scheduler(Protocol):
    """How the code of an attempt runs: in a thread of its own, or as a task among others on a loop."""

    def flush(self) -> None:
        """Sends what the attempt said. By its own code."""
        ...

    def call(self, function: Callable[[], object]) -> None:
        """Calls it where the attempt's state may be changed. By any thread, like `call_when_idle`."""
        ...

    def call_when_idle(self, function: Callable[[], object]) -> None:
        """Calls it there once none of the attempt's code can go on by itself."""
        ...

    def only_waits(self, attempt: Attempt) -> bool:
        """Whether none of its code can go on before one of its waits is over. Where `call` calls."""
        ...

    def cancel(self) -> None:
        """Stops the code, where that is possible. Where `call` calls."""
        ...


#: Who waits for the answer to a call, and the scope that asks. A plain tuple: one is made for each call.
_Call = tuple[Waiter, Scope]


class _Parked(NamedTuple):
    """A wait that the stack is in."""

    kind: OperationKind
    key: str
    scope: Scope


class ExactCode(Protocol):
    """The code of an attempt on a loop of its own; see `exact.runtime`."""

    def answered(self, waiter: Waiter | None, reply: messages.Reply) -> None: ...

    def cancel(self, message: messages.CancelAttempt) -> None: ...

    def go_on(self) -> None:
        """After answers, or the cancel."""
        ...

    def stop(self) -> None:
        """The attempt is over."""
        ...

    @property
    def waits(self) -> tuple[tuple[OperationKind, str], ...] | None:
        """The waits that the code is in, if it does nothing beside them."""
        ...

    def begins_wait_inside(self) -> None:
        """One of its bodies waits for an operation of its own."""
        ...

    def ends_wait_inside(self) -> None: ...

    @property
    def unreleased(self) -> tuple[tuple[OperationKind, str], ...]:
        """Operations of which the code has had no answer, whether there is one by now or not."""
        ...

    @property
    def cancels(self) -> int:
        """Cancels of the execution that were released."""
        ...


class BegunCode(Protocol):
    """What synchronous code has begun, and goes on beside; see `begun`."""

    def asks(
        self, number: int, request: AnyRequest | messages.ChildRequest, scope: Scope, waiter: Waiter
    ) -> int | None: ...

    def answered(self, message: messages.Reply) -> None: ...

    def cancel(self, message: messages.CancelAttempt) -> None: ...

    def look(self) -> None:
        """Something may have changed in what the stack waits for."""
        ...

    def unwind(self) -> bool: ...

    def stop(self) -> None: ...

    def check_key(self, key: str) -> None: ...

    def wait_for(self, operation: WaitForCompletion) -> Any | None: ...

    def result(self, begun: Any) -> Any: ...

    def end(self) -> None:
        """The code has returned."""
        ...

    def leave(self) -> None:
        """The code has raised."""
        ...

    @property
    def unanswered_waits(self) -> tuple[tuple[OperationKind, str], ...]: ...


class Services:
    """What every attempt of a worker host shares."""

    def __init__(
        self, *, channel: Channel, registry: Registry, parking: Parking, slots: LeasedSlots, payload_bytes_max: int
    ) -> None:
        self.channel = channel
        self.registry = registry
        self.parking = parking
        self.slots = slots
        self.payload_bytes_max = payload_bytes_max


class Attempt:
    """Of a handler, or of a step's compensation.

    `_calls` decides every race: whoever takes a call out of it, be it the answer, the unwinding or the abandoning, is
    the one that wakes the stack.
    """

    __slots__ = (
        "_calls",
        "_cancel_delivered",
        "_numbers",
        "_parked",
        "_scheduler",
        "_side_effects",
        "_to_unwind",
        "attempt_scope",
        "begun",
        "bodies",
        "burst",
        "bytes",
        "cancel_reason",
        "cancel_requested",
        "cancels_raised",
        "checks_values",
        "code",
        "epoch",
        "exact",
        "execution_id",
        "handler",
        "journal",
        "may_give_up",
        "operations",
        "ordered",
        "over",
        "reads",
        "records_all",
        "run",
        "services",
        "timed",
        "to_give_up",
    )

    def __init__(
        self,
        run: messages.RunHandler | messages.RunCompensation,
        handler: Handler,
        services: Services,
        scheduler: Scheduler,
    ) -> None:
        self.run = run
        self.handler = handler
        self.services = services
        self.execution_id = run.execution_id
        self.epoch = run.epoch
        self.journal = Journal(run.journal, run.generation)
        self.code = RunningCode(run.execution_id, run.epoch, services.channel.send)
        self.attempt_scope = AttemptScope(run, self.journal, self.code)
        self.exact: ExactCode | None = None  #: of code that runs on a loop of its own
        self.burst: list[messages.AttemptCall] | None = None  #: what such code says in one go
        self.begun: BegunCode | None = None  #: of synchronous code that has begun something and goes on beside it
        self.ordered = False  #: what the code asks for now has its place, and its answer is released in order
        self.checks_values = run.format >= formats.CHECKED_VALUES  #: and the keys of side effects
        self.records_all = run.format >= formats.EXACT_REPLAY  #: all that its code decides by is recorded
        self.may_give_up = self.records_all and handler.asynchronous  #: what it asked for, and that is recorded
        self.over = False
        self.cancel_requested = isinstance(run, messages.RunHandler) and run.cancel_requested
        self.cancel_reason = run.cancel_reason if isinstance(run, messages.RunHandler) else ""
        self._cancel_delivered = isinstance(run, messages.RunHandler) and run.cancel_delivered
        self.cancels_raised = 0  #: how often its code has met a cancel
        self._calls: dict[int, _Call] = {}
        self._parked: dict[int, _Parked] = {}  #: calls in which the stack waits
        self._to_unwind: set[int] = set()  #: calls whose stack is given up once nothing runs beside it any more
        self._side_effects: set[str] = set()  #: that run now
        self.timed: dict[str, TimedSideEffect] = {}  #: those that have a timeout, by their keys
        self._numbers = itertools.count(1)
        #: That run beside each other, in asynchronous code, each with the task that runs it.
        self.bodies: dict[Scope, asyncio.Task[Any] | None] = {}
        #: What asynchronous code took leave of when it was run before, and who is to ask for it if it does not now.
        self.to_give_up: list[tuple[Scope, Waiter]] = []
        # How far the code has come, outside of its side effects: the same at each place of it, in every replay.
        self.operations = 0
        self.bytes = 0  #: of the values that they brought
        self._scheduler = scheduler
        self.reads = Reads(self)

    @property
    def scope(self) -> Scope:
        return self.attempt_scope

    def facts(self) -> Facts:
        run = self.run
        if isinstance(run, messages.RunCompensation):
            return Facts(
                execution_id=run.execution_id,
                attempt=run.attempt,
                operation_id=operation_id(run.execution_id, run.run, OperationKind.COMPENSATION, run.key),
            )
        return Facts(
            execution_id=run.execution_id,
            attempt=run.attempt,
            parent_id=run.parent_id,
            deadline_ms=run.deadline_ms,
            heartbeat=self.reads.heartbeat,
        )

    # --- calls; by the code of the attempt

    def check_running(self, scope: Scope | None = None) -> None:
        """AttemptOver: the attempt is, or the scope in which its code asks."""
        if self.over or (scope is not None and not scope.goes_on):
            raise AttemptOver

    def send(self, request: AnyRequest | messages.ChildRequest, scope: Scope, waiter: Waiter | None) -> int:
        """Sends a call; its answer goes to the waiter, if any."""
        number = next(self._numbers)
        quiet = None
        if waiter is not None:
            self._calls[number] = (waiter, scope)
            if not scope.asked:
                scope.asks()
            if self.begun is not None:
                quiet = self.begun.asks(number, request, scope, waiter)
        slots = self.services.slots
        leased = isinstance(request, _ENDS_SIDE_EFFECT) and slots.ends(self, request.key)
        if scope.frame:
            slots.announce(self)
        self._say(number, request, scope, leased=leased, quiet=quiet)
        self._scheduler.flush()
        return number

    def announce(self, key: str, scope: Scope) -> None:
        """Tells the node of a side effect that runs in a leased slot. Called by any thread."""
        self._say(next(self._numbers), BeginSideEffect(key=key, digest=b"", fresh=True), scope, leased=True)
        self.services.channel.flush()

    def _say(
        self,
        number: int,
        request: AnyRequest | messages.ChildRequest,
        scope: Scope,
        *,
        leased: bool,
        quiet: int | None = None,
    ) -> None:
        call = messages.AttemptCall(
            execution_id=self.execution_id,
            epoch=self.epoch,
            call=number,
            request=request,
            frame=scope.frame,
            side_effect_failures=scope.side_effect_failures,
            leased=leased,
            quiet=quiet,
        )
        if self.burst is None:
            self.services.channel.add(call)
        else:
            self.burst.append(call)

    def park(self, number: int, kind: OperationKind, key: str, scope: Scope) -> None:
        """The stack waits in this call, for this operation, and may be unwound."""
        self._parked[number] = _Parked(kind, key, scope)
        if self.exact is not None:
            self.exact.begins_wait_inside()  # it parks as a whole
            return
        if self.begun is None:
            self.services.parking.add(self, number)
        if number not in self._calls:  # answered before it was parked
            self._leave_parking(number)
        if self.begun is not None:
            self.begun.look()

    def rest(self, number: int, kind: OperationKind, key: str, scope: Scope) -> None:
        """The same, of something that the code has begun: it goes on."""
        if number in self._calls:
            self._parked[number] = _Parked(kind, key, scope)

    def _leave_parking(self, number: int) -> None:
        if self._parked.pop(number, None) is None:
            return
        if self.exact is not None:
            self.exact.ends_wait_inside()
        else:
            self.services.parking.remove(self, number)

    def begin_side_effect(self, key: str) -> None:
        """ContextMisuse: it runs already, beside this code; under one key it runs once."""
        if key in self._side_effects:
            raise ContextMisuse(f"the side effect {key!r} is under way")
        self._side_effects.add(key)

    def end_side_effect(self, key: str) -> None:
        self._side_effects.discard(key)
        self.services.slots.keep(self, key)

    def finish(self, result: bytes | None) -> None:
        self._end(CompleteAttempt(result=result))

    def fail(self, error: BaseException) -> None:
        if self.exact is None:
            cancelled = is_cancelled(error)
        else:
            cancelled = self.exact.cancels > 0 and is_a(error, asyncio.CancelledError)
        failure = self.failure_of(error)
        if self.records_all and is_a(error, InvalidArgument) and isinstance(self.run, messages.RunHandler):
            failure = replace(failure, non_retryable=True)  # a value that is refused is not tried again
        self._end(FailAttempt(failure=failure, cancelled=cancelled))

    def failure_of(self, error: BaseException) -> Failure:
        """What is recorded of an error of its code, as far as the format in which it was enqueued has room for it."""
        failure = failure_of(error)
        marked = failure.spent or failure.cancelled
        return replace(failure, spent=False, cancelled=False) if marked and not self.records_all else failure

    def fail_with(self, failure: Failure) -> None:
        self._end(FailAttempt(failure=failure))

    def time_is_up(self, scope: Scope) -> bool:
        """Of a side effect around the scope, if it has a timeout."""
        now_ms = node_clock_ms()
        around: Scope | None = scope
        while around is not None:
            timed = self.timed.get(around.frame)
            if timed is not None and timed.due_ms <= now_ms:
                return True
            around = around.parent
        return False

    def brought(self, scope: Scope, value: bytes | None) -> None:
        """A value that is recorded was given to the code of the scope."""
        if scope.parent is None and value is not None:
            self.bytes += len(value)

    @property
    def unanswered_waits(self) -> tuple[tuple[OperationKind, str], ...]:
        """Of which the code has had no answer."""
        if self.exact is not None:
            return self.exact.unreleased
        waits = [(each.kind, each.key) for each in list(self._parked.values())]
        return tuple(waits if self.begun is None else dict.fromkeys((*waits, *self.begun.unanswered_waits)))

    @property
    def continue_as_new_suggested(self) -> bool:
        assert isinstance(self.run, messages.RunHandler), "a compensation is not continued"
        operations, bytes = self.run.roomy
        return self.operations >= operations or self.bytes >= bytes

    def suspend(self, kind: OperationKind, key: str, *, expected: str, actual: str, what: str = "") -> NoReturn:
        """The journal has something else at this place: the code is not what was recorded.

        what: it is no operation.
        """
        self._suspend(SuspendAttempt(kind=kind, key=key, expected=expected, actual=actual, what=what))

    def suspend_misuse(self, error: BaseException) -> NoReturn:
        """The code does what it can't do there: it must change."""
        self._suspend(SuspendAttempt(kind=OperationKind.MARKER, key="", expected="", actual="", misuse=str(error)))

    def _suspend(self, request: SuspendAttempt) -> NoReturn:
        self.attempt_scope.unwinding = True
        self._end(request)
        self.stop()
        raise AttemptOver

    def _end(self, request: CompleteAttempt | FailAttempt | SuspendAttempt) -> None:
        if not self.over:
            if not self.attempt_scope.unwinding:
                self.journal.say_held()
            self.send(request, self.scope, None)

    # --- cancel

    def in_order(self, scope: Scope) -> bool:
        """Whether the answers of the scope's code are released in the order of the log."""
        return self.exact is not None and scope.parent is None

    @property
    def cancel_due(self) -> bool:
        """Requested and not raised yet."""
        return self.exact is None and self.cancel_requested and not self._cancel_delivered

    @property
    def may_meet_cancel(self) -> bool:
        """Whether any operation may be the place for it: where it was raised before, or where it is due."""
        return self.cancel_due or self.journal.has_cancel

    def deliver_cancel(self) -> NoReturn:
        """Here, and nowhere else until it is requested again."""
        self._cancel_delivered = True
        self.raise_cancelled()

    def raise_cancelled(self) -> NoReturn:
        """Where it is recorded that it was raised."""
        self.cancel_requested = True
        self.cancels_raised += 1
        self.reads.meet_cancel()
        raise cancelled(self.cancel_reason, exact=self.records_all)

    # --- by other threads

    def request_cancel(self, reason: str) -> None:
        self.cancel_reason = reason
        self.cancel_requested = True
        self._cancel_delivered = False

    def answered(self, number: int) -> Waiter | None:
        """The call is over: who is to be woken; None: nobody waits for it any more."""
        if self._parked:
            self._leave_parking(number)
        call = self._calls.pop(number, None)
        if self._to_unwind:
            self._to_unwind.discard(number)
            self._scheduler.call_when_idle(self._unwind_due)
        return None if call is None else call[0]

    def unwind(self, call: int) -> None:
        """Gives up the stack that waits in the call, unless it goes on already. Its waits stay with the node."""
        self._scheduler.call_when_idle(partial(self._unwind, call))

    def abandon(self) -> None:
        """It has lost its right to run."""
        self._scheduler.call(self.stop)

    def _unwind_due(self) -> None:
        for call in tuple(self._to_unwind):
            self._unwind(call)

    def _unwind_exact(self, code: ExactCode) -> None:
        if (waits := code.waits) and not self.over:
            if self.bodies and not self._scheduler.only_waits(self):
                self.services.parking.keep(self, (0,))
                return
            self.attempt_scope.unwinding = True
            timed = tuple(self.timed.values())
            self.send(UnwindAttempt(waits=waits, cancels=code.cancels, timed=timed), self.scope, None)
            self.stop()

    def _unwind(self, call: int) -> None:
        if self.exact is not None:
            self._unwind_exact(self.exact)
            return
        if self.begun is not None:
            self.begun.unwind()
            return
        if call not in self._calls or not self._only_waits():
            if call in self._calls:
                self._to_unwind.add(call)
            if self._parked:
                self.services.parking.keep(self, tuple(self._parked))
            return
        parked = tuple(self._parked.values())
        given_up = self._calls.pop(call, None)
        if given_up is None:
            return
        self._give_up_stack(parked)
        given_up[0].wake(None)

    def give_up_stack(self) -> None:
        """All that it does is to wait, and nothing can change that meanwhile."""
        self._give_up_stack(tuple(self._parked.values()))

    def _give_up_stack(self, parked: tuple[_Parked, ...]) -> None:
        self.attempt_scope.unwinding = True
        timed = tuple(self.timed.values()) if self.records_all else ()
        self.send(UnwindAttempt(waits=tuple((each.kind, each.key) for each in parked), timed=timed), self.scope, None)
        self.stop()

    def frame_of(self, number: int) -> str:
        """In which a call was made that is open."""
        call = self._calls.get(number)
        return "" if call is None else call[1].frame

    def is_wait(self, number: int) -> bool:
        """Whether the call is a wait that is open."""
        return number in self._parked

    def only_waits_beside(self, bodies: Iterable[Scope | None]) -> bool:
        """Whether all that is open are waits, and of each of the bodies that run, one is. None: it is about to run."""
        scopes = [parked.scope for parked in list(self._parked.values())]
        bodies_wait = all(body is not None and any(scope.is_within(body) for scope in scopes) for body in bodies)
        return bool(scopes) and bodies_wait and len(self._calls) == len(scopes)

    def _only_waits(self) -> bool:
        """Whether nothing runs beside the waits: a side effect that does would be cut off, and run again."""
        scopes = [parked.scope for parked in list(self._parked.values())]
        bodies_wait = all(any(scope.is_within(body) for scope in scopes) for body in self.bodies)
        if not bodies_wait or len(self._calls) != len(scopes):
            return False
        return not self.records_all or self._scheduler.only_waits(self)

    @property
    def waits_inside(self) -> tuple[tuple[OperationKind, str], ...]:
        """What its bodies wait for, on a loop of its own."""
        return tuple((each.kind, each.key) for each in self._parked.values())

    def waits_in(self, scope: Scope | None) -> bool:
        return any(scope is not None and each.scope.is_within(scope) for each in self._parked.values())

    @property
    def waiters(self) -> list[Waiter]:
        """Of the waits that its stack is in."""
        return [self._calls[number][0] for number in self._parked if number in self._calls]

    def leave(self, scope: Scope) -> None:
        """Gives up the calls that code of an ended scope left open: its time was up, or it has tasks that go on."""
        if not scope.asked:
            return
        for number in list(self._calls):
            call = self._calls.get(number)  # another thread may have it by now
            if call is None or not call[1].is_within(scope):
                continue
            parked = self._parked.get(number)
            if (waiter := self.answered(number)) is None:
                continue
            if parked is not None and parked.kind in WAITS and self.records_all:
                self.send(GiveUp(kind=parked.kind, key=parked.key), call[1], None)
            waiter.wake(None)

    def stop(self) -> None:
        """Takes the right to run: every open and later call raises AttemptOver."""
        self.over = True
        while self._calls:
            try:
                number, (waiter, _) = self._calls.popitem()
            except KeyError:
                break  # answered meanwhile
            self._leave_parking(number)
            waiter.wake(None)
        if self.exact is not None:
            self.exact.stop()
            return
        self._scheduler.cancel()
        if self.begun is not None:
            self.begun.stop()

    # --- payloads

    def encode_result(self, type: Any, value: Any) -> Written:
        """As `encode_as`. InvalidArgument tells of a size that is not allowed before all else that is wrong."""
        try:
            written = encode_as(type, value)
        except InvalidArgument:
            self.check_size("the result", _encoded_if_it_can_be(value))
            raise
        self.check_size("the result", written[0])
        return written

    def check_size(self, what: str, data: bytes) -> None:
        limit = self.services.payload_bytes_max
        if len(data) > limit:
            raise InvalidArgument(
                f"{what} has {len(data):,} bytes; at most {limit:,} are allowed (api.limits.payload_bytes)"
            )


def _encoded_if_it_can_be(value: Any) -> bytes:
    try:
        return encode(value)
    except InvalidArgument:
        return b""


class AttemptRuntime(ABC):
    """What contexts ask: an attempt, seen from one of its scopes. Sync and async ones differ in `perform`."""

    is_begun = False  #: what asks is something that synchronous code has begun

    def __init__(self, attempt: Attempt, scope: Scope) -> None:
        self.attempt = attempt
        self.scope = scope

    @property
    def cancelled(self) -> bool:
        return self.attempt.reads.cancelled if self._in_body() else self.attempt.cancel_requested

    @property
    def continue_as_new_suggested(self) -> bool:
        return self.attempt.continue_as_new_suggested

    @property
    def params(self) -> Any:
        reads = self.attempt.reads
        return reads.params if self._in_body() else reads.params_of_node

    def attempt_in(self, facts: Facts) -> int:
        of_body = self.scope is self.attempt.scope and self._in_body()
        return self.attempt.reads.number if of_body else facts.attempt

    def _in_body(self) -> bool:
        """Whether the attempt's own code asks, which is replayed; not what it has recorded as a whole."""
        scope, current = self.attempt.scope, current_scope()
        return scope.open and scope.thread == get_ident() and (current is scope or current is None)

    @property
    def unwinding(self) -> bool:
        return self.attempt.attempt_scope.unwinding

    @property
    def silent(self) -> bool:
        """Whether the code that asks has said already what it says, or will say it when it comes here again."""
        current = current_scope()
        inside = current is not None and current.is_within(self.scope)
        return self.attempt.attempt_scope.silent_in(current if current is not None and inside else self.scope)

    @property
    def beside(self) -> Beside:
        raise ContextMisuse("only the body of a synchronous handler begins operations like that")

    @abstractmethod
    def perform(self, operation: Operation) -> Any: ...

    def within(self, scope: Scope) -> Any:
        """The same attempt, seen from a scope inside of this one."""
        return type(self)(self.attempt, scope)
