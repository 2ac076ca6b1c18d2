"""Carries out the code of an `async def` handler: on a loop of its own, stepped by the loop that all attempts share.

What the code asks for is begun when its loop is quiet; side effects and transactions run on the shared loop, where any
library works.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, cast

from msgspec.structs import force_setattr

from tempolite_node.clock import node_clock_ms
from tempolite_node.engine import commands
from tempolite_node.engine.effects import AnyAnswer, Granted, Interrupted
from tempolite_node.engine.model import DURATION_MS_MAX, OperationKind, OperationStatus
from tempolite_node.protocol import messages
from tempolite_node.worker_host.async_runtime import AsyncRuntime, SleepingTask, run_body
from tempolite_node.worker_host.attempt import WAITS, Attempt, AttemptOver, AttemptRuntime, Waiter
from tempolite_node.worker_host.conversations import Ask, Conversation, GiveUpAgain, InOrder, RunUserCode
from tempolite_node.worker_host.exact.loop import ExactLoop
from tempolite_node.worker_host.exact.ordering import give_order
from tempolite_node.worker_host.exact.run import End, ExactRun, Operation
from tempolite_node.worker_host.exact.tasks import ExactTask
from tempolite_node.worker_host.failures import around, is_a
from tempolite_node.worker_host.logs import AttemptScope
from tempolite_node.worker_host.operations import conversation_of, timer
from tempolite_node.worker_host.replay import NO_END
from tempolite_node.worker_host.scopes import Scope, call_in, local_key
from tempolite_sdk import operations
from tempolite_sdk.errors import Cancelled, NotInHandler

_LASTING = (OperationKind.SIDE_EFFECT, OperationKind.STEP)

logger = logging.getLogger("asyncio")


class CancelledTask(Cancelled, asyncio.CancelledError):
    """The cancel of the execution, as its first task meets it."""


CancelledTask.__name__ = CancelledTask.__qualname__ = Cancelled.__name__


class SharedLoop(Protocol):
    """Of all asynchronous attempts of the worker host; see `async_runtime.AttemptLoop`."""

    def create_body(self, coro: Coroutine[Any, Any, None], context: contextvars.Context) -> asyncio.Task[None]: ...

    def call(self, function: Callable[[], object]) -> None:
        """By any thread."""
        ...

    def flush_soon(self) -> None: ...


class ExactRuntime(AttemptRuntime):
    """What the context of a handler asks, on the loop of its attempt."""

    def __init__(self, code: ExactAttempt) -> None:
        super().__init__(code.attempt, code.attempt.scope)
        self._code = code

    @property
    def cancelled(self) -> bool:
        if asyncio._get_running_loop() is self._code.loop:
            return self._code.cancels > 0
        return self.attempt.cancel_requested

    def perform(self, operation: operations.Operation) -> Any:
        code, attempt, scope = self._code, self.attempt, self.scope
        if asyncio._get_running_loop() is not code.loop:
            return self.within(scope).perform(operation)  # the handler's context, used in a side effect
        if not scope.open:
            scope = scope.innermost()
        if attempt.over:
            raise AttemptOver
        return code.ask(conversation_of(self, scope, operation))

    def within(self, scope: Any) -> AsyncRuntime:
        """Of what runs on the shared loop."""
        return AsyncRuntime(self.attempt, scope)


class ConversedOperation(Operation):
    """An operation of the code, as its conversation with the node goes on."""

    __slots__ = (
        "_asks",
        "_body",
        "_body_runs",
        "_body_scope",
        "_call",
        "_cancel_message",
        "_cancel_reason",
        "_cancelled_by",
        "_code",
        "_context",
        "_conversation",
        "place_in_log",
    )

    def __init__(self, code: ExactAttempt, conversation: Conversation[Any], place: InOrder) -> None:
        super().__init__(code.run, lasting=place.kind in _LASTING)
        self.place_in_log = place
        self._code = code
        self._conversation = conversation
        self._context = contextvars.copy_context()
        self._call: int | None = None  #: that is open
        self._asks: Ask | None = None
        self._body: asyncio.Task[None] | None = None
        self._body_runs = False
        self._body_scope: Scope | None = None
        self._cancel_message: tuple[Any, ...] | None = None  #: its body is to be cancelled
        self._cancelled_by = -1  #: with so many cancels of the execution released
        self._cancel_reason: str | None = None  #: for it is the execution that was cancelled

    @property
    def end(self) -> End | None:
        """That is recorded."""
        record = self.place_in_log.record
        if record is None or record.status in NO_END:
            return None
        if record.kind is OperationKind.CHILD and record.generation < self._code.generation:
            return None  # the node knows whether it is to be enqueued anew
        return End(record.end_seq, record.closed_ms)

    @property
    def has_body(self) -> bool:
        return self._body is not None

    @property
    def waits_inside(self) -> bool:
        """Whether its body waits for an operation of its own, whatever else it does."""
        return self._body is not None and self._body_runs and self._code.attempt.waits_in(self._body_scope)

    # --- as its run has it

    def begin(self) -> None:
        record = self.place_in_log.record
        if record is not None and record.status is OperationStatus.GIVEN_UP:
            try:
                self._code.attempt.suspend(
                    record.kind, record.key, expected="a wait that was given up here", actual="one that goes on"
                )
            except AttemptOver:
                return
        self._advance(record)

    def deliver(self, answer: Any) -> None:
        self._call = self._asks = self.waits = None
        if isinstance(answer, _Unrecorded):
            answer.end()
            return
        self._advance(self.place_in_log.record if answer is None else answer)

    def give_up(self) -> None:
        place = self.place_in_log
        record = place.record
        self._take_call()
        self._conversation.close()
        self._code.attempt.scope.leave_key(place.kind, local_key(place.key))
        if place.kind not in WAITS or (record is not None and record.status is OperationStatus.GIVEN_UP):
            return
        ended = self.end is not None and place.kind is not OperationKind.SIGNAL
        if (self.live or record is not None) and not ended:
            request = commands.GiveUp(kind=place.kind, key=place.key)
            self._code.attempt.send(request, self._code.attempt.scope, None)

    def cancel_body(self, msg: Any | None) -> None:
        if self._cancelled_by == self._code.cancels or self.end is not None:
            return  # anyio asks for it again and again
        self._cancelled_by = self._code.cancels
        self._cancel_message = () if msg is None else (msg,)
        self._cancel_reason = self._code.cancel_unmet
        if self._body is not None:
            if self._body_runs:
                assert self._body_scope is not None
                self._body_scope.interrupted = True
                self._body.cancel(msg)
        elif (
            self.place_in_log.kind is OperationKind.SIDE_EFFECT
            and self._asks is not None
            and (isinstance(self._asks.request, commands.BeginSideEffect | commands.FailSideEffect))
        ):
            self._code.soon(self._cancel_unbegun)  # it waits for a slot, or to be tried again

    def _meet_cancel(self) -> Cancelled | None:
        """Once: what its body meets in place of the `CancelledError` of its task."""
        reason, self._cancel_reason = self._cancel_reason, None
        return None if reason is None else CancelledTask(reason)

    def _cancel_unbegun(self) -> None:
        if self._asks is not None and self._take_call():
            self._throw(asyncio.CancelledError(*(self._cancel_message or ())))

    # --- the conversation

    def wake(self, answer: AnyAnswer | None) -> None:
        """The attempt is over: its run is cut."""

    def granted(self, answer: Granted) -> None:
        self._call = self._asks = self.waits = None
        if self.place_in_log.kind is OperationKind.STEP:
            self._code.told = -1  # its transaction runs in the slot of the code itself
        self._advance(answer)

    def _take_call(self) -> bool:
        """Nobody waits for its answer any more."""
        call, self._call, self._asks, self.waits = self._call, None, None, None
        return call is not None and self._code.attempt.answered(call) is not None

    def _advance(self, sent: Any) -> None:
        try:
            step = self._conversation.send(sent)
        except StopIteration as end:
            self._finish(end.value)
        except BaseException as error:  # user code may raise anything
            self._fail(error)
        else:
            self._carry_out(step)

    def _throw(self, error: BaseException) -> None:
        try:
            step = self._conversation.throw(error)
        except StopIteration as end:
            self._finish(end.value)
        except BaseException as raised:
            self._fail(raised)
        else:
            self._carry_out(step)

    def _carry_out(self, step: Ask | RunUserCode | GiveUpAgain | InOrder) -> None:
        attempt = self._code.attempt
        if isinstance(step, Ask):
            if attempt.over:
                return
            self._asks, self.waits = step, step.waits
            self._call = attempt.send(step.request, step.scope, self)
        elif isinstance(step, RunUserCode):
            self._body_runs = False
            self._body_scope = step.scope
            if self.place_in_log.kind is OperationKind.STEP:
                self._code.transactions += 1
            self._body = self._code.shared.create_body(
                _MeetsCancel(self._run(step), self._meet_cancel), self._context.copy()
            )
        else:
            self._fail(AssertionError(f"{step} of {self.place_in_log.key}, which has its place already"))

    async def _run(self, body: RunUserCode) -> None:
        """On the shared loop."""
        self._code.attempt.bodies[body.scope] = self._body
        self._body_runs = True
        try:
            if self._cancel_message is not None:
                raise asyncio.CancelledError(*self._cancel_message)
            returned = await run_body(body, self._code.attempt.code)
        except BaseException as error:
            self._body_ended(body)
            self._throw(error)
        else:
            self._body_ended(body)
            self._advance(returned)

    def _body_ended(self, body: RunUserCode) -> None:
        self._body = None
        del self._code.attempt.bodies[body.scope]
        if self.place_in_log.kind is OperationKind.STEP:
            self._code.transactions -= 1

    def _finish(self, value: Any) -> None:
        if self.run.delivering is not self:
            self._code.end_unrecorded(partial(self._finish, value), self)
        elif not self.done():
            self.set_result(value)

    def _fail(self, error: BaseException) -> None:
        if is_a(error, AttemptOver):
            return
        if self.run.delivering is not self:
            self._code.end_unrecorded(partial(self._fail, error), self)
        elif not self.done():
            if is_a(error, asyncio.CancelledError):
                self._code.attempt.scope.leave_key(self.place_in_log.kind, local_key(self.place_in_log.key))
                self.end_cancelled(*error.args[:1])
            elif is_a(error, StopIteration):  # a future can't hold one
                self.set_exception(RuntimeError("an operation raised StopIteration"))
            else:
                self.set_exception(error)

    def stop_body(self) -> None:
        if self._body is not None:
            code = self._code.attempt.code
            code.begins()  # and goes on when its attempt is over, until it has ended
            self._body.add_done_callback(lambda _body: code.ends())
            self._body.cancel()


class ExactAttempt:
    """The code of an attempt on its own loop. Belongs to the thread of the shared loop."""

    def __init__(self, attempt: Attempt, shared: SharedLoop) -> None:
        run = attempt.run
        assert isinstance(run, messages.RunHandler)
        give_order()
        self.attempt = attempt
        self.shared = shared
        self.generation = attempt.journal.generation_in(attempt.scope)
        self.cancels = 0  #: of the execution, that were released
        self.loop = ExactLoop(  # type: ignore[abstract]
            now_s=run.started_ms / 1_000,
            misuse=_misuse,
            on_trespass=lambda error: shared.call(partial(self._end_misused, error)),
            on_error=self._log_error,
        )
        cancels = [End(run.cancel_seq or 0, run.cancelled_ms)] if run.cancel_requested else []
        cancels += [End(place.end_seq, place.closed_ms) for place in attempt.journal.cancels_again()]
        recorded_max = max(attempt.journal.last_end, run.cancel_seq or 0)
        self.run = ExactRun(self.loop, self, recorded_max=recorded_max)
        for end in cancels:
            self.run.cancel(end, run.cancel_reason, recorded=True)
        self._conclude: Callable[[asyncio.Task[Any]], None] | None = None
        self._ended: Callable[[], None] | None = None
        self.told = 0  #: of what was released, when the node was told last; -1: it is to be told again
        self.transactions = 0  #: that run, or wait
        self._parked = False
        self._cut_due = False
        self.cancel_unmet: str | None = None  #: reason of the cancel, until the first task has met it
        attempt.exact = self
        attempt.ordered = True
        attempt.journal.run = self.run
        scope = attempt.scope
        assert isinstance(scope, AttemptScope)
        scope.task_path = self._task_path

    def _task_path(self) -> str:
        task = asyncio.current_task(self.loop)
        return task.path if isinstance(task, ExactTask) else "0"

    # --- by the attempt; see `attempt.ExactCode`

    @property
    def waits(self) -> tuple[tuple[OperationKind, str], ...] | None:
        if not self._parked:
            return None
        open = [each.waits for each in self.run.open.values() if each.waits]
        return (*open, *self.attempt.waits_inside)

    def begins_wait_inside(self) -> None:
        if self.run.quiet and self.attempt.burst is None:
            self.quiet()

    def ends_wait_inside(self) -> None:
        if self._parked:
            self._leave_parking()

    @property
    def unreleased(self) -> tuple[tuple[OperationKind, str], ...]:
        open = [each.place_in_log for each in self.run.open.values() if isinstance(each, ConversedOperation)]
        return (*((place.kind, place.key) for place in open), *self.attempt.waits_inside)

    def ask(self, conversation: Conversation[Any]) -> Any:
        """An operation of the code, which awaits it."""
        try:
            place = next(conversation)
        except StopIteration as end:
            return _Done(end.value)  # nothing that is waited for
        assert isinstance(place, InOrder), f"{type(place).__name__} before its place"
        operation = ConversedOperation(self, conversation, place)
        self.run.ask(operation, None if place.record is None else operation.end)
        return operation

    # --- by the shared loop

    def start(
        self,
        main: Callable[[], Coroutine[Any, Any, Any]],
        conclude: Callable[[asyncio.Task[Any]], None],
        ended: Callable[[], None],
    ) -> None:
        """conclude: told of the first task when all are done. ended: called then, and when the code is cut off."""
        self._conclude, self._ended = conclude, ended
        if self.attempt.over:
            ended()
        else:
            self.run.start(_MeetsCancel(main(), self.meet_cancel))
            self.go_on()

    def go_on(self) -> None:
        """After answers came."""
        if self.run.over:
            return
        if self._parked:
            self._leave_parking()
        attempt = self.attempt
        attempt.burst = []
        try:
            self.run.go_on()
        except BaseException as error:
            if not attempt.over:
                attempt.fail(error)
            self.stop()
        finally:
            if attempt.burst is not None:
                self._say_burst()
        if self._cut_due:
            self._cut()

    def _say_burst(self) -> None:
        burst, self.attempt.burst = self.attempt.burst, None
        for call in burst or ():
            self.attempt.services.channel.add(call)

    def _transaction_runs(self) -> bool:
        """In the slot of the code itself."""
        steps = [each for each in self.run.open.values() if isinstance(each, ConversedOperation) and each.lasting]
        return any(
            each.place_in_log.kind is OperationKind.STEP and each.has_body and not each.waits_inside for each in steps
        )

    def soon(self, function: Callable[[], None]) -> None:
        """Calls it on the shared loop, once the code's own is left."""
        self.shared.call(lambda: None if self.run.over else function())

    def end_unrecorded(self, end: Callable[[], None], operation: ConversedOperation) -> None:
        """Of an operation that ends without an answer of the node, as where a value can't be stored."""
        self.run.answer(operation, self.run.released, 0, _Unrecorded(end))
        self.soon(self.go_on)

    def answered(self, waiter: Waiter | None, reply: messages.Reply) -> None:
        answer = reply.answer
        if waiter is None:
            self.run.saw(reply.end_seq)
        elif not isinstance(waiter, ConversedOperation):
            if isinstance(waiter, SleepingTask) and not waiter.frame:  # in the slot of the code itself
                self.run.saw(reply.end_seq)
                self.told = -1
            waiter.wake(answer)
        elif isinstance(answer, Granted):
            waiter.granted(answer)
        elif not isinstance(answer, Interrupted):  # the cancel has a place of its own
            # What has no place is of code that is not what was recorded.
            self.run.answer(waiter, reply.end_seq or self.run.released, reply.at_ms, answer)

    def cancel(self, message: messages.CancelAttempt) -> None:
        at_ms = message.at_ms or node_clock_ms()
        self.run.cancel(End(message.cancel_seq or self.run.released, at_ms), message.reason)

    def quiet(self) -> None:
        """As the world of the run. The node is told, and the attempt parks as a whole if nothing is left but to wait.

        What its bodies do beside their waits is looked at when it is to be unwound.
        """
        attempt, seen, open = self.attempt, self.run.seen, self.run.open
        waits = [each.live for each in open.values() if each.waits is not None or (attempt.bodies and _waits_in(each))]
        if not self.transactions or not self._transaction_runs():
            if attempt.burst:
                force_setattr(attempt.burst[-1], "quiet", seen)
                self.told = seen
            elif waits and self.told != seen:
                self.told = seen
                quiet = messages.Quiet(execution_id=attempt.execution_id, epoch=attempt.epoch, released=seen)
                attempt.services.channel.add(quiet)
                self.shared.flush_soon()
        if waits and len(waits) == len(open) and all(waits) and not self._parked:
            self._parked = True
            attempt.services.parking.add(attempt, 0)

    def _leave_parking(self) -> None:
        self._parked = False
        self.attempt.services.parking.remove(self.attempt, 0)

    # --- the end

    def stop(self) -> None:
        """The attempt is over: see `Attempt.stop`."""
        if self.run.over and not self._cut_due:
            return
        self.run.over = True
        if self.loop.open:
            self._cut_due = True  # its own code is what ends it
        else:
            self._cut()

    def _cut(self) -> None:
        self._cut_due = False
        if self._parked:
            self._leave_parking()
        for operation in self.run.open.values():
            if isinstance(operation, ConversedOperation):
                operation.stop_body()
        self.run.cut(AttemptOver())
        if self._ended is not None:
            self._ended()

    def _end_misused(self, error: Exception) -> None:
        if not self.run.over:
            self._end_by(error)

    def _end_by(self, error: BaseException) -> None:
        assert isinstance(error, NotInHandler)
        with suppress(AttemptOver):
            self.attempt.suspend_misuse(error)

    def meet_cancel(self) -> Cancelled | None:
        """Once: what the first task meets in place of the `CancelledError` of its task."""
        reason, self.cancel_unmet = self.cancel_unmet, None
        return None if reason is None else CancelledTask(reason)

    # --- as the world of the run

    def timer(self, path: str, number: int, duration_s: float) -> tuple[Operation, End | None]:
        key = f"timer@{path}#{number}" if path else f"timer#{number}"
        duration_ms = math.ceil(min(max(duration_s, 0) * 1_000 - 1e-6, DURATION_MS_MAX))
        conversation = timer(self.attempt, self.attempt.scope, key, max(duration_ms, 0))
        place = next(conversation)
        assert isinstance(place, InOrder)
        operation = ConversedOperation(self, conversation, place)
        return operation, operation.end

    def released_cancel(self, reason: str) -> None:
        self.cancels += 1
        self.cancel_unmet = reason

    def ended(self, first: ExactTask) -> None:
        assert self._conclude is not None
        self._say_burst()
        for task in self.loop.tasks.values():
            if task is not first and not task.cancelled() and getattr(task, "_log_traceback", False):
                self._log_error({"message": "Task exception was never retrieved", "exception": task.exception()})
        self._conclude(first)
        assert self._ended is not None
        self._ended()

    def _log_error(self, context: dict[str, Any]) -> None:
        if self.run.replaying:
            return
        error = context.get("exception")
        message = str(context.get("message") or "an error that nobody handles")
        call_in(self.attempt.scope, lambda: logger.error(message, exc_info=error))


def _waits_in(operation: Operation) -> bool:
    return isinstance(operation, ConversedOperation) and operation.waits_inside


class _Done:
    """Awaited, it is over at once."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[None, None, Any]:
        return self._value
        yield


class _Unrecorded:
    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end


class _MeetsCancel(Coroutine[Any, Any, Any]):
    """The coroutine of a handler, or of a body. The cancel of its execution reaches it as the error of the SDK, which
    is an `asyncio.CancelledError` too."""

    def __init__(self, inner: Coroutine[Any, Any, Any], meet_cancel: Callable[[], Cancelled | None]) -> None:
        self._inner = inner
        self._meet_cancel = meet_cancel

    def send(self, value: Any) -> Any:
        return self._inner.send(value)

    def close(self) -> None:
        self._inner.close()

    def throw(self, error: Any, *rest: Any) -> Any:
        if is_a(error, asyncio.CancelledError) and (met := self._meet_cancel()) is not None:
            error, rest = met.with_traceback(error.__traceback__), ()
        return self._inner.throw(error, *rest)

    def __await__(self) -> Any:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:  # cr_frame, cr_running and the like
        return getattr(self._inner, name)


def _misuse(what: str) -> NotInHandler:
    return NotInHandler(
        f"{what}: the body of an async handler runs on a loop of its own, which goes the same way in each replay, and "
        'has no sockets, programs or threads. Do it in a side effect: `await ctx.side_effect("fetch", fetch)`, with '
        "`async def fetch()` from its opening to its closing"
    )


def misuse_in(error: BaseException) -> NotInHandler | None:
    """The misuse by which code has ended, in whatever it is wrapped."""
    seen: set[int] = set()
    open_errors = [error]
    while open_errors:
        each = open_errors.pop()
        if is_a(each, NotInHandler):
            return cast(NotInHandler, each)
        if id(each) in seen:
            continue
        seen.add(id(each))
        open_errors += around(each)
    return None
