"""Sagas whose steps tell the world what they do and undo."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from world import happened, pass_gate, times

from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    Cancelled,
    CompensationContext,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    StepFailed,
    TransactionContext,
)

ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class Do(SagaStep):
    name: str
    fails: bool = False
    receipt: str = ""  #: made by the transaction
    tries: int = 0

    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.execution_id} did {self.name}")
        self.receipt = f"receipt of {self.name}"
        if self.fails:
            raise ValueError(f"{self.name} failed")

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.execution_id} undid {self.name} by {self.receipt!r}")


class DoAndTell(Do):
    """A transaction of it that failed may have taken effect."""

    compensate_on_failure = True


@dataclass
class NoteBadly(Do):
    """Takes effect, and notes what can't be stored, or is too large."""

    size: int = 0

    def transaction(self, ctx: TransactionContext) -> None:
        super().transaction(ctx)
        self.receipt = "x" * self.size if self.size else object()  # type: ignore[assignment]


@dataclass
class DoInTime(Do):
    """Stops in its transaction, at a gate."""

    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.operation_id} attempt {ctx.attempt}")
        pass_gate(ctx.execution_id)
        super().transaction(ctx)


@dataclass
class Crash(Do):
    """Kills its worker host, in the middle of what it does."""

    times: int = 1_000_000

    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.operation_id} begun")
        if times(f"{ctx.operation_id} begun") <= self.times:
            os._exit(7)
        super().transaction(ctx)


@dataclass
class UndoHardly(Do):
    """Its compensation fails until the world lets it."""

    failures: int = 1_000_000

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.operation_id} attempt {ctx.attempt}")
        value = ctx.side_effect("prepare", lambda: happened(f"{ctx.operation_id} prepared") or 1)
        assert value == 1
        if ctx.attempt <= self.failures and not times(f"{ctx.execution_id} may be undone"):
            raise ConnectionError("the bank does not answer")
        super().compensation(ctx)


@dataclass
class UndoInTime(Do):
    """Stops in its compensation, at a gate."""

    def compensation(self, ctx: CompensationContext) -> None:
        happened(f"{ctx.operation_id} attempt {ctx.attempt}")
        pass_gate(ctx.execution_id)
        super().compensation(ctx)


@dataclass
class UndoTogether(Do):
    """Its compensation needs others: a child, a signal, a while."""

    def compensation(self, ctx: CompensationContext) -> None:
        helped = ctx.wait_for_completion(ctx.enqueue(help_out, self.name))
        approved = ctx.receive_signal("approve", str)
        ctx.sleep(0.01)
        happened(f"{ctx.execution_id} undid {self.name} with {helped}, {approved}")


def help_out(_ctx: HandlerContext, name: str) -> str:
    return f"help for {name}"


def wait_inside(ctx: SideEffectContext) -> str:
    return ctx.receive_signal("word", str)


@dataclass
class DoSlowly(Do):
    """Has taken effect, and is not through with it when a cancel comes."""

    how: str = "waiting"

    def transaction(self, ctx: TransactionContext) -> None:
        super().transaction(ctx)
        if self.how == "waiting":
            ctx.receive_signal("word", str)
        elif self.how == "in a side effect":
            ctx.side_effect("word", wait_inside)
        elif self.how == "running":
            pass_gate(ctx.execution_id)
            ctx.now()
        else:
            try:
                ctx.receive_signal("word", str)
            except Cancelled:
                happened(f"{ctx.execution_id} has cleaned up")
            raise RuntimeError("no word came")


@dataclass
class NoteOnce(DoAndTell):
    """Notes what it did the first time alone."""

    def transaction(self, ctx: TransactionContext) -> None:
        if ctx.attempt == 1:
            super().transaction(ctx)
        raise ValueError(f"attempt {ctx.attempt}")


# --- sagas


def be_interrupted(ctx: SagaContext, how: str) -> None:
    ctx.step(Do("before"))
    ctx.step(DoSlowly("slow", how=how))


def note_once(ctx: SagaContext) -> None:
    """Catches its step's failure, and is retried for another one."""
    try:
        ctx.step(NoteOnce("once"))
    except StepFailed as error:
        raise RuntimeError(f"not that way: {error}") from None


def in_turn(ctx: SagaContext, steps: int, fails_at: int | None = None) -> list[str]:
    return [ctx.step(Do(f"step {number}", fails=number == fails_at)).receipt for number in range(steps)]


def fail_after(ctx: SagaContext, attempts: int) -> str:
    """Its steps are done once, however often it is tried."""
    first = ctx.step(Do("first"))
    if ctx.attempt <= attempts:
        raise ValueError(f"attempt {ctx.attempt}")
    return f"{first.receipt}, {ctx.step(Do('second')).receipt}"


def two_of_a_kind(ctx: SagaContext) -> None:
    """One that failed for sure, and one that may have taken effect."""
    ctx.step(Do("sure"))
    for step in (Do("failed", fails=True), DoAndTell("in doubt", fails=True)):
        try:
            ctx.step(step)
        except StepFailed as error:
            happened(f"{ctx.execution_id} {error.key} raised {error.failure.type}")
    raise ValueError("enough")


def note_badly(ctx: SagaContext, size: int) -> None:
    ctx.step(Do("before"))
    ctx.step(NoteBadly("in the middle", size=size))


def catch_and_go_on(ctx: SagaContext) -> str:
    """A failed step is not the end of a saga that knows another way."""
    try:
        ctx.step(Do("by plane", fails=True))
    except StepFailed:
        ctx.step(Do("by train"))
    return "there"


def stop_in_the_middle(ctx: SagaContext) -> str:
    ctx.step(Do("before"))
    ctx.step(DoInTime("in the middle"))
    ctx.step(Do("after"))
    return "through"


def crash_in_the_middle(ctx: SagaContext, crashes: int) -> str:
    ctx.step(Do("before"))
    ctx.step(Crash("in the middle", times=crashes))
    return "through"


def undo_hardly(ctx: SagaContext, failures: int = 1_000_000) -> None:
    ctx.step(Do("first"))
    ctx.step(UndoHardly("hard", failures=failures))
    ctx.step(Do("last"))
    raise ValueError("undo it all")


def undo_in_time(ctx: SagaContext) -> None:
    ctx.step(Do("first"))
    ctx.step(UndoInTime("slow"))
    raise ValueError("undo it all")


def undo_together(ctx: SagaContext) -> None:
    ctx.step(Do("first"))
    ctx.step(UndoTogether("together"))
    raise ValueError("undo it all")


def wait_after_steps(ctx: SagaContext) -> str:
    ctx.step(Do("first"))
    ctx.step(Do("second"))
    try:
        return ctx.receive_signal("word", str)
    except Cancelled:
        ctx.step(Do("a step after the cancel"))
        raise


# --- and asynchronous


@dataclass
class DoAsync(AsyncSagaStep):
    name: str
    fails: bool = False
    receipt: str = ""

    async def transaction(self, ctx: AsyncTransactionContext) -> None:
        await ctx.sleep(0.01)
        happened(f"{ctx.execution_id} did {self.name}")
        self.receipt = f"receipt of {self.name}"
        if self.fails:
            raise ValueError(f"{self.name} failed")

    async def compensation(self, ctx: AsyncCompensationContext) -> None:
        await ctx.sleep(0.01)
        happened(f"{ctx.execution_id} undid {self.name} by {self.receipt!r}")


async def in_turn_async(ctx: AsyncSagaContext, steps: int, fails_at: int | None = None) -> list[str]:
    return [(await ctx.step(DoAsync(f"step {number}", fails=number == fails_at))).receipt for number in range(steps)]


async def wait_inside_async(ctx: AsyncSideEffectContext) -> str:
    return await ctx.receive_signal("word", str)


@dataclass
class DoSlowlyAsync(DoAsync):
    how: str = "waiting"

    async def transaction(self, ctx: AsyncTransactionContext) -> None:
        await super().transaction(ctx)
        if self.how == "waiting":
            await ctx.receive_signal("word", str)
        elif self.how == "in a side effect":
            await ctx.side_effect("word", wait_inside_async)
        elif self.how == "running":
            await asyncio.to_thread(pass_gate, ctx.execution_id)
            await ctx.now()
        else:
            try:
                await ctx.receive_signal("word", str)
            except Cancelled:
                happened(f"{ctx.execution_id} has cleaned up")
            raise RuntimeError("no word came")


async def be_interrupted_async(ctx: AsyncSagaContext, how: str) -> None:
    await ctx.step(DoAsync("before"))
    await ctx.step(DoSlowlyAsync("slow", how=how))


async def in_parallel(ctx: AsyncSagaContext) -> None:
    """The second one waits for a signal, and so ends after the third."""

    async def second() -> None:
        await ctx.step(DoSlowlyAsync("second"), key="second")

    async def third() -> None:
        await ctx.step(DoAsync("third"), key="third")
        await ctx.send_signal("word", "go", to=ctx.execution_id)

    await ctx.step(DoAsync("first"))
    await asyncio.gather(second(), third())
    raise ValueError("undo it all")
