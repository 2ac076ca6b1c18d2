"""What both clients ask of a cluster, and how fresh an answer they want."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from tempolite_sdk.client.async_client import AsyncClient
from tempolite_sdk.client.cluster_info import Consistency
from tempolite_sdk.client.info import Component
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as executions_pb

from .client_peer import Peer, fails


@pytest.fixture
def client(peer: Peer, connect: Callable[..., Any]) -> Any:
    return connect(peer.address, timeout=10)


def test_the_cluster_is_shown_with_its_members(peer: Peer, client: Any) -> None:
    leader = pb.Member(
        node_id="a",
        address="127.0.0.1:9361",
        api_address="127.0.0.1:8361",
        live=True,
        votes=True,
        connected=True,
        matched_index=9,
        lag=0,
        incarnation=2,
        handlers=["fulfil"],
        open_executions=7,
        workers=[pb.PoolWorkers(component="COMPONENT_SAGA", workers=3)],
    )
    newcomer = pb.Member(node_id="d", address="127.0.0.1:9364", refused="who are you?", draining=True)
    cluster = pb.Cluster(
        name="shop",
        node_id="a",
        role="leader",
        leader="a",
        leader_api_address="127.0.0.1:8361",
        term=3,
        commit_index=9,
        applied_index=8,
        members=[leader, newcomer],
    )
    peer.answers("GetCluster", pb.GetClusterResponse(cluster=cluster))

    info = client.cluster()

    assert (info.name, info.node_id, info.role, info.leader) == ("shop", "a", "leader", "a")
    assert (info.leader_api_address, info.term, info.commit_index, info.applied_index) == ("127.0.0.1:8361", 3, 9, 8)
    a, d = info.members
    assert (a.live, a.votes, a.connected, a.draining, a.refused) == (True, True, True, False, None)
    assert (a.matched_index, a.lag, a.incarnation, a.open_executions) == (9, 0, 2, 7)
    assert (a.handlers, a.workers) == (("fulfil",), {Component.SAGA: 3})
    assert (d.draining, d.refused, d.api_address, d.matched_index, d.lag) == (True, "who are you?", None, None, None)
    assert info.member("d") == d
    assert info.member("z") is None


def test_without_a_leader_there_is_no_address_of_one(peer: Peer, client: Any) -> None:
    peer.answers("GetCluster", pb.GetClusterResponse(cluster=pb.Cluster(name="shop", role="candidate")))

    info = client.cluster()

    assert (info.leader, info.leader_api_address) == (None, None)


def test_a_node_without_a_cluster_is_told_apart(peer: Peer, client: Any) -> None:
    no_cluster = "this node is not part of a cluster"
    peer.answers("GetCluster", fails(grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE", no_cluster))

    with pytest.raises(FailedPrecondition, match=no_cluster):
        client.cluster()


def test_members_come_and_go_and_the_leadership_moves(peer: Peer, client: Any) -> None:
    peer.answers("AddMember", pb.AddMemberResponse())
    peer.answers("RemoveMember", pb.RemoveMemberResponse())
    peer.answers("TransferLeadership", pb.TransferLeadershipResponse(leader="b"))

    client.add_member("d", "127.0.0.1:9364")
    client.remove_member("d")
    leaders = [client.transfer_leadership("b"), client.transfer_leadership()]

    assert peer.requests["AddMember"] == [pb.AddMemberRequest(node_id="d", address="127.0.0.1:9364")]
    assert peer.requests["RemoveMember"] == [pb.RemoveMemberRequest(node_id="d")]
    assert [request.node_id for request in peer.requests["TransferLeadership"]] == ["b", ""]
    assert leaders == ["b", "b"]


def test_a_newcomer_may_take_longer_than_the_client_tries_other_calls(peer: Peer, connect: Callable[..., Any]) -> None:
    def catches_up(_request: Any, _context: Any) -> Any:
        time.sleep(1.5)
        return pb.AddMemberResponse()

    peer.answers("AddMember", catches_up)

    connect(peer.address, timeout=0.5).add_member("d", "127.0.0.1:9364")

    assert len(peer.requests["AddMember"]) == 1


def test_a_newcomer_that_does_not_catch_up_in_time_is_an_error(peer: Peer, client: Any) -> None:
    peer.answers("AddMember", lambda _request, context: time.sleep(context.time_remaining() + 0.1))

    with pytest.raises(DeadlineExceeded):
        client.add_member("d", "127.0.0.1:9364", timeout=0.2)


# --- how fresh an answer is

EXECUTION = common_pb2.Execution(
    id="e", handler="fulfil", component="COMPONENT_HANDLER", status="EXECUTION_STATUS_RUNNING"
)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, "CONSISTENCY_LINEARIZABLE"),
        ({"consistency": "stale"}, "CONSISTENCY_STALE"),
        ({"consistency": Consistency.STALE}, "CONSISTENCY_STALE"),
        ({"consistency": "linearizable"}, "CONSISTENCY_LINEARIZABLE"),
    ],
)
def test_each_read_says_how_fresh_it_must_be(peer: Peer, client: Any, given: dict[str, Any], sent: str) -> None:
    peer.answers("GetExecution", executions_pb.GetExecutionResponse(execution=EXECUTION))
    peer.answers("GetExecutionTree", executions_pb.GetExecutionTreeResponse(tree={"execution": EXECUTION}))
    peer.answers(
        "ListExecutions",
        executions_pb.ListExecutionsResponse(executions=[EXECUTION], next_page_token="more"),
        executions_pb.ListExecutionsResponse(),
    )
    peer.answers("CountExecutions", executions_pb.CountExecutionsResponse(count=1))

    client.get("e", **given)
    client.handle("e").info(**given)
    client.tree("e", **given)
    client.handle("e").tree(**given)
    assert len(list(client.list(**given))) == 1
    client.count(**given)

    expected = common_pb2.Consistency.Value(sent)
    asked = [request.consistency for requests in peer.requests.values() for request in requests]
    assert asked == [expected] * 7


def test_another_word_is_refused_before_anything_is_sent(peer: Peer, client: Any) -> None:
    with pytest.raises(InvalidArgument, match="consistency must be one of 'linearizable', 'stale'"):
        client.get("e", consistency="fresh")

    assert peer.requests == {}


def test_both_clients_take_the_same_arguments() -> None:
    for name in ("cluster", "add_member", "remove_member", "transfer_leadership", "get", "tree", "list", "count"):
        sync, asynchronous = (inspect.signature(getattr(client, name)) for client in (Client, AsyncClient))
        assert sync.parameters == asynchronous.parameters, name
