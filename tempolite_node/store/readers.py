"""Reads beside the writer: a few threads, each with its own read-only connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import explained, open_reader
from tempolite_node.store.queries import Queries

T = TypeVar("T")

_THREADS = 2


class Readers:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="reader")

    async def read(self, query: Callable[[Queries], T]) -> T:
        """Runs the query in a reader's thread. StorageFailed: the store can't be read."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, query)

    def _read(self, query: Callable[[Queries], T]) -> T:
        try:
            queries = getattr(self._local, "queries", None)
            if queries is None:
                queries = self._local.queries = Queries(open_reader(self._path))
            return query(queries)
        except apsw.Error as error:
            raise StorageFailed(f"the store can't be read: {explained(error)}") from error

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
