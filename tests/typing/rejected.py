"""What a type checker must refuse: each line marked so, and no other. Checked by test_typing.py, never run."""

from __future__ import annotations

from dataclasses import dataclass

from tempolite_sdk.async_contexts import AsyncHandlerContext
from tempolite_sdk.client.async_client import AsyncClient
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.contexts import HandlerContext
from tempolite_sdk.signals import Signal

ANSWER = Signal("answer", str)


@dataclass
class Order:
    sku: str


def fulfil(ctx: HandlerContext, order: Order, *, express: bool = False) -> str:
    raise NotImplementedError


def ask(ctx: HandlerContext) -> int:
    ctx.send_signal(ANSWER, 5)  # refused
    ctx.send_signal(ANSWER)  # refused
    ctx.receive_signal(ANSWER, int)  # refused
    return ctx.receive_signal(ANSWER)  # refused


async def audit(ctx: AsyncHandlerContext, year: int) -> int:
    raise NotImplementedError


def synchronous(client: Client, order: Order) -> None:
    client.enqueue(fulfil, "tea")  # refused
    client.enqueue(fulfil)  # refused
    client.enqueue(fulfil, order, 3)  # refused
    client.enqueue(fulfil, order, exprss=True)  # refused
    client.enqueue(audit, "2026")  # refused
    client.options(priority=1).enqueue(fulfil, "tea")  # refused
    client.options(prio=1)  # refused
    client.options(delay="1 h")  # refused
    client.list(state="failed")  # refused
    client.wait(lambda stats: stats.handlers.active == 0)  # refused
    client.handle("e1").send_signal(ANSWER, order)  # refused
    client.send_signal("e1", ANSWER, 5)  # refused
    total: int = client.enqueue(fulfil, order).result()  # refused
    print(total)


async def asynchronous(client: AsyncClient, order: Order) -> None:
    await client.enqueue(fulfil, "tea")  # refused
    await client.enqueue(audit, order)  # refused
    await client.handle("e1").send_signal(ANSWER, 5)  # refused
    total: str = await (await client.enqueue(audit, 2026)).result()  # refused
    print(total)
