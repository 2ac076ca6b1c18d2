"""Whether asynchronous code does anything beside its waits: what a body has on the loop that all attempts share.

A stack that is unwound is run again when one of its waits is over. Cutting off a request in the middle would repeat it,
and a timer of the loop would never fire: whoever has one goes on waiting where it is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import selectors
from asyncio import Future, Handle, Task
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from inspect import unwrap
from types import CoroutineType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from tempolite_node.worker_host.logs import AttemptScope
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_node.worker_host.scopes import Scope, current_scope, scope_in

F = TypeVar("F", bound="Future[Any]")

_GatheringFuture = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
_WAIT = asyncio.tasks._wait.__code__  # type: ignore[attr-defined]
_GROUP = {each.__code__ for each in map(unwrap, vars(asyncio.TaskGroup).values()) if asyncio.iscoroutinefunction(each)}


class BodyLoop(asyncio.SelectorEventLoop):
    """Remembers which scope's code has begun what."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        super().__init__(selector)
        self.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
        self._begun: WeakKeyDictionary[Future[Any], Scope] = WeakKeyDictionary()

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """In one call instead of five: it is called for each task that begins or goes on."""
        if self._debug or self._closed:  # type: ignore[attr-defined]
            return super().call_soon(callback, *args, context=context)
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> Task[Any]:  # type: ignore[override]
        return self._note(super().create_task(coro, **options))

    def set_default_executor(self, executor: ThreadPoolExecutor) -> None:  # type: ignore[override]
        super().set_default_executor(executor)
        self._default = executor

    def run_in_executor(self, executor: Executor | None, func: Any, *args: Any) -> Future[Any]:  # type: ignore[override]
        scope = current_scope()
        root = None if scope is None else scope.root()
        if scope is None or not isinstance(root, AttemptScope):
            return super().run_in_executor(executor, func, *args)
        work = (executor or self._default).submit(func, *args)
        future = self._note(asyncio.wrap_future(work, loop=self))
        future.add_done_callback(partial(_leave_behind, root.code, scope, work))
        return future

    def _note(self, begun: F) -> F:
        scope = current_scope()
        if scope is not None:
            self._begun[begun] = scope
        return begun

    def only_wait(self, bodies: dict[Scope, Task[Any] | None], waits: Collection[Future[Any]]) -> bool:
        """Whether none of what the bodies have begun can go on before one of the waits is over.

        bodies: each with the task that runs it. waits: for answers of the node.
        """
        if any(_is_within(scope_in(context), bodies) for context in self._contexts()):
            return False
        begun = [each for each, scope in self._begun.items() if not each.done() and _is_within(scope, bodies)]
        tasks = {*begun, *(task for task in bodies.values() if task is not None)}
        ends = {*tasks, *waits}
        return all(isinstance(task, Task) and _waits_for(task, ends) for task in tasks)

    def _contexts(self) -> Iterator[Context]:
        """Contexts of callbacks that are due, or become so by time, or by a socket or pipe."""
        loop: Any = self
        handles: list[Handle | None] = [*loop._ready, *loop._scheduled]
        for key in loop._selector.get_map().values():
            handles += key.data
        return (handle._context for handle in handles if handle is not None and not handle._cancelled)  # type: ignore[attr-defined]


def _leave_behind(code: RunningCode, scope: Scope, work: concurrent.futures.Future[Any], future: Future[Any]) -> None:
    """Who waited for it was cancelled, and a thread that has begun can't be stopped."""
    if future.cancelled() and not work.done():
        code.leave_behind(scope, work)


def _is_within(scope: Scope | None, bodies: Iterable[Scope]) -> bool:
    return scope is not None and any(scope.is_within(body) for body in bodies)


def _waits_for(task: Task[Any], ends: Collection[Future[Any]]) -> bool:
    """Whether it waits for these alone."""
    awaited = _awaited_by(task)
    open_ones = [each for each in _members(awaited) if not each.done()]
    return bool(open_ones) and all(each in ends for each in open_ones)


def _members(futures: Iterable[Future[Any]]) -> Iterator[Future[Any]]:
    for future in futures:
        if isinstance(future, _GatheringFuture):
            yield from _members(future._children)
        else:
            yield future


def _awaited_by(task: Task[Any]) -> Iterable[Future[Any]]:
    """For what it waits, in `asyncio.wait` and a task group one by one; nothing: it does not wait."""
    frame = innermost_frame(task)
    if frame is not None and frame.f_code is _WAIT:
        return list(frame.f_locals["fs"])
    if frame is not None and frame.f_code in _GROUP:
        return list(frame.f_locals["self"]._tasks)
    future = getattr(task, "_fut_waiter", None)
    return () if future is None else (future,)


def innermost_frame(task: Task[Any]) -> Any:
    """Of the coroutine in which the task waits, if it can be told."""
    coro: Any = task.get_coro()
    while isinstance(inner := getattr(coro, "cr_await", None), CoroutineType):
        coro = inner
    return getattr(coro, "cr_frame", None)
