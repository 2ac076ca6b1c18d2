"""What a type checker must accept, and the types it must see. Checked by test_typing.py, never run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, assert_type

from tempolite_sdk.async_contexts import AsyncHandlerContext
from tempolite_sdk.client.async_client import AsyncClient, AsyncExecutionHandle
from tempolite_sdk.client.info import ExecutionStatus, Stats
from tempolite_sdk.client.sync_client import Client, ExecutionHandle
from tempolite_sdk.contexts import HandlerContext, SagaContext
from tempolite_sdk.signals import Signal


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


def synchronous(client: Client, order: Order) -> None:
    assert_type(client.enqueue(fulfil, order), ExecutionHandle[Receipt])
    assert_type(client.enqueue(fulfil, order, express=True).result(timeout=5), Receipt)
    assert_type(client.enqueue(place, order), ExecutionHandle[None])
    assert_type(client.enqueue(audit, 2026).result(), list[Receipt])
    assert_type(client.options(priority=3, delay=timedelta(hours=1)).enqueue(audit, year=2026).result(), list[Receipt])
    assert_type(client.enqueue("fulfil", 1, 2).result(), Any)
    assert_type(client.handle("e1", Receipt).result(), Receipt)
    assert_type(client.handle("e1").result(), Any)
    assert_type(client.handle("e1", list[Receipt] | None).result(), Any)
    for signal in client.handle("e1").receive_signals("progress", type=Order):
        assert_type(signal.payload, Order)
    for ordered in client.handle("e1").receive_signals(ORDERED, after=3):
        assert_type(ordered.payload, Order)
    assert_type(client.enqueue(ask, order).send_signal(ORDERED, order), int)
    client.send_signal("e1", EITHER, "five", request_id="r1")
    for execution in client.list(status=[ExecutionStatus.FAILED, "stuck"], handler="fulfil", roots_only=True):
        assert_type(execution.status, ExecutionStatus)
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
