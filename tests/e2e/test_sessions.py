"""Clients with many calls in flight, on the real daemon."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from tempolite_sdk import AsyncClient, ExecutionStatus, NotFound

from .conftest import Start

POOLS = {"pools": {"handler": {"workers": 64}}}


async def test_ten_thousand_calls_in_flight_are_all_answered(node: Start) -> None:
    daemon = node("plain:echo_async", **POOLS)
    async with AsyncClient(daemon.address) as client:
        results = await asyncio.gather(*(client.execute("echo_async", n) for n in range(10_000)))
    assert results == list(range(10_000))


def test_threads_that_share_a_client_share_a_session(node: Start) -> None:
    daemon = node("plain:echo", **POOLS)
    with daemon.client() as client, ThreadPoolExecutor(32) as threads:
        results = list(threads.map(lambda n: client.execute("echo", n), range(500)))
    assert results == list(range(500))


async def test_what_was_sent_and_not_answered_when_the_node_was_killed_is_repeated(node: Start) -> None:
    daemon = node("plain:answer", **POOLS)
    async with AsyncClient(daemon.address, timeout=60) as client:
        running = asyncio.gather(*(client.execute("answer", n) for n in range(300)))
        await client.wait(lambda stats: stats.handler.waiting == 300)
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)
        await client.wait(lambda stats: stats.handler.waiting == 300)
        waiting = [execution.id async for execution in client.list(status="waiting")]
        await asyncio.gather(*(client.send_signal(id, "more", 1_000) for id in waiting))
        assert sorted(await running) == [n + 1_000 for n in range(300)]
        assert await client.count() == 300


def test_many_are_enqueued_and_waited_for(node: Start) -> None:
    daemon = node("plain:echo", **POOLS)
    with daemon.client() as client:
        handles = client.enqueue_many("echo", [(n,) for n in range(2_000)])
        assert client.wait_many(handles, timeout=60) == list(range(2_000))


def test_of_an_atomic_batch_all_are_stored_or_none(node: Start) -> None:
    daemon = node("plain:echo", pools={"handler": {"queue_limit": 3}})
    with daemon.client() as client:
        client.pause_pool("handler")
        client.enqueue_many("echo", [(1,), (2,)], atomic=True)
        with pytest.raises(Exception, match="queue of pool handler is full"):
            client.enqueue_many("echo", [(3,), (4,)], atomic=True)
        assert client.count(status=ExecutionStatus.QUEUED) == 2
        with pytest.raises(NotFound):
            client.enqueue_many("nope", [(3,)], atomic=True)
