"""Sessions: many calls on one stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tempolite_sdk.client.async_client import AsyncClient
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.errors import DeadlineExceeded
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer

Start = Callable[..., Peer]


def enqueued(call: pb.SessionCall) -> pb.SessionReply:
    return pb.SessionReply(number=call.number, enqueue=pb.EnqueueExecutionResponse(id=call.enqueue.id))


def only_the_answered(call: pb.SessionCall) -> pb.SessionReply | None:
    return enqueued(call) if call.enqueue.handler == "answered" else None


async def test_a_call_travels_whole_with_the_time_that_it_has(peers: Start) -> None:
    peer = peers(reply=enqueued)
    async with AsyncClient(peer.address, timeout=600) as client:
        handle = await client.options(priority=3).enqueue("fulfil", "tea")
    [[call]] = peer.sessions
    assert call.enqueue.handler == "fulfil"
    assert call.enqueue.arguments.data == b'["tea"]'
    assert call.enqueue.options.priority == 3
    assert call.enqueue.id == handle.id
    assert call.timeout.ToTimedelta().total_seconds() == pytest.approx(600, abs=60)


async def test_a_call_without_a_reply_ends_when_its_time_is_up_and_the_others_go_on(peers: Start) -> None:
    async with AsyncClient(peers(reply=only_the_answered).address, timeout=60) as client:
        silent = [asyncio.create_task(client.handle(f"e{n}").result(timeout=0.2)) for n in range(50)]
        assert (await client.enqueue("answered")).id
        outcomes = await asyncio.gather(*silent, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}
        assert (await client.enqueue("answered")).id


async def test_of_two_calls_the_one_with_less_time_ends_first(peers: Start) -> None:
    async with AsyncClient(peers(reply=only_the_answered).address, timeout=60) as client:
        longer = asyncio.create_task(client.enqueue("silent"))
        with pytest.raises(DeadlineExceeded):
            await client.handle("e1").result(timeout=0.2)
        assert not longer.done()
        longer.cancel()


def test_of_calls_of_threads_each_ends_when_its_time_is_up(peers: Start) -> None:
    # The first one goes by a call of its own: while it is under way, the others share a session.
    peer = peers(reply=only_the_answered)
    alone, release = threading.Event(), threading.Event()

    def hang(request: pb.EnqueueExecutionRequest, _context: object) -> pb.EnqueueExecutionResponse:
        alone.set()
        release.wait()
        return pb.EnqueueExecutionResponse(id=request.id)

    peer.answers("EnqueueExecution", hang)
    with Client(peer.address, timeout=60) as client, ThreadPoolExecutor(16) as threads:
        first = threads.submit(client.enqueue, "alone")
        alone.wait()
        silent = [threads.submit(client.handle(f"e{n}").result, 0.2) for n in range(8)]
        answered = [threads.submit(client.enqueue, "answered", n) for n in range(4)]
        assert all(each.result().id for each in answered)
        assert {type(each.exception()) for each in silent} == {DeadlineExceeded}
        release.set()
        assert first.result().id
    assert len(peer.sessions) == 1
