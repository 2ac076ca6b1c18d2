"""Transactions work on copies: the body gets back what was recorded, in the first run as in replay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from tempolite_sdk import (
    AsyncCompensationContext,
    AsyncSagaContext,
    AsyncSagaStep,
    AsyncTransactionContext,
    CompensationContext,
    SagaContext,
    SagaStep,
    StepFailed,
    TransactionContext,
)

from .hosted import HostedNode, hosted


@dataclass
class Money:
    cents: int


class Odd(Exception):
    pass


def pay(step: Any) -> None:
    step.amount.cents += 1
    step.lines.append("paid")
    step.receipt = "r-1"


@dataclass
class Pay(SagaStep):
    amount: Money
    fails: bool = False
    receipt: str = ""
    lines: list[str] = field(default_factory=list)
    noted: ClassVar[list[str]] = []

    def transaction(self, _ctx: TransactionContext) -> None:
        pay(self)
        if self.fails:
            raise SystemExit("odd") if self.amount.cents > 100 else Odd("odd")

    def compensation(self, _ctx: CompensationContext) -> None:
        self.noted.append(f"{self.receipt} {self.amount.cents}")


@dataclass
class AsyncPay(AsyncSagaStep):
    amount: Money
    fails: bool = False
    receipt: str = ""
    lines: list[str] = field(default_factory=list)

    async def transaction(self, _ctx: AsyncTransactionContext) -> None:
        await asyncio.sleep(0)
        pay(self)
        if self.fails:
            raise Odd("odd")

    async def compensation(self, _ctx: AsyncCompensationContext) -> None: ...


def look(amount: Money, step: Any, got: Any, error: BaseException | None) -> str:
    causes = None if error is None else (type(error).__name__, str(error), error.__cause__, error.__context__)
    return f"{amount} {step} {got is step} {step.amount is amount} {causes}"


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


@pytest.mark.parametrize("cents", [10, 100], ids=["an error", "SystemExit"])
@pytest.mark.parametrize("fails", [False, True], ids=["completes", "fails"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("how", ["unwound", "killed"])
def test_the_body_sees_of_a_step_what_was_recorded(
    node: HostedNode, how: str, asynchronous: bool, fails: bool, cents: int
) -> None:
    seen: list[str] = []

    def body(ctx: SagaContext) -> None:
        amount, got, failed = Money(cents), None, None
        step = Pay(amount, fails)
        try:
            got = ctx.step(step)
        except StepFailed as error:
            failed = error
        seen.append(look(amount, step, got, failed))
        ctx.receive_signal("go")

    async def async_body(ctx: AsyncSagaContext) -> None:
        amount, got, failed = Money(cents), None, None
        step = AsyncPay(amount, fails)
        try:
            got = await ctx.step(step)
        except StepFailed as error:
            failed = error
        seen.append(look(amount, step, got, failed))
        await ctx.receive_signal("go")

    def serve() -> None:
        node.serve(async_body if asynchronous else body, asynchronous=asynchronous)

    serve()
    node.enqueue(saga=True)
    node.rest()
    if how == "unwound":
        node.unwind()
    else:
        serve()
        node.rest()
    node.signal("go")
    node.result()

    assert len(seen) == 2
    assert len(set(seen)) == 1
    assert f"Money(cents={cents}) " in seen[0]
    assert f"amount=Money(cents={cents + 1})" in seen[0]
    assert "lines=['paid']" in seen[0]


def test_a_compensation_gets_what_its_transaction_left(node: HostedNode) -> None:
    def body(ctx: SagaContext) -> None:
        ctx.step(Pay(Money(10)))
        raise Odd

    node.serve(body, asynchronous=False)
    node.enqueue(saga=True)
    node.until(lambda: node.execution().closed)

    assert Pay.noted == ["r-1 11"]
