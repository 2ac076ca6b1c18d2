"""Tells clients of a cluster which node leads it, beside every answer: what they ask there is not handed on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from tempolite_node.api.interceptors import Continuation
from tempolite_node.api.middleware import wrapped
from tempolite_node.api.ports import NodePorts

LEADER = "tempolite-leader"  #: the metadata's key; its value is the address of the leader's API

_OURS = "/tempolite."
_SESSION = "/tempolite.v1.ExecutionService/Session"  # sends its metadata itself, at once


def leader_metadata(node: NodePorts) -> tuple[tuple[str, str], ...]:
    address = node.leader_api_address()
    return () if address is None else ((LEADER, address),)


class LeaderInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Innermost: those who may not call learn nothing."""

    def __init__(self, node: NodePorts) -> None:
        self._node = node

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None or details.method == _SESSION or not details.method.startswith(_OURS):
            return handler

        @asynccontextmanager
        async def around(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
            if metadata := leader_metadata(self._node):
                await context.send_initial_metadata(metadata)
            yield

        return wrapped(handler, around)
