"""Waits for many executions, for code in threads."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from tempolite_sdk.client.calls.enqueues import Progress
from tempolite_sdk.client.sync_handle import ExecutionHandle
from tempolite_sdk.client.threads import in_threads
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
        results = in_threads(partial(_outcome_of, timeout), handles, threads=_WAITING_THREADS, name="tempolite-wait")
        for outcome in results:
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(handles))
        return outcomes


def _outcome_of(timeout: Duration | None, handle: ExecutionHandle[T]) -> T | TempoliteError:
    try:
        return handle.result(timeout)
    except TempoliteError as error:
        return error
