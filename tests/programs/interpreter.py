"""Does what a program says, and notes what it sees.

A program is nested lists, as JSON has them: a word, and what is done with it. Its code is the same wherever it runs;
what it asks for are the `Acts` of the place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

import anyio

T = TypeVar("T")

Program = list[Any]


class Gone(Exception):
    """Raised by a program itself, or by something that it asked for and that failed."""


class Acts(Protocol):
    """What a program does beside computing. Those that fail raise Gone."""

    def note(self, at: str, *what: Any) -> None:
        """It has come to this."""
        ...

    async def effect(self, at: str, how: str) -> str: ...
    async def sleep(self, seconds: float) -> None: ...
    async def signal(self, name: str, timeout_s: float | None) -> str: ...
    async def now(self) -> str: ...
    async def child(self, at: str, how: str, then: str) -> str:
        """then: what becomes of it: "wait" for it, "leave" it, or "cancel" it and wait."""
        ...

    async def refused(self) -> str:
        """Asks for what is refused."""
        ...

    async def tell(self, at: str) -> None:
        """Sends a signal to clients."""
        ...

    def cancelled(self) -> bool: ...


class Begins(Protocol):
    """What synchronous code does in place of tasks."""

    def begin(self, at: str, part: Program) -> Any: ...

    def first(self, begun: Sequence[Any]) -> int:
        """Place of the one that has ended first."""
        ...

    def come_to(self, at: str, begun: Any) -> str: ...
    def give_up(self, begun: Any) -> None: ...


class Interpreter:
    def __init__(self, acts: Acts, *, asynchronous: bool = True) -> None:
        self._acts = acts
        self.received: list[str] = []
        self.told: list[str] = []
        if asynchronous:
            self._events = [asyncio.Event() for _ in range(2)]
            self._lock = asyncio.Lock()
            self._semaphore = asyncio.Semaphore(2)
            self._condition = asyncio.Condition()

    async def main(self, program: Program) -> str:
        try:
            seen = await self._do(program, "r")
        except Gone as error:
            seen = f"ended by {error}"
        return f"{seen}; received {sorted(self.received)}; told {sorted(self.told)}"

    async def _do(self, program: Program, at: str) -> Any:
        try:
            seen = await getattr(self, f"_do_{program[0]}")(at, *program[1:])
        except BaseException as error:
            self._acts.note(at, program[0], _told(error))
            raise
        self._acts.note(at, program[0], str(seen))
        return seen

    def _tasks(self, at: str, parts: Sequence[Program]) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self._do(each, f"{at}{number}")) for number, each in enumerate(parts)]

    # --- what a program does by itself

    async def _do_effect(self, at: str, how: str) -> str:
        return await self._acts.effect(at, how)

    async def _do_sleep(self, _at: str, milliseconds: int) -> None:
        await self._acts.sleep(milliseconds / 1_000)

    async def _do_pause(self, _at: str, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1_000)

    async def _do_yield(self, _at: str, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def _do_signal(self, _at: str, name: str, milliseconds: int | None = None) -> str:
        try:
            payload = await self._acts.signal(name, None if milliseconds is None else milliseconds / 1_000)
        except TimeoutError:
            return "no signal"
        self.received.append(payload)
        return payload

    async def _do_now(self, _at: str) -> str:
        return await self._acts.now()

    async def _do_child(self, at: str, how: str, then: str) -> str:
        return await self._acts.child(at, how, then)

    async def _do_refused(self, _at: str) -> str:
        return await self._acts.refused()

    async def _do_tell(self, at: str) -> None:
        await self._acts.tell(at)
        self.told.append(at)

    async def _do_look(self, _at: str) -> str:
        return "cancelled" if self._acts.cancelled() else "goes on"

    async def _do_fail(self, at: str) -> None:
        raise Gone(at)

    async def _do_set(self, _at: str, number: int) -> None:
        self._events[number].set()

    async def _do_await_set(self, _at: str, number: int) -> Any:
        return await self._events[number].wait()

    async def _do_await_notified(self, _at: str) -> Any:
        async with self._condition:
            return await self._condition.wait()

    # --- what synchronous code has under way at once

    async def _do_any(self, at: str, rest: str, *parts: Program) -> Any:
        acts: Begins = self._acts  # type: ignore[assignment]
        left = [(f"{at}{number}", part, acts.begin(f"{at}{number}", part)) for number, part in enumerate(parts)]
        seen = []
        while left:
            done = left.pop(acts.first([begun for *_, begun in left]))
            seen.append(self._come_to(acts, *done))
            if rest != "await":
                break
        for *_, begun in left:
            if rest == "give up":
                acts.give_up(begun)
        return seen

    def _come_to(self, acts: Begins, at: str, part: Program, begun: Any) -> str:
        try:
            seen = acts.come_to(at, begun)
        except (Gone, TimeoutError) as error:
            seen = _told(error)
        else:
            if part[0] == "signal":
                self.received.append(seen)
        self._acts.note(at, part[0], seen)
        return seen

    # --- what it does with parts

    async def _do_seq(self, at: str, *parts: Program) -> Any:
        return [await self._do(each, f"{at}{number}") for number, each in enumerate(parts)]

    async def _do_caught(self, at: str, part: Program) -> Any:
        try:
            return await self._do(part, f"{at}0")
        except (Gone, ExceptionGroup) as error:
            return f"caught {_told(error)}"

    async def _do_stubborn(self, at: str, part: Program, then: Program) -> Any:
        """Does something else when it is cancelled, and goes on."""
        try:
            return await self._do(part, f"{at}0")
        except asyncio.CancelledError:
            return await self._do(then, f"{at}1")

    async def _do_cleanup(self, at: str, part: Program, then: Program) -> Any:
        try:
            return await self._do(part, f"{at}0")
        finally:
            await self._do(then, f"{at}1")

    async def _do_gather(self, at: str, collects: bool, *parts: Program) -> Any:
        coroutines = [self._do(each, f"{at}{number}") for number, each in enumerate(parts)]
        return [_shown(each) for each in await asyncio.gather(*coroutines, return_exceptions=collects)]

    async def _do_gathers(self, at: str, *parts: Program) -> Any:
        """A set of gathers."""
        coroutines = [self._do(each, f"{at}{number}") for number, each in enumerate(parts)]
        done, _ = await asyncio.wait([asyncio.gather(each, return_exceptions=True) for each in coroutines])
        return [_shown(each.result()[0]) for each in done]

    async def _do_wait(self, at: str, when: str, rest: str, *parts: Program) -> Any:
        tasks = self._tasks(at, parts)
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
        return [_outcome(task) for task in tasks]

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

    async def _do_detached(self, at: str, part: Program) -> None:
        self._tasks(at, [part])

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

    async def _do_meet(self, at: str, part: Program) -> Any:
        """Two that meet at an event."""
        event = asyncio.Event()

        async def waits() -> str:
            await event.wait()
            return "set"

        async def sets() -> Any:
            try:
                return await self._do(part, f"{at}0")
            finally:
                event.set()

        return [_shown(each) for each in await asyncio.gather(waits(), sets(), return_exceptions=True)]

    async def _do_lock(self, at: str, part: Program) -> Any:
        async with self._lock:
            return await self._do(part, f"{at}0")

    async def _do_semaphore(self, at: str, part: Program) -> Any:
        async with self._semaphore:
            return await self._do(part, f"{at}0")

    async def _do_notify(self, at: str, part: Program) -> Any:
        seen = await self._do(part, f"{at}0")
        async with self._condition:
            self._condition.notify(1)
        return seen

    async def _do_loop(self, at: str, part: Program) -> Any:  # noqa: RET503
        """Over an asynchronous generator, left by `break`; it cleans up."""

        async def answers() -> Any:
            try:
                while True:
                    yield await self._do(part, f"{at}0")
            finally:
                await self._do(["pause", 1], f"{at}1")

        async for each in answers():
            return each

    # --- anyio's

    async def _do_nursery(self, at: str, after: Program | None, *parts: Program) -> Any:
        """anyio's task group; its scope is cancelled after something."""
        try:
            async with anyio.create_task_group() as group:
                for number, each in enumerate(parts):
                    group.start_soon(self._do, each, f"{at}{number}")
                if after is not None:
                    await self._do(after, f"{at}x")
                    group.cancel_scope.cancel()
        except ExceptionGroup as error:
            return f"a nursery failed: {_told(error)}"

    async def _do_move_on(self, at: str, milliseconds: int, part: Program) -> Any:
        seen = None
        with anyio.move_on_after(milliseconds / 1_000) as scope:
            seen = await self._do(part, f"{at}0")
        return "moved on" if scope.cancelled_caught else seen

    async def _do_nested_scopes(self, at: str, after: Program, *parts: Program) -> Any:
        """Scopes inside of one that is cancelled."""

        async def inside(part: Program, at: str) -> None:
            with anyio.CancelScope():
                await self._do(part, at)

        try:
            async with anyio.create_task_group() as group:
                for number, each in enumerate(parts):
                    group.start_soon(inside, each, f"{at}{number}")
                await self._do(after, f"{at}x")
                group.cancel_scope.cancel()
        except ExceptionGroup as error:
            return f"scopes failed: {_told(error)}"

    async def _do_stream(self, at: str, *parts: Program) -> Any:
        send, receive = anyio.create_memory_object_stream[Any](len(parts))

        async def sends(part: Program, at: str) -> None:
            try:
                await send.send(_shown(await self._do(part, at)))
            except Gone as error:
                await send.send(_told(error))

        async with anyio.create_task_group() as group:
            for number, each in enumerate(parts):
                group.start_soon(sends, each, f"{at}{number}")
            return [await receive.receive() for _ in parts]


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
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"  # anyio says an address
    return f"{type(error).__name__}({error})"


def _shown(value: Any) -> str:
    return _told(value) if isinstance(value, BaseException) else str(value)


def run_at_once(coro: Coroutine[Any, Any, T]) -> T:
    """The result of a program all of whose acts return at once, as in synchronous code they do."""
    try:
        coro.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("synchronous code has nothing to await")
