"""The cluster: its members and its leader."""

from __future__ import annotations

from tempolite_sdk.client import convert
from tempolite_sdk.client.calls.call import Call, Conversation, Deadline
from tempolite_sdk.client.cluster_info import ClusterInfo
from tempolite_sdk.durations import Duration
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb

#: Seconds that a newcomer has to catch up, unless the caller gives it more.
CATCH_UP = 60.0


def info() -> Call[ClusterInfo]:
    return Call("ClusterService/GetCluster", pb.GetClusterRequest(), lambda response: convert.cluster(response.cluster))


def add_member(node_id: str, address: str, timeout: Duration) -> Conversation[None]:
    """Held by the node until the newcomer has caught up: nobody else could tell sooner, so nobody else is asked."""
    deadline = Deadline.after(timeout)
    request = pb.AddMemberRequest(node_id=node_id, address=address)
    yield from deadline.ask(Call("ClusterService/AddMember", request, _nothing, hold=deadline.remaining))


def remove_member(node_id: str) -> Call[None]:
    return Call("ClusterService/RemoveMember", pb.RemoveMemberRequest(node_id=node_id), _nothing)


def transfer_leadership(to: str | None) -> Call[str]:
    request = pb.TransferLeadershipRequest(node_id=to or "")
    return Call("ClusterService/TransferLeadership", request, lambda response: str(response.leader))


def _nothing(_response: object) -> None:
    return None
