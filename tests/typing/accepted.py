"""What a type checker must accept, and the types it must see. Checked by test_typing.py, never run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from tempolite_sdk.async_contexts import AsyncHandlerContext
from tempolite_sdk.client.async_client import AsyncClient, AsyncExecutionHandle
from tempolite_sdk.client.info import ExecutionStatus, Stats
from tempolite_sdk.client.sync_client import Client, ExecutionHandle
from tempolite_sdk.contexts import HandlerContext, SagaContext


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
    async for execution in client.list(component="saga"):
        assert_type(execution.status, ExecutionStatus)
