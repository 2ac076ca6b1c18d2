"""Interprets a program, an `async def` handler that is told as nested lists, and writes down what it sees.

What a pass over the body sees goes to a file of its own, what a side effect does to another one: both are outside of
the node, and so outlive whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from pathlib import Path
from typing import Any

from tempolite_sdk import AsyncHandlerContext, ExecutionError, HandlerContext, NonRetryable, SideEffectFailed

Program = list[Any]


class Gone(Exception):
    """Raised by a program itself."""


async def program(ctx: AsyncHandlerContext, program: Program, witness: str) -> str:
    return await _Pass(ctx, Path(witness)).main(program)


def child(_ctx: HandlerContext, name: str) -> str:
    return f"{name}!"


class _Pass:
    """One over the body."""

    def __init__(self, ctx: AsyncHandlerContext, witness: Path) -> None:
        self._ctx = ctx
        self._world = witness / f"{ctx.execution_id}.world"
        passes = len(list(witness.glob(f"{ctx.execution_id}.pass-*")))
        self._trace = os.open(witness / f"{ctx.execution_id}.pass-{passes:06}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._cut = False  #: the stack is given up: what its cleanup sees is no part of the program
        self._lock = asyncio.Lock()
        self._semaphore = asyncio.Semaphore(2)
        self._event = asyncio.Event()
        self.received: list[str] = []

    def _note(self, at: str, *what: Any) -> None:
        if not self._cut:
            os.write(self._trace, (json.dumps([at, *what, self._ctx.cancelled]) + "\n").encode())

    async def main(self, program: Program) -> str:
        try:
            seen = await self._do(program, "r")
        except Gone as error:
            seen = f"ended by {error}"
        return f"{seen}; received {sorted(self.received)}"

    async def _do(self, program: Program, at: str) -> Any:
        try:
            seen = await getattr(self, f"_do_{program[0]}")(at, *program[1:])
        except BaseException as error:
            self._cut |= self._ctx.unwinding
            self._note(at, program[0], _told(error))
            raise
        self._note(at, program[0], str(seen))
        return seen

    def _tasks(self, at: str, parts: list[Program]) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self._do(each, f"{at}{number}")) for number, each in enumerate(parts)]

    # --- what a program does by itself

    async def _do_effect(self, at: str, milliseconds: int, fails: bool) -> str:
        async def effect() -> str:
            name = f"{at}={uuid.uuid4().hex[:8]}"
            with self._world.open("a") as world:
                world.write(f"{name}\n")
            await asyncio.sleep(milliseconds / 1_000)
            if fails:
                raise NonRetryable(name)
            return name

        try:
            return await self._ctx.side_effect(at, effect)
        except SideEffectFailed as error:
            raise Gone(f"{at} failed: {error.__cause__}") from error

    async def _do_sleep(self, _at: str, milliseconds: int) -> None:
        await self._ctx.sleep(milliseconds / 1_000)

    async def _do_pause(self, _at: str, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1_000)

    async def _do_signal(self, _at: str, name: str) -> str:
        payload: str = await self._ctx.receive_signal(name)
        self.received.append(payload)
        return payload

    async def _do_now(self, _at: str) -> str:
        return str(await self._ctx.now())

    async def _do_child(self, at: str) -> str:
        handle = await self._ctx.enqueue(child, at)
        try:
            return f"{handle.id}: {await self._ctx.wait_for_completion(handle)}"
        except ExecutionError as error:
            return f"{handle.id}: {error}"

    async def _do_refused(self, _at: str) -> str:
        try:
            await self._ctx.send_signal("anything", to="nobody")
        except Exception as error:
            return type(error).__name__
        return "sent"

    async def _do_fail(self, at: str) -> None:
        raise Gone(at)

    async def _do_set(self, _at: str) -> None:
        self._event.set()

    # --- what it does with parts

    async def _do_seq(self, at: str, *parts: Program) -> Any:
        return [await self._do(each, f"{at}{number}") for number, each in enumerate(parts)]

    async def _do_caught(self, at: str, part: Program) -> Any:
        try:
            return await self._do(part, f"{at}0")
        except (Gone, ExceptionGroup) as error:
            return f"caught {_told(error)}"

    async def _do_gather(self, at: str, collects: bool, *parts: Program) -> Any:
        coroutines = [self._do(each, f"{at}{number}") for number, each in enumerate(parts)]
        return [_shown(each) for each in await asyncio.gather(*coroutines, return_exceptions=collects)]

    async def _do_wait(self, at: str, when: str, rest: str, *parts: Program) -> Any:
        tasks = self._tasks(at, list(parts))
        done, pending = await asyncio.wait(tasks, timeout=0.3 if when == "timeout" else None, return_when=_WHEN[when])
        seen = [_outcome(task) for task in done]
        for task in pending:
            if rest == "cancel":
                task.cancel()
        if pending and rest != "leave":
            seen += [_outcome(task) for task in (await asyncio.wait(pending))[0]]
        return seen

    async def _do_as_completed(self, at: str, *parts: Program) -> Any:
        seen = []
        for each in asyncio.as_completed([self._do(part, f"{at}{number}") for number, part in enumerate(parts)]):
            try:
                seen.append(_shown(await each))
            except Gone as error:
                seen.append(_told(error))
        return seen

    async def _do_group(self, at: str, *parts: Program) -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._do(each, f"{at}{number}")) for number, each in enumerate(parts)]
        except ExceptionGroup as error:
            return f"a group failed: {_told(error)}"
        return [_shown(task.result()) for task in tasks]

    async def _do_timeout(self, at: str, milliseconds: int, part: Program) -> Any:
        try:
            async with asyncio.timeout(milliseconds / 1_000):
                return await self._do(part, f"{at}0")
        except TimeoutError:
            return "timed out"

    async def _do_wait_for(self, at: str, milliseconds: int, part: Program) -> Any:
        try:
            return await asyncio.wait_for(self._do(part, f"{at}0"), milliseconds / 1_000)
        except TimeoutError:
            return "timed out"

    async def _do_shield(self, at: str, milliseconds: int, part: Program) -> Any:
        task = asyncio.ensure_future(self._do(part, f"{at}0"))
        try:
            return await asyncio.wait_for(asyncio.shield(task), milliseconds / 1_000)
        except TimeoutError:
            return ["too slow", await task]

    async def _do_cancel(self, at: str, after: Program, part: Program) -> Any:
        (task,) = self._tasks(at, [part])
        await self._do(after, f"{at}1")
        task.cancel()
        await asyncio.wait([task])
        return _outcome(task)

    async def _do_queue(self, at: str, *parts: Program) -> Any:
        # With room for all: a producer whose side effect ended in spite of its cancel goes on, and nobody takes.
        queue: asyncio.Queue[str] = asyncio.Queue(len(parts))

        async def produce(part: Program, at: str) -> None:
            try:
                await queue.put(_shown(await self._do(part, at)))
            except Gone as error:
                await queue.put(_told(error))

        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(parts):
                group.create_task(produce(each, f"{at}{number}"))
            return [await queue.get() for _ in parts]

    async def _do_await_set(self, at: str, part: Program) -> Any:
        """Two that meet at an event."""

        async def waits() -> str:
            await self._event.wait()
            return "set"

        async def sets() -> Any:
            try:
                return await self._do(part, f"{at}0")
            finally:
                self._event.set()

        return [_shown(each) for each in await asyncio.gather(waits(), sets(), return_exceptions=True)]

    async def _do_lock(self, at: str, part: Program) -> Any:
        async with self._lock:
            return await self._do(part, f"{at}0")

    async def _do_semaphore(self, at: str, part: Program) -> Any:
        async with self._semaphore:
            return await self._do(part, f"{at}0")


_WHEN = {
    "first": asyncio.FIRST_COMPLETED,
    "exception": asyncio.FIRST_EXCEPTION,
    "all": asyncio.ALL_COMPLETED,
    "timeout": asyncio.ALL_COMPLETED,
}


def _outcome(task: asyncio.Task[Any]) -> str:
    if task.cancelled():
        return "cancelled"
    error = task.exception()
    return _told(error) if error else _shown(task.result())


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"group of {[_told(each) for each in error.exceptions]}"
    return f"{type(error).__name__}({error})"


def _shown(value: Any) -> str:
    return _told(value) if isinstance(value, BaseException) else str(value)
