"""Handlers that do next to nothing."""

from __future__ import annotations

import sys

from tempolite_sdk import AsyncHandlerContext, HandlerContext


def echo(_ctx: HandlerContext, value: int) -> int:
    return value


async def echo_async(_ctx: AsyncHandlerContext, value: int) -> int:
    return value


def answer(ctx: HandlerContext, value: int) -> int:
    """Waits for a signal and adds it."""
    return value + ctx.receive_signal("more", int)


def loaded_modules(ctx: HandlerContext) -> list[str]:
    """What the worker host has imported by now, when it has done some of all that contexts ask for."""
    ctx.now()
    ctx.side_effect("nothing", lambda: None)
    ctx.sleep(0.001)
    return sorted(sys.modules)


async def loaded_modules_async(ctx: AsyncHandlerContext) -> list[str]:
    async def nothing() -> None:
        return None

    await ctx.now()
    await ctx.side_effect("nothing", nothing)
    await ctx.sleep(0.001)
    return sorted(sys.modules)
