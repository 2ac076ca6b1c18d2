"""An asyncio client belongs to one event loop, and says so on any other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tempolite_sdk import AsyncClient, FailedPrecondition
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer


async def next_signal(client: AsyncClient) -> object:
    return await anext(aiter(client.handle("e1").receive_signals()))


USES: dict[str, Callable[[AsyncClient], Awaitable[Any]]] = {
    "a call": lambda client: client.count(),
    "a wait": lambda client: client.handle("e1").result(timeout=5),
    "many waits": lambda client: client.wait_many([client.handle("e1")]),
    "a stream": next_signal,
    "many enqueues": lambda client: client.enqueue_many("fulfil", [(1,)]),
    "the end": lambda client: client.close(),
}


@pytest.fixture
def counting(peer: Peer) -> Peer:
    peer.answers("CountExecutions", pb.CountExecutionsResponse(count=3))
    return peer


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_on_a_second_loop_every_use_says_what_to_do(
    counting: Peer, use: Callable[[AsyncClient], Awaitable[Any]]
) -> None:
    client = AsyncClient(counting.address)

    async def count() -> int:
        return await client.count()

    async def again() -> Any:
        outcome = await use(client)
        if isinstance(outcome, list):  # of waits: each has its own
            raise outcome[0]
        return outcome

    with asyncio.Runner() as first:
        assert first.run(count()) == 3
        with pytest.raises(FailedPrecondition, match="make a client for each loop") as refused:
            _in_another_thread(again())
        assert "closed" not in str(refused.value)
        assert first.run(count()) == 3  # and on its own it goes on
    with pytest.raises(FailedPrecondition, match="another one that is closed by now: make a client for each loop"):
        asyncio.run(again())


def test_a_client_that_was_only_made_belongs_to_the_loop_of_its_first_call(counting: Peer) -> None:
    async def made() -> AsyncClient:
        return AsyncClient(counting.address)

    client = asyncio.run(made())

    async def used() -> int:
        async with client:
            return await client.count()

    assert asyncio.run(used()) == 3


def _in_another_thread(work: Any) -> None:
    """Raises what the work raises there."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if raised:
        raise raised[0]
