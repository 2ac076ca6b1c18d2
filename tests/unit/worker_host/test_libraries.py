"""Common libraries, debuggers and trace functions in the bodies of async handlers: nothing is replaced for them there.

Each body is run as it is, unwound at each wait and killed at each wait, and has to give the same.
"""

from __future__ import annotations

import asyncio
import io
import json
import pdb
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from types import CodeType, FrameType
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind, Status
from tempolite_sdk import AsyncHandlerContext

from .hosted import HostedNode, hosted
from .library_bodies import PROGRAMS, REFUSED, Program

#: What Sentry does at the end of a loop, and what is refused before it begins.
NEVER_AWAITED = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = f"{self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted() as node:
        yield node


@pytest.fixture(params=["undisturbed", "unwound", "killed"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def each(programs: list[Program]) -> list[Any]:
    def marks(program: Program) -> list[pytest.MarkDecorator]:
        if all(map(find_spec, program.modules)):
            return []
        return [pytest.mark.skip(reason="needs a larger library: scripts/campaign libraries")]

    return [pytest.param(program, id=program.body.__name__, marks=marks(program)) for program in programs]


def ended(node: HostedNode, body: Callable[..., Any], how: str, *arguments: Any) -> Any:
    """What it gives, when all its waits are over."""
    node.serve(body, asynchronous=True)
    node.enqueue(arguments=json.dumps(arguments).encode())

    def stands() -> bool:
        return node.execution().closed or node.execution().status is Status.SUSPENDED or node.rests()

    node.until(stands)
    while node.execution().status is Status.WAITING:
        if how == "unwound":
            node.unwind()
        elif how == "killed":
            node.serve(body, asynchronous=True)
            node.until(stands)
        node.advance(60_000)
        node.until(stands)
    return node.result()


# --- libraries


@NEVER_AWAITED
@pytest.mark.parametrize("program", each(PROGRAMS))
def test_a_library_does_in_a_body_what_it_does_elsewhere_and_again_in_each_replay(
    program: Program, how: str, node: HostedNode, url: str
) -> None:
    assert ended(node, program.body, how, url) == program.gives


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that of a database's thread
@pytest.mark.parametrize("program", each(REFUSED))
def test_what_goes_out_of_the_process_is_refused_and_told_to_be_done_in_a_side_effect(
    program: Program, node: HostedNode, url: str
) -> None:
    node.serve(program.body, asynchronous=True)
    node.enqueue(arguments=json.dumps([url]).encode())

    node.until(lambda: node.execution().status is Status.SUSPENDED or node.execution().closed)

    failure = node.execution().failure
    assert failure is not None
    assert failure.type == "NotInHandler"
    assert 'await ctx.side_effect("fetch", fetch)' in failure.message


# --- trace functions and debuggers


@pytest.fixture
def traced() -> Iterator[set[CodeType]]:
    """Code that trace functions and profilers of all new threads have met."""
    met: set[CodeType] = set()

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        met.add(frame.f_code)
        return trace

    threading.settrace(trace)
    threading.setprofile(trace)
    yield met
    threading.settrace(None)  # type: ignore[arg-type]
    threading.setprofile(None)


@NEVER_AWAITED
@pytest.mark.parametrize("program", each(PROGRAMS))
def test_under_a_trace_function_and_a_profiler_nothing_goes_another_way(
    program: Program, node: HostedNode, url: str, traced: set[CodeType]
) -> None:
    assert ended(node, program.body, "unwound", url) == program.gives
    assert program.body.__code__ in traced


class ScriptedDebugger(pdb.Pdb):
    """pdb, with somebody who types these lines."""

    def __init__(self, *lines: str) -> None:
        self.told = io.StringIO()
        super().__init__(stdin=io.StringIO("\n".join([*lines, ""])), stdout=self.told, nosigint=True)
        self.use_rawinput = False


def test_a_debugger_steps_over_waits(node: HostedNode, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    debuggers: list[ScriptedDebugger] = []

    def debug() -> None:
        debuggers.append(ScriptedDebugger(*["p order", "next"] * 4, "continue"))
        debuggers[-1].set_trace(sys._getframe().f_back)

    monkeypatch.setattr(sys, "breakpointhook", debug)

    async def body(ctx: AsyncHandlerContext) -> str:
        order = "ordered"
        breakpoint()
        await asyncio.gather(ctx.sleep(60), ctx.sleep(30))
        order += " and packed"
        order += " with care"
        return order

    assert ended(node, body, how) == "ordered and packed with care"
    assert all("'ordered'" in debugger.told.getvalue() for debugger in debuggers)
    assert "'ordered and packed'" in debuggers[-1].told.getvalue()


def test_a_trace_function_that_a_body_sets_stays_until_it_takes_it_away(node: HostedNode, how: str) -> None:
    async def body(ctx: AsyncHandlerContext) -> bool:
        lines = []

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line" and frame.f_code is packs.__code__:
                lines.append(frame.f_lineno)
            return trace

        async def packs() -> None:
            await ctx.sleep(60)
            await asyncio.sleep(60)

        sys.settrace(trace)
        try:
            await packs()
        finally:
            sys.settrace(None)
        return len(lines) == 2

    assert ended(node, body, how) is True


def test_warnings_are_recorded_shown_and_raised_as_the_body_says(node: HostedNode, how: str) -> None:
    async def body(ctx: AsyncHandlerContext) -> list[str]:
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            warnings.warn("before", DeprecationWarning, stacklevel=1)
            await ctx.sleep(60)
            warnings.warn("after", DeprecationWarning, stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                warnings.warn("raised", UserWarning, stacklevel=1)
            except UserWarning as raised:
                return [*(str(each.message) for each in recorded), str(raised)]
        return []

    assert ended(node, body, how) == ["before", "after", "raised"]


# --- task factories


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from Python 3.12 on")
def test_eager_tasks_begin_where_they_are_made(node: HostedNode, how: str) -> None:
    async def body(ctx: AsyncHandlerContext) -> list[str]:
        seen = []

        async def part(name: str, *, waits: bool) -> str:
            seen.append(f"{name} begins")
            if waits:
                await ctx.receive_signal(name)
                await ctx.now()  # under a key of the task
                await ctx.side_effect(f"pack {name}", lambda: name)
            seen.append(f"{name} ends")
            return name

        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined]
        asyncio.get_running_loop().set_task_factory(factory)
        tasks = [asyncio.create_task(part(name, waits=name != "b")) for name in "abc"]
        seen.append("made")
        for task in asyncio.as_completed(tasks):
            seen.append(f"{await task} is done")
        return seen

    node.serve(body, asynchronous=True)
    node.enqueue()
    for name in ("c", "a"):
        node.rest()
        if how == "unwound":
            node.unwind()
        elif how == "killed":
            node.serve(body, asynchronous=True)
        node.signal(name)
        node.until(lambda key=f"pack {name}": node.recorded(OperationKind.SIDE_EFFECT, key))  # type: ignore[misc]

    begins = ["a begins", "b begins", "b ends", "c begins", "made"]
    assert node.result() == [*begins, "b is done", "c ends", "c is done", "a ends", "a is done"]


@NEVER_AWAITED
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_task_factory_may_have_the_loop_make_the_tasks_and_no_others(node: HostedNode, wrapped: bool) -> None:
    async def body(ctx: AsyncHandlerContext) -> list[str]:
        loop = asyncio.get_running_loop()
        before: Any = loop.get_task_factory()

        def factory(loop: Any, coro: Any, **options: Any) -> Any:
            return before(loop, coro, **options) if wrapped else asyncio.Task(coro, loop=loop, **options)

        loop.set_task_factory(factory)

        async def part(name: str) -> str:
            await ctx.receive_signal(name)
            return name

        return list(await asyncio.gather(part("a"), part("b")))

    node.serve(body, asynchronous=True)
    node.enqueue()
    node.signal("a")
    node.signal("b")
    if wrapped:
        assert node.result() == ["a", "b"]
    else:
        node.until(lambda: node.execution().status is Status.SUSPENDED)
        assert "a task factory that makes tasks by itself" in str(node.execution().failure)
