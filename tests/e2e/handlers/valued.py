"""Values of all kinds at every place where one is written, and keys that are used twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from msgspec import Meta
from world import happened

from tempolite_sdk import (
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSideEffectContext,
    CompensationContext,
    ContextMisuse,
    HandlerContext,
    InvalidArgument,
    SagaContext,
    SagaStep,
    SideEffectContext,
    SideEffectFailed,
    StepFailed,
    TransactionContext,
)

NAN = float("nan")


@dataclass
class Quote:
    price: Decimal


def quote(sku: str) -> Quote:
    return Quote(Decimal(len(sku)))


@dataclass
class Noted(SagaStep):
    charge: str = ""
    receipt: Any = None

    def transaction(self, _ctx: TransactionContext) -> None:
        happened("charged")
        self.charge, self.receipt = "charge-1", Decimal("1.5")

    def compensation(self, _ctx: CompensationContext) -> None:
        happened(f"refunded {self.charge}")


def echo(_ctx: HandlerContext, value: Any) -> Any:
    return value


def counted(_ctx: HandlerContext, number: Annotated[int, Meta(ge=0)]) -> int:
    return number


def told(call: Any) -> str:
    try:
        return repr(call())
    except (InvalidArgument, SideEffectFailed, ContextMisuse) as error:
        return f"{type(error).__name__}: {error}"


def write(ctx: HandlerContext) -> dict[str, str]:
    """What comes of a value at each place that takes one."""
    return {
        "side effect": told(lambda: ctx.side_effect("now", lambda: datetime.now(UTC))),
        "side effect, typed": told(lambda: ctx.side_effect("then", lambda: datetime(2024, 1, 1), type=datetime)),
        "side effect of a partial": told(lambda: ctx.side_effect("quote", partial(quote, "tea"))),
        "child": told(lambda: ctx.enqueue(echo, {"rate": NAN})),
        "child, constrained": told(lambda: ctx.enqueue(counted, -1)),
        "child by name": told(lambda: ctx.enqueue("elsewhere", {"rate": NAN})),
        "signal": told(lambda: ctx.send_signal("progress", {"rate": NAN})),
        "heartbeat": told(lambda: ctx.heartbeat([NAN])),
    }


async def write_async(ctx: AsyncHandlerContext) -> dict[str, str]:
    async def asked(awaitable: Any) -> str:
        try:
            return repr(await awaitable)
        except (InvalidArgument, SideEffectFailed) as error:
            return f"{type(error).__name__}: {error}"

    async def now() -> Any:
        return datetime.now(UTC)

    return {
        "side effect": await asked(ctx.side_effect("now", now)),
        "child": await asked(ctx.enqueue(echo, {"rate": NAN})),
        "signal": await asked(ctx.send_signal("progress", {"rate": NAN})),
        "heartbeat": await asked(ctx.heartbeat([NAN])),
    }


def end_with_quote(_ctx: HandlerContext):  # type: ignore[no-untyped-def]
    happened("ended")
    return Quote(Decimal(1))


def end_with_tuple(_ctx: HandlerContext) -> Any:
    return (1, 2)


def charge(ctx: SagaContext) -> None:
    ctx.step(Noted())


def use_twice(ctx: HandlerContext) -> list[int]:
    return [ctx.side_effect("k", lambda i=i: i) for i in range(3)]


async def use_twice_async(ctx: AsyncHandlerContext) -> list[int]:
    async def number(i: int) -> int:
        return i

    return [await ctx.side_effect("k", partial(number, i)) for i in range(3)]


def use_twice_in_saga(ctx: SagaContext) -> list[int]:
    return [ctx.side_effect("k", lambda i=i: i) for i in range(3)]


async def use_twice_inside(ctx: AsyncSagaContext) -> Any:
    async def outer(inner: AsyncSideEffectContext) -> list[int]:
        async def number(i: int) -> int:
            return i

        return [await inner.side_effect("k", partial(number, i)) for i in range(3)]

    return await ctx.side_effect("outer", outer)


def use_again(ctx: HandlerContext, order: Quote) -> list[int]:
    """The same side effect under its key, from two places: what it captured is equal, and made again each time."""

    def price() -> int:
        same = Quote(order.price)

        def asked() -> int:
            happened("asked")
            return int(same.price)

        return ctx.side_effect("price", asked)

    def outer(inner: SideEffectContext) -> int:
        if inner.attempt == 1:
            inner.side_effect("number", lambda: inner.attempt)
            raise RuntimeError("once more, as another run of it")
        return inner.side_effect("number", lambda: inner.attempt)

    return [price(), price(), ctx.side_effect("outer", outer)]


def go_on(ctx: HandlerContext) -> list[Any]:
    """Of an earlier version: it has done, before its wait and after, what is refused in new executions."""
    before = [ctx.side_effect("k", lambda i=i: i) for i in range(3)]
    seen = ctx.side_effect("quote", partial(quote, "tea"))
    ctx.receive_signal("go")
    return [before, seen, ctx.side_effect("rate", lambda: NAN), [ctx.side_effect("l", lambda i=i: i) for i in range(2)]]


# --- what has run, and left what can't be stored


class Odd:
    """Its own code fails when it is written."""

    def model_dump(self, mode: str) -> Any:
        raise KeyError(mode)


LEFT = {"object": object(), "nan": NAN, "too large": "x" * 3_000_000, "odd": Odd()}


@dataclass
class Leave(SagaStep):
    id: str
    left: Any = None

    def transaction(self, _ctx: TransactionContext) -> None:
        happened(f"{self.id} ran")
        self.left = LEFT[self.id.rpartition(".")[2].replace("_", " ")]

    def compensation(self, _ctx: CompensationContext) -> None:
        happened(f"{self.id} undone")


def leave(ctx: HandlerContext, place: str, what: str) -> Any:
    """Runs, and leaves what can't be stored. Whatever it catches, it wants to be tried again."""

    def run() -> Any:
        happened(f"{ctx.execution_id} ran")
        return LEFT[what]

    if place == "side effect":
        try:
            ctx.side_effect("leave", run)
        except SideEffectFailed:
            raise RuntimeError("try it again") from None
    left = run()
    if place == "heartbeat":
        ctx.heartbeat(left)
    if place == "child":
        ctx.enqueue(echo, left)
    return left


async def leave_async(ctx: AsyncHandlerContext, place: str, what: str) -> Any:
    async def run() -> Any:
        happened(f"{ctx.execution_id} ran")
        return LEFT[what]

    if place == "side effect":
        try:
            await ctx.side_effect("leave", run)
        except SideEffectFailed:
            raise RuntimeError("try it again") from None
    left = await run()
    if place == "heartbeat":
        await ctx.heartbeat(left)
    if place == "child":
        await ctx.enqueue(echo, left)
    return left


def leave_step(ctx: SagaContext) -> None:
    try:
        ctx.step(Leave(ctx.execution_id))
    except StepFailed:
        raise RuntimeError("try it again") from None
