"""Clients of several endpoints, on real daemons. Each is a node of its own: what they share is the clients."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tempolite_sdk import AsyncClient, Client, Unavailable

from .conftest import Start
from .daemon import PATIENCE_S, Daemon

POOLS = {"pools": {"handler": {"workers": 64}}}


def client_of(*daemons: Daemon) -> Client:
    return Client([daemon.address for daemon in daemons], timeout=PATIENCE_S)


def test_when_the_node_in_use_is_killed_calls_go_on_at_the_next(node: Start) -> None:
    first, second, third = (node("plain:echo") for _ in range(3))
    with client_of(first, second, third) as client:
        assert client.execute("echo", 1) == 1
        first.kill()
        assert client.execute("echo", 2) == 2
        second.kill()
        assert client.execute("echo", 3) == 3
    with third.client() as client:
        assert client.count() == 1


def test_an_execution_that_is_waited_for_is_started_at_the_next_node_when_its_own_is_killed(node: Start) -> None:
    first, second = node("plain:answer"), node("plain:answer")
    results: list[int] = []
    with client_of(first, second) as client:
        caller = threading.Thread(
            target=lambda: results.append(client.options(id="asked").execute("answer", 1)), daemon=True
        )
        caller.start()
        with first.client() as there:
            there.wait(lambda stats: stats.handler.waiting == 1)
        first.kill()
        with second.client() as there:
            there.wait(lambda stats: stats.handler.waiting == 1)
            there.send_signal("asked", "more", 10)
        caller.join(PATIENCE_S)
    assert results == [11]


async def test_a_session_goes_on_at_the_next_node_with_what_was_sent_and_not_answered(node: Start) -> None:
    first, second = node("plain:answer", **POOLS), node("plain:answer", **POOLS)
    async with AsyncClient([first.address, second.address], timeout=PATIENCE_S) as client:
        running = asyncio.gather(*(client.execute("answer", n) for n in range(300)))
        await client.wait(lambda stats: stats.handler.waiting == 300)
        await asyncio.to_thread(first.kill)
        await client.wait(lambda stats: stats.handler.waiting == 300)
        waiting = [execution.id async for execution in client.list(status="waiting")]
        await asyncio.gather(*(client.send_signal(id, "more", 1_000) for id in waiting))
        assert sorted(await running) == [n + 1_000 for n in range(300)]
        assert await client.count() == 300


def test_a_node_that_drains_hands_its_clients_to_the_next(node: Start) -> None:
    first, second = node("plain:echo"), node("plain:echo")
    with client_of(first, second) as client:
        assert client.execute("echo", 1) == 1
        assert first.stop() == 0
        assert client.execute("echo", 2) == 2


def test_when_every_node_is_down_the_error_names_each(node: Start) -> None:
    first, second = node("plain:echo"), node("plain:echo")
    first.kill()
    second.kill()
    with Client([first.address, second.address], timeout=2) as client, pytest.raises(Unavailable) as raised:
        client.count()
    assert first.address in str(raised.value)
    assert second.address in str(raised.value)
