"""Handlers that receive signals and send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from world import happened, pass_gate

from tempolite_sdk import (
    AsyncHandlerContext,
    FailedPrecondition,
    HandlerContext,
    NotFound,
    SideEffectContext,
    WaitTimeout,
)


@dataclass
class Word:
    text: str
    number: int = 0


def receive(ctx: HandlerContext, name: str, count: int) -> list[Any]:
    """Signals of one name, once the gate that bears the execution's id is open."""
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    return [ctx.receive_signal(name) for _ in range(count)]


async def receive_async(ctx: AsyncHandlerContext, name: str, count: int) -> list[Any]:
    return [await ctx.receive_signal(name) for _ in range(count)]


def receive_typed(ctx: HandlerContext) -> Word:
    return ctx.receive_signal("word", Word)


async def receive_typed_async(ctx: AsyncHandlerContext) -> Word:
    return await ctx.receive_signal("word", Word)


def receive_typed_inside(ctx: HandlerContext) -> Word:
    """In a side effect, with all that this makes different: slots, keys, generations."""
    return ctx.side_effect("ask", in_side_effect, type=Word)


def in_side_effect(ctx: SideEffectContext) -> Word:
    return ctx.receive_signal("word", Word)


def receive_unreadable(ctx: HandlerContext) -> None:
    ctx.receive_signal("word", list[int] | set[int])  # type: ignore[call-overload]


def receive_in_every_spelling(ctx: HandlerContext) -> list[str]:
    """A signal that a child returns, and signals of its own: with the type by position and by keyword."""
    child = ctx.enqueue("receive_typed")
    ctx.send_signal("word", Word("a child's"), to=child.id)
    words = [
        ctx.wait_for_completion(child, Word),
        ctx.wait_for_completion(child, type=Word),
        ctx.wait_for_completion(child.id, Word),
        ctx.wait_for_completion(child.id, type=Word),
        ctx.receive_signal("word", Word),
        ctx.receive_signal("word", type=Word, timeout=60),
        next(iter(ctx.signals("word", Word))),
        next(iter(ctx.signals("word", type=Word))),
        ctx.side_effect("position", lambda: {"text": "an effect's"}, Word),
        ctx.side_effect("keyword", lambda: {"text": "an effect's"}, type=Word),
    ]
    return [f"{type(word).__name__} {word.text}" for word in words]


async def receive_in_every_spelling_async(ctx: AsyncHandlerContext) -> list[str]:
    child = await ctx.enqueue("receive_typed")
    await ctx.send_signal("word", Word("a child's"), to=child.id)

    async def effect() -> Any:
        return {"text": "an effect's"}

    words = [
        await ctx.wait_for_completion(child, Word),
        await ctx.wait_for_completion(child, type=Word),
        await ctx.wait_for_completion(child.id, Word),
        await ctx.wait_for_completion(child.id, type=Word),
        await ctx.receive_signal("word", Word),
        await ctx.receive_signal("word", type=Word, timeout=60),
        await anext(aiter(ctx.signals("word", Word))),
        await anext(aiter(ctx.signals("word", type=Word))),
        await ctx.side_effect("position", effect, Word),
        await ctx.side_effect("keyword", effect, type=Word),
    ]
    return [f"{type(word).__name__} {word.text}" for word in words]


def receive_by_name(ctx: HandlerContext, names: list[str]) -> list[Any]:
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    return [ctx.receive_signal(name) for name in names]


def iterate(ctx: HandlerContext) -> int:
    total = 0
    for number in ctx.signals("number", int):
        if number == 0:
            break
        total += number
    return total


async def iterate_async(ctx: AsyncHandlerContext) -> int:
    total = 0
    async for number in ctx.signals("number", int):
        if number == 0:
            break
        total += number
    return total


def look(ctx: HandlerContext, timeout: float) -> list[str]:
    """What is there within the timeout, each time it looks."""
    seen = []
    for place in ("first", "second"):
        happened(f"{ctx.execution_id} {place}")
        pass_gate(f"{ctx.execution_id} {place}")
        try:
            seen.append(ctx.receive_signal("word", str, timeout=timeout))
        except WaitTimeout:
            seen.append("nothing")
    return seen


def end(ctx: HandlerContext) -> str:
    """Ends when its gate opens, and takes no signal."""
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    return "ended"


def send(ctx: HandlerContext, to: str, words: list[str]) -> list[str]:
    told = []
    for word in words:
        try:
            ctx.send_signal("word", word, to=to)
        except (NotFound, FailedPrecondition) as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


def ping(ctx: HandlerContext, to: str, rounds: int) -> int:
    for number in range(rounds):
        ctx.send_signal("ball", [ctx.execution_id, number], to=to)
        assert ctx.receive_signal("ball", list)[1] == number
    return rounds


def pong(ctx: HandlerContext, rounds: int) -> int:
    for _ in range(rounds):
        sender, number = ctx.receive_signal("ball", list)
        ctx.send_signal("ball", [ctx.execution_id, number], to=sender)
    return rounds


def tell(ctx: HandlerContext, count: int) -> int:
    """To its clients, in two names: half of it before a wait, half behind it."""
    for number in range(count):
        if number == count // 2:
            ctx.receive_signal("go on")
            happened(f"{ctx.execution_id} in the middle")
            pass_gate(ctx.execution_id)
        ctx.send_signal("even" if number % 2 == 0 else "odd", number)
    return count


def confirm(ctx: HandlerContext) -> str:
    """Sends once, however often it is tried."""
    ctx.send_signal("progress", "begun")
    if ctx.attempt < 3:
        raise ValueError("again")
    ctx.send_signal("progress", "done")
    return "confirmed"


def send_word(ctx: HandlerContext) -> None:
    ctx.send_signal("word", Word("hello"))
