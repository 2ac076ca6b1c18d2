"""Executions that stop others, and others that do not go quietly."""

from __future__ import annotations

from dataclasses import dataclass

from world import happened, pass_gate

from tempolite_sdk import (
    AsyncHandlerContext,
    AsyncSideEffectContext,
    Cancelled,
    CompensationContext,
    ExecutionCancelled,
    HandlerContext,
    NotFound,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    SideEffectFailed,
    TransactionContext,
)


def wait(ctx: HandlerContext) -> str:
    try:
        return ctx.receive_signal("word", str)
    except Cancelled as cancelled:
        happened(f"{ctx.execution_id} was told {cancelled.reason!r}")
        pass_gate(f"{ctx.execution_id} goes on")
        happened(f"{ctx.execution_id} cleaned up")
        raise


def cancel_child(ctx: HandlerContext) -> list[str]:
    child = ctx.enqueue(wait)
    ctx.cancel(child, "not needed")
    told = []
    try:
        ctx.wait_for_completion(child)
    except ExecutionCancelled as error:
        told.append(str(error.failure))
    ctx.cancel(child, "it has ended")
    try:
        ctx.cancel("nobody")
    except NotFound as error:
        told.append(str(error))
    if ctx.attempt == 1:
        raise RuntimeError("once more")
    return told


async def cancel_child_async(ctx: AsyncHandlerContext) -> list[str]:
    child = await ctx.enqueue(wait)
    await ctx.cancel(child, "not needed")
    told = []
    try:
        await ctx.wait_for_completion(child)
    except ExecutionCancelled as error:
        told.append(str(error.failure))
    await ctx.cancel(child.id, "it has ended")
    try:
        await ctx.cancel("nobody")
    except NotFound as error:
        told.append(str(error))
    if ctx.attempt == 1:
        raise RuntimeError("once more")
    return told


# --- terminated


def cling(ctx: HandlerContext) -> None:
    """Has operations in its cleanup."""
    try:
        happened(f"{ctx.execution_id} runs")
        pass_gate(ctx.execution_id)
        ctx.now()
    finally:
        cling_on(ctx)


def cling_on(ctx: HandlerContext) -> None:
    for name, operation in (
        ("side effect", lambda: ctx.side_effect("last", lambda: happened(f"{ctx.execution_id} ran a side effect"))),
        ("child", lambda: ctx.enqueue(wait)),
        ("heartbeat", ctx.heartbeat),
    ):
        try:
            operation()
        except BaseException:
            happened(f"{ctx.execution_id} has no {name} any more")


async def cling_async(ctx: AsyncHandlerContext) -> None:
    try:
        happened(f"{ctx.execution_id} runs")
        await ctx.receive_signal("word")
    finally:
        await cling_on_async(ctx)


async def cling_on_async(ctx: AsyncHandlerContext) -> None:
    async def last() -> None:
        happened(f"{ctx.execution_id} ran a side effect")

    for name, operation in (
        ("side effect", lambda: ctx.side_effect("last", last)),
        ("child", lambda: ctx.enqueue(wait)),
        ("heartbeat", ctx.heartbeat),
    ):
        try:
            await operation()
        except BaseException:
            happened(f"{ctx.execution_id} has no {name} any more")


# --- timed


def wait_inside(ctx: SideEffectContext) -> str:
    happened(f"{ctx.operation_id} attempt {ctx.attempt}")
    return ctx.receive_signal("word", str)


def wait_in_time(ctx: HandlerContext, timeout: float) -> str:
    try:
        return ctx.side_effect("wait", wait_inside, timeout=timeout, retry=RetryPolicy(maximum_attempts=1))
    except SideEffectFailed as error:
        return error.failure.type


async def wait_inside_async(ctx: AsyncSideEffectContext) -> str:
    happened(f"{ctx.operation_id} attempt {ctx.attempt}")
    return await ctx.receive_signal("word", str)


async def wait_in_time_async(ctx: AsyncHandlerContext, timeout: float) -> str:
    try:
        policy = RetryPolicy(maximum_attempts=1)
        return await ctx.side_effect("wait", wait_inside_async, timeout=timeout, retry=policy)
    except SideEffectFailed as error:
        return error.failure.type


# --- undone


@dataclass
class Rent(SagaStep):
    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.execution_id} rented")

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.execution_id} gave back")


def rent_and_fail(ctx: SagaContext) -> None:
    ctx.step(Rent())
    child = ctx.options(id=f"{ctx.execution_id}.child", close_policy="request_cancel").enqueue(wait)
    ctx.receive_signal("go")
    raise ValueError(f"{child.id} goes on")
