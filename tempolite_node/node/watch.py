"""Tells those who wait when something has changed: an execution ended, a signal was sent, something was stored.

Belongs to the event loop's thread, but for `advance`. Nobody polls: every wake comes out of a commit.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tempolite_node.engine.model import Execution
from tempolite_node.errors import Unavailable


class Follower:
    """Someone who follows an execution."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def changed(self) -> None:
        """Returns when signals were sent to clients, or the execution has ended, since the last call."""
        await self._event.wait()
        self._event.clear()

    def wake(self) -> None:
        self._event.set()


class Watch:
    def __init__(self, revision: int) -> None:
        self.revision = revision  #: of what is stored; grows with every commit
        self._closing: dict[str, list[Callable[[Execution], None]]] = {}
        self._followers: defaultdict[str, set[Follower]] = defaultdict(set)
        self._open: set[asyncio.Future[Execution]] = set()  #: that wait for an end
        self._for_changes: set[asyncio.Future[None]] = set()
        self.stopped = False

    @contextmanager
    def closing(self, execution_id: str) -> Iterator[asyncio.Future[Execution]]:
        """A future that is the execution when it ends, after this was called."""
        future: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()
        self._refuse_if_stopped()
        resolve = partial(_resolve, future)
        self.on_closed(execution_id, resolve)
        self._open.add(future)
        try:
            yield future
        finally:
            self._open.discard(future)
            self.forget_closed(execution_id, resolve)

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        """Calls `closed` when the execution ends, after this was called and before it is forgotten."""
        self._closing.setdefault(execution_id, []).append(closed)

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        callbacks = self._closing.get(execution_id, [])
        if closed in callbacks:
            callbacks.remove(closed)
        if not callbacks:
            self._closing.pop(execution_id, None)

    @contextmanager
    def following(self, execution_id: str) -> Iterator[Follower]:
        self._refuse_if_stopped()
        follower = Follower()
        self._followers[execution_id].add(follower)
        try:
            yield follower
        finally:
            self._followers[execution_id].discard(follower)
            if not self._followers[execution_id]:
                del self._followers[execution_id]

    async def changed_after(self, revision: int) -> None:
        """Returns when there is a later revision."""
        while True:
            self._refuse_if_stopped()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._for_changes.add(future)
            try:
                # In this order, and `advance` in the other: a change is seen here, or the future there.
                if self.revision > revision:
                    return
                await future
            finally:
                self._for_changes.discard(future)

    def advance(self, *, closed: Iterable[Execution], signalled: Iterable[str], revision: int) -> bool:
        """A commit is on disk. Whether anybody waits for what it brought, and is to be told.

        Called by the thread that knows of it, so that the loop wakes for nothing that concerns nobody. Who begins to
        wait after this, looks at what is stored after that.
        """
        self.revision = revision
        if self._for_changes:
            return True
        if any(execution.id in self._closing or execution.id in self._followers for execution in closed):
            return True
        return any(execution_id in self._followers for execution_id in signalled)

    def published(self, *, closed: Iterable[Execution], signalled: Iterable[str]) -> None:
        """Tells those who wait for what a commit brought."""
        for execution in closed:
            for callback in self._closing.pop(execution.id, ()):
                callback(execution)
        if self._followers:
            for execution_id in (*(execution.id for execution in closed), *signalled):
                for follower in self._followers.get(execution_id, ()):
                    follower.wake()
        for changed in self._for_changes:
            if not changed.done():
                changed.set_result(None)

    def waited_for(self) -> list[str]:
        """Ids of executions that someone waits for or follows."""
        return [*self._closing, *self._followers]

    def stop(self) -> None:
        """Ends every wait with Unavailable: the node stops."""
        self.stopped = True
        waiting: list[asyncio.Future[Any]] = [*self._for_changes, *self._open]
        for future in waiting:
            if not future.done():
                future.set_exception(Unavailable("the node is stopping"))
        for followers in self._followers.values():
            for follower in followers:
                follower.wake()

    def _refuse_if_stopped(self) -> None:
        if self.stopped:
            raise Unavailable("the node is stopping")


def _resolve(future: asyncio.Future[Execution], execution: Execution) -> None:
    """Who waits may have given up meanwhile."""
    if not future.done():
        future.set_result(execution)
