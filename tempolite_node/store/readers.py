"""Reads beside the writer: a few threads, and as many read-only connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, LifoQueue
from typing import TypeVar

import apsw

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import explained, open_reader
from tempolite_node.store.queries import Queries

T = TypeVar("T")

_THREADS = 2
_CONNECTIONS = _THREADS + 1  #: the last one is for a snapshot that is being made


class Readers:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="reader")
        self._idle: LifoQueue[apsw.Connection | None] = LifoQueue()  #: None: one that is still to be opened
        self._allow()

    def _allow(self) -> None:
        for _ in range(_CONNECTIONS):
            self._idle.put(None)

    async def read(self, query: Callable[[Queries], T]) -> T:
        """Runs the query in a reader's thread. StorageFailed: the store can't be read."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, query)

    def _read(self, query: Callable[[Queries], T]) -> T:
        try:
            with self.connection() as connection:
                return query(Queries(connection))
        except apsw.Error as error:
            raise StorageFailed(f"the store can't be read: {explained(error)}") from error

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """One that nobody else uses meanwhile. Waits for it."""
        connection = self._idle.get()
        try:
            connection = connection or open_reader(self._path)
            yield connection
        finally:
            self._idle.put(connection)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Waits until nobody reads. No connection is open then, and none is opened before the end."""
        for _ in range(_CONNECTIONS):
            _close(self._idle.get())
        try:
            yield
        finally:
            self._allow()

    def close(self) -> None:
        """Waits for reads, and not for a snapshot that is being made: nobody will need it."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        with suppress(Empty):
            while True:
                _close(self._idle.get_nowait())


def _close(connection: apsw.Connection | None) -> None:
    if connection is not None:
        connection.close()
