"""Tasks and futures of a deterministic loop. They hash by their place, so that sets of them iterate alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from hashlib import blake2b
from typing import Any

_PATH_MAX = 60  #: characters; tasks that make each other without end have paths of this length at most


class PlacingLoop(asyncio.AbstractEventLoop):
    """What tasks and futures ask of their loop: their place, and the error for who misuses them."""

    misuse: Callable[[str], Exception]
    open = False  #: whether its code may be called, and call
    places = 0  #: that were given

    def next_place(self) -> int:
        self.places += 1
        return self.places


class ExactFuture(asyncio.Future[Any]):
    """Of the loop. Only code of the loop may await it."""

    __slots__ = ("place",)

    def __init__(self, loop: PlacingLoop) -> None:
        loop.places = self.place = loop.places + 1
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.place

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._loop.open:  # type: ignore[attr-defined]
            raise self._loop.misuse("awaiting a future of the handler in a side effect")  # type: ignore[attr-defined]
        return super().__await__()

    __iter__ = __await__


class ExactTask(asyncio.Task[Any]):
    """Of the loop.

    path: its place among the tasks of its creator, after the creator's own path: "2.1" is the first task of the second
        of the first one. The first task's is "".
    """

    __slots__ = ("_children", "path", "place")

    def __init__(
        self, coro: Coroutine[Any, Any, Any], *, loop: PlacingLoop, name: str | None, path: str, **options: Any
    ) -> None:
        self.place = loop.next_place()  # the constructor adds the task to sets, and may run it
        self.path = path
        self._children = 0
        # The default name counts the tasks of the process.
        super().__init__(coro, loop=loop, name=f"Task-{self.place}" if name is None else name, **options)
        # From the set of all tasks of the process: in it the first tasks of all attempts would have one hash.
        asyncio.tasks._unregister_task(self)

    def __hash__(self) -> int:
        return self.place

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._loop.open:  # type: ignore[attr-defined]
            raise self._loop.misuse("awaiting a task of the handler in a side effect")  # type: ignore[attr-defined]
        return super().__await__()

    __iter__ = __await__

    def next_path(self) -> str:
        """Of the next task that it creates."""
        self._children += 1
        return shortened(f"{self.path}.{self._children}" if self.path else str(self._children))


def shortened(path: str) -> str:
    return path if len(path) <= _PATH_MAX else "~" + blake2b(path.encode(), digest_size=12).hexdigest()
