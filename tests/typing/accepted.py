"""What a type checker must accept, and the types it must see. Checked by test_typing.py, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, assert_type

from tempolite_sdk import (
    AsyncClient,
    AsyncExecutionHandle,
    AsyncHandlerContext,
    AsyncSideEffect,
    AsyncSideEffectContext,
    Begun,
    ChildHandle,
    Client,
    Component,
    Consistency,
    ExecutionError,
    ExecutionHandle,
    ExecutionStatus,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SentSignal,
    SideEffect,
    SideEffectContext,
    Signal,
    Stats,
)


@dataclass
class Order:
    sku: str


@dataclass
class Receipt:
    order_id: str


@dataclass
class Params:
    region: str


def fulfil(ctx: HandlerContext[Params], order: Order, *, express: bool = False) -> Receipt:
    raise NotImplementedError


def place(ctx: SagaContext, order: Order) -> None:
    raise NotImplementedError


async def audit(ctx: AsyncHandlerContext, year: int) -> list[Receipt]:
    raise NotImplementedError


ANSWER = Signal("answer", str)
ORDERED = Signal("ordered", Order)
EITHER: Signal[int | str] = Signal("either", int | str)


def ask(ctx: Annotated[HandlerContext[Params], ANSWER, ORDERED], order: Order) -> str:
    assert_type(ctx.receive_signal(ANSWER), str)
    assert_type(ctx.receive_signal(ANSWER, timeout=3), str)
    assert_type(ctx.receive_signal(EITHER), int | str)
    assert_type(ctx.receive_signal("answer", str), str)
    assert_type(ctx.receive_signal("answer"), Any)
    for ordered in ctx.signals(ORDERED):
        assert_type(ordered, Order)
    ctx.send_signal(ORDERED, order, to="e2")
    ctx.send_signal(EITHER, 5)
    ctx.send_signal("answer")
    assert_type(ctx.params, Params)
    return order.sku


async def ask_later(ctx: Annotated[AsyncHandlerContext, ANSWER]) -> str:
    async for answer in ctx.signals(ANSWER):
        assert_type(answer, str)
    await ctx.send_signal(ANSWER, "yes")
    return assert_type(await ctx.receive_signal(ANSWER), str)


def charge(ctx: HandlerContext, order: Order, cents: int, currency: str = "EUR") -> Receipt:
    raise NotImplementedError


def synchronous(client: Client, order: Order) -> None:
    assert_type(client.enqueue(fulfil, order), ExecutionHandle[Receipt])
    assert_type(client.enqueue(fulfil, order, express=True).result(timeout=5), Receipt)
    assert_type(client.enqueue(place, order), ExecutionHandle[None])
    assert_type(client.enqueue(audit, 2026).result(), list[Receipt])
    assert_type(client.options(priority=3, delay=timedelta(hours=1)).enqueue(audit, year=2026).result(), list[Receipt])
    assert_type(client.enqueue("fulfil", 1, 2).result(), Any)
    assert_type(client.handle("e1", Receipt).result(), Receipt)
    assert_type(client.handle("e1", type=Receipt).result(), Receipt)
    assert_type(client.handle("e1").result(), Any)
    assert_type(client.handle("e1", list[Receipt] | None).result(), Any)
    assert_type(client.enqueue("fulfil", 1, 2).result(type=Receipt), Receipt)
    assert_type(client.enqueue("fulfil", 1, 2).result(5, Receipt), Receipt)
    assert_type(client.handle("e1").receive_signals("progress", 0, Order), Iterator[SentSignal[Order]])
    for signal in client.handle("e1").receive_signals("progress", type=Order):
        assert_type(signal.payload, Order)
    for ordered in client.handle("e1").receive_signals(ORDERED, after=3):
        assert_type(ordered.payload, Order)
    assert_type(client.enqueue(ask, order).send_signal(ORDERED, order), int)
    client.send_signal("e1", EITHER, "five", request_id="r1")
    for execution in client.list(status=[ExecutionStatus.FAILED, "stuck"], handler="fulfil", roots_only=True):
        assert_type(execution.status, ExecutionStatus)
    client.count(status="failed", component=[Component.SAGA, "handler"], handler=["fulfil", "audit"])
    client.list(status={"stuck", "suspended"}, consistency="stale")
    client.list(consistency=Consistency.STALE)
    client.pool("side_effect")
    client.handle("e1").resolve_compensation("mark_done")
    client.options(id="e1", id_conflict="use_existing", id_reuse="allow_duplicate_failed_only")
    assert_type(client.wait(lambda stats: stats.handler.active == 0, timeout=10.0), Stats)


async def asynchronous(client: AsyncClient, order: Order) -> None:
    assert_type(await client.enqueue(fulfil, order), AsyncExecutionHandle[Receipt])
    handle = await client.options(id="e1").enqueue(audit, 2026)
    assert_type(await handle.result(), list[Receipt])
    assert_type(await client.handle("e1", Receipt).result(), Receipt)
    async for signal in handle.receive_signals("progress", type=Order):
        assert_type(signal.payload, Order)
    await handle.send_signal(ANSWER, "yes")
    await client.send_signal("e1", "answer")
    async for ordered in handle.receive_signals(ORDERED):
        assert_type(ordered.payload, Order)
    async for execution in client.list(component="saga"):
        assert_type(execution.status, ExecutionStatus)


def many(client: Client, orders: list[Order]) -> None:
    assert_type(client.enqueue_many(fulfil, [(order,) for order in orders]), list[ExecutionHandle[Receipt]])
    assert_type(client.enqueue_many(charge, [(order, 5) for order in orders]), list[ExecutionHandle[Receipt]])
    assert_type(client.enqueue_many(charge, ((order, 5, "USD") for order in orders)), list[ExecutionHandle[Receipt]])
    assert_type(client.enqueue_many(audit, [(2025,), (2026,)], atomic=True), list[ExecutionHandle[list[Receipt]]])
    assert_type(client.enqueue_many("fulfil", [("tea", 2), ["coffee"]]), list[ExecutionHandle[Any]])


class Rate(SideEffect[float]):
    def run(self, ctx: SideEffectContext) -> float:
        raise NotImplementedError


class AsyncRate(AsyncSideEffect[float]):
    async def run(self, ctx: AsyncSideEffectContext) -> float:
        raise NotImplementedError


def handler(ctx: HandlerContext[Params], order: Order) -> None:
    child = ctx.options(delay=60, priority=3, close_policy="abandon", retry=RetryPolicy(jitter=0)).enqueue(
        fulfil, order
    )
    assert_type(child, ChildHandle[Receipt])
    assert_type(ctx.wait_for_completion(child), Receipt)
    assert_type(ctx.wait_for_completion("e1", Receipt), Receipt)
    assert_type(ctx.wait_for_completion("e1", type=Receipt, timeout=5), Receipt)
    assert_type(ctx.wait_for_completion(ctx.enqueue("fulfil", order), type=Receipt), Receipt)
    assert_type(ctx.map(fulfil, [order]), list[Receipt])
    assert_type(ctx.map(fulfil, iter([order]), max_in_flight=5, on_error="collect"), list[Receipt | ExecutionError])
    assert_type(ctx.options(priority=1).map(audit, range(3)), list[list[Receipt]])
    assert_type(ctx.map("fulfil", [order]), list[Any])
    assert_type(ctx.receive_signal("approval", Order), Order)
    assert_type(ctx.receive_signal("approval", type=Order, timeout=5), Order)
    assert_type(ctx.receive_signal("approval"), Any)
    assert_type(ctx.signals("approval", Order), Iterator[Order])
    assert_type(ctx.signals("approval", type=Order), Iterator[Order])
    assert_type(ctx.side_effect("rate", Rate()), float)
    assert_type(ctx.side_effect("rate", lambda: 1.5), float)
    assert_type(ctx.side_effect("rate", lambda: {"sku": "tea"}, Order), Order)
    assert_type(ctx.side_effect("rate", lambda: {"sku": "tea"}, type=Order), Order)
    rate, half, order_of = (
        ctx.start_side_effect("rate", Rate()),
        ctx.start_side_effect("half", lambda: 0.5, timeout=5),
        ctx.start_side_effect("order", lambda: {"sku": "tea"}, type=Order),
    )
    approval, deadline = ctx.start_signal("approval", Order, timeout=60), ctx.start_timer(timedelta(hours=1))
    assert_type(rate, Begun[float])
    assert_type(half.result(), float)
    assert_type(order_of.result(), Order)
    assert_type(approval, Begun[Order])
    assert_type(ctx.start_signal(ORDERED), Begun[Order])
    assert_type(ctx.start_signal("approval"), Begun[Any])
    assert_type(deadline, Begun[None])
    assert_type(ctx.wait_any([rate, half]), Begun[float])
    done = ctx.wait_any([approval, deadline, child], timeout=60)
    if done is approval:
        assert_type(approval.result(), Order)
    sku, receipt = ctx.wait_all([approval, child])
    print(sku, receipt)
    assert_type(ctx.wait_all([rate, half], timeout=5), list[float])
    assert_type(ctx.wait_all([child]), list[Receipt])
    ctx.give_up(done)
    assert_type(ctx.heartbeat_details(Order), Order | None)
    assert_type(ctx.params.region, str)


async def async_handler(ctx: AsyncHandlerContext, order: Order) -> None:
    assert_type(await ctx.wait_for_completion(await ctx.enqueue(fulfil, order)), Receipt)
    assert_type(await ctx.wait_for_completion("e1", type=Receipt), Receipt)
    assert_type(await ctx.map(fulfil, [order]), list[Receipt])
    assert_type(await ctx.map(audit, [2026], on_error="collect"), list[list[Receipt] | ExecutionError])
    assert_type(await ctx.receive_signal("approval", type=Order), Order)
    assert_type(ctx.signals("approval", type=Order), AsyncIterator[Order])
    assert_type(await ctx.side_effect("rate", AsyncRate()), float)
    assert_type(await ctx.options(key="audit").enqueue(audit, 2026), ChildHandle[list[Receipt]])
