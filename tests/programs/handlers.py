"""Handlers that do what a program says, on a daemon.

What a pass over the body sees goes to a file of its own, what a side effect does to another one: both are outside of
the node, and so outlive whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

from tempolite_sdk import (
    AsyncHandlerContext,
    AsyncSideEffectContext,
    HandlerContext,
    NonRetryable,
    SideEffectContext,
)

from .acts import AsyncActs
from .interpreter import Interpreter, Program

_DURATIONS_S = (0.0, 0.01, 0.04, 0.12)


async def program(ctx: AsyncHandlerContext, program: Program, witness: str) -> str:
    files = _Files(Path(witness), ctx.execution_id)
    return await Interpreter(AsyncActs(ctx, files, files)).main(program)


def child(_ctx: HandlerContext, at: str, how: str) -> str:
    if how == "fails":
        raise NonRetryable(at)
    return f"{at}!"


class _Files:
    """Of one pass."""

    def __init__(self, witness: Path, execution_id: str) -> None:
        self._world = witness / f"{execution_id}.world"
        passes = len(list(witness.glob(f"{execution_id}.pass-*")))
        self._trace = os.open(witness / f"{execution_id}.pass-{passes:06}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._cut = False

    # --- as its trace

    def note(self, *what: Any) -> None:
        if not self._cut:
            os.write(self._trace, (json.dumps(what) + "\n").encode())

    def cut(self) -> None:
        self._cut = True

    # --- as the bodies of its side effects

    async def body(self, at: str, how: str, ctx: AsyncSideEffectContext) -> str:
        value = f"{at}~{uuid.uuid4().hex[:8]}"
        with self._world.open("a") as world:
            world.write(f"{value}\n")
        try:
            if how == "nested":
                await ctx.sleep(0.04)
            await asyncio.sleep(0 if how == "quick" else random.choice(_DURATIONS_S))
        except asyncio.CancelledError:
            if how == "spoiled":
                raise NonRetryable(value) from None
            if how != "stubborn":
                raise
        if how == "fails":
            raise NonRetryable(value)
        if how == "retried" and ctx.attempt == 1:
            raise ConnectionError(value)
        return value

    def sync_body(self, at: str, how: str, ctx: SideEffectContext) -> str:  # noqa: ARG002
        raise AssertionError("asynchronous code asks for asynchronous bodies")
