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
from typing import Any, TypeVar

from tempolite_node.engine.effects import AnyAnswer
from tempolite_node.protocol import messages
from tempolite_node.worker_host.attempt import Attempt, AttemptOver, AttemptRuntime, ExactCode
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.conversations import Ask, Conversation, RunUserCode, UserCodeTimeout
from tempolite_node.worker_host.operations import conversation_of
from tempolite_sdk.operations import Operation

T = TypeVar("T")


class AsyncRuntime(AttemptRuntime):
    async def perform(self, operation: Operation) -> Any:
        scope = self.scope.innermost()
        self.attempt.check_running()
        return await self.carry_out(conversation_of(self, scope, operation))

    async def carry_out(self, conversation: Conversation[T]) -> T:
        try:
            step = next(conversation)
            while True:
                try:
                    returned = await (self._ask(step) if isinstance(step, Ask) else self._run(step))  # type: ignore[arg-type]
                except BaseException as error:  # user code may raise anything, and cancel the task that asks
                    step = conversation.throw(error)
                else:
                    step = conversation.send(returned)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ask(self, ask: Ask) -> AnyAnswer:
        attempt = self.attempt
        attempt.check_running(ask.scope)
        waiter = _SleepingTask(asyncio.get_running_loop().create_future())
        number = attempt.send(ask.request, ask.scope, waiter)
        if ask.waits is not None:
            attempt.park(number, *ask.waits, ask.scope)
        answer = await waiter.future
        if answer is None or attempt.over:
            raise AttemptOver
        return answer

    async def _run(self, body: RunUserCode) -> Any:
        self.attempt.bodies.add(body.scope)
        try:
            return await run_body(body)
        finally:
            self.attempt.bodies.discard(body.scope)


async def run_body(body: RunUserCode) -> Any:
    """UserCodeTimeout: its time is up, and what it still did was cancelled."""
    with body.scope:
        if body.timeout_s is not None:
            return await _called_in_time(body.call, body.timeout_s)
        returned = body.call()
        return await returned if inspect.isawaitable(returned) else returned


async def _called_in_time(call: Callable[[], Any], timeout_s: float) -> Any:
    try:
        async with asyncio.timeout(timeout_s) as limit:
            returned = call()
            return await returned if inspect.isawaitable(returned) else returned
    except TimeoutError:
        if limit.expired():
            raise UserCodeTimeout from None
        raise


class _SleepingTask:
    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[AnyAnswer | None]) -> None:
        self.future = future

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
        self._selector = _IdleSelector()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def started(self) -> bool:
        return self._loop is not None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.SelectorEventLoop(self._selector)
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
        self._started().call_soon_threadsafe(_deliver, said)


class TaskScheduler:
    """Of one attempt: its code is a task on the loop. See `attempt.Scheduler`."""

    def __init__(self, loop: AttemptLoop) -> None:
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self.flush = loop.flush_soon
        self.call = loop.call
        self.call_when_idle = loop.call_when_idle

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


def _deliver(said: Iterable[tuple[Attempt, messages.Reply | messages.CancelAttempt]]) -> None:
    going_on: dict[ExactCode, None] = {}
    for attempt, message in said:
        code = attempt.exact
        if code is not None:
            going_on[code] = None
        if isinstance(message, messages.CancelAttempt):
            if code is not None:
                code.cancel(message)
            continue
        waiter = attempt.answered(message.call)
        if code is not None:
            code.answered(waiter, message)
        elif waiter is not None:
            waiter.wake(message.answer)
    for code in going_on:
        code.go_on()
