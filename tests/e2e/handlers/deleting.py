"""Executions with something below them and beside them, to be deleted."""

from __future__ import annotations

from tempolite_sdk import HandlerContext


def leaf(_ctx: HandlerContext, number: int) -> int:
    return number


def family(ctx: HandlerContext, count: int) -> int:
    children = [ctx.enqueue(leaf, number) for number in range(count)]
    return sum(ctx.wait_for_completion(child) for child in children)


def waits(ctx: HandlerContext, other: str) -> int:
    """What another execution ended with, as a replay finds it after the signal."""
    answer: int = ctx.wait_for_completion(other)
    ctx.receive_signal("go")
    return answer


def records(ctx: HandlerContext, count: int, size: int) -> int:
    for number in range(count):
        ctx.side_effect(f"e{number}", lambda: "x" * size)
    return count


def hears(ctx: HandlerContext) -> str:
    return ctx.receive_signal("word", str)
