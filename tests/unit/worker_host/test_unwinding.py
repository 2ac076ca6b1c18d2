"""What cleanup code sees when a stack is given up while its execution goes on, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tempolite_node.engine.model import Status
from tempolite_sdk import AsyncHandlerContext, HandlerContext, SideEffectContext

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
