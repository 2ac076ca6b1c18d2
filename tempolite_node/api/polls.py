"""Long polls: calls that wait for something, but never past their caller's deadline or the node's stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

T = TypeVar("T")

#: Answers leave this long before the call's own deadline, so that they arrive before it.
DEADLINE_MARGIN_MS = 500


def time_to_wait_ms(context: grpc.aio.ServicerContext, wanted_ms: int) -> int:
    remaining = context.time_remaining()
    return wanted_ms if remaining is None else max(0, min(wanted_ms, int(remaining * 1_000) - DEADLINE_MARGIN_MS))


class Polls:
    """The polls that are open. They all end when the API stops."""

    def __init__(self) -> None:
        self._stop = asyncio.Event()

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    async def wait(self, awaited: Coroutine[Any, Any, T], timeout_ms: int | None) -> T | None:
        """Its result; None when the time is up or the API stops. It is cancelled then, and when the caller goes."""
        task = asyncio.create_task(awaited)
        stop = asyncio.create_task(self._stop.wait())
        timeout = None if timeout_ms is None else timeout_ms / 1_000
        try:
            await asyncio.wait({task, stop}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            task.cancel()
            stop.cancel()
