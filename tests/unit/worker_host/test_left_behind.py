"""Threads that bodies of async handlers have begun and given up: what follows waits for their end."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind, Options, RetryPolicy, Status
from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncSideEffectContext,
    AsyncTransactionContext,
)

from .hosted import RETRIED, HostedNode, hosted

AT_ONCE = RetryPolicy(maximum_attempts=2, initial_interval_ms=1, jitter=0.0)

happened: list[str] = []
begun: defaultdict[str, threading.Event] = defaultdict(threading.Event)
ends = threading.Event()


@pytest.fixture
def node() -> Iterator[HostedNode]:
    happened.clear()
    begun.clear()
    ends.clear()
    with hosted() as node:
        yield node
    ends.set()


def work(name: str) -> str:
    """Of the first, which nobody stops."""
    happened.append(f"{name} begins")
    begun[name].set()
    if name.endswith("1"):
        ends.wait()
    happened.append(f"{name} ends")
    return name


#: What is begun first is given up, and begun again behind it.
IN_TURN = ["work 1 begins", "work 1 ends", "work 2 begins", "work 2 ends"]


def begin(name: str, pool: ThreadPoolExecutor | None = None) -> Awaitable[str]:
    """In a thread, which has begun when this returns: no time is up before the loop turns."""
    future = asyncio.get_running_loop().run_in_executor(pool, work, name)
    begun[name].wait()
    return future


async def until_its_time_is_up(ctx: AsyncSideEffectContext) -> str:
    return await begin(f"work {ctx.attempt}")


async def as_long_as_it_likes(ctx: AsyncSideEffectContext) -> str:
    return await asyncio.wait_for(begin(f"work {ctx.attempt}"), 0.001 if ctx.attempt == 1 else None)


async def in_a_pool_of_its_own(ctx: AsyncSideEffectContext) -> str:
    async with asyncio.timeout(0.001 if ctx.attempt == 1 else None):
        return await begin(f"work {ctx.attempt}", ThreadPoolExecutor(1))


async def inside_of_another(ctx: AsyncSideEffectContext) -> str:
    async def inner() -> str:
        future = begin(f"work {ctx.attempt}")
        if ctx.attempt == 1:
            limit.reschedule(asyncio.get_running_loop().time())
        return await future

    async with asyncio.timeout(None) as limit:
        return await ctx.side_effect(f"inner of {ctx.attempt}", inner)


@pytest.mark.parametrize(
    "effect",
    [until_its_time_is_up, as_long_as_it_likes, in_a_pool_of_its_own, inside_of_another],
    ids=lambda effect: effect.__name__,
)
def test_the_next_attempt_of_a_side_effect_waits_for_the_thread_of_the_last(node: HostedNode, effect: Any) -> None:
    async def body(ctx: AsyncHandlerContext) -> str:
        timeout = 0.5 if effect is until_its_time_is_up else None
        return await ctx.side_effect("work", effect, timeout=timeout)

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.until(lambda: lingering(node))
    node.until(lambda: node.execution().attached and in_backoff(node))
    node.advance(10_000)
    assert happened == ["work 1 begins"]
    ends.set()

    node.until(lambda: closed(node))
    assert node.execution().status is Status.COMPLETED
    assert happened[:3] == IN_TURN[:3]
    node.until(lambda: not lingering(node))


def closed(node: HostedNode) -> bool:
    node.advance(10_000)  # past any backoff; on a slow machine, the time of a second attempt may be up as well
    return node.execution().closed


def lingering(node: HostedNode) -> int:
    """Executions of which code lingers."""
    return node.dispatch.hosts.lingering_in(node._host)


def in_backoff(node: HostedNode) -> bool:
    return bool(node.executions.retrying(node.execution().row))


def time_is_kept(node: HostedNode) -> bool:
    """Whether the node has heard of the body's timeout."""
    return node.executions.operation(node.execution().row, OperationKind.TIMER, "timer#1") is not None


def test_so_does_the_next_attempt_of_a_handler_that_gave_it_up(node: HostedNode) -> None:
    async def body(ctx: AsyncHandlerContext) -> str:
        async def effect() -> str:
            return await begin(f"work {ctx.attempt}")

        if ctx.attempt == 1:
            async with asyncio.timeout(5):
                await ctx.side_effect("work", effect)
        return await ctx.side_effect("work", effect)

    node.serve(body, asynchronous=True)
    node.enqueue(options=RETRIED)
    node.until(lambda: happened and time_is_kept(node))
    node.advance(6_000)
    node.until(lambda: node.execution().status is Status.SCHEDULED)
    node.advance(1_000)
    assert node.execution().status is Status.QUEUED
    assert happened == ["work 1 begins"]
    ends.set()

    assert node.result() == "work 2"
    assert happened == IN_TURN


def test_so_does_the_next_attempt_after_one_that_was_abandoned(node: HostedNode) -> None:
    async def body(ctx: AsyncHandlerContext) -> str:
        async def effect() -> str:
            return await asyncio.to_thread(work, f"work {ctx.attempt}")

        return await ctx.side_effect("work", effect)

    node.serve(body, asynchronous=True)
    node.enqueue(options=Options(attempt_timeout_ms=1_000, retry=AT_ONCE))
    node.until(lambda: happened)
    node.advance(2_000)
    node.until(lambda: lingering(node))
    node.advance(500)
    assert happened == ["work 1 begins"]
    ends.set()

    assert node.result() == "work 2"
    assert happened == IN_TURN


@dataclass
class Charge(AsyncSagaStep):
    async def transaction(self, _ctx: AsyncTransactionContext) -> None:
        await asyncio.to_thread(work, "charge 1")

    async def compensation(self, _ctx: AsyncCompensationContext) -> None:
        happened.append("refund")


def test_a_compensation_waits_for_the_thread_of_its_transaction(node: HostedNode) -> None:
    async def saga(ctx: AsyncSagaContext) -> None:
        await ctx.step(Charge())

    node.serve(saga, asynchronous=True)
    node.enqueue(saga=True, options=Options(attempt_timeout_ms=1_000, retry=RetryPolicy(maximum_attempts=1)))
    node.until(lambda: happened)
    node.advance(2_000)
    node.until(lambda: lingering(node))
    assert happened == ["charge 1 begins"]
    ends.set()
    node.until(lambda: node.execution().closed)

    assert happened == ["charge 1 begins", "charge 1 ends", "refund"]


def test_what_a_body_has_begun_for_good_is_waited_for_by_nobody(node: HostedNode) -> None:
    async def body(ctx: AsyncHandlerContext) -> int:
        async def effect() -> str:
            asyncio.get_running_loop().run_in_executor(None, work, "work 1")  # as a library may
            raise ValueError

        with pytest.raises(Exception, match="ValueError"):
            await ctx.side_effect("work", effect)
        return ctx.attempt

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.until(lambda: happened)
    node.until(lambda: closed(node))

    assert node.result() == 1
    assert lingering(node) == 0
