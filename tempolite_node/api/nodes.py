"""NodeService: what the node serves, how busy it is, its pools."""

from __future__ import annotations

import asyncio
import time

import grpc

from tempolite_node.api.convert import requests, responses
from tempolite_node.api.polls import Polls, time_to_wait_ms
from tempolite_node.api.ports import NodePorts
from tempolite_node.engine.model import Component, ServedHandler
from tempolite_node.handlers import options
from tempolite_node.protocol.messages import HandlerDescription
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1.node_service_pb2_grpc import NodeServiceServicer


class NodeService(NodeServiceServicer):
    def __init__(self, node: NodePorts, polls: Polls) -> None:
        self._node = node
        self._polls = polls

    async def GetNodeInfo(
        self, _request: pb.GetNodeInfoRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetNodeInfoResponse:
        return responses.node_info(await self._node.status.info())

    async def ListHandlers(
        self, _request: pb.ListHandlersRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListHandlersResponse:
        handlers = [responses.handler(handler, self._served(handler)) for handler in self._node.status.handlers()]
        return pb.ListHandlersResponse(handlers=handlers)

    def _served(self, handler: HandlerDescription) -> ServedHandler:
        return options.served_handler(self._node.config, handler.name, handler.component)

    async def GetStats(self, _request: pb.GetStatsRequest, _context: grpc.aio.ServicerContext) -> pb.GetStatsResponse:
        return pb.GetStatsResponse(stats=responses.stats(await self._node.status.stats()))

    async def WaitStats(self, request: pb.WaitStatsRequest, context: grpc.aio.ServicerContext) -> pb.WaitStatsResponse:
        wanted = requests.wait_stats(request)
        timeout_ms = time_to_wait_ms(context.time_remaining(), wanted.timeout_ms)
        await self._polls.wait(self._changed(wanted.after_revision, wanted.interval_ms), timeout_ms)
        return pb.WaitStatsResponse(stats=responses.stats(await self._node.status.stats()))

    async def _changed(self, after_revision: int, interval_ms: int) -> None:
        """At least the interval passes, so that one that asks again and again is not answered for every change."""
        earliest = time.monotonic() + interval_ms / 1_000
        await self._node.status.wait_stats(after_revision)
        await asyncio.sleep(earliest - time.monotonic())

    async def ListPools(
        self, _request: pb.ListPoolsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListPoolsResponse:
        return pb.ListPoolsResponse(
            pools=[responses.pool(await self._node.pools.state(component)) for component in Component]
        )

    async def GetPool(self, request: pb.GetPoolRequest, _context: grpc.aio.ServicerContext) -> pb.GetPoolResponse:
        return pb.GetPoolResponse(
            pool=responses.pool(await self._node.pools.state(requests.component(request.component)))
        )

    async def ScalePool(self, request: pb.ScalePoolRequest, _context: grpc.aio.ServicerContext) -> pb.ScalePoolResponse:
        component, workers = requests.scale_pool(request)
        return pb.ScalePoolResponse(pool=responses.pool(await self._node.pools.scale(component, workers)))

    async def PausePool(self, request: pb.PausePoolRequest, _context: grpc.aio.ServicerContext) -> pb.PausePoolResponse:
        component = requests.component(request.component)
        return pb.PausePoolResponse(pool=responses.pool(await self._node.pools.pause(component)))

    async def ResumePool(
        self, request: pb.ResumePoolRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ResumePoolResponse:
        component = requests.component(request.component)
        return pb.ResumePoolResponse(pool=responses.pool(await self._node.pools.resume(component)))
