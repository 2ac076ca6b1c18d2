"""Calls that run beside each other in threads, and that nobody has to wait for once the caller is interrupted."""

from __future__ import annotations

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_Task = tuple[Future[R], T]


def in_threads(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int | None = None, name: str
) -> Iterator[R]:
    """What the function returns for each item, in their order; an error of it is raised in its place.

    ahead: how many items are taken before the first of them is done; None: all at once.

    Who stops taking (Ctrl-C, an error, a generator that is closed) is not held up by what is under way: the threads are
    daemons, which the interpreter does not wait for, and they begin nothing more. (`ThreadPoolExecutor` waits for its
    threads, on leaving the `with` and again at the end of the interpreter.)
    """
    waiting: queue.SimpleQueue[_Task[R, T] | None] = queue.SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        while (task := waiting.get()) is not None and not stopped.is_set():
            future, item = task
            try:
                future.set_result(function(item))
            except BaseException as error:
                future.set_exception(error)

    def begin(item: T) -> Future[R]:
        future: Future[R] = Future()
        waiting.put((future, item))
        return future

    rest = iter(items)
    under_way = deque(map(begin, rest if ahead is None else itertools.islice(rest, ahead)))
    started = min(threads, len(under_way))
    for _ in range(started):
        threading.Thread(target=work, name=name, daemon=True).start()
    try:
        while under_way:
            yield under_way.popleft().result()
            under_way.extend(map(begin, itertools.islice(rest, 1)))
    finally:
        stopped.set()
        for _ in range(started):
            waiting.put(None)
