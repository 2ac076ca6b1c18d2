"""ClusterService: who belongs to the cluster, who leads, and changes of both."""

from __future__ import annotations

import grpc

from tempolite_node.api.convert import requests, responses
from tempolite_node.api.polls import time_to_wait_ms
from tempolite_node.api.ports import ClusterPort, NodePorts
from tempolite_node.errors import no_cluster
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1.cluster_service_pb2_grpc import ClusterServiceServicer

_CATCH_UP_MS = 60_000  #: that a new member gets, for a caller without a deadline
_CATCH_UP_MS_MAX = 24 * 3_600_000


class ClusterService(ClusterServiceServicer):
    def __init__(self, node: NodePorts) -> None:
        self._node = node

    @property
    def _cluster(self) -> ClusterPort:
        if self._node.cluster is None:
            raise no_cluster()
        return self._node.cluster

    async def GetCluster(
        self, _request: pb.GetClusterRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetClusterResponse:
        return pb.GetClusterResponse(cluster=responses.cluster(await self._cluster.state()))

    async def AddMember(self, request: pb.AddMemberRequest, context: grpc.aio.ServicerContext) -> pb.AddMemberResponse:
        cluster, config = self._cluster, self._node.config.cluster
        node_id, address = requests.add_member(request, loopback_only=config is None or config.tls is None)
        remaining_s = context.time_remaining()
        catch_up_ms = time_to_wait_ms(remaining_s, _CATCH_UP_MS if remaining_s is None else _CATCH_UP_MS_MAX)
        await cluster.add_member(node_id, address, catch_up_s=catch_up_ms / 1_000)
        return pb.AddMemberResponse()

    async def RemoveMember(
        self, request: pb.RemoveMemberRequest, _context: grpc.aio.ServicerContext
    ) -> pb.RemoveMemberResponse:
        await self._cluster.remove_member(requests.member(request.node_id))
        return pb.RemoveMemberResponse()

    async def TransferLeadership(
        self, request: pb.TransferLeadershipRequest, _context: grpc.aio.ServicerContext
    ) -> pb.TransferLeadershipResponse:
        to = requests.member(request.node_id) if request.node_id else None
        return pb.TransferLeadershipResponse(leader=await self._cluster.transfer_leadership(to))
