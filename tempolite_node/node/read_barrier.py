"""Linearizable reads: what was acknowledged before one began, by whatever node, is in this node's store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedBarrier:
    """One barrier for all who ask while the one before it is under way."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def passed(self) -> None:
        """Everything that was acknowledged before the call can be read here. NoQuorum: nobody can tell."""
        # One that is under way may have been ordered before what the caller has seen acknowledged.
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._under_way))
        await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        self._under_way, self._next = self._next, None
        await self._ask()
