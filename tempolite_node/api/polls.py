"""Long polls: calls that wait for something, but never past their caller's deadline or the node's stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: Answers leave this long before the call's own deadline, so that they arrive before it.
DEADLINE_MARGIN_MS = 500
#: gRPC rounds a call's timeout up on its way, to three digits at worst: an hour arrives as 3,610 s.
_DEADLINE_ROUNDED_UP = 1.01


def time_to_wait_ms(remaining_s: float | None, wanted_ms: int) -> int:
    """remaining_s: until the call's own deadline, as gRPC tells it; None: it has none."""
    if remaining_s is None:
        return wanted_ms
    return max(0, min(wanted_ms, int(remaining_s / _DEADLINE_ROUNDED_UP * 1_000) - DEADLINE_MARGIN_MS))


class DeadlineWheel:
    """When those are to be answered that wait for something, for thousands at a time: one timer for each tick.

    A tick is a tenth of a second, and comes up to that much early.
    """

    _TICKS_PER_S = 10

    def __init__(self) -> None:
        self._waiting: dict[int, set[Callable[[], None]]] = {}

    def hold(self, seconds: float, end: Callable[[], None]) -> int:
        """Calls `end` when the time is up, in a later turn of the loop. Returns its tick, to `forget` it before."""
        loop = asyncio.get_running_loop()
        tick = int((loop.time() + seconds) * self._TICKS_PER_S)
        waiting = self._waiting.get(tick)
        if waiting is None:
            waiting = self._waiting[tick] = set()
            loop.call_at(tick / self._TICKS_PER_S, self._expire, tick)
        waiting.add(end)
        return tick

    def forget(self, tick: int, end: Callable[[], None]) -> None:
        if (waiting := self._waiting.get(tick)) is not None:
            waiting.discard(end)

    def _expire(self, tick: int) -> None:
        for end in list(self._waiting.pop(tick)):
            end()


class Polls:
    """The polls that are open. They all end when the API stops."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._on_stop: set[Callable[[], None]] = set()
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        for stop in self._on_stop:
            stop()
        now = asyncio.get_running_loop().time()
        for limit in self._open:
            limit.reschedule(now)

    @contextmanager
    def told_to_stop(self, stop: Callable[[], None]) -> Iterator[None]:
        """Calls `stop` when the API stops while this is open."""
        self._on_stop.add(stop)
        try:
            yield
        finally:
            self._on_stop.discard(stop)

    async def wait(self, awaited: Awaitable[T], timeout_ms: int | None) -> T | None:
        """Its result; None when the time is up or the API stops. It is cancelled then, and when the caller goes."""
        limit = asyncio.timeout(0 if self.stopped else None if timeout_ms is None else timeout_ms / 1_000)
        self._open.add(limit)
        try:
            async with limit:
                return await awaited
        except TimeoutError:
            if not limit.expired():
                raise
            return None
        finally:
            self._open.discard(limit)
