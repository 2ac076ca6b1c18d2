"""Carries out synchronous code: a thread for each attempt, which sleeps while it waits."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from msgspec.structs import replace

from tempolite_node.engine import commands
from tempolite_node.engine.effects import AnyAnswer
from tempolite_node.interpreter import looks_for_thread_locals
from tempolite_node.worker_host.attempt import Attempt, AttemptOver, AttemptRuntime
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.conversations import Ask, Conversation, RunUserCode, UserCodeTimeout
from tempolite_node.worker_host.operations import conversation_of
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_sdk.operations import Operation

T = TypeVar("T")


class SyncRuntime(AttemptRuntime):
    def perform(self, operation: Operation) -> Any:
        scope = self.scope.innermost()
        self.attempt.check_running()
        return self.carry_out(conversation_of(self, scope, operation))

    def carry_out(self, conversation: Conversation[T]) -> T:
        try:
            step = next(conversation)
            while True:
                if isinstance(step, Ask):
                    step = conversation.send(self._ask(step))
                    continue
                try:
                    returned = run_user_code(step, self.attempt.code)  # type: ignore[arg-type]  # InOrder is for code on a loop of its own
                except BaseException as error:  # user code may raise anything
                    step = conversation.throw(error)
                else:
                    step = conversation.send(returned)
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, ask: Ask) -> AnyAnswer:
        attempt = self.attempt
        attempt.check_running(ask.scope)
        waiter = SleepingThread()
        request = marked_beside(ask.request) if ask.scope.beside else ask.request
        number = attempt.send(request, ask.scope, waiter)
        if ask.waits is not None:
            attempt.park(number, *ask.waits, ask.scope)
        answer = waiter.sleep()
        if answer is None or attempt.over:
            raise AttemptOver
        return answer


class SleepingThread:
    __slots__ = ("_answer", "_lock")

    def __init__(self) -> None:
        self._answer: AnyAnswer | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def sleep(self) -> AnyAnswer | None:
        self._lock.acquire()
        return self._answer

    def wake(self, answer: AnyAnswer | None) -> None:
        self._answer = answer
        self._lock.release()


_MARKED_BESIDE = (commands.WaitForExecution, commands.ReceiveSignal, commands.Sleep, commands.FailSideEffect)


def marked_beside(request: Any) -> Any:
    """As what the code of the attempt goes on beside."""
    return replace(request, beside=True) if isinstance(request, _MARKED_BESIDE) else request


def run_user_code(body: RunUserCode, code: RunningCode) -> Any:
    for left in code.left_behind(body.scope):
        left.exception()  # once it has ended
    if body.timeout_s is None:
        with body.scope:
            return body.call()
    return _run_in_time(body, body.timeout_s, code)


def _run_in_time(body: RunUserCode, timeout_s: float, code: RunningCode) -> Any:
    """In a thread of its own, which is left behind when the time is up: a thread can't be stopped.

    BodyTimeout: the time is up; the body's context is closed.
    """
    done: Future[Any] = Future()
    context = contextvars.copy_context()

    def in_scope() -> Any:
        with body.scope:
            return body.call()

    def run() -> None:
        try:
            done.set_result(context.run(in_scope))
        except BaseException as error:
            done.set_exception(error)
        finally:
            code.ends()

    code.begins()
    threads.start(run)
    try:
        return done.result(timeout_s)
    except TimeoutError:
        if done.done():
            raise  # the body's own
        code.leave_behind(body.scope, done)
        raise UserCodeTimeout from None
    finally:
        body.scope.open = False


class ThreadScheduler:
    """Of all attempts whose code has a thread each. See `attempt.Scheduler`."""

    def __init__(self, channel: Channel) -> None:
        self.flush = channel.flush

    def call(self, function: Callable[[], object]) -> None:
        function()

    def call_when_idle(self, function: Callable[[], object]) -> None:
        function()

    def only_waits(self, _attempt: Attempt) -> bool:
        """What a thread begins beside its waits is no part of its stack."""
        return True

    def cancel(self) -> None:
        """A thread can't be stopped: its next operation finds that the attempt is over."""


class Threads:
    """Threads that are used again. There is no bound: how many run is for the pools of the node to say.

    What one function sets, the next does not see: each has context variables of its own, the decimal context among
    them, and a thread that has thread-locals by now is not used again.
    """

    def __init__(self) -> None:
        self._idle = 0
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def start(self, function: Callable[[], None]) -> None:
        with self._lock:
            reuse = self._idle > 0
            self._idle -= reuse
        if reuse:
            self._work.put(function)
        else:
            threading.Thread(target=self._run, args=(function,), name="attempt", daemon=True).start()

    def _run(self, function: Callable[[], None]) -> None:
        has_thread_locals = looks_for_thread_locals()
        while True:
            contextvars.Context().run(function)
            del function  # what it holds is not kept alive by an idle thread
            if has_thread_locals():
                return
            with self._lock:
                self._idle += 1
            function = self._work.get()


threads = Threads()
