"""How a cancel reaches the code, and what it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from tempolite_node.engine.model import OperationKind, OperationStatus, Status, cancel_again
from tempolite_node.protocol import messages
from tempolite_node.worker_host.runner import _with_cancels
from tempolite_sdk import (
    AsyncHandlerContext,
    Cancelled,
    CompensationContext,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    SideEffectFailed,
    StepFailed,
    TransactionContext,
)

from .hosted import HostedNode, hosted


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


def own_class() -> type[Exception]:
    return type("Cancelled", (Exception,), {})


def test_it_is_not_eaten_by_code_that_expects_errors(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> str:
        try:
            ctx.receive_signal("never")
        except Exception:
            return "eaten"
        return "went on"

    node.serve(body, asynchronous=False)
    node.enqueue()
    node.rest()
    node.cancel()
    node.until(lambda: node.execution().closed)

    assert node.execution().status is Status.CANCELLED


@pytest.mark.parametrize("how", ["unwound", "killed"])
def test_cancelled_again_it_is_raised_again_and_in_replay_in_the_same_places(node: HostedNode, how: str) -> None:
    def body(ctx: HandlerContext) -> list[str]:
        seen = []
        for name in ("one", "two", "three"):
            try:
                ctx.receive_signal(name)
            except Cancelled as cancelled:
                seen.append(f"{name}: {cancelled.reason}")
        return seen

    node.serve(body, asynchronous=False)
    node.enqueue()
    for _ in range(2):
        node.rest()
        node.cancel()
    node.rest()
    if how == "unwound":
        node.unwind()
    else:
        node.serve(body, asynchronous=False)
    node.signal("three")

    assert node.result() == ["one: enough", "two: enough"]


def test_one_that_was_raised_in_a_side_effect_goes_on_to_the_body_and_does_so_in_replay(node: HostedNode) -> None:
    def body(ctx: HandlerContext) -> list[str]:
        seen = []

        def effect(inner: SideEffectContext) -> None:
            try:
                inner.receive_signal("never")
            except Cancelled as cancelled:
                raise ExceptionGroup("in a group", [ValueError()]) from cancelled

        try:
            ctx.side_effect("waits", effect)
        except Cancelled:
            seen.append("cancelled")
        ctx.receive_signal("go")
        return seen

    node.serve(body, asynchronous=False)
    node.enqueue()
    node.rest()
    node.cancel()
    node.rest()
    node.serve(body, asynchronous=False)
    node.signal("go")

    assert node.result() == ["cancelled"]


@dataclass
class Books(SagaStep):
    def transaction(self, _ctx: TransactionContext) -> None:
        raise own_class()("sold out")

    def compensation(self, _ctx: CompensationContext) -> None: ...


def test_a_class_of_the_users_with_that_name_is_another_error(node: HostedNode) -> None:
    def body(ctx: SagaContext) -> list[str]:
        def fails() -> None:
            raise own_class()("sold out")

        seen: list[str] = []
        for ask, error in (
            (lambda: ctx.side_effect("books", fails, retry=RetryPolicy(maximum_attempts=1)), SideEffectFailed),
            (lambda: ctx.step(Books()), StepFailed),
        ):
            try:
                ask()
            except error as failed:
                seen.append(type(failed).__name__)
        ctx.receive_signal("go")
        return seen

    node.serve(body, asynchronous=False)
    node.enqueue(saga=True)
    node.rest()
    node.serve(body, asynchronous=False)
    node.signal("go")

    assert node.result() == ["SideEffectFailed", "StepFailed"]


def test_in_an_execution_from_before_it_is_an_exception_as_it_was(node: HostedNode) -> None:
    seen: list[Any] = []

    def body(ctx: HandlerContext) -> str:
        try:
            ctx.receive_signal("never")
        except Exception as error:
            seen.append((type(error).__name__, isinstance(error, Cancelled)))
            return "caught"
        return "went on"

    node.format = 2
    node.serve(body, asynchronous=False)
    node.enqueue()
    node.rest()
    node.cancel()

    assert node.result() == "caught"
    assert seen == [("Cancelled", True)]


# --- of asynchronous code


@pytest.mark.parametrize("how", ["undisturbed", "unwound", "killed", "killed each time"])
def test_cancelled_again_asynchronous_code_meets_it_again_in_its_place(node: HostedNode, how: str) -> None:
    began: list[str] = []

    async def body(ctx: AsyncHandlerContext) -> list[str]:
        seen = []
        for name in ("one", "two", "three"):
            began.append(name)
            try:
                await asyncio.gather(ctx.receive_signal(name), ctx.receive_signal("also"))
            except Cancelled as cancelled:
                await ctx.side_effect(f"clean-{name}", nothing)
                seen.append(f"{name}: {cancelled.reason}")
            except asyncio.CancelledError:
                seen.append("a plain one")
        return [*seen, str(ctx.cancelled)]

    def disturb() -> None:
        if how == "unwound":
            node.unwind()
        elif how == "killed":
            node.serve(body, asynchronous=True)

    node.serve(body, asynchronous=True)
    node.enqueue()
    for name in ("one", "two"):
        node.until(lambda name=name: name in began)
        node.rest()
        if how == "killed each time":
            node.serve(body, asynchronous=True)
        node.cancel()
    node.until(lambda: "three" in began)
    node.rest()
    disturb()
    node.signal("three")
    node.signal("also")

    assert node.result() == ["one: enough", "two: enough", "True"]


async def nothing() -> None: ...


def test_cancelled_again_while_it_is_unwound_it_meets_both(node: HostedNode) -> None:
    async def body(ctx: AsyncHandlerContext) -> list[str]:
        seen = []
        for name in ("one", "two", "three"):
            try:
                await ctx.receive_signal(name)
            except Cancelled as cancelled:
                seen.append(f"{name}: {cancelled.reason}")
        return seen

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.rest()
    node.unwind()
    node.cancel()
    node.cancel()
    node.rest()
    node.unwind()
    node.signal("three")

    assert node.result() == ["one: enough", "two: enough"]
    assert node.begun == 3


def test_cancelled_again_a_side_effect_that_still_cleans_up_is_cancelled_again(node: HostedNode) -> None:
    seen: list[str] = []

    async def effect() -> str:
        for place in ("work", "clean up", "last words"):
            try:
                seen.append(place)
                await asyncio.sleep(3_600)
            except asyncio.CancelledError as cancelled:
                seen.append(type(cancelled).__name__)
                if place == "clean up":
                    return "cut short"
        return "never"

    async def body(ctx: AsyncHandlerContext) -> str:
        return await ctx.side_effect("works", effect)

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.until(lambda: seen == ["work"])
    node.cancel()
    node.until(lambda: seen[-1] == "clean up")
    node.cancel()

    assert node.result() == "cut short"
    assert seen == ["work", "Cancelled", "clean up", "Cancelled"]


def cancel_of(seq: int) -> messages.CancelAttempt:
    return messages.CancelAttempt(execution_id="x", epoch=1, reason="enough", cancel_seq=seq, at_ms=seq)


def test_those_that_come_while_its_journal_does_have_their_places() -> None:
    run = messages.RunHandler(execution_id="x", epoch=1, handler="h", arguments=b"[]", attempt=1, generation=0)
    known = messages.Record(
        kind=OperationKind.MARKER, key=cancel_again(2), status=OperationStatus.COMPLETED, end_seq=7, closed_ms=7
    )

    told = _with_cancels(replace(run, journal=(known,)), [cancel_of(5), cancel_of(7), cancel_of(9)])

    assert (told.cancel_seq, told.cancelled_ms, told.cancel_reason) == (5, 5, "enough")
    assert [(each.key, each.end_seq) for each in told.journal] == [(cancel_again(2), 7), (cancel_again(3), 9)]


def test_one_that_crosses_the_hand_over_to_the_next_run_is_met_before_it(node: HostedNode) -> None:
    begun, cancelled, seen = threading.Event(), threading.Event(), []

    async def body(ctx: AsyncHandlerContext) -> None:
        await ctx.receive_signal("go")
        begun.set()
        cancelled.wait()
        try:
            await ctx.continue_as_new()
        except Cancelled:
            seen.append("cancelled")
            raise

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.signal("go")
    node.until(begun.is_set)
    node.cancel()
    cancelled.set()
    node.until(lambda: node.execution().closed)

    assert (node.execution().status, node.execution().run, seen) == (Status.CANCELLED, 1, ["cancelled"])
