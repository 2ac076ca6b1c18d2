"""What asyncio and anyio keep in sets by address is given an order here, on the loops of handlers; elsewhere nothing
changes.

Bodies use the very modules that everybody imports: what is set here, once in a process and before any handler is
imported, asks which loop runs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterable
from functools import wraps
from types import TracebackType
from typing import Any

from tempolite_node.worker_host.exact.loop import ExactLoop

_ANYIO = "anyio._backends._asyncio"
_as_completed = asyncio.as_completed
_leave = asyncio.TaskGroup.__aexit__
_all_tasks = asyncio.all_tasks
_GatheringFuture = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]


@wraps(_as_completed)
def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
    """As the original, which makes tasks of coroutines in the order of a set of them."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, ExactLoop) and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
        fs = [asyncio.ensure_future(each, loop=loop) for each in dict.fromkeys(fs)]
    return _as_completed(fs, timeout=timeout)


@wraps(_all_tasks)
def all_tasks(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """As the original, which does not know those of an `ExactLoop`."""
    asked = asyncio.get_running_loop() if loop is None else loop
    return asked.all_tasks() if isinstance(asked, ExactLoop) else _all_tasks(asked)


def _leave_group(
    group: asyncio.TaskGroup, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
) -> Coroutine[Any, Any, None]:
    """As the original, which up to Python 3.12 takes the cancel of an execution, a subclass, for an error."""
    if kind is not None and issubclass(kind, asyncio.CancelledError):
        kind = asyncio.CancelledError
    return _leave(group, kind, error, trace)


class _PlacedGathering(_GatheringFuture):  # type: ignore[misc, valid-type]
    """What `gather` returns on the loop of a handler."""

    def __init__(self, children: Any, *, loop: Any) -> None:
        if isinstance(loop, ExactLoop):
            self.place = loop.next_place()
        super().__init__(children, loop=loop)

    def __hash__(self) -> int:
        place: int | None = getattr(self, "place", None)
        return super().__hash__() if place is None else place


def _place_scopes(backend: Any) -> None:
    """anyio's cancel scopes that are made on the loop of a handler hash by their place."""
    scopes: Any = backend.CancelScope
    make = scopes.__new__

    class PlacedScope(scopes):  # type: ignore[misc]
        __slots__ = ("_place",)

        def __hash__(self) -> int:
            place: int = self._place
            return place

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        loop = asyncio._get_running_loop()
        if cls is not scopes or not isinstance(loop, ExactLoop):
            return make(cls, *args, **kwargs)
        made = make(PlacedScope, *args, **kwargs)
        made._place = loop.next_place()
        return made

    PlacedScope.__name__ = PlacedScope.__qualname__ = scopes.__name__
    scopes.__new__ = __new__
    backend.scopes_are_placed = True


def give_order() -> None:
    """To what is imported by now. Called again when more may be."""
    if asyncio.as_completed is not as_completed:
        asyncio.as_completed = asyncio.tasks.as_completed = as_completed
        asyncio.all_tasks = asyncio.tasks.all_tasks = all_tasks
        asyncio.tasks._GatheringFuture = _PlacedGathering  # type: ignore[attr-defined]
        asyncio.TaskGroup.__aexit__ = wraps(_leave)(_leave_group)  # type: ignore[assignment, method-assign]
    backend = sys.modules.get(_ANYIO)
    if hasattr(backend, "CancelScope") and not hasattr(backend, "scopes_are_placed"):
        _place_scopes(backend)
