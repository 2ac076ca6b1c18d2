"""The loop of an attempt: its order hangs on nothing but the answers, and it refuses what needs the world."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest

from tests.unit.worker_host.exact_programs import Misuse, Script, ScriptedNode, first_run, seen_by


def run(body: Callable[[ScriptedNode], Coroutine[Any, Any, Any]], **script: Any) -> ScriptedNode:
    node = ScriptedNode(Script(random.Random(1), **script))
    node.go(body(node))
    return node


def keys(node: ScriptedNode) -> list[str]:
    return [each.key for each in node.decided]


# --- time


def test_a_timer_that_is_cancelled_before_the_loop_is_quiet_is_no_operation() -> None:
    async def body(_: ScriptedNode) -> str:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(3, print).cancel()
        return "done"

    node = run(body)

    assert node.end == "'done'"
    assert keys(node) == []
    assert node.given_up == []


def test_a_timeout_that_is_not_needed_is_given_up() -> None:
    async def body(node: ScriptedNode) -> str:
        async with asyncio.timeout(3_600):
            return str(await node.ask("op"))

    node = ScriptedNode(Script(random.Random(0)))
    node.earlier = []
    node.script.random.choice = lambda of: of[0]  # type: ignore[method-assign]  # the operation, whatever is due
    node.go(body(node))

    assert keys(node) == ["op@#1"]
    assert node.given_up == ["timer@#1"]


def test_time_is_that_of_the_last_answer() -> None:
    async def body(_: ScriptedNode) -> bool:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(60)
        after = loop.time()
        await asyncio.sleep(0)
        return before == 1.0 and after >= 61.0 and loop.time() == after

    assert run(body).end == "True"


# --- keys


def test_keys_are_counted_by_the_place_of_the_task_among_those_of_its_creator() -> None:
    async def body(node: ScriptedNode) -> None:
        async def branch() -> None:
            await asyncio.gather(node.ask("op"), inner())

        async def inner() -> None:
            await node.ask("op")

        await node.ask("op")
        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
            group.create_task(branch())

    assert set(keys(run(body))) == {"op@#1", "op@1#1", "op@1.1#1", "op@2#1", "op@2.1#1"}


def test_the_keys_of_tasks_that_make_each_other_without_end_stay_short() -> None:
    async def body(node: ScriptedNode) -> int:
        async def next_one(left: int) -> int:
            if left:
                return await asyncio.create_task(next_one(left - 1))
            return len((await node.ask("op")).split("=")[0])

        return await next_one(200)

    assert int(run(body).end) < 100


# --- order


def test_sets_of_tasks_and_gathers_iterate_in_the_order_in_which_they_were_made() -> None:
    async def body(_: ScriptedNode) -> list[list[int]]:
        async def number(of: int) -> int:
            return of

        tasks = [asyncio.ensure_future(number(each)) for each in range(30)]
        gathers = [asyncio.gather(number(each)) for each in range(30)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        done_tasks, _ = await asyncio.wait(tasks)
        done_gathers, _ = await asyncio.wait(gathers)
        return [[task.result() for task in done_tasks], [each.result()[0] for each in done_gathers]]

    ends = {run(body).end for _ in range(5)}

    assert len(ends) == 1


def test_as_completed_takes_coroutines_in_the_order_in_which_they_are_given() -> None:
    async def body(_: ScriptedNode) -> list[int]:
        async def number(of: int) -> int:
            await asyncio.sleep(0)
            return of

        return [await each for each in asyncio.as_completed([number(each) for each in range(30)])]

    assert run(body).end == str(list(range(30)))


def test_as_completed_is_the_original_elsewhere() -> None:
    async def body() -> set[int]:
        async def number(of: int) -> int:
            return of

        return {await each for each in asyncio.as_completed([number(1), number(2)], timeout=5)}

    assert asyncio.run(body()) == {1, 2}


def test_another_hash_seed_changes_nothing() -> None:
    programs = [
        ["wait", "first", "await", ["op", "op"], ["gathers", ["op", "odd"], ["sleep", 2], ["body", "op"]]],
        ["as_completed", ["op", "op"], ["op", "odd"], ["group", ["op", "op"], ["sleep", 0.5]], ["yield", 2]],
        ["nested_scopes", ["op", "op"], ["body", "odd"], ["op", "op"], ["cleanup", ["op", "op"], ["op", "other"]]],
    ]
    cases = [
        {"program": program, "seed": seed, "cancel_after": cancel_after}
        for program in programs
        for seed in range(4)
        for cancel_after in (None, 1)
    ]
    asked = "\n".join(map(json.dumps, cases))
    command = [sys.executable, "-m", "tests.unit.worker_host.exact_programs"]
    here = [json.loads(json.dumps(seen_by(first_run(**case)))) for case in cases]

    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        told = subprocess.run(command, input=asked, env=environment, capture_output=True, check=True, text=True)
        assert [json.loads(line) for line in told.stdout.splitlines()] == here


# --- what ends


def test_what_is_left_running_is_cancelled_in_the_order_in_which_it_was_made() -> None:
    async def body(node: ScriptedNode) -> str:
        async def left(number: int) -> None:
            try:
                await node.ask("op")
            except asyncio.CancelledError:
                await node.ask("cleaned")
                node.note("cleaned", number)

        for number in range(3):
            asyncio.create_task(left(number))  # noqa: RUF006
        await asyncio.sleep(0)
        return "done"

    node = run(body)

    assert node.end == "'done'"
    assert [key for key in keys(node) if key.startswith("cleaned")] != []
    assert sorted(each[1] for each in node.trace) == [0, 1, 2]


def test_a_loop_that_is_left_closes_its_generator() -> None:
    async def body(node: ScriptedNode) -> list[str]:
        closed = []

        async def numbers() -> Any:
            try:
                while True:
                    yield await node.ask("op")
            finally:
                await node.ask("cleaned")
                closed.append("closed")

        async for _ in numbers():
            break
        await node.ask("other")
        await node.ask("other")
        await node.ask("other")
        return closed

    assert "cleaned@0.1#1" in keys(run(body))


def test_a_scope_that_waits_for_what_can_not_be_cancelled_at_once_is_quiet() -> None:
    """anyio schedules the cancel of its tasks again and again, until they are gone."""

    async def body(node: ScriptedNode) -> str:
        async def lasts() -> None:
            await node.ask("odd", lasting=True)

        async with anyio.create_task_group() as group:
            group.start_soon(lasts)
            await node.ask("op")
            group.cancel_scope.cancel()
        return "done"

    assert run(body).end == "'done'"


# --- what a body may not do


def _in_a_thread(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(Misuse):
        loop.call_soon_threadsafe(print)


async def _thread() -> None:
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=_in_a_thread, args=(loop,))
    thread.start()
    thread.join()
    raise Misuse("told to the loop")


_NOT_THERE: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "a connection": lambda: asyncio.open_connection("localhost", 80),
    "a program": lambda: asyncio.create_subprocess_exec("true"),
    "a thread": lambda: asyncio.to_thread(print),
    "a name": lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80),
    "a server": lambda: asyncio.start_server(lambda *_: None, port=0),
    "anyio's connection": lambda: anyio.connect_tcp("localhost", 80),
    "another thread's callback": _thread,
}


@pytest.mark.parametrize("what", _NOT_THERE)
def test_what_needs_the_world_is_refused(what: str) -> None:
    async def body(_: ScriptedNode) -> None:
        await _NOT_THERE[what]()

    assert "Misuse" in run(body).end


def test_a_future_of_the_loop_is_not_to_be_awaited_elsewhere() -> None:
    made: list[asyncio.Future[Any]] = []

    async def body(_: ScriptedNode) -> None:
        made.append(asyncio.get_running_loop().create_future())

    async def elsewhere() -> None:
        await made[0]

    run(body)

    with pytest.raises(Misuse):
        asyncio.run(elsewhere())
