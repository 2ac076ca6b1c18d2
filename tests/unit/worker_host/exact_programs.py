"""Programs of tasks, waits, races and scopes, and a scripted node that answers what they ask, in any order."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio._backends._asyncio  # anyio itself imports it with its first call

from tempolite_node.worker_host.exact.loop import ExactLoop
from tempolite_node.worker_host.exact.ordering import give_order
from tempolite_node.worker_host.exact.run import End, ExactRun, Operation
from tempolite_node.worker_host.exact.tasks import ExactTask

give_order()

#: Nested lists, as JSON has them: the word for what is done, and what it is done with.
Program = list[Any]


class Misuse(Exception):
    pass


class Failure(Exception):
    pass


# --- the node


@dataclass
class Decided:
    """An end in the journal: of an operation, by its key; of the execution's cancel, key ""."""

    key: str
    seq: int
    at_ms: int
    outcome: str  #: "value", "error", "cancelled"


class Asked(Operation):
    def __init__(self, node: ScriptedNode, key: str, *, lasting: bool = False) -> None:
        super().__init__(node.run)
        self.node = node
        self.key = key
        self.lasting = lasting
        self.cancel_requested = False
        self.recorded: Decided | None = None

    def begin(self) -> None:
        self.node.pending[self.key] = self

    def deliver(self, answer: Any) -> None:
        decided = self.recorded if answer is None else answer
        if decided.outcome == "error":
            self.set_exception(Failure(self.key))
        elif decided.outcome == "cancelled":
            self.end_cancelled()
        else:
            self.set_result(f"{self.key}={decided.seq}")

    def give_up(self) -> None:
        self.node.pending.pop(self.key, None)
        self.node.given_up.append(self.key)

    def cancel_body(self, msg: Any | None) -> None:  # noqa: ARG002
        self.cancel_requested = True


@dataclass
class Script:
    """What the node decides, in which order, and how it hands it on."""

    random: random.Random
    cancel_after: int | None = None  #: so many ends
    batches: bool = False  #: several ends are decided before any answer is handed on


@dataclass
class ScriptedNode:
    """Ends what is asked as the script says, or as it did in an earlier run."""

    script: Script
    journal: list[Decided] = field(default_factory=list)  #: that the run begins with
    earlier: list[Decided] = field(default_factory=list)  #: what is to be decided after it, as it was
    decided: list[Decided] = field(default_factory=list)  #: by this run
    pending: dict[str, Asked] = field(default_factory=dict)
    due_ms: dict[str, int] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    trace: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    turned_cancelled: bool = False
    end: str = "stuck"
    now_ms: int = 1_000
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.loop = ExactLoop(now_s=1.0, misuse=Misuse, on_trespass=self.errors.append, on_error=self.errors.append)
        last = max((each.seq for each in self.journal), default=0)
        self.run = ExactRun(self.loop, self, recorded_max=last)

    # --- as the world of the run

    def timer(self, path: str, number: int, duration_s: float) -> tuple[Operation, End | None]:
        key = f"timer@{path}#{number}"
        self.due_ms[key] = round((self.loop.time() + duration_s) * 1_000)
        return self.asked(key)

    def asked(self, key: str, *, lasting: bool = False) -> tuple[Asked, End | None]:
        operation = Asked(self, key, lasting=lasting)
        operation.recorded = next((each for each in self.journal if each.key == key), None)
        recorded = operation.recorded
        return operation, None if recorded is None else End(recorded.seq, recorded.at_ms)

    def quiet(self) -> None:
        pass

    def released_cancel(self, reason: str) -> None:  # noqa: ARG002
        self.turned_cancelled = True

    def ended(self, first: ExactTask) -> None:
        error = None if first.cancelled() else first.exception()
        self.end = "cancelled" if first.cancelled() else repr(error) if error else repr(first.result())

    # --- as the context of the code

    def ask(self, name: str, *, lasting: bool = False) -> Asked:
        task = asyncio.current_task()
        assert isinstance(task, ExactTask)
        local = f"{name}@{task.path}"
        self.counts[local] = self.counts.get(local, 0) + 1
        operation, end = self.asked(f"{local}#{self.counts[local]}", lasting=lasting)
        self.run.ask(operation, end)
        return operation

    def note(self, *what: Any) -> None:
        self.trace.append([*what, self.loop.time(), self.turned_cancelled])

    # --- how it decides

    def go(self, body: Coroutine[Any, Any, Any]) -> None:
        for each in self.journal:
            if each.key == "":
                self.run.cancel(End(each.seq, each.at_ms), "as asked", recorded=True)
        self.run.start(body)
        self.run.go_on()
        for _ in range(400):
            if self.run.over:
                return
            ends = self._decide_several()
            if not ends:
                self.run.cut(Failure("stuck"))
                return
            for each, operation in ends:
                if operation is None:
                    self.run.cancel(End(each.seq, each.at_ms), "as asked")
                else:
                    self.run.answer(operation, each.seq, each.at_ms, each)
            self.run.go_on()
        raise AssertionError("it does not end")

    def _decide_several(self) -> list[tuple[Decided, Asked | None]]:
        several = self.script.random.randint(1, 3) if self.script.batches else 1
        ends = []
        for _ in range(several):
            if (end := self._decide()) is None:
                break
            ends.append(end)
        return ends

    def _decide(self) -> tuple[Decided, Asked | None] | None:
        done = len(self.journal) + len(self.decided)
        while self.earlier and self.earlier[0].key in self.given_up:
            self.decided.append(self.earlier.pop(0))  # decided on its way to code that had taken leave of it
        if self.earlier:
            again = self.earlier[0]
            if again.key and again.key not in self.pending:
                return None  # asked for once what was decided before it is released
            self.decided.append(self.earlier.pop(0))
            return again, self.pending.pop(again.key, None)
        if done == self.script.cancel_after:
            self.script.cancel_after = None
            decided = Decided("", done + 1, self._tick(), "value")
            self.decided.append(decided)
            return decided, None
        if not self.pending:
            return None
        key = self.script.random.choice(sorted(self.pending))
        operation = self.pending.pop(key)
        outcome = "value"
        if operation.cancel_requested:
            outcome = self.script.random.choice(["cancelled", "cancelled", "value"])
        elif key.startswith("odd"):
            outcome = self.script.random.choice(["value", "error"])
        at_ms = max(self._tick(), self.due_ms.get(key, 0))
        self.now_ms = at_ms
        decided = Decided(key, done + 1, at_ms, outcome)
        self.decided.append(decided)
        return decided, operation

    def _tick(self) -> int:
        self.now_ms += self.script.random.choice([0, 1, 40])
        return self.now_ms


# --- programs


class Interpreter:
    """Does what a program says, and notes what it sees."""

    def __init__(self, node: ScriptedNode) -> None:
        self.node = node
        self.events = [asyncio.Event() for _ in range(2)]
        self.queue: asyncio.Queue[str] = asyncio.Queue(1)
        self.lock = asyncio.Lock()
        self.semaphore = asyncio.Semaphore(2)
        self.condition = asyncio.Condition()

    async def main(self, program: Program) -> str:
        try:
            seen = await self.do(program, "r")
        except BaseException as error:
            self.node.note("main", _told(error))
            raise
        return str(seen)

    async def do(self, program: Program, at: str) -> Any:
        try:
            seen = await getattr(self, f"do_{program[0]}")(at, *program[1:])
        except BaseException as error:
            self.node.note(at, program[0], _told(error))
            raise
        self.node.note(at, program[0], _shown(seen))
        return seen

    def tasks(self, at: str, parts: Sequence[Program]) -> list[asyncio.Task[Any]]:
        return [asyncio.create_task(self.do(each, f"{at}{number}")) for number, each in enumerate(parts)]

    async def do_op(self, at: str, name: str) -> Any:  # noqa: ARG002
        return await self.node.ask(name)

    async def do_body(self, at: str, name: str) -> Any:  # noqa: ARG002
        return await self.node.ask(name, lasting=True)

    async def do_sleep(self, at: str, seconds: float) -> Any:  # noqa: ARG002
        return await asyncio.sleep(seconds, seconds)

    async def do_yield(self, at: str, times: int) -> None:  # noqa: ARG002
        for _ in range(times):
            await asyncio.sleep(0)

    async def do_fail(self, at: str) -> None:
        raise Failure(at)

    async def do_seq(self, at: str, *parts: Program) -> Any:
        return [await self.do(each, f"{at}{number}") for number, each in enumerate(parts)]

    async def do_caught(self, at: str, part: Program) -> Any:
        try:
            return await self.do(part, f"{at}0")
        except (Failure, ExceptionGroup) as error:
            return f"caught {_told(error)}"

    async def do_stubborn(self, at: str, part: Program, then: Program) -> Any:
        """Cleans up with an operation when it is cancelled, and goes on."""
        try:
            return await self.do(part, f"{at}0")
        except asyncio.CancelledError:
            return await self.do(then, f"{at}1")

    async def do_cleanup(self, at: str, part: Program, then: Program) -> Any:
        try:
            return await self.do(part, f"{at}0")
        finally:
            await self.do(then, f"{at}1")

    async def do_gather(self, at: str, kind: str, *parts: Program) -> Any:
        coroutines = [self.do(each, f"{at}{number}") for number, each in enumerate(parts)]
        return await asyncio.gather(*coroutines, return_exceptions=kind == "collect")

    async def do_gathers(self, at: str, *parts: Program) -> Any:
        """A set of gathers."""
        gathers = [asyncio.gather(self.do(each, f"{at}{n}"), return_exceptions=True) for n, each in enumerate(parts)]
        done, _ = await asyncio.wait(gathers)
        return [str(each.result()) for each in done]

    async def do_wait(self, at: str, kind: str, rest: str, *parts: Program) -> Any:
        tasks = self.tasks(at, parts)
        done, pending = await asyncio.wait(tasks, timeout=3 if kind == "timeout" else None, return_when=_WHEN[kind])
        order = [self._outcome(task) for task in done]
        for task in pending:
            if rest == "cancel":
                task.cancel()
        if rest == "await" and pending:
            order += [self._outcome(task) for task in (await asyncio.wait(pending))[0]]
        return order

    def _outcome(self, task: asyncio.Task[Any]) -> str:
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return _told(error) if error else _shown(task.result())

    async def do_as_completed(self, at: str, *parts: Program) -> Any:
        order = []
        for each in asyncio.as_completed([self.do(each, f"{at}{n}") for n, each in enumerate(parts)]):
            try:
                order.append(_shown(await each))
            except Failure as error:
                order.append(_told(error))
        return order

    async def do_group(self, at: str, *parts: Program) -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.do(each, f"{at}{number}")) for number, each in enumerate(parts)]
        return [_shown(task.result()) for task in tasks]

    async def do_timeout(self, at: str, seconds: float, part: Program) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await self.do(part, f"{at}0")
        except TimeoutError:
            return "timed out"

    async def do_wait_for(self, at: str, seconds: float, part: Program) -> Any:
        try:
            return await asyncio.wait_for(self.do(part, f"{at}0"), seconds)
        except TimeoutError:
            return "timed out"

    async def do_shield(self, at: str, seconds: float, part: Program) -> Any:
        task = asyncio.ensure_future(self.do(part, f"{at}0"))
        try:
            return await asyncio.wait_for(asyncio.shield(task), seconds)
        except TimeoutError:
            return ["too slow", await task]

    async def do_cancel(self, at: str, after: Program, part: Program) -> Any:
        (task,) = self.tasks(at, [part])
        await self.do(after, f"{at}1")
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            return "cancelled it"

    async def do_detached(self, at: str, part: Program) -> None:
        self.tasks(at, [part])

    async def do_queue(self, at: str, *parts: Program) -> Any:
        async def produce(part: Program, at: str) -> None:
            await self.queue.put(_shown(await self.do(part, at)))

        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(parts):
                group.create_task(produce(each, f"{at}{number}"))
            return [await self.queue.get() for _ in parts]

    async def do_set(self, at: str, number: int) -> None:  # noqa: ARG002
        self.events[number].set()

    async def do_await_set(self, at: str, number: int) -> Any:  # noqa: ARG002
        return await self.events[number].wait()

    async def do_lock(self, at: str, part: Program) -> Any:
        async with self.lock:
            return await self.do(part, f"{at}0")

    async def do_semaphore(self, at: str, part: Program) -> Any:
        async with self.semaphore:
            return await self.do(part, f"{at}0")

    async def do_notify(self, at: str, part: Program) -> Any:
        seen = await self.do(part, f"{at}0")
        async with self.condition:
            self.condition.notify(1)
        return seen

    async def do_await_notified(self, at: str) -> Any:  # noqa: ARG002
        async with self.condition:
            return await self.condition.wait()

    async def do_loop(self, at: str, name: str, times: int) -> Any:  # noqa: ARG002
        """Over an asynchronous generator, left by `break`; it cleans up with an operation."""

        async def answers() -> Any:
            try:
                while True:
                    yield await self.node.ask(name)
            finally:
                self.node.note("generator ends")
                await self.node.ask("cleaned")

        seen = []
        async for each in answers():
            seen.append(each)
            if len(seen) == times:
                break
        return seen

    async def do_nursery(self, at: str, after: Program | None, *parts: Program) -> Any:
        """anyio's task group; its scope is cancelled after something."""
        async with anyio.create_task_group() as group:
            for number, each in enumerate(parts):
                group.start_soon(self.do, each, f"{at}{number}")
            if after is not None:
                await self.do(after, f"{at}x")
                group.cancel_scope.cancel()

    async def do_move_on(self, at: str, seconds: float, part: Program) -> Any:
        with anyio.move_on_after(seconds) as scope:
            seen = await self.do(part, f"{at}0")
        return "moved on" if scope.cancelled_caught else seen

    async def do_nested_scopes(self, at: str, after: Program, *parts: Program) -> Any:
        """Scopes inside of one that is cancelled."""

        async def inside(part: Program, at: str) -> None:
            with anyio.CancelScope():
                await self.do(part, at)

        async with anyio.create_task_group() as group:
            for number, each in enumerate(parts):
                group.start_soon(inside, each, f"{at}{number}")
            await self.do(after, f"{at}x")
            group.cancel_scope.cancel()

    async def do_stream(self, at: str, *parts: Program) -> Any:
        send, receive = anyio.create_memory_object_stream[Any](0)

        async def sends(part: Program, at: str) -> None:
            await send.send(_shown(await self.do(part, at)))

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


def _told(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return f"group of {[_told(each) for each in error.exceptions]}"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"  # anyio says an address
    return f"{type(error).__name__}({error})"


def _shown(value: Any) -> str:
    return _told(value) if isinstance(value, BaseException) else str(value)


# --- runs


def run(program: Program, node: ScriptedNode) -> ScriptedNode:
    async def body() -> str:
        return await Interpreter(node).main(program)

    node.go(body())
    return node


def first_run(program: Program, *, seed: int, cancel_after: int | None) -> ScriptedNode:
    script = Script(random.Random(seed), cancel_after, batches=bool(seed % 2))
    return run(program, ScriptedNode(script))


def replay(program: Program, first: ScriptedNode, cut: int, *, batches: bool) -> ScriptedNode:
    """With the first ends recorded, and the others decided as they were."""
    script = Script(random.Random(cut), batches=batches)
    node = ScriptedNode(script, journal=first.decided[:cut], earlier=list(first.decided[cut:]))
    return run(program, node)


def seen_by(node: ScriptedNode) -> list[Any]:
    return [node.trace, node.end]


if __name__ == "__main__":  # programs come as lines of JSON; what their runs saw goes the same way
    for line in sys.stdin:
        given = json.loads(line)
        print(json.dumps(seen_by(first_run(given["program"], seed=given["seed"], cancel_after=given["cancel_after"]))))
