"""The load itself. It needs nothing but Python, so that a peer's environment can make the same."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def rate(seconds: float, in_flight: int, once: Callable[[], Awaitable[Any]]) -> float:
    """How often `once` ends in a second, with so many under way at a time."""
    began = time.monotonic()
    for _ in range(min(in_flight, 50)):
        await once()
        if time.monotonic() - began > seconds:
            break
    began, ended = time.monotonic(), 0

    async def again() -> None:
        nonlocal ended
        while time.monotonic() - began < seconds:
            await once()
            ended += 1

    await asyncio.gather(*(again() for _ in range(in_flight)))
    return ended / (time.monotonic() - began)


async def in_turns(*measures: Callable[[], Awaitable[float]], times: int = 3) -> list[float]:
    """The median of each, measured in turns: a machine that slows down meanwhile slows down all of them."""
    taken = [[await measure() for measure in measures] for _ in range(times)]
    return [sorted(values)[times // 2] for values in zip(*taken, strict=True)]


async def latencies(count: int, once: Callable[[], Awaitable[Any]]) -> list[float]:
    """Seconds of each, one after the other."""
    taken = []
    for _ in range(count):
        began = time.monotonic()
        await once()
        taken.append(time.monotonic() - began)
    return taken
