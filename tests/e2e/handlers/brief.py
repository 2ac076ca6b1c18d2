"""The example of the brief: a handler that waits for a saga, whose side effect waits for another handler."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from world import happened

from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncSideEffect,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    CompensationContext,
    HandlerContext,
    NonRetryable,
    SagaContext,
    SagaStep,
    SideEffect,
    SideEffectContext,
    TransactionContext,
)


def handler_side(_ctx: HandlerContext, param: int) -> int:
    return 40 + param


@dataclass
class SomeSagaStep(SagaStep):
    name: str
    ticket: str = ""  #: made by the transaction, and known to the compensation

    def transaction(self, ctx: TransactionContext) -> None:
        happened(ctx.operation_id)
        self.ticket = f"ticket of {self.name}"

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.operation_id} {self.ticket}")


@dataclass
class SomeSideEffect(SideEffect[str]):
    def run(self, ctx: SideEffectContext) -> str:
        happened(ctx.operation_id)
        return "result!!!"


def saga_handler(ctx: SagaContext, param: int, *, fails: bool = False) -> str:
    def ask_another(inner: SideEffectContext) -> int:
        side = ctx.enqueue(handler_side, param)
        answer = ctx.wait_for_completion(side)
        happened(inner.operation_id)
        return answer

    answer = ctx.side_effect("unique_key", ask_another)
    first = ctx.step(SomeSagaStep("first"))
    second = ctx.step(SomeSagaStep("second"))
    if fails:
        raise NonRetryable("it was not meant to be")
    return f"{answer}, {first.ticket}, {second.ticket}"


def handler(ctx: HandlerContext, param: int) -> str:
    saga = ctx.enqueue(saga_handler, param)
    said = ctx.wait_for_completion(saga)
    result = ctx.side_effect("unique_key", SomeSideEffect())
    payload = ctx.receive_signal("wait-input", str)
    return f"{said}; {result}; something with {payload}"


# --- its twin, which does all at once that may be


@dataclass
class SomeAsyncSagaStep(AsyncSagaStep):
    name: str
    ticket: str = ""

    async def transaction(self, ctx: AsyncTransactionContext) -> None:
        happened(ctx.operation_id)
        self.ticket = f"ticket of {self.name}"

    async def compensation(self, ctx: AsyncCompensationContext) -> None:
        happened(f"{ctx.operation_id} {self.ticket}")


@dataclass
class SomeAsyncSideEffect(AsyncSideEffect[str]):
    async def run(self, ctx: AsyncSideEffectContext) -> str:
        happened(ctx.operation_id)
        return "result!!!"


async def async_saga_handler(ctx: AsyncSagaContext, param: int) -> str:
    async def ask_another(inner: AsyncSideEffectContext) -> int:
        side = await ctx.enqueue(handler_side, param)
        answer = await ctx.wait_for_completion(side)
        happened(inner.operation_id)
        return answer

    answer, first, second = await asyncio.gather(
        ctx.side_effect("unique_key", ask_another),
        ctx.step(SomeAsyncSagaStep("first")),
        ctx.step(SomeAsyncSagaStep("second")),
    )
    return f"{answer}, {first.ticket}, {second.ticket}"


async def async_handler(ctx: AsyncHandlerContext, param: int) -> str:
    async def ask_saga() -> str:
        return await ctx.wait_for_completion(await ctx.enqueue(async_saga_handler, param))

    said, result, payload = await asyncio.gather(
        ask_saga(),
        ctx.side_effect("unique_key", SomeAsyncSideEffect()),
        ctx.receive_signal("wait-input", str),
    )
    return f"{said}; {result}; something with {payload}"


def chain(ctx: HandlerContext, depth: int) -> int:
    """Waits for itself, one level deeper, until the bottom."""
    if depth == 0:
        return 0
    return 1 + ctx.wait_for_completion(ctx.enqueue(chain, depth - 1))
