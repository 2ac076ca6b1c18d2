"""Carries out `async def` code: a task for each attempt, on a loop that all of them share."""

from __future__ import annotations

import asyncio
import inspect
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context
from functools import partial
from itertools import islice
from types import CoroutineType
from typing import Any, TypeVar

from tempolite_node.engine.commands import GiveUp
from tempolite_node.engine.effects import AnyAnswer
from tempolite_node.protocol import messages
from tempolite_node.worker_host.attempt import WAITS, Attempt, AttemptOver, AttemptRuntime, ExactCode
from tempolite_node.worker_host.beside import BodyLoop
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.conversations import (
    Ask,
    Conversation,
    GiveUpAgain,
    InOrder,
    RunUserCode,
    UserCodeTimeout,
)
from tempolite_node.worker_host.operations import conversation_of
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_node.worker_host.scopes import local_key
from tempolite_node.worker_host.second_tasks import check_key
from tempolite_sdk.operations import Operation

T = TypeVar("T")

#: Attempts that go on before what they say leaves. Fewer would make commits of the node that hold next to nothing.
_TOGETHER = 16


class AsyncRuntime(AttemptRuntime):
    async def perform(self, operation: Operation) -> Any:
        attempt, scope = self.attempt, self.scope.innermost()
        attempt.check_running()
        if attempt.may_give_up:
            check_key(operation, scope, attempt.bodies.get(scope))
        return await self.carry_out(conversation_of(self, scope, operation))

    async def carry_out(self, conversation: Conversation[T]) -> T:
        try:
            step = next(conversation)
            while True:
                try:
                    returned = await self._do(step)
                except BaseException as error:  # user code may raise anything, and cancel the task that asks
                    step = conversation.throw(error)
                else:
                    step = conversation.send(returned)
        except StopIteration as end:
            if self.attempt.to_give_up:
                self._look_at_those_to_give_up()
            result: T = end.value
            return result

    def _do(self, step: Ask | RunUserCode | GiveUpAgain | InOrder) -> Coroutine[Any, Any, Any]:
        match step:
            case Ask():
                return self._ask(step)
            case RunUserCode():
                return self._run(step)
            case GiveUpAgain():
                return self._give_up_again(step)
            case InOrder():
                raise AssertionError(f"{step.kind} {step.key} has a place, and runs on no loop of its own")

    async def _ask(self, ask: Ask) -> AnyAnswer:
        attempt = self.attempt
        attempt.check_running(ask.scope)
        waiter = SleepingTask(asyncio.get_running_loop().create_future(), ask.scope.frame)
        number = attempt.send(ask.request, ask.scope, waiter)
        if ask.waits is not None:
            attempt.park(number, *ask.waits, ask.scope)
        if attempt.to_give_up:
            self._look_at_those_to_give_up()
        try:
            answer = await waiter.future
        except asyncio.CancelledError:
            if attempt.may_give_up:
                await self._give_up(number, ask)
            raise
        if answer is None or attempt.over:
            raise AttemptOver
        return answer

    async def _give_up(self, number: int, ask: Ask) -> None:
        """The code does not wait for it any more: its task was cancelled, or a timeout passed.

        It goes on when its frame has a slot again, or once it is cancelled again, or at once if its whole time is up.
        """
        attempt, scope = self.attempt, ask.scope
        attempt.answered(number)
        if ask.waits is None or ask.waits[0] not in WAITS or attempt.over or not scope.goes_on:
            return
        kind, key = ask.waits
        scope.leave_key(kind, local_key(key))
        goes_on = SleepingTask(asyncio.get_running_loop().create_future(), scope.frame)
        number = attempt.send(GiveUp(kind=kind, key=key), scope, goes_on)
        try:
            if not attempt.time_is_up(scope):
                await goes_on.future
        except asyncio.CancelledError:
            pass
        finally:
            attempt.answered(number)

    async def _give_up_again(self, step: GiveUpAgain) -> None:
        asked = SleepingTask(asyncio.get_running_loop().create_future(), step.scope.frame)
        entry = (step.scope, asked)
        self.attempt.to_give_up.append(entry)
        try:
            async with asyncio.timeout(step.within_s):
                await asked.future
        except TimeoutError:
            pass
        finally:
            self.attempt.to_give_up.remove(entry)

    def _look_at_those_to_give_up(self) -> None:
        """Whether the code has come to where it may go another way than the one in which it took leave of them."""
        for scope, asked in self.attempt.to_give_up:
            if not self.attempt.journal.has_more_in(scope):
                asked.wake(None)

    async def _run(self, body: RunUserCode) -> Any:
        bodies = self.attempt.bodies
        bodies[body.scope] = asyncio.current_task()
        try:
            return await run_body(body, self.attempt.code)
        finally:
            del bodies[body.scope]


async def run_body(body: RunUserCode, code: RunningCode) -> Any:
    """UserCodeTimeout: its time is up, and what it still did was cancelled."""
    if left := code.left_behind(body.scope):
        await asyncio.wait([asyncio.wrap_future(each) for each in left])
    with body.scope:
        if body.timeout_s is not None:
            return await _called_in_time(body.call, body.timeout_s)
        returned = body.call()
        is_awaitable = type(returned) is CoroutineType or inspect.isawaitable(returned)  # of most the type tells
        return await returned if is_awaitable else returned


async def _called_in_time(call: Callable[[], Any], timeout_s: float) -> Any:
    try:
        async with asyncio.timeout(None) as limit:
            # No timer of the body's own: when its stack is unwound meanwhile, the engine keeps the time.
            Context().run(limit.reschedule, asyncio.get_running_loop().time() + timeout_s)
            returned = call()
            return await returned if inspect.isawaitable(returned) else returned
    except TimeoutError:
        if limit.expired():
            raise UserCodeTimeout from None
        raise


class SleepingTask:
    """Of code that asks in a frame; see `scopes.Scope.frame`."""

    __slots__ = ("frame", "future")

    def __init__(self, future: asyncio.Future[AnyAnswer | None], frame: str) -> None:
        self.future = future
        self.frame = frame

    def wake(self, answer: AnyAnswer | None) -> None:
        if not self.future.done():  # the code may have given up waiting
            self.future.set_result(answer)


class _IdleSelector(selectors.DefaultSelector):
    """Tells when no task can go on by itself: a loop asks its selector to sleep only then."""

    def __init__(self) -> None:
        super().__init__()
        self.when_idle: deque[Callable[[], object]] = deque()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.when_idle and (timeout is None or timeout > 0):
            while self.when_idle:
                self.when_idle.popleft()()
            timeout = 0
        return super().select(timeout)


class AttemptLoop:
    """The event loop of the asynchronous attempts, in a thread of its own. Started when the first one is."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._flushes = False
        self._going_on: dict[ExactCode, None] = {}  #: code that has answers to go on with, in the order of the first
        self._selector = _IdleSelector()
        self._loop: BodyLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def started(self) -> bool:
        return self._loop is not None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = BodyLoop(self._selector)
            threading.Thread(target=_turn, args=(self._loop,), name="attempts", daemon=True).start()
        return self._loop

    def call(self, function: Callable[[], object]) -> None:
        self._started().call_soon_threadsafe(function)

    def call_when_idle(self, function: Callable[[], object]) -> None:
        self._selector.when_idle.append(function)
        self.call(_nothing)  # the loop turns, and so finds that it is idle

    def create_task(self, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """In the loop's thread."""
        assert self._loop is not None
        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def create_body(self, coro: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        """In the loop's thread. Held by who asks."""
        assert self._loop is not None
        return asyncio.Task(coro, loop=self._loop, context=context)

    def only_waits(self, attempt: Attempt) -> bool:
        """Whether none of its code can go on before one of its waits is over. In the loop's thread."""
        assert self._loop is not None
        waits = [waiter.future for waiter in attempt.waiters if isinstance(waiter, SleepingTask)]
        return self._loop.only_wait(attempt.bodies, waits)

    def flush_soon(self) -> None:
        """What all attempts say in one turn of the loop leaves in one frame, at its end."""
        if not self._flushes:
            assert self._loop is not None
            self._flushes = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushes = False
        self._channel.flush()

    def deliver(self, said: Iterable[tuple[Attempt, messages.Reply | messages.CancelAttempt]]) -> None:
        self._started().call_soon_threadsafe(self._deliver, said)

    def _deliver(self, said: Iterable[tuple[Attempt, messages.Reply | messages.CancelAttempt]]) -> None:
        waits_already = bool(self._going_on)
        for attempt, message in said:
            code = attempt.exact
            if code is not None:
                self._going_on[code] = None
            if isinstance(message, messages.CancelAttempt):
                if code is not None:
                    code.cancel(message)
                continue
            waiter = attempt.answered(message.call)
            if code is not None:
                code.answered(waiter, message)
            elif waiter is not None:
                waiter.wake(message.answer)
        if self._going_on and not waits_already:
            self._go_on()

    def _go_on(self) -> None:
        """Some at a time: the node has what the first ones say while the others go on."""
        if self._flushes:
            self._channel.flush()
        some = list(islice(self._going_on, _TOGETHER))
        try:
            for code in some:
                code.go_on()
        finally:
            for code in some:
                del self._going_on[code]
            if self._going_on:
                assert self._loop is not None
                self._loop.call_soon(self._go_on)  # behind the bodies that those have begun


class TaskScheduler:
    """Of one attempt: its code is a task on the loop. See `attempt.Scheduler`."""

    def __init__(self, loop: AttemptLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self.flush = loop.flush_soon
        self.call = loop.call
        self.call_when_idle = loop.call_when_idle
        self.only_waits = loop.only_waits

    def start(self, run: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> None:
        """run: makes the coroutine of the whole attempt. ended: called when it is over, even if it never began."""
        self._loop.call(partial(self._start, run, ended))

    def _start(self, run: Callable[[], Coroutine[Any, Any, None]], ended: Callable[[], None]) -> None:
        self._task = self._loop.create_task(run)
        self._task.add_done_callback(lambda _task: ended())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


def _nothing() -> None: ...


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        with suppress(SystemExit, KeyboardInterrupt):  # of a task of user code, which is told of it too
            loop.run_forever()
