"""What cleanup code sees when a stack is given up while its execution goes on, and when it ends."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tempolite_node.engine.model import Options, RetryPolicy, Status
from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    HandlerContext,
    SideEffectContext,
)

from .hosted import HostedNode, hosted


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_cleanup_code_knows_whether_its_stack_is_given_up(node: HostedNode, asynchronous: bool) -> None:
    seen: list[tuple[bool, bool]] = []

    def look(ctx: HandlerContext | AsyncHandlerContext) -> None:
        seen.append((ctx.unwinding, ctx.logger.isEnabledFor(50)))

    def body(ctx: HandlerContext) -> None:
        try:
            ctx.receive_signal("go")
        finally:
            look(ctx)

    async def waits(ctx: AsyncHandlerContext) -> None:
        try:
            await ctx.receive_signal("go")
        finally:
            look(ctx)

    async def async_body(ctx: AsyncHandlerContext) -> None:
        try:
            await asyncio.gather(waits(ctx))
        except asyncio.CancelledError:
            assert ctx.unwinding
            raise

    node.serve(async_body if asynchronous else body, asynchronous=asynchronous)
    node.enqueue()
    node.rest()
    node.unwind()
    node.until(lambda: seen)
    assert seen == [(True, False)]
    node.signal("go")

    assert node.result() is None
    assert seen == [(True, False), (False, True)]


def test_so_does_the_code_of_a_side_effect_and_its_operations_do_nothing(node: HostedNode) -> None:
    seen: list[bool] = []
    effects: list[str] = []

    def body(ctx: HandlerContext) -> str:
        def effect(inner: SideEffectContext) -> str:
            try:
                return inner.receive_signal("go", str)
            finally:
                seen.append(inner.unwinding)
                ctx.side_effect("clean", lambda: effects.append("cleaned"))

        return ctx.side_effect("waits", effect)

    node.serve(body, asynchronous=False)
    node.enqueue()
    node.rest()
    node.unwind()
    node.until(lambda: seen)  # its thread leaves the stack beside what follows
    node.signal("go", "word")

    assert node.result() == "word"
    assert (seen, effects) == ([True, False], ["cleaned"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_what_it_releases_unless_it_is_unwound_is_released_once(node: HostedNode, asynchronous: bool) -> None:
    happened.clear()

    def leave(ctx: HandlerContext | AsyncHandlerContext) -> None:
        happened.append("unwound" if ctx.unwinding else "released")

    def body(ctx: HandlerContext) -> str:
        happened.append("acquired")
        try:
            return ctx.receive_signal("go", str)
        finally:
            leave(ctx)

    async def async_body(ctx: AsyncHandlerContext) -> str:
        happened.append("acquired")
        try:
            return await ctx.receive_signal("go", str)
        except BaseException:
            return "swallowed"
        finally:
            leave(ctx)

    served = async_body if asynchronous else body
    node.serve(served, asynchronous=asynchronous)
    node.enqueue()
    node.rest()
    node.unwind()
    node.until(lambda: happened == ["acquired", "unwound"])
    node.serve(served, asynchronous=asynchronous)
    node.signal("go", "word")

    assert node.result() == "word"
    assert happened == ["acquired", "unwound", "acquired", "released"]


def test_a_handler_that_is_cancelled_ends_and_is_not_unwound(node: HostedNode) -> None:
    seen: list[bool] = []

    def body(ctx: HandlerContext) -> None:
        try:
            ctx.receive_signal("go")
        finally:
            seen.append(ctx.unwinding)

    node.serve(body, asynchronous=False)
    node.enqueue()
    node.rest()
    node.cancel()
    node.until(lambda: node.execution().closed)

    assert (node.execution().status, seen) == (Status.CANCELLED, [False])


# --- of asynchronous code whose bodies wait


async def waits_at_once(ctx: Any) -> str:
    return str(await ctx.receive_signal("go", str, key="go"))


async def waits_in_a_side_effect(ctx: Any) -> str:
    return str(await ctx.side_effect("inner", lambda inner: waits_at_once(inner)))


async def waits_for_all(ctx: Any) -> str:
    heard, _ = await asyncio.gather(waits_at_once(ctx), ctx.receive_signal("go", str, key="also"))
    return str(heard)


async def waits_for_the_first(ctx: Any) -> str:
    tasks = [asyncio.create_task(ctx.receive_signal("go", str, key=key)) for key in ("go", "also")]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return next(iter(done)).result()


async def waits_in_a_group(ctx: Any) -> str:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waits_at_once(ctx))
    return task.result()


async def waits_with_a_timeout(ctx: Any) -> str:
    async with asyncio.timeout(3_600):
        return await waits_at_once(ctx)


async def waits_beside_a_thread(ctx: Any) -> str:
    thread = asyncio.create_task(asyncio.to_thread(ends.wait))
    heard = await waits_at_once(ctx)
    await thread
    return heard


async def waits_beside_a_socket(ctx: Any) -> str:
    ours, theirs = socket.socketpair()
    reader, _writer = await asyncio.open_connection(sock=ours)
    heard = await waits_at_once(ctx)
    theirs.close()
    assert await reader.read() == b""
    return heard


ends = threading.Event()

BodyCode = Callable[[Any], Awaitable[str]]


@dataclass
class Listens(AsyncSagaStep):
    heard: str = ""

    async def transaction(self, ctx: AsyncTransactionContext) -> None:
        self.heard = await waits_at_once(ctx)

    async def compensation(self, ctx: AsyncCompensationContext) -> None:
        heard_undoing.append(await waits_with_a_timeout(ctx))


heard_undoing: list[str] = []


@pytest.mark.parametrize(
    "code",
    [waits_at_once, waits_in_a_side_effect, waits_for_all, waits_for_the_first, waits_in_a_group],
    ids=lambda code: code.__name__,
)
def test_a_body_that_only_waits_is_unwound_with_its_handler(node: HostedNode, code: BodyCode) -> None:
    left: list[bool] = []

    async def handler(ctx: AsyncHandlerContext) -> list[str]:
        async def effect(inner: AsyncSideEffectContext) -> str:
            try:
                return await code(inner)
            finally:
                left.append(ctx.unwinding)

        return await asyncio.gather(ctx.side_effect("listens", effect, timeout=3_600), ctx.receive_signal("go", str))

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.rest()
    node.unwind()
    node.until(lambda: left)
    assert left == [True]
    for _ in range(3):
        node.signal("go", "word")

    assert node.result() == ["word", "word"]
    assert left == [True, False]
    assert node.begun == 2


def test_so_is_one_of_a_transaction(node: HostedNode) -> None:
    async def saga(ctx: AsyncSagaContext) -> str:
        return (await ctx.step(Listens())).heard

    node.serve(saga, asynchronous=True)
    node.enqueue(saga=True)
    node.rest()
    node.unwind()
    node.signal("go", "word")

    assert node.result() == "word"
    assert node.begun == 2


@pytest.mark.parametrize(
    "code", [waits_with_a_timeout, waits_beside_a_thread, waits_beside_a_socket], ids=lambda code: code.__name__
)
def test_a_body_that_has_something_else_under_way_is_not(node: HostedNode, code: BodyCode) -> None:
    ends.clear()

    async def handler(ctx: AsyncHandlerContext) -> str:
        return await ctx.side_effect("listens", lambda inner: code(inner))

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.rest()
    node.expire()
    node.until(lambda: len(node.parking))  # it was looked at, and is kept
    ends.set()
    node.signal("go", "word")

    assert node.result() == "word"
    assert node.begun == 1


def test_a_saga_whose_transaction_waits_holds_no_slot() -> None:
    async def saga(ctx: AsyncSagaContext) -> str:
        if ctx.execution_id == "y":
            return "ran"
        return (await ctx.step(Listens())).heard

    with hosted(workers=1) as node:
        node.serve(saga, asynchronous=True)
        node.enqueue(saga=True)
        node.until(lambda: node.execution().pending)
        node.enqueue("y", saga=True)
        assert node.result("y") == "ran"
        node.signal("go", "word")
        assert node.result() == "word"


def test_a_handler_whose_side_effect_waits_holds_no_slot() -> None:
    async def handler(ctx: AsyncHandlerContext) -> str:
        if ctx.execution_id == "y":
            return "ran"
        return await ctx.side_effect("listens", lambda inner: waits_at_once(inner))

    with hosted(workers=1) as node:
        node.serve(handler, asynchronous=True)
        node.enqueue()
        node.until(lambda: node.execution().pending)
        node.enqueue("y")
        assert node.result("y") == "ran"
        node.signal("go", "word")
        assert node.result() == "word"


def test_nor_is_a_compensation_with_a_timeout(node: HostedNode) -> None:
    heard_undoing.clear()

    async def saga(ctx: AsyncSagaContext) -> None:
        await ctx.step(Listens())
        raise ValueError("to be undone")

    node.serve(saga, asynchronous=True)
    node.enqueue(saga=True)
    node.signal("go", "done")
    node.until(lambda: node.execution().status is Status.COMPENSATING and len(node.parking))
    node.expire()
    node.until(lambda: len(node.parking))
    node.signal("go", "undone")
    node.until(lambda: node.execution().closed)

    assert (node.execution().status, heard_undoing, node.begun) == (Status.COMPENSATED, ["undone"], 2)


@dataclass
class Stubborn(AsyncSagaStep):
    async def transaction(self, _ctx: AsyncTransactionContext) -> None:
        happened.append("begun")
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            happened.append("cut off")
            await asyncio.to_thread(ends.wait)
            happened.append("ended")

    async def compensation(self, _ctx: AsyncCompensationContext) -> None:
        happened.append("undone")


happened: list[str] = []


def test_a_compensation_does_not_overtake_a_transaction_that_was_cut_off(node: HostedNode) -> None:
    ends.clear()
    happened.clear()

    async def saga(ctx: AsyncSagaContext) -> None:
        await ctx.step(Stubborn())

    node.serve(saga, asynchronous=True)
    node.enqueue(saga=True, options=Options(attempt_timeout_ms=1_000, retry=RetryPolicy(maximum_attempts=1)))
    node.until(lambda: happened == ["begun"])
    node.advance(2_000)
    node.until(lambda: "cut off" in happened)
    ends.set()
    node.until(lambda: node.execution().closed)

    assert happened == ["begun", "cut off", "ended", "undone"]
