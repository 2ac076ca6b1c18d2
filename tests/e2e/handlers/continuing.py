"""Handlers that go on in a new run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from world import happened, pass_gate

from tempolite_sdk import (
    AsyncHandlerContext,
    AsyncSideEffectContext,
    Cancelled,
    CompensationContext,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    TransactionContext,
)

ONCE = RetryPolicy(maximum_attempts=1)


def charge(ctx: SideEffectContext) -> str:
    happened(ctx.operation_id)
    return ctx.operation_id


async def charge_async(ctx: AsyncSideEffectContext) -> str:
    return charge(ctx)  # type: ignore[arg-type]


def months(ctx: HandlerContext, until: int, month: int = 1) -> int:
    """A run for each."""
    ctx.side_effect("charge", charge)
    if month < until:
        return ctx.continue_as_new(until, month=month + 1)
    return month


async def months_async(ctx: AsyncHandlerContext, until: int, month: int = 1) -> int:
    await ctx.side_effect("charge", charge_async)
    if month < until:
        return await ctx.continue_as_new(until, month=month + 1)
    return month


def pays(ctx: HandlerContext, until: int) -> int:
    """Waits for a child that is continued."""
    return ctx.wait_for_completion(ctx.enqueue(months, until))


def collect(ctx: HandlerContext, until: int, per_run: int, taken: int = 0, total: int = 0) -> list[int]:
    """Adds up the numbers that it is sent, so many in a run."""
    for _ in range(per_run):
        total += ctx.receive_signal("number", int)
        taken += 1
        if taken == until:
            return [taken, total]
    ctx.send_signal("so far", taken)
    return ctx.continue_as_new(until, per_run, taken, total)


async def collect_async(
    ctx: AsyncHandlerContext, until: int, per_run: int, taken: int = 0, total: int = 0
) -> list[int]:
    for _ in range(per_run):
        total += await ctx.receive_signal("number", int)
        taken += 1
        if taken == until:
            return [taken, total]
    await ctx.send_signal("so far", taken)
    return await ctx.continue_as_new(until, per_run, taken, total)


@dataclass
class Deposit(SagaStep):
    amount: int

    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.execution_id} deposits")

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.execution_id} withdraws")


def refused(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def misuse(ctx: HandlerContext, word: str) -> list[str]:
    return [
        refused(lambda: ctx.continue_as_new(word, "too many")),
        refused(lambda: ctx.continue_as_new(7)),
        refused(lambda: ctx.side_effect("inside", lambda: ctx.continue_as_new(word), retry=ONCE)),
    ]


def deposit(ctx: SagaContext, amount: int) -> str:
    ctx.step(Deposit(amount))
    return refused(lambda: ctx.continue_as_new(amount))


def cleans_up(ctx: HandlerContext, again: bool) -> str:
    try:
        if again:
            ctx.continue_as_new(again=False)
        return "done"
    except BaseException as error:
        happened(type(error).__name__)
        raise
    finally:
        happened(f"cleaned up {again}")


def meets_cancel(ctx: HandlerContext, run: int = 1) -> str:
    happened(f"{ctx.execution_id} run {run}")
    pass_gate(ctx.execution_id)
    try:
        return ctx.continue_as_new(run + 1)
    except Cancelled:
        return f"cancelled in run {run}"
