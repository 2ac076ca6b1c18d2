"""What programs ask for, as operations of the contexts of handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from tempolite_sdk import (
    AsyncHandlerContext,
    AsyncSideEffectContext,
    Begun,
    ChildHandle,
    ExecutionError,
    HandlerContext,
    RetryPolicy,
    SideEffectContext,
    SideEffectFailed,
    WaitTimeout,
)

from .interpreter import Acts, Begins, Gone, Program

_RETRY = RetryPolicy(maximum_attempts=3, initial_interval=1, jitter=0.0)


class Trace(Protocol):
    """Of one pass over the body."""

    def note(self, *what: Any) -> None: ...

    def cut(self) -> None:
        """The stack is given up: what its cleanup sees is no part of the program."""
        ...


class Bodies(Protocol):
    """What side effects do in the world."""

    async def body(self, at: str, how: str, ctx: AsyncSideEffectContext) -> str: ...
    def sync_body(self, at: str, how: str, ctx: SideEffectContext) -> str: ...


class AsyncActs(Acts):
    def __init__(self, ctx: AsyncHandlerContext, trace: Trace, bodies: Bodies) -> None:
        self._ctx, self._trace, self._bodies = ctx, trace, bodies

    def note(self, at: str, *what: Any) -> None:
        if self._ctx.unwinding:
            self._trace.cut()
        self._trace.note(at, *what, asyncio.get_running_loop().time(), self._ctx.cancelled)

    async def effect(self, at: str, how: str) -> str:
        async def effect(inner: AsyncSideEffectContext) -> str:
            return await self._bodies.body(at, how, inner)

        try:
            return await self._ctx.side_effect(at, effect, retry=_RETRY)
        except SideEffectFailed as error:
            raise Gone(f"{at} failed: {error}") from error

    async def sleep(self, seconds: float) -> None:
        await self._ctx.sleep(seconds)

    async def signal(self, name: str, timeout_s: float | None) -> str:
        try:
            return await self._ctx.receive_signal(name, str, timeout=timeout_s)
        except WaitTimeout:
            raise TimeoutError from None

    async def now(self) -> str:
        return str(await self._ctx.now())

    async def child(self, at: str, how: str, then: str) -> str:
        handle = await self._ctx.enqueue("child", at, how)
        if then == "leave":
            return "left"
        if then == "cancel":
            await self._ctx.cancel(handle, "not needed")
        try:
            return str(await self._ctx.wait_for_completion(handle))
        except ExecutionError as error:
            return f"{type(error).__name__}({error})"

    async def refused(self) -> str:
        try:
            await self._ctx.send_signal("anything", to="nobody")
        except Exception as error:
            return type(error).__name__
        return "sent"

    async def tell(self, at: str) -> None:
        await self._ctx.send_signal("told", at)

    def cancelled(self) -> bool:
        return self._ctx.cancelled


class SyncActs(Acts, Begins):
    """None of them is awaited."""

    def __init__(self, ctx: HandlerContext, trace: Trace, bodies: Bodies) -> None:
        self._ctx, self._trace, self._bodies = ctx, trace, bodies

    def note(self, at: str, *what: Any) -> None:
        if self._ctx.unwinding:
            self._trace.cut()
        self._trace.note(at, *what)

    async def effect(self, at: str, how: str) -> str:
        try:
            return self._ctx.side_effect(at, partial(self._bodies.sync_body, at, how), str, retry=_RETRY)
        except SideEffectFailed as error:
            raise Gone(f"{at} failed: {error}") from error

    async def sleep(self, seconds: float) -> None:
        self._ctx.sleep(seconds)

    async def signal(self, name: str, timeout_s: float | None) -> str:
        try:
            return self._ctx.receive_signal(name, str, timeout=timeout_s)
        except WaitTimeout:
            raise TimeoutError from None

    async def now(self) -> str:
        return str(self._ctx.now())

    async def child(self, at: str, how: str, then: str) -> str:
        handle = self._ctx.enqueue("child", at, how)
        if then == "leave":
            return "left"
        if then == "cancel":
            self._ctx.cancel(handle, "not needed")
        try:
            return str(self._ctx.wait_for_completion(handle))
        except ExecutionError as error:
            return f"{type(error).__name__}({error})"

    async def refused(self) -> str:
        try:
            self._ctx.send_signal("anything", to="nobody")
        except Exception as error:
            return type(error).__name__
        return "sent"

    async def tell(self, at: str) -> None:
        self._ctx.send_signal("told", at)

    def cancelled(self) -> bool:
        return self._ctx.cancelled

    # --- what it begins

    def begin(self, at: str, part: Program) -> Begun[Any] | ChildHandle[Any]:
        match part:
            case ["effect", how]:
                return self._ctx.start_side_effect(at, partial(self._bodies.sync_body, at, how), str, retry=_RETRY)
            case ["signal", name, *timeout]:
                return self._ctx.start_signal(name, str, timeout=timeout[0] / 1_000 if timeout else None)
            case ["sleep", milliseconds]:
                return self._ctx.start_timer(milliseconds / 1_000)
            case ["child", how]:
                return self._ctx.enqueue("child", at, how)
        raise AssertionError(f"{part} can't be begun")

    def first(self, begun: Sequence[Begun[Any] | ChildHandle[Any]]) -> int:
        return begun.index(self._ctx.wait_any(begun))

    def come_to(self, at: str, begun: Begun[Any] | ChildHandle[Any]) -> str:
        try:
            if isinstance(begun, Begun):
                return str(begun.result())
            return str(self._ctx.wait_for_completion(begun))
        except SideEffectFailed as error:
            raise Gone(f"{at} failed: {error}") from error
        except WaitTimeout:
            raise TimeoutError from None
        except ExecutionError as error:
            return f"{type(error).__name__}({error})"

    def give_up(self, begun: Begun[Any] | ChildHandle[Any]) -> None:
        self._ctx.give_up(begun)
