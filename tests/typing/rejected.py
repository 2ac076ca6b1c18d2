"""What a type checker must refuse: each line marked so, and no other. Checked by test_typing.py, never run."""

from __future__ import annotations

from dataclasses import dataclass

from tempolite_sdk import AsyncClient, AsyncHandlerContext, Client, HandlerContext, Signal

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
    client.list(status="fialed")  # refused
    client.list(status=["failed", "stuk"])  # refused
    client.count(component="handlers")  # refused
    client.list(consistency="fresh")  # refused
    client.pool("sagas")  # refused
    client.handle("e1").resolve_compensation("done")  # refused
    client.options(id_conflict="existing")  # refused
    client.options(id_reuse="allow")  # refused
    print(client.handle("e1", Order).result().skuu)  # refused
    print(client.enqueue("fulfil", 1).result(type=Order).skuu)  # refused
    client.enqueue_many(fulfil, [("tea",)])  # refused
    client.enqueue_many(fulfil, [(order, 3)])  # refused
    client.enqueue_many(fulfil, [()])  # refused
    client.enqueue_many(fulfil, [order])  # refused
    client.enqueue_many(audit, [("2026",)])  # refused
    client.wait(lambda stats: stats.handlers.active == 0)  # refused
    client.handle("e1").send_signal(ANSWER, order)  # refused
    client.send_signal("e1", ANSWER, 5)  # refused
    total: int = client.enqueue(fulfil, order).result()  # refused
    print(total)


async def asynchronous(client: AsyncClient, order: Order) -> None:
    await client.enqueue(fulfil, "tea")  # refused
    await client.enqueue(audit, order)  # refused
    await client.handle("e1").send_signal(ANSWER, 5)  # refused
    await client.enqueue_many(audit, [("2026",)])  # refused
    await client.count(status="done")  # refused
    total: str = await (await client.enqueue(audit, 2026)).result()  # refused
    print(total)


def handler(ctx: HandlerContext, order: Order) -> None:
    ctx.options(prio=1)  # refused
    ctx.options(close_policy="kill")  # refused
    ctx.enqueue(fulfil, "tea")  # refused
    ctx.map(fulfil, ["tea"])  # refused
    ctx.map(fulfil, [order], on_error="ignore")  # refused
    print(ctx.receive_signal("approval", type=Order).skuu)  # refused
    print(ctx.wait_for_completion(ctx.enqueue(fulfil, order)).skuu)  # refused
    print(ctx.wait_for_completion("e1", Order).skuu)  # refused
    ctx.wait_any(["e1"])  # refused
    ctx.give_up("e1")  # refused
    ctx.start_side_effect("rate")  # refused
    total: int = ctx.start_signal(ANSWER).result()  # refused
    print(total)
