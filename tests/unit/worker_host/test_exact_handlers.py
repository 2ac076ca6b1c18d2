"""What asynchronous handlers may rely on: what cancelling does, what ends with them, and what they may not do."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from tempolite_node.engine.model import OperationKind
from tempolite_sdk.async_contexts import AsyncHandlerContext
from tempolite_sdk.errors import Cancelled
from tests.unit.worker_host.exact_host import HostNode

Body = Callable[[AsyncHandlerContext], Coroutine[Any, Any, Any]]


def run(body: Body, **options: Any) -> HostNode:
    return HostNode(body, random.Random(0), **options).run()


def again(body: Body, node: HostNode, **options: Any) -> HostNode:
    """A replay with all recorded."""
    return run(body, journal=node.decided, given_up=node.given_up, **options)


def keys(node: HostNode) -> list[str]:
    return [f"{each.place[0]} {each.place[1]}" for each in node.decided]


def test_the_keys_of_the_first_task_are_as_they_were() -> None:
    async def body(ctx: AsyncHandlerContext) -> None:
        await ctx.now()
        await ctx.receive_signal("go")
        await asyncio.gather(ctx.sleep(1), ctx.sleep(1))
        await asyncio.sleep(1)

    found = keys(run(body))

    assert found[:2] == ["marker now#1", "signal go#1"]
    assert sorted(found[2:]) == ["timer sleep@1#1", "timer sleep@2#1", "timer timer#1"]


def test_cancelling_a_side_effect_cancels_its_body_and_how_that_ends_is_recorded() -> None:
    begins, cleaned = threading.Event(), []

    async def body(ctx: AsyncHandlerContext) -> str:
        async def lasts() -> None:
            begins.set()
            try:
                await asyncio.sleep(3_600)
            finally:
                cleaned.append("cleaned")

        try:
            async with asyncio.timeout(1):
                await ctx.side_effect("lasts", lasts)
        except TimeoutError:
            return "timed out"
        return "done"

    node = run(body, begins=begins)

    assert node.end == '"timed out"'
    assert cleaned == ["cleaned"]
    assert keys(node) == ["timer timer#1", "side_effect lasts"]
    assert again(body, node).end == node.end
    assert cleaned == ["cleaned"]


def test_a_side_effect_whose_body_completes_although_it_is_cancelled_has_its_value() -> None:
    begins = threading.Event()

    async def body(ctx: AsyncHandlerContext) -> str:
        async def stubborn() -> str:
            begins.set()
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                return "done after all"
            return "done"

        task = asyncio.create_task(ctx.side_effect("stubborn", stubborn))
        await asyncio.sleep(1)
        task.cancel()
        return str(await task)

    node = run(body, begins=begins)

    assert node.end == '"done after all"'
    assert again(body, node).end == node.end


def test_a_side_effect_that_was_cancelled_begins_anew_under_its_key() -> None:
    begins, operation_ids = threading.Event(), []

    async def body(ctx: AsyncHandlerContext) -> str:
        async def charge(inner: Any) -> str:
            operation_ids.append(inner.operation_id)
            begins.set()
            await asyncio.sleep(3_600 if len(operation_ids) == 1 else 0)
            return "charged"

        try:
            async with asyncio.timeout(1):
                return str(await ctx.side_effect("charge", charge))
        except TimeoutError:
            return str(await ctx.side_effect("charge", charge))

    node = run(body, begins=begins)

    assert node.end == '"charged"'
    assert operation_ids == ["e/side_effect/charge"] * 2
    assert again(body, node).end == node.end
    assert len(operation_ids) == 2


def test_a_wait_that_loses_is_given_up() -> None:
    async def body(ctx: AsyncHandlerContext) -> str:
        signal = asyncio.create_task(ctx.receive_signal("approval"))
        timer = asyncio.create_task(ctx.sleep(10))
        _, pending = await asyncio.wait({signal, timer}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await ctx.now()
        return "signal" if signal.done() and not signal.cancelled() else "timer"

    node = run(body)

    assert len(node.given_up) == 1
    for unwinds in (False, True):
        assert again(body, node, unwinds=unwinds).end == node.end


def test_a_cancel_of_the_execution_reaches_the_first_task_as_asyncio_says() -> None:
    seen = []

    async def body(ctx: AsyncHandlerContext) -> None:
        async def child() -> None:
            try:
                await ctx.receive_signal("never")
            except asyncio.CancelledError as error:
                seen.append(("child", isinstance(error, Cancelled)))
                raise

        assert not ctx.cancelled
        try:
            await asyncio.gather(child(), child())
        except Cancelled as error:
            assert ctx.cancelled
            seen.append(("first", isinstance(error, asyncio.CancelledError)))
            await ctx.side_effect("clean", lambda: _nothing())
            raise

    node = run(body, cancel_after=0)

    assert seen == [("child", False), ("child", False), ("first", True)]
    assert node.end.endswith("cancelled=True")
    assert again(body, node).end == node.end


async def _nothing() -> None: ...


def test_a_side_effect_sees_the_variables_of_its_task_and_changes_none() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def body(ctx: AsyncHandlerContext) -> list[str]:
        variable.set("of the handler")

        async def effect() -> str:
            seen = variable.get()
            variable.set("of the side effect")
            return seen

        return [await ctx.side_effect("effect", effect), variable.get()]

    assert run(body).end == '["of the handler","of the handler"]'


def test_an_error_that_nobody_fetched_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body(ctx: AsyncHandlerContext) -> None:
        async def fails() -> None:
            raise ValueError("unseen")

        task = asyncio.create_task(fails())
        await ctx.now()
        assert task.done()

    run(body)

    assert [record.message for record in caplog.records] == ["Task exception was never retrieved"]


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_attempt_that_ends_by_what_belongs_in_a_side_effect_is_suspended(wrapped: bool) -> None:
    async def body(_: AsyncHandlerContext) -> None:
        try:
            await asyncio.open_connection("localhost", 80)
        except Exception as error:
            if wrapped:
                raise ExceptionGroup("several", [ConnectionError("no way")]) from error
            raise

    end = run(body).end

    assert end.startswith("suspended")
    assert "Do it in a side effect" in end


def test_a_future_of_the_handler_awaited_in_a_side_effect_suspends() -> None:
    async def body(ctx: AsyncHandlerContext) -> None:
        future = asyncio.get_running_loop().create_future()

        async def effect() -> None:
            await future

        await ctx.side_effect("effect", effect)

    assert run(body).end.startswith("suspended")


def test_a_wait_that_was_given_up_and_now_goes_on_is_other_code() -> None:
    async def gives_up(ctx: AsyncHandlerContext) -> None:
        task = asyncio.create_task(ctx.receive_signal("approval"))
        await ctx.sleep(1)
        task.cancel()
        await ctx.now()

    async def goes_on(ctx: AsyncHandlerContext) -> None:
        task = asyncio.create_task(ctx.receive_signal("approval"))
        await ctx.sleep(1)
        await ctx.now()
        await task

    first = HostNode(gives_up, _Last()).run()
    replayed = run(goes_on, journal=first.decided, given_up=first.given_up, opened=first.opened)

    assert list(first.given_up) == [(OperationKind.SIGNAL, "approval@1#1")]
    assert replayed.end.startswith("suspended")


class _Last(random.Random):
    """Takes timers before signals."""

    def choice(self, seq: Any) -> Any:
        return seq[-1]
