"""Handlers that kill, block or confuse their worker host, and some that do no harm beside them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from typing import Any

from world import happened, pass_gate, times

from tempolite_sdk import (
    AsyncHandlerContext,
    ChildHandle,
    ContextMisuse,
    HandlerContext,
    InvalidArgument,
    NonRetryable,
    RetryAfter,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    SideEffectFailed,
    TransactionContext,
)

_leaked: list[bytes] = []


def leak(ctx: HandlerContext, number: int) -> int:
    """A megabyte, which stays."""
    _leaked.append(number.to_bytes(8, "big") * 131_072)
    return ctx.side_effect("number", lambda: number)


# --- harmless


def compute(ctx: HandlerContext, name: str) -> str:
    """Runs until its gate is open."""
    value = ctx.side_effect("once", lambda: happened(f"{name} side effect") or name)
    happened(f"{name} runs")
    pass_gate(name)
    return f"{value} in attempt {ctx.attempt}"


def listen(ctx: HandlerContext, name: str) -> str:
    ctx.side_effect("once", lambda: happened(f"{name} side effect"))
    return ctx.receive_signal("word", str)


async def listen_async(ctx: AsyncHandlerContext, name: str) -> str:
    async def once() -> None:
        happened(f"{name} side effect")

    await ctx.side_effect("once", once)
    return await ctx.receive_signal("word", str)


def quick(_ctx: HandlerContext, value: int = 1) -> int:
    return value


# --- that kill or hang their host


def exit_at_once(_ctx: HandlerContext, times_to_die: int = 1_000_000) -> str:
    if times("dies") < times_to_die:
        happened("dies")
        os._exit(3)
    return "lives"


def hold_the_gil(_ctx: HandlerContext, name: str) -> str:
    happened(f"{name} runs")
    if times(f"{name} runs") == 1:
        re.match(r"(a+)+$", "a" * 64 + "b")  # takes for ever, in C
    return "let go"


async def block_the_loop(_ctx: AsyncHandlerContext) -> None:
    happened("the loop is blocked")
    pass_gate("never opened")


def spawned(_ctx: HandlerContext, name: str) -> int:
    """In a process of its own, if its config says so."""
    happened(f"{name} runs in {os.getpid()}")
    pass_gate(name)
    return os.getpid()


# --- that end in strange ways


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class Shapeless(SideEffectFailed):
    def __init__(self) -> None:
        pass


_ENDINGS: dict[str, BaseException] = {
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "GeneratorExit": GeneratorExit(),
    "CancelledError": asyncio.CancelledError(),
    "BaseException": BaseException("bare"),
    "StopIteration": StopIteration(1),
    "Unprintable": Unprintable(),
    "Unspeakable": Unspeakable(),
    "Shapeless": Shapeless(),
    "ValueError": ValueError("a file named \udcff"),
    "RetryAfter": RetryAfter(float("inf")),
}


def raise_it(_ctx: HandlerContext, name: str) -> None:
    if name == "SystemExit":
        sys.exit(3)
    raise _ENDINGS[name]


async def raise_it_async(_ctx: AsyncHandlerContext, name: str) -> None:
    raise _ENDINGS[name]


def raise_it_in_a_side_effect(ctx: HandlerContext, name: str) -> None:
    def fail() -> None:
        raise _ENDINGS[name]

    ctx.side_effect("fails", fail, retry=RetryPolicy(maximum_attempts=1))


async def exit_in_a_task(ctx: AsyncHandlerContext) -> None:
    async def leave() -> None:
        sys.exit(3)

    await asyncio.gather(leave(), ctx.sleep(3_600))


_RESULTS: dict[str, Any] = {
    "object": object(),
    "set of objects": {object()},
    "surrogate": "\udcff",
    "text": "no number",
    "deep": None,
    "large": "x" * 3_000_000,
}


def return_it(_ctx: HandlerContext, name: str) -> int:
    if name == "deep":
        deep: list[Any] = []
        for _ in range(1_000_000):
            deep = [deep]
        return deep  # type: ignore[return-value]
    return _RESULTS[name]


def return_it_from_a_side_effect(ctx: HandlerContext, name: str) -> None:
    ctx.side_effect("result", lambda: _RESULTS[name], type=int)


def block(ctx: HandlerContext, name: str) -> str:
    """Each of its attempts has a gate of its own."""
    happened(f"{name} blocks")
    pass_gate(f"{name}.{ctx.attempt}")
    happened(f"{name} goes on")
    return "too late"


# --- that do not let go


def swallow(ctx: HandlerContext) -> str:
    """Unwound at its wait, it goes on as if nothing had happened. Nothing of that counts."""
    try:
        return ctx.receive_signal("word", str)
    except BaseException:
        happened("swallowed")
    try:
        ctx.side_effect("more", lambda: happened("a side effect of a stack that was given up"))
    except BaseException:
        happened("swallowed again")
    return "a result that nobody asked for"


def return_from_finally(ctx: HandlerContext) -> str:
    try:
        return ctx.receive_signal("word", str)
    finally:
        if times("returned from finally") == 0:
            happened("returned from finally")
            return "from finally"  # noqa: B012


async def swallow_async(ctx: AsyncHandlerContext) -> str:
    try:
        return await ctx.receive_signal("word", str)
    except BaseException:
        happened("swallowed")
    try:
        await ctx.sleep(0)
    except BaseException:
        happened("swallowed again")
    return "a result that nobody asked for"


# --- contexts where they do not belong


def leak_context(ctx: HandlerContext) -> list[str]:
    leaked: list[SideEffectContext] = []

    def keep(inner: SideEffectContext) -> None:
        leaked.append(inner)

    ctx.side_effect("keep", keep)
    return [_misused(lambda: leaked[0].now()), _misused(lambda: ctx.now())]


def use_in_a_thread(ctx: HandlerContext) -> list[str]:
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(_misused(lambda: ctx.now())))
    thread.start()
    thread.join()
    return told


async def use_in_a_thread_async(ctx: AsyncHandlerContext) -> list[str]:
    def elsewhere() -> str:
        return _misused(lambda: asyncio.run(_now(ctx)))

    return [await ctx.side_effect("elsewhere", lambda: asyncio.to_thread(elsewhere))]


async def _now(ctx: AsyncHandlerContext) -> None:
    await ctx.now()


_after: list[HandlerContext] = []


def keep_context(ctx: HandlerContext) -> None:
    _after.append(ctx)


def use_kept_context(_ctx: HandlerContext) -> str:
    return _misused(lambda: _after.pop().now())


def _misused(use: Any) -> str:
    try:
        use()
    except ContextMisuse as error:
        return str(error)
    return "it worked"


def use_keys_twice(ctx: HandlerContext) -> list[str]:
    first: ChildHandle[int] = ctx.options(key="same").enqueue(quick)
    ctx.wait_for_completion(first, key="same")
    ctx.sleep(0, key="same")
    return [
        _misused(lambda: ctx.options(key="same").enqueue(quick)),
        _misused(lambda: ctx.wait_for_completion(first, key="same")),
        _misused(lambda: ctx.sleep(0, key="same")),
        _misused(lambda: ctx.send_signal("a > b")),
    ]


def name_children_badly(ctx: HandlerContext) -> list[str]:
    told = []
    for id in ("", "a/b", "two words", "\udcff", "x" * 201):
        try:
            ctx.options(id=id).enqueue(quick)
        except InvalidArgument as error:
            told.append(str(error))
    return told


def set_options_badly(ctx: HandlerContext) -> list[str]:
    told = []
    wrong: list[dict[str, Any]] = [
        {"prio": 1},
        {"close_policy": "kill"},
        {"priority": 1_001},
        {"delay": -1},
        {"concurrency_key": ""},
    ]
    for options in wrong:
        try:
            ctx.options(**options).enqueue(quick)
        except (InvalidArgument, TypeError) as error:
            told.append(f"{type(error).__name__}: {error}")
    return told


def use_a_key_for_two_effects(ctx: HandlerContext) -> list[int]:
    """The same key is the same side effect: it runs once. Another one is refused."""

    def one() -> int:
        happened("one under a known key")
        return 1

    same = [ctx.side_effect("same", one), ctx.side_effect("same", one)]
    try:
        ctx.side_effect("same", lambda: 2)
    except ContextMisuse:
        return same
    return []


async def use_a_key_at_once(ctx: AsyncHandlerContext) -> list[Any]:
    async def effect() -> int:
        happened("effect under one key")
        return 1

    both = await asyncio.gather(
        ctx.side_effect("same", effect), ctx.side_effect("same", effect), return_exceptions=True
    )
    return [str(each) for each in both] + [await ctx.side_effect("another", effect)]


class Steps(SagaStep):
    def transaction(self, ctx: TransactionContext) -> None: ...

    def compensation(self, ctx: Any) -> None: ...


def use_step_keys_twice(ctx: SagaContext) -> None:
    ctx.step(Steps(), key="same")
    try:
        ctx.step(Steps(), key="same")
    except ContextMisuse as error:
        raise NonRetryable(str(error)) from None


def sleepless(_ctx: HandlerContext) -> None:
    time.sleep(0)
