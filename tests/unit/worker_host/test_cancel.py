"""How a cancel reaches the code, and what it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tempolite_node.engine.model import Status
from tempolite_sdk import (
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
