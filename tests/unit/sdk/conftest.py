from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempolite_sdk.client.sync_client import Client

from .client_peer import Blocking, Peer


@pytest.fixture
def peer(peers: Callable[..., Peer]) -> Peer:
    return peers()


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    """Starts peers."""
    started: list[Peer] = []

    def start(**options: Any) -> Peer:
        started.append(Peer(**options))
        return started[-1]

    yield start
    for peer in started:
        peer.stop()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []
    with asyncio.Runner() as runner:

        def connect(*args: Any, **kwargs: Any) -> Any:
            client = Client(*args, **kwargs) if request.param == "sync" else Blocking.client(runner, *args, **kwargs)
            opened.append(client)
            return client

        yield connect
        for client in opened:
            client.close()
