"""Handlers that do next to nothing."""

from __future__ import annotations

from tempolite_sdk import AsyncHandlerContext, HandlerContext


def echo(_ctx: HandlerContext, value: int) -> int:
    return value


async def echo_async(_ctx: AsyncHandlerContext, value: int) -> int:
    return value


def answer(ctx: HandlerContext, value: int) -> int:
    """Waits for a signal and adds it."""
    return value + ctx.receive_signal("more", int)
