"""A server on a free port of the loopback, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tempolite_node.api.server import ApiServer
from tempolite_node.config import Config
from tempolite_sdk.pb.tempolite.v1.cluster_service_pb2_grpc import ClusterServiceStub
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import ExecutionServiceStub
from tempolite_sdk.pb.tempolite.v1.node_service_pb2_grpc import NodeServiceStub

from .memory_node import CONFIG, MemoryNode


@dataclass
class Served:
    """A running server, the node behind it, and stubs on a channel to it."""

    node: MemoryNode
    server: ApiServer
    port: int
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.executions = ExecutionServiceStub(self.channel)
        self.nodes = NodeServiceStub(self.channel)
        self.cluster = ClusterServiceStub(self.channel)


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with these settings of `api` and `cluster`; credentials and the options are the channel's."""
    async with AsyncExitStack() as stack:

        async def start(
            api: dict[str, Any] | None = None,
            credentials: grpc.ChannelCredentials | None = None,
            options: Sequence[tuple[str, Any]] = (),
            *,
            cluster: dict[str, Any] | None = None,
        ) -> Served:
            config = Config.model_validate(CONFIG | {"api": CONFIG["api"] | (api or {}), "cluster": cluster})
            return await stack.enter_async_context(_served(config, credentials, options))

        yield start


@asynccontextmanager
async def _served(
    config: Config, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
) -> AsyncIterator[Served]:
    node = MemoryNode(config)
    server = ApiServer(node.ports())
    port = await server.start()
    async with open_channel(port, credentials, options) as channel:
        yield Served(node, server, port, channel)
    await server.stop(grace=0)


def open_channel(
    port: int, credentials: grpc.ChannelCredentials | None = None, options: Sequence[tuple[str, Any]] = ()
) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options)


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve()


@dataclass
class Told:
    """What a failed call tells its caller."""

    code: grpc.StatusCode
    message: str
    reason: str
    fields: list[str]
    retry_after: float | None


async def told(call: Awaitable[Any]) -> Told:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    reason, fields, retry_after = "", [], None
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for detail in status_pb2.Status.FromString(value).details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo.FromString(detail.value)
                assert info.domain == "tempolite"
                reason = info.reason
            elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
                request = error_details_pb2.BadRequest.FromString(detail.value)
                fields = [violation.field for violation in request.field_violations]
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                retry_after = delay.ToTimedelta().total_seconds()
    return Told(error.code(), error.details() or "", reason, fields, retry_after)
