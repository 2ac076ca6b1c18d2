"""Handlers that hand on what they are given, by every way there is."""

from __future__ import annotations

from tempolite_sdk import HandlerContext


def hand_back(ctx: HandlerContext, data: str) -> str:
    return ctx.side_effect("the same", lambda: data)


def hand_on(ctx: HandlerContext, data: str) -> str:
    """To a child, and what came back to whoever listens."""
    same = ctx.wait_for_completion(ctx.enqueue(hand_back, data))
    ctx.send_signal("handed on", same)
    return same
