"""Code of side effects, transactions and compensations that gives up what it waits for, on the loop that all share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind, OperationStatus, Status
from tempolite_node.worker_host import replay
from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    ContextMisuse,
    RetryPolicy,
    SideEffectFailed,
)

from .hosted import HostedNode, hosted

ONCE = RetryPolicy(maximum_attempts=1)
MOMENT_S = 0.01


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


async def by_wait_for(wait: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), MOMENT_S)


async def by_timeout(wait: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(MOMENT_S):
            await wait()


async def by_cancelled_task(wait: Callable[[], Awaitable[Any]]) -> None:
    task = asyncio.ensure_future(wait())
    await asyncio.sleep(MOMENT_S)
    task.cancel()
    await asyncio.wait([task])


async def by_task_group(wait: Callable[[], Awaitable[Any]]) -> None:
    async def fails() -> None:
        await asyncio.sleep(MOMENT_S)
        raise ValueError("enough")

    async def waits() -> None:
        await wait()

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(fails())

    with pytest.raises(ExceptionGroup):
        await all_of_them()


WAYS = [by_wait_for, by_timeout, by_cancelled_task, by_task_group]

#: What a step of the test runs as its transaction, or as its compensation.
parts: dict[str, Callable[[Any], Awaitable[None]]] = {}


@dataclass
class Books(AsyncSagaStep):
    async def transaction(self, ctx: AsyncTransactionContext) -> None:
        await parts.get("transaction", nothing)(ctx)

    async def compensation(self, ctx: AsyncCompensationContext) -> None:
        await parts.get("compensation", nothing)(ctx)


async def nothing(_ctx: Any) -> None: ...


def serve_part(node: HostedNode, place: str, part: Callable[[Any], Awaitable[None]]) -> None:
    """The part is the body of a side effect, or of a transaction or compensation of a saga."""
    parts.clear()

    async def handler(ctx: AsyncHandlerContext) -> None:
        await ctx.side_effect("books", lambda inner: part(inner))

    async def saga(ctx: AsyncSagaContext) -> None:
        await ctx.step(Books())
        if place == "compensation":
            raise ValueError("to be undone")

    parts[place] = part
    node.serve(handler if place == "side effect" else saga, asynchronous=True)
    node.enqueue(saga=place != "side effect")


@pytest.mark.parametrize("place", ["side effect", "transaction", "compensation"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_given_up_takes_no_signal_any_more(
    node: HostedNode, way: Callable[..., Awaitable[None]], place: str
) -> None:
    seen: list[str] = []

    async def part(ctx: AsyncSideEffectContext) -> None:
        await way(lambda: ctx.receive_signal("word", str, key="first"))
        seen.append("gave up")
        seen.append(await ctx.receive_signal("word", str, key="second"))

    serve_part(node, place, part)
    node.until(lambda: seen)
    node.signal("word", "go")
    node.until(lambda: node.execution().closed)

    assert seen == ["gave up", "go"]
    assert node.execution().status is (Status.COMPENSATED if place == "compensation" else Status.COMPLETED)


def test_a_signal_that_it_took_and_never_saw_goes_back(node: HostedNode) -> None:
    taken, given_up = threading.Event(), threading.Event()

    async def handler(ctx: AsyncHandlerContext) -> str:
        async def effect(inner: AsyncSideEffectContext) -> None:
            task = asyncio.ensure_future(inner.receive_signal("word", str, key="first"))
            await asyncio.sleep(0)
            taken.wait()  # the loop stands still while the answer comes
            task.cancel()
            await asyncio.wait([task])
            given_up.set()

        await ctx.side_effect("looks", effect)
        return await ctx.receive_signal("word", str)

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending)
    node.signal("word", "kept")
    taken.set()

    assert node.result() == "kept"
    assert given_up.is_set()


def test_after_a_kill_it_gives_up_the_same_though_a_signal_is_there(node: HostedNode) -> None:
    seen: list[str] = []

    def serve() -> None:
        begun = threading.Event()

        async def handler(ctx: AsyncHandlerContext) -> list[str]:
            async def effect(inner: AsyncSideEffectContext) -> list[str]:
                words = []
                for _ in range(2):
                    try:
                        async with asyncio.timeout(MOMENT_S):
                            words.append(await inner.receive_signal("word", str))
                    except TimeoutError:
                        words.append("gave up")
                seen.append("waits")
                begun.set()
                return [*words, await inner.receive_signal("word", str), await inner.receive_signal("word", str)]

            return await ctx.side_effect("listens", effect)

        node.serve(handler, asynchronous=True)

    serve()
    node.enqueue()
    node.until(lambda: seen)
    node.until(lambda: node.execution().pending == 1)
    node.kill()
    node.signal("word", "one")
    node.signal("word", "two")
    node._host = 0
    serve()

    assert node.result() == ["gave up", "gave up", "one", "two"]
    assert seen == ["waits", "waits"]


def test_code_that_goes_another_way_after_a_kill_asks_for_it_again(
    node: HostedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "_PATIENCE_S", 0.01)
    runs: list[int] = []

    async def handler(ctx: AsyncHandlerContext) -> str:
        async def effect(inner: AsyncSideEffectContext) -> str:
            runs.append(len(runs) + 1)
            if runs[-1] == 1:
                await by_timeout(lambda: inner.receive_signal("word", str))
                return await inner.receive_signal("other", str)
            return await inner.receive_signal("word", str)

        return await ctx.side_effect("listens", effect)

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.executions.operation(1, OperationKind.SIGNAL, "side_effect:listens > other#1"))
    node.serve(handler, asynchronous=True)
    node.signal("word", "heard")

    assert node.result() == "heard"


def test_a_cancelled_side_effect_inside_begins_anew_under_its_key(node: HostedNode) -> None:
    ids: list[str] = []

    async def handler(ctx: AsyncHandlerContext) -> str:
        async def effect(inner: AsyncSideEffectContext) -> str:
            async def charge(innermost: AsyncSideEffectContext) -> str:
                ids.append(innermost.operation_id)
                await asyncio.sleep(3_600 if len(ids) == 1 else 0)
                return "charged"

            await by_timeout(lambda: inner.side_effect("charge", charge))
            charged = await inner.side_effect("charge", charge)
            return charged + await inner.receive_signal("word", str)

        return await ctx.side_effect("shop", effect)

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending)
    node.serve(handler, asynchronous=True)
    node.signal("word", " at last")

    assert node.result() == "charged at last"
    assert ids == ["x/side_effect/side_effect:shop > charge"] * 2


def test_code_that_gave_up_goes_on_when_it_has_a_slot_again() -> None:
    at_once, most = 0, 0

    async def handler(ctx: AsyncHandlerContext) -> None:
        async def effect(inner: AsyncSideEffectContext) -> None:
            nonlocal at_once, most
            await by_timeout(lambda: inner.receive_signal("never"))
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1

        await ctx.side_effect("runs", effect)

    with hosted(workers=1) as node:
        node.serve(handler, asynchronous=True)
        for number in range(5):
            node.enqueue(f"x{number}")
        node.until(lambda: all(each.closed for each in node.all_executions()))

    assert most == 1


def test_nor_does_it_wait_for_one_when_its_time_is_up() -> None:
    ends = threading.Event()

    async def handler(ctx: AsyncHandlerContext) -> str:
        async def waits(inner: AsyncSideEffectContext) -> None:
            await inner.receive_signal("never")

        async def keeps_the_slot() -> None:
            await asyncio.to_thread(ends.wait)

        if ctx.execution_id == "x":
            try:
                await ctx.side_effect("waits", waits, timeout=0.05, retry=ONCE)
            except SideEffectFailed as failed:
                return failed.failure.type
        await ctx.side_effect("keeps", keeps_the_slot)
        return "kept"

    with hosted(workers=1) as node:
        node.serve(handler, asynchronous=True)
        node.enqueue()
        node.until(lambda: node.execution().pending)
        node.enqueue("y")
        assert node.result() == "AttemptTimeout"
        ends.set()
        assert node.result("y") == "kept"


def test_a_signal_that_a_body_took_and_never_saw_is_the_next_runs(node: HostedNode) -> None:
    begun, taken = threading.Event(), threading.Event()

    async def handler(ctx: AsyncHandlerContext, run: int = 1) -> str:
        if run == 2:
            return await ctx.receive_signal("word", str)
        task = asyncio.create_task(ctx.side_effect("listens", lambda inner: inner.receive_signal("word", str)))
        await ctx.receive_signal("go")
        begun.set()
        taken.wait()  # the loop stands still while the answer comes
        await ctx.continue_as_new(2)
        return await task

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending == 2)
    node.signal("go")
    node.until(begun.is_set)
    node.signal("word", "kept")
    taken.set()

    assert node.result() == "kept"
    assert node.execution().run == 2


# --- keys


async def in_a_task(asked: Awaitable[Any]) -> Any:
    async def asks() -> Any:
        return await asked

    return await asyncio.create_task(asks())


ASKED: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "receive_signal": lambda ctx: ctx.receive_signal("word"),
    "sleep": lambda ctx: ctx.sleep(0.001),
    "send_signal": lambda ctx: ctx.send_signal("word"),
    "enqueue": lambda ctx: ctx.enqueue("h"),
    "wait_for_completion": lambda ctx: ctx.wait_for_completion("x"),
    "cancel": lambda ctx: ctx.cancel("x"),
    "now": lambda ctx: ctx.now(),
}


NAMES = {"side effect": "side_effect books", "transaction": "step Books#1", "compensation": "compensation Books#1"}


@pytest.mark.parametrize("place", NAMES)
@pytest.mark.parametrize("asked", ASKED)
def test_a_second_task_has_to_give_keys(node: HostedNode, asked: str, place: str) -> None:
    told: list[str] = []

    async def part(ctx: Any) -> None:
        try:
            await in_a_task(ASKED[asked](ctx))
        except ContextMisuse as misuse:
            told.append(str(misuse))

    serve_part(node, place, part)
    node.until(lambda: node.execution().closed)

    (error,) = told
    assert error.startswith(f"{asked} without a key in a second task of {NAMES[place]}")
    assert ("key=" in error) == (asked != "now")
    inside = [each for each in node.executions.operations(1, 1 << 20) or () if " > " in each.key]
    assert inside == []


def test_with_keys_it_may_ask_beside_others(node: HostedNode) -> None:
    async def handler(ctx: AsyncHandlerContext) -> list[str]:
        async def effect(inner: AsyncSideEffectContext) -> list[str]:
            return await asyncio.gather(*(inner.receive_signal("word", str, key=f"{n}") for n in range(2)))

        return await ctx.side_effect("listens", effect)

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending == 2)
    node.signal("word", "one")
    node.signal("word", "two")

    assert sorted(node.result()) == ["one", "two"]


def test_wait_for_is_no_second_task_nor_is_one_inside_another(node: HostedNode) -> None:
    async def handler(ctx: AsyncHandlerContext) -> str:
        async def effect(inner: AsyncSideEffectContext) -> str:
            async def waits() -> str:
                return await asyncio.wait_for(inner.receive_signal("word", str), 60)

            return await asyncio.wait_for(waits(), 60)

        return await ctx.side_effect("listens", effect)

    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending)
    node.signal("word", "heard")

    assert node.result() == "heard"


def test_an_execution_from_before_goes_on_as_it_did(node: HostedNode) -> None:
    async def handler(ctx: AsyncHandlerContext) -> None:
        async def effect(inner: AsyncSideEffectContext) -> None:
            await in_a_task(inner.sleep(0.001))
            await by_timeout(lambda: inner.receive_signal("word"))

        await ctx.side_effect("waits", effect)

    node.format = 2
    node.serve(handler, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending)
    node.advance(10)

    assert node.result() is None
    operations = {each.key: each.status for each in node.executions.operations(1, 1 << 20) or ()}
    assert operations["side_effect:waits > word#1"] is OperationStatus.CANCELLED
