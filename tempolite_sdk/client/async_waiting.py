"""Waits for many executions, for code on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

from tempolite_sdk.client.async_handle import AsyncExecutionHandle
from tempolite_sdk.client.calls.enqueues import Progress
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import TempoliteError

T = TypeVar("T")


class AsyncWaiting:
    """What the asyncio client does in its own way: a task for each execution that is waited for."""

    async def wait_many(
        self,
        executions: Iterable[AsyncExecutionHandle[T]],
        *,
        timeout: Duration | None = None,
        progress: Progress | None = None,
    ) -> list[T | TempoliteError]:
        """The outcome of each, in their order: its result, or the error that `result()` would raise.

        timeout: of each. progress: called with how many have ended, and of how many.
        """
        handles = [*executions]
        done = 0

        async def outcome_of(handle: AsyncExecutionHandle[T]) -> T | TempoliteError:
            nonlocal done
            try:
                outcome: T | TempoliteError = await handle.result(timeout)
            except TempoliteError as error:
                outcome = error
            done += 1
            if progress is not None:
                progress(done, len(handles))
            return outcome

        return await asyncio.gather(*map(outcome_of, handles))
