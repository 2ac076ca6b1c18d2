"""Waits for many executions, for code in threads."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tempolite_sdk.client.calls.enqueues import Progress
from tempolite_sdk.client.sync_handle import ExecutionHandle
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import TempoliteError

T = TypeVar("T")

#: That wait for many executions: they end in whatever order, and a wait costs the node nothing.
_WAITING_THREADS = 32


class SyncWaiting:
    """What the synchronous client does in its own way: a few threads for the executions that are waited for."""

    def wait_many(
        self,
        executions: Iterable[ExecutionHandle[T]],
        *,
        timeout: Duration | None = None,
        progress: Progress | None = None,
    ) -> list[T | TempoliteError]:
        """The outcome of each, in their order: its result, or the error that `result()` would raise.

        timeout: of each. progress: called with how many have ended, and of how many.
        """
        handles = [*executions]
        outcomes: list[T | TempoliteError] = []
        with ThreadPoolExecutor(min(_WAITING_THREADS, len(handles) or 1), "tempolite-wait") as threads:
            for outcome in threads.map(lambda handle: _outcome_of(handle, timeout), handles):
                outcomes.append(outcome)
                if progress is not None:
                    progress(len(outcomes), len(handles))
        return outcomes


def _outcome_of(handle: ExecutionHandle[T], timeout: Duration | None) -> T | TempoliteError:
    try:
        return handle.result(timeout)
    except TempoliteError as error:
        return error
