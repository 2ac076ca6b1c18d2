"""Handlers that live through the end of their node, and that wait for each other."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from world import happened, pass_gate, times

from tempolite_sdk import (
    AsyncHandlerContext,
    CompensationContext,
    ExecutionError,
    HandlerContext,
    NotFound,
    SagaContext,
    SagaStep,
    TransactionContext,
    WaitCycle,
    WaitTimeout,
)


def quick(ctx: HandlerContext, value: int = 1) -> int:
    happened(f"{ctx.execution_id} ran")
    return value


def order(_ctx: HandlerContext) -> list[str]:
    return list({f"string {number}" for number in range(30)})


def take_the_node_down(ctx: HandlerContext) -> str:
    """As the kernel does when there is no memory left for it, until it is told that this is over."""
    happened(f"{ctx.execution_id} ran")
    pass_gate(ctx.execution_id)
    if not times("enough"):
        keeper = os.getppid()
        node = Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[1]
        os.kill(int(node), signal.SIGKILL)
        threading.Event().wait()  # for the end of its own process
    return "up"


@dataclass
class Add(SagaStep):
    number: int
    total: int = 0

    def transaction(self, ctx: TransactionContext) -> None:
        happened(ctx.operation_id)
        self.total = self.number + 1

    def compensation(self, ctx: CompensationContext) -> None:
        happened(ctx.operation_id)


def add(ctx: SagaContext, number: int) -> int:
    return ctx.step(Add(number)).total


def work(ctx: HandlerContext, number: int) -> list[int]:
    """A bit of everything."""

    def effect(name: str) -> int:
        happened(f"{ctx.execution_id}/side_effect/{name}")
        return number

    first = ctx.side_effect("first", lambda: effect("first"))
    child = ctx.wait_for_completion(ctx.enqueue(add, number))
    ctx.sleep(0.01)
    second = ctx.side_effect("second", lambda: effect("second"))
    return [first, child, second]


async def work_async(ctx: AsyncHandlerContext, number: int) -> list[int]:
    async def effect(name: str) -> int:
        happened(f"{ctx.execution_id}/side_effect/{name}")
        return number

    first = await ctx.side_effect("first", lambda: effect("first"), type=int)
    child: int = await ctx.wait_for_completion(await ctx.enqueue(add, number))
    await ctx.sleep(0.01)
    second = await ctx.side_effect("second", lambda: effect("second"), type=int)
    return [first, child, second]


def finish(ctx: HandlerContext) -> str:
    """Runs until its gate is open, and has something left to do then."""
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    return ctx.side_effect("last", lambda: happened(f"{ctx.execution_id} finished") or "finished")


def listen(ctx: HandlerContext) -> str:
    ctx.side_effect("before", lambda: happened(f"{ctx.execution_id} before"))
    word = ctx.receive_signal("word", str)
    ctx.side_effect("after", lambda: happened(f"{ctx.execution_id} after"))
    return word


def nap(ctx: HandlerContext, seconds: float) -> str:
    ctx.sleep(seconds)
    return "awake"


def fail_once(ctx: HandlerContext) -> int:
    if ctx.attempt == 1:
        raise ValueError("once")
    return ctx.attempt


def remember(ctx: HandlerContext) -> tuple[datetime, UUID, float, datetime, UUID, float]:
    """The same in each life."""
    values = (ctx.now(), ctx.uuid4(), ctx.random(), ctx.now(), ctx.uuid4(), ctx.random())
    ctx.sleep(0.5, key="nap")
    happened(f"{ctx.execution_id} remembers {values}")
    ctx.receive_signal("word")
    return values


async def remember_async(ctx: AsyncHandlerContext) -> tuple[datetime, UUID, float, datetime]:
    values = (await ctx.now(), await ctx.uuid4(), await ctx.random(), await ctx.now())
    await ctx.sleep(0.5, key="nap")
    happened(f"{ctx.execution_id} remembers {values}")
    await ctx.receive_signal("word")
    return values


# --- waits


def wait_for(ctx: HandlerContext, ids: list[str], timeout: float | None = None) -> list[str]:
    """What each wait comes to. An id of "self" is its own."""
    told = []
    for id in ids:
        try:
            told.append(
                str(ctx.wait_for_completion(ctx.execution_id if id == "self" else id, type=Any, timeout=timeout))
            )
        except (ExecutionError, NotFound, WaitCycle, WaitTimeout) as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


async def gather(ctx: AsyncHandlerContext, count: int) -> list[int]:
    """Children and side effects, all at once."""

    async def child(number: int) -> int:
        return await ctx.wait_for_completion(await ctx.options(key=f"child {number}").enqueue(quick, number))

    async def effect(number: int) -> int:
        async def run() -> int:
            happened(f"{ctx.execution_id} effect {number}")
            return number

        return await ctx.side_effect(f"effect {number}", run)

    numbers = range(count)
    return await asyncio.gather(*(child(number) for number in numbers), *(effect(number) for number in numbers))


async def first_of(ctx: AsyncHandlerContext) -> str:
    """One of two waits is enough. The other one is left behind."""
    word = asyncio.create_task(ctx.receive_signal("word", str))
    nap = asyncio.create_task(ctx.sleep(3_600))
    done, _ = await asyncio.wait({word, nap}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {word}
    return await ctx.receive_signal("another word", str)


def gather_large(ctx: HandlerContext, count: int, size: int) -> int:
    """Its journal takes many frames."""
    gathered = [ctx.side_effect(f"part {n}", lambda: "x" * size, type=str) for n in range(count)]
    happened("gathered")
    ctx.receive_signal("go")
    return sum(map(len, gathered))


def measure(ctx: HandlerContext, text: str) -> int:
    happened(f"{ctx.execution_id} measured")
    return len(text)


def square(ctx: HandlerContext, number: int) -> int:
    happened(f"{ctx.execution_id} squared")
    return number * number


def square_all(ctx: HandlerContext, count: int) -> list[int]:
    happened("it begins")
    return ctx.map(square, range(count), max_in_flight=20)


async def square_all_async(ctx: AsyncHandlerContext, count: int) -> list[int]:
    happened("it begins")
    return await ctx.map(square, range(count), max_in_flight=20)
