"""Handlers to be stopped at any place, and what they do about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from world import happened, pass_gate, times

from tempolite_sdk import (
    AsyncHandlerContext,
    Cancelled,
    ChildHandle,
    CompensationContext,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SagaStep,
    TransactionContext,
)

SLOWLY = RetryPolicy(maximum_attempts=0, initial_interval=3_600, maximum_interval=3_600)


def in_code(ctx: HandlerContext) -> None:
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    while not ctx.cancelled:
        time.sleep(0.001)
    ctx.now()


def in_side_effect(ctx: HandlerContext) -> None:
    def effect() -> None:
        happened(f"{ctx.execution_id} runs")
        pass_gate(ctx.execution_id)
        while not ctx.cancelled:
            time.sleep(0.001)

    ctx.side_effect("effect", effect)
    happened(f"{ctx.execution_id} side effect recorded")
    ctx.now()


def in_wait_of_side_effect(ctx: HandlerContext) -> None:
    ctx.side_effect("effect", lambda: ctx.receive_signal("never"))


def in_side_effect_backoff(ctx: HandlerContext) -> None:
    def effect() -> None:
        happened(f"{ctx.execution_id} runs")
        raise ValueError("not yet")

    ctx.side_effect("effect", effect, retry=SLOWLY)


def waiting_for_signal(ctx: HandlerContext) -> None:
    ctx.receive_signal("never")


def waiting_for_sleep(ctx: HandlerContext) -> None:
    ctx.sleep(3_600)


def waiting_for_child(ctx: HandlerContext) -> None:
    child = ctx.options(id=f"{ctx.execution_id}.child").enqueue(stay, "waiting_for_signal")
    ctx.wait_for_completion(child)


_PLACES: dict[str, Callable[[HandlerContext], None]] = {
    function.__name__: function
    for function in (
        in_code,
        in_side_effect,
        in_wait_of_side_effect,
        in_side_effect_backoff,
        waiting_for_signal,
        waiting_for_sleep,
        waiting_for_child,
    )
}


def stay(ctx: HandlerContext, place: str) -> None:
    """Until it is cancelled. Cleans up then, which waits too."""
    try:
        _PLACES[place](ctx)
    except Cancelled as cancelled:
        happened(f"{ctx.execution_id} cancelled: {cancelled.reason}")
        ctx.sleep(0.01)
        ctx.side_effect("clean", lambda: happened(f"{ctx.execution_id} cleaned"))
        raise


async def stay_async(ctx: AsyncHandlerContext) -> None:
    """In three waits at once."""
    try:
        await asyncio.gather(ctx.receive_signal("never"), ctx.sleep(3_600), ctx.receive_signal("nor this"))
    except Cancelled as cancelled:
        happened(f"{ctx.execution_id} cancelled: {cancelled.reason}")
        await ctx.sleep(0.01)
        raise


def fail(ctx: HandlerContext) -> None:
    happened(f"{ctx.execution_id} runs")
    raise ValueError("try again")


def refuse(ctx: HandlerContext) -> str:
    """Ends well although it was cancelled."""
    try:
        ctx.receive_signal("never")
    except Cancelled as cancelled:
        ctx.sleep(0.01)
        return f"ended well: {cancelled.reason}"
    return "not cancelled"


def replace_error(ctx: HandlerContext) -> None:
    """Fails with another error than the cancel."""
    try:
        ctx.receive_signal("never")
    except Cancelled:
        raise ValueError("could not clean up") from None


def parent(ctx: HandlerContext, policies: list[str | None], how: str) -> list[str]:
    """Of children that wait: one for each policy."""
    children: list[ChildHandle[Any]] = []
    for number, policy in enumerate(policies):
        options = ctx.options(id=f"{ctx.execution_id}.{number}", close_policy=policy)  # type: ignore[arg-type]
        children.append(options.enqueue(stay, "waiting_for_signal"))
    if how == "ends":
        pass_gate(ctx.execution_id)
        return [child.id for child in children]
    ctx.receive_signal("never")
    return []


def chain(ctx: HandlerContext, depth: int) -> None:
    if depth == 0:
        ctx.receive_signal("never")
    else:
        child = ctx.options(id=f"{ctx.execution_id}.").enqueue(chain, depth - 1)
        ctx.wait_for_completion(child)


# --- sagas


@dataclass
class Book(SagaStep):
    name: str
    then: str = ""  #: what its compensation does

    def transaction(self, ctx: TransactionContext) -> None:
        happened(f"{ctx.execution_id} did {self.name}")

    def compensation(self, ctx: CompensationContext) -> None:
        if self.then == "waits":
            happened(f"{ctx.execution_id} undoes {self.name}")
            pass_gate(ctx.execution_id)
        if self.then == "fails" and times(f"{ctx.execution_id} may undo") == 0:
            happened(f"{ctx.execution_id} failed to undo {self.name}")
            raise ValueError("not undone")
        happened(f"{ctx.execution_id} undid {self.name}")


def travel(ctx: SagaContext, then: str = "", *, fails: bool = False) -> str:
    ctx.step(Book("hotel"))
    ctx.step(Book("flight", then))
    if fails:
        raise ValueError("no money")
    ctx.receive_signal("never")
    return "travelled"
