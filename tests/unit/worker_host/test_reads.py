"""What a body reads of its context is the same in each replay of its attempt, whatever has changed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempolite_node.engine.model import Status
from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    Cancelled,
    CompensationContext,
    HandlerContext,
    SagaContext,
    SideEffectContext,
    TransactionContext,
)

from .hosted import RETRIED, HostedNode, hosted

CONTEXTS: list[type[Any]] = [
    HandlerContext,
    SagaContext,
    SideEffectContext,
    TransactionContext,
    CompensationContext,
    AsyncHandlerContext,
    AsyncSagaContext,
    AsyncSideEffectContext,
    AsyncTransactionContext,
    AsyncCompensationContext,
]


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


def test_each_member_of_each_context_has_its_reason() -> None:
    page = (Path(__file__).parents[3] / "docs/design/reads.md").read_text()
    told = {word.strip("`") for line in page.splitlines() if line.startswith("| `") for word in _words(line)}
    members = {name for context in CONTEXTS for name in dir(context) if not name.startswith("_")}
    assert members - told == set(), "why are these the same in a replay? docs/design/reads.md has to say it"
    assert told - members == set()


def _words(line: str) -> list[str]:
    return [word for word in line.split("|")[1].replace(",", " ").split() if word.startswith("`")]


Again = Callable[[HostedNode], None]


def again(node: HostedNode, how: str, serve: Callable[[], None]) -> None:
    """The stack is lost in the middle of its attempt, and the code is replayed."""
    node.rest()
    if how == "unwound":
        node.unwind()
    else:
        serve()
        node.rest()


HOW = pytest.mark.parametrize("how", ["unwound", "killed"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@HOW
def test_heartbeat_details_are_those_that_the_attempt_began_with(
    node: HostedNode, how: str, asynchronous: bool
) -> None:
    seen: list[Any] = []

    def body(ctx: HandlerContext) -> Any:
        seen.append((ctx.attempt, ctx.heartbeat_details()))
        ctx.heartbeat(ctx.attempt)
        seen.append((ctx.attempt, ctx.heartbeat_details()))
        ctx.receive_signal("go")
        if ctx.attempt == 1:
            raise ValueError
        return ctx.heartbeat_details()

    async def async_body(ctx: AsyncHandlerContext) -> Any:
        seen.append((ctx.attempt, ctx.heartbeat_details()))
        await ctx.heartbeat(ctx.attempt)
        seen.append((ctx.attempt, ctx.heartbeat_details()))
        await ctx.receive_signal("go")
        if ctx.attempt == 1:
            raise ValueError
        return ctx.heartbeat_details()

    def serve() -> None:
        node.serve(async_body if asynchronous else body, asynchronous=asynchronous)

    serve()
    node.enqueue(options=RETRIED)
    again(node, how, serve)
    node.signal("go")
    node.until(lambda: node.execution().status is Status.SCHEDULED)
    node.advance(100_000)
    again(node, how, serve)
    node.signal("go")

    assert node.result() == 1
    # What became of an attempt that was killed is told under its number, and the next one goes on as it.
    assert set(seen) == {(1, None), (2 if how == "unwound" else 3, 1)}


@HOW
def test_params_are_those_of_the_first_start_but_for_what_comes_from_the_environment(
    node: HostedNode, how: str
) -> None:
    seen: list[Any] = []

    def body(ctx: HandlerContext) -> Any:
        ctx.receive_signal("go")
        inside = ctx.side_effect("inside", lambda: ctx.params)
        return [ctx.params, inside]

    first = {"rate": 1, "key": "first", "hosts": [{"name": "a", "token": "first"}]}
    later = {"rate": 2, "key": "later", "hosts": [{"name": "b", "token": "later"}], "more": True}
    secrets = [("key",), ("hosts", 0, "token")]
    node.serve(body, first, secrets=secrets, asynchronous=False)
    node.enqueue()
    again(node, how, lambda: None)
    assert b"first" not in node.path.read_bytes()
    assert b"first" not in node.path.with_name(node.path.name + "-wal").read_bytes()
    node.serve(body, later, secrets=secrets, asynchronous=False)
    node.signal("go")

    body_saw, side_effect_saw = node.result()
    assert body_saw == {"rate": 1, "key": "later", "hosts": [{"name": "a", "token": "later"}]}
    assert side_effect_saw == later
    assert seen == []


def test_what_a_body_does_to_its_params_is_not_seen_by_another_nor_in_its_own_replay(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> Any:
        before = list(ctx.params["items"])
        ctx.params["items"].append(1)
        ctx.receive_signal("go")
        return before

    node.serve(body, {"items": []}, asynchronous=False)
    for name in "ab":
        node.enqueue(name)
        again(node, "unwound", lambda: None)
        node.signal("go", execution_id=name)
        assert node.result(name) == []


@HOW
def test_the_first_read_of_cancelled_that_says_true_is_recorded(node: HostedNode, how: str) -> None:
    seen: list[list[bool]] = []
    reached, cancelled = threading.Event(), threading.Event()

    def reach() -> bool:
        reached.set()
        return cancelled.wait()

    def body(ctx: HandlerContext) -> Any:
        reads: list[bool] = []
        seen.append(reads)
        reads.append(ctx.cancelled)
        ctx.side_effect("one", lambda: 1)
        reads.append(ctx.cancelled)
        ctx.side_effect("two", reach)
        reads.append(ctx.cancelled)
        reads.append(ctx.cancelled)
        try:
            ctx.sleep(1)
        except Cancelled:
            reads.append(ctx.cancelled)
        ctx.receive_signal("go")
        return reads

    def serve() -> None:
        node.serve(body, asynchronous=False)

    serve()
    node.enqueue()
    node.until(reached.is_set)
    node.cancel()
    cancelled.set()
    again(node, how, serve)
    node.signal("go")

    assert node.result() == [False, False, True, True, True]
    assert [reads for reads in seen if len(reads) == 5] == [[False, False, True, True, True]] * 2


def test_a_cancel_that_came_while_the_code_was_replayed_is_read_where_it_is_new(node: HostedNode) -> None:
    seen: list[list[bool]] = []

    def body(ctx: HandlerContext) -> Any:
        reads = [ctx.cancelled]
        seen.append(reads)
        ctx.side_effect("one", lambda: 1)
        reads.append(ctx.cancelled)
        ctx.heartbeat()
        try:
            ctx.receive_signal("go")
        except Cancelled:
            reads.append(ctx.cancelled)
        return reads

    node.serve(body, asynchronous=False)
    node.enqueue()
    again(node, "unwound", lambda: None)
    node.cancel()

    assert node.result() == [False, False, True]
    assert seen == [[False, False], [False, False, True]]


def test_a_retry_that_goes_another_way_reads_a_cancel_at_once(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> str:
        if ctx.attempt == 1:
            ctx.side_effect("one", lambda: 1)
            raise ValueError
        while not ctx.cancelled:
            pass
        return "stopped"

    node.serve(body, asynchronous=False)
    node.enqueue(options=RETRIED)
    node.until(lambda: node.execution().status is Status.SCHEDULED)
    node.advance(100_000)
    node.cancel()

    assert node.result() == "stopped"


def test_an_execution_from_before_reads_as_it_did(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> Any:
        ctx.receive_signal("go")
        return ctx.params

    node.serve(body, {"rate": 1}, asynchronous=False)
    node.format = 2
    node.enqueue()
    node.rest()
    node.serve(body, {"rate": 2}, asynchronous=False)
    node.signal("go")

    assert node.result() == {"rate": 2}
