"""Handlers and side effects that fail, take too long, or wait for their turn."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from world import happened, pass_gate, times

from tempolite_sdk import (
    AsyncHandlerContext,
    ExecutionFailed,
    HandlerContext,
    NonRetryable,
    RetryAfter,
    RetryPolicy,
    SagaContext,
    SideEffectContext,
    SideEffectFailed,
    WaitTimeout,
)

AT_ONCE = RetryPolicy(maximum_attempts=3, initial_interval=0.001)
ONCE = RetryPolicy(maximum_attempts=1)


class Transient(Exception):
    pass


class Declined(Transient):
    pass


def fail_until(ctx: HandlerContext, attempt: int) -> int:
    """Succeeds in that attempt."""
    value = ctx.side_effect("paid", lambda: happened(f"{ctx.execution_id} paid") or 42)
    happened(f"{ctx.execution_id} runs")
    if ctx.attempt < attempt:
        raise Transient(f"attempt {ctx.attempt}")
    return value


class Unreadable(Transient):
    """None of its fields can be read, nor its class."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


def fail_with(ctx: HandlerContext, error: str, inside: bool = False) -> None:
    def fail() -> None:
        raise errors[error]

    errors: dict[str, Exception] = {
        "Declined": Declined("no"),
        "NonRetryable": NonRetryable("never again"),
        "Group": ExceptionGroup("several", [Transient("no"), ExceptionGroup("more", [NonRetryable("never again")])]),
        "Unreadable": Unreadable(),
    }
    if inside:
        ctx.side_effect("fails", fail, retry=ONCE)
    fail()


def fail_politely(ctx: HandlerContext) -> str:
    if ctx.attempt < 3:
        raise RetryAfter(0.01, "in a moment")
    return "done"


def quick(_ctx: HandlerContext, value: int = 1) -> int:
    return value


# --- side effects


def flaky_side_effect(ctx: HandlerContext, failures: int, *, then_fail: bool = False) -> str:
    def effect(inner: SideEffectContext) -> str:
        happened(inner.operation_id)
        if inner.attempt <= failures:
            raise Transient(f"attempt {inner.attempt}")
        return f"after {inner.attempt} attempts"

    try:
        told = ctx.side_effect("flaky", effect, retry=AT_ONCE)
    except SideEffectFailed as error:
        return f"{error.attempts} attempts: {error.failure.type}: {error.failure.message}"
    if then_fail and ctx.attempt < 3:
        raise Transient("after the side effect")
    return told


def side_effect_by_config(ctx: HandlerContext) -> None:
    def effect() -> None:
        happened(f"{ctx.execution_id} effect")
        raise Transient("always")

    ctx.side_effect("flaky", effect)


def child(ctx: HandlerContext, name: str) -> str:
    happened(f"{name} child")
    if times(f"{name} child") < 3:
        raise Transient("not yet")
    return ctx.execution_id


def side_effect_with_child(ctx: HandlerContext) -> str:
    """A child that failed is no use to the next attempt of the side effect: it makes another."""

    def effect() -> str:
        made = ctx.options(retry=ONCE).enqueue(child, ctx.execution_id)
        try:
            return ctx.wait_for_completion(made)
        except ExecutionFailed as error:
            happened(f"{ctx.execution_id} saw {error.execution_id} fail")
            raise

    policy = RetryPolicy(maximum_attempts=5, initial_interval=0.001, retry_spent=True)
    return ctx.side_effect("with child", effect, retry=policy)


def call_at_the_bottom(ctx: HandlerContext, root: str, below: int, again: bool) -> None:
    """It always fails. Each level has two attempts, the call itself four."""

    def call() -> None:
        happened(f"{root} call")
        raise Transient("always")

    if below == 0:
        ctx.side_effect("call", call)
    policy = RetryPolicy(maximum_attempts=2, initial_interval=0.001, retry_spent=again)
    made = ctx.options(retry=policy).enqueue(call_at_the_bottom, root, below - 1, again)
    ctx.wait_for_completion(made)


def leave_a_wait_behind(ctx: HandlerContext) -> list[str]:
    """The time of a side effect is up while it waits. With one worker in the pool, the next one needs its slot."""

    def effect() -> None:
        ctx.receive_signal("never mind")

    try:
        ctx.side_effect("waits", effect, retry=ONCE, timeout=0.1)
    except SideEffectFailed as error:
        told = error.failure.type
    received = ctx.receive_signal("word", str)  # the one that the side effect waited for came before it
    return [told, received, ctx.side_effect("next", lambda: "had its slot")]


async def give_up_a_side_effect(ctx: AsyncHandlerContext, where: str) -> list[str]:
    """A task that asks for a side effect is cancelled: in its code, in its backoff, or while it waits for its slot."""

    async def hangs() -> str:
        happened(f"{ctx.execution_id} hangs")
        await asyncio.Event().wait()
        return "never"

    async def fails() -> str:
        happened(f"{ctx.execution_id} fails")
        raise Transient("again")

    slow = RetryPolicy(initial_interval=3_600, maximum_interval=3_600)
    first = asyncio.create_task(ctx.side_effect("first", fails if where == "backoff" else hangs, retry=slow))
    second = asyncio.create_task(ctx.side_effect("second", hangs)) if where == "queue" else first
    await ctx.receive_signal("give up")
    second.cancel()
    first.cancel()
    for task in (first, second):
        try:
            await task
        except asyncio.CancelledError:
            happened(f"{ctx.execution_id} given up")

    async def works() -> str:
        return "had its slot"

    return [await ctx.side_effect("next", works)]


# --- timeouts


def hang(ctx: HandlerContext, *, succeeds_in: int = 1_000_000) -> str:
    happened(f"{ctx.execution_id} runs")
    if ctx.attempt < succeeds_in:
        pass_gate(ctx.execution_id)
    return f"attempt {ctx.attempt}"


def hang_in_side_effect(ctx: HandlerContext, timeout: float | None = None) -> str:
    def effect(inner: SideEffectContext) -> str:
        happened(f"{ctx.execution_id} effect {inner.attempt}")
        if inner.attempt == 1:
            pass_gate(ctx.execution_id)
        return f"attempt {inner.attempt}"

    return ctx.side_effect("hangs", effect, timeout=timeout, retry=AT_ONCE)


def wait_long(ctx: HandlerContext) -> None:
    ctx.receive_signal("never")


def parent(ctx: HandlerContext) -> list[datetime | None]:
    """Deadlines: its own, its child's, and that of a child with a shorter one."""
    inherited = ctx.enqueue(deadline)
    shorter = ctx.options(max_duration=5).enqueue(deadline)
    longer = ctx.options(max_duration=3_600).enqueue(deadline)
    return [ctx.deadline, *(ctx.wait_for_completion(each) for each in (inherited, shorter, longer))]


def deadline(ctx: HandlerContext) -> datetime | None:
    return ctx.deadline


def wait_for_a_slow_child(ctx: HandlerContext) -> None:
    ctx.wait_for_completion(ctx.options(id=f"{ctx.execution_id}.child").enqueue(wait_long))


def count_with_heartbeats(ctx: HandlerContext) -> list[int]:
    """Stops in the middle of its first attempt, and goes on where it was."""
    begun_at = ctx.heartbeat_details(int) or 0
    for number in range(begun_at, 10):
        ctx.heartbeat(number)
        if number == 5 and ctx.attempt == 1:
            pass_gate(ctx.execution_id)
    return [ctx.attempt, begun_at]


def wait_without_heartbeats(ctx: HandlerContext) -> str:
    def effect(inner: SideEffectContext) -> str:
        if inner.attempt == 1:
            raise RetryAfter(1.8)
        return "well"

    told = ctx.side_effect("backoff", effect)
    try:
        ctx.receive_signal("never", timeout=1.8)
    except WaitTimeout:
        return told
    return "not reached"


# --- turns


def take_turn(ctx: HandlerContext, name: str) -> None:
    happened(f"turn of {name}")
    pass_gate(name)
    ctx.side_effect("effect", lambda: happened(f"effect of {name}"))


def take_turn_in_saga(_ctx: SagaContext, name: str) -> None:
    happened(f"turn of {name}")
    pass_gate(name)
