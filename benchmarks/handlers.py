"""The handlers that are measured. They do nothing, so that what is measured is the node."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tempolite_sdk import (
    AsyncHandlerContext,
    CompensationContext,
    HandlerContext,
    SagaContext,
    SagaStep,
    TransactionContext,
)


def noop(_ctx: HandlerContext) -> None:
    pass


def echo(_ctx: HandlerContext, value: str) -> str:
    return value


def _one() -> int:
    return 1


async def _one_async() -> int:
    return 1


def side_effects(ctx: HandlerContext, count: int) -> int:
    return sum(ctx.side_effect(f"k{number}", _one) for number in range(count))


async def side_effects_async(ctx: AsyncHandlerContext, count: int) -> int:
    total = 0
    for number in range(count):
        total += await ctx.side_effect(f"k{number}", _one_async)
    return total


@dataclass
class Step(SagaStep):
    number: int

    def transaction(self, ctx: TransactionContext) -> None:
        pass

    def compensation(self, ctx: CompensationContext) -> None:
        pass


def saga(ctx: SagaContext, steps: int) -> None:
    for number in range(steps):
        ctx.step(Step(number))


def parent(ctx: HandlerContext, children: int) -> int:
    handles = [ctx.enqueue(noop) for _ in range(children)]
    for handle in handles:
        ctx.wait_for_completion(handle)
    return children


async def parent_async(ctx: AsyncHandlerContext, children: int) -> int:
    for _ in range(children):
        await ctx.wait_for_completion(await ctx.enqueue(noop))
    return children


def wait_for_signal(ctx: HandlerContext) -> float:
    """Returns when it was woken, on the clock that all processes of a machine share."""
    ctx.receive_signal("go")
    return time.monotonic()


def slow(_ctx: HandlerContext, seconds: float) -> None:
    time.sleep(seconds)
