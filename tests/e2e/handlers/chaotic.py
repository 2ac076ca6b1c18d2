"""Handlers whose books must balance, whatever happens to the nodes that run them."""

from __future__ import annotations

from dataclasses import dataclass

from world import happened

from tempolite_sdk import (
    CompensationContext,
    HandlerContext,
    NonRetryable,
    SagaContext,
    SagaStep,
    TransactionContext,
)


@dataclass
class Book(SagaStep):
    """An entry of the books, under an id of its own: what was booked twice under it counts once, or not when undone."""

    entry: str
    amount: int

    def transaction(self, ctx: TransactionContext) -> None:
        happened(ctx.operation_id)
        happened(f"booked {self.entry} {self.amount}")

    def compensation(self, ctx: CompensationContext) -> None:
        happened(ctx.operation_id)
        happened(f"undone {self.entry} {self.amount}")


def transfer(ctx: SagaContext, amount: int, fails: bool) -> str:
    """Takes the amount from one account, asks whether it may, and gives it to the other."""
    ctx.step(Book(f"{ctx.execution_id}/taken", -amount), key="taken")
    allowed = ctx.wait_for_completion(ctx.enqueue(judge, fails))
    if not allowed:
        raise NonRetryable("it is not allowed")
    ctx.step(Book(f"{ctx.execution_id}/given", amount), key="given")
    return f"transferred {amount}"


def judge(ctx: HandlerContext, refuses: bool) -> bool:
    def ask() -> bool:
        happened(f"{ctx.execution_id}/side_effect/asked")
        return not refuses

    return ctx.side_effect("asked", ask)


def converse(ctx: HandlerContext, words: int) -> list[str]:
    """Hears words in their order, and does something about each."""
    heard = []
    for number in range(words):
        word = ctx.receive_signal("word", str)
        key = f"word {number}"
        ctx.side_effect(key, lambda key=key: happened(f"{ctx.execution_id}/side_effect/{key}"))
        heard.append(word)
    return heard
