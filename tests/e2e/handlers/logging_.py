"""Handlers that log, and some that log without end."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass

from world import happened, pass_gate

from tempolite_sdk import (
    AsyncHandlerContext,
    CompensationContext,
    HandlerContext,
    NonRetryable,
    SagaContext,
    SagaStep,
    TransactionContext,
)

log = logging.getLogger("shop")
log.info("the module is imported")


def quick(_ctx: HandlerContext, value: int = 1) -> int:
    return value


def tell(ctx: HandlerContext) -> None:
    """Waits twice. What it logs before is not to be logged again by replay."""
    log.info("it begins", extra={"sku": "x"})
    ctx.side_effect("price", lambda: log.info("in a side effect"))
    ctx.side_effect("timed", lambda: log.info("in a thread of its own"), timeout=60)
    log.info("before the signal")
    ctx.logger.info("by the context")
    ctx.receive_signal("go")
    log.info("after the first signal")
    ctx.receive_signal("go")
    log.info("after the second signal")


async def tell_async(ctx: AsyncHandlerContext) -> None:
    log.info("it begins")

    async def effect() -> None:
        log.info("in a side effect")

    await asyncio.gather(ctx.side_effect("one", effect), ctx.side_effect("two", effect))
    await ctx.receive_signal("go")
    await ctx.side_effect("three", lambda: asyncio.to_thread(log.info, "after the signal"))


@dataclass
class Reserve(SagaStep):
    sku: str

    def transaction(self, ctx: TransactionContext) -> None:  # noqa: ARG002
        log.info("reserving")

    def compensation(self, ctx: CompensationContext) -> None:
        log.info("before the wait of the compensation")
        ctx.sleep(0.01)
        log.info("after the wait of the compensation")


def tell_saga(ctx: SagaContext) -> None:
    ctx.side_effect("price", lambda: 1)
    ctx.step(Reserve("x"))
    raise NonRetryable("sold out")


def crash(_ctx: HandlerContext) -> None:
    log.error("the last word")
    os._exit(3)


def fail(_ctx: HandlerContext) -> None:
    raise NonRetryable("no such sku")


def stay(ctx: HandlerContext) -> None:
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)


def flood(ctx: HandlerContext) -> None:
    """Tells when it has logged more than all pipes and queues take."""
    for _ in range(10_000):
        log.info("x" * 200)
    happened(f"{ctx.execution_id} has flooded")
    while not ctx.cancelled:
        log.info("x" * 200)
    ctx.now()
