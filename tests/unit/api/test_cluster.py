"""ClusterService over a real channel, and what a node of a cluster adds to every call."""

from __future__ import annotations

import grpc
import pytest
from msgspec.structs import replace

from tempolite_node.engine.model import Component
from tempolite_node.errors import NoQuorum, OutcomeUnknown, WrongState
from tempolite_node.views import ClusterState, Consistency, MemberState
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as executions_pb
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as node_pb

from .conftest import Serve, Served, told
from .memory_node import execution
from .test_auth import TOKENS, bearer

CLUSTER = {"name": "shop", "nodes": [{"id": "node-1", "peers": "127.0.0.1:1"}, {"id": "node-2", "peers": "[::1]:2"}]}

LEADER = MemberState(
    node_id="node-1",
    address="127.0.0.1:1",
    api_address="127.0.0.1:8367",
    live=True,
    draining=False,
    votes=True,
    connected=True,
    refused=None,
    matched_index=12,
    lag=0,
    incarnation=3,
    handlers=("fulfil", "ship"),
    open_executions=4,
    workers={Component.HANDLER: 8, Component.SAGA: 1},
)
NEWCOMER = replace(
    LEADER, node_id="node-2", votes=False, connected=False, refused="who are you?", matched_index=None, lag=None
)
STATE = ClusterState(
    name="shop",
    node_id="node-1",
    leader="node-1",
    leader_api_address="127.0.0.1:8367",
    role="leader",
    term=5,
    commit_index=12,
    applied_index=11,
    members=(LEADER, NEWCOMER),
)


@pytest.fixture
async def clustered(serve: Serve) -> Served:
    served = await serve(cluster=CLUSTER)
    served.node.state = STATE
    return served


async def test_a_node_shows_its_cluster_as_it_sees_it(clustered):
    cluster = (await clustered.cluster.GetCluster(pb.GetClusterRequest())).cluster

    assert (cluster.name, cluster.leader, cluster.leader_api_address) == ("shop", "node-1", "127.0.0.1:8367")
    assert (cluster.node_id, cluster.role) == ("node-1", "leader")
    assert (cluster.term, cluster.commit_index, cluster.applied_index) == (5, 12, 11)
    leader, newcomer = cluster.members
    assert (leader.live, leader.votes, leader.matched_index, leader.lag, leader.refused) == (True, True, 12, 0, "")
    assert (leader.incarnation, leader.handlers, leader.open_executions) == (3, ["fulfil", "ship"], 4)
    assert [(pool.component, pool.workers) for pool in leader.workers] == [
        (common_pb2.COMPONENT_HANDLER, 8),
        (common_pb2.COMPONENT_SAGA, 1),
    ]
    assert (newcomer.votes, newcomer.connected, newcomer.refused) == (False, False, "who are you?")
    assert not newcomer.HasField("matched_index")
    assert not newcomer.HasField("lag")


async def test_nobody_leads_as_far_as_the_node_knows(clustered):
    clustered.node.state = replace(STATE, leader=None, leader_api_address=None, role="candidate")

    cluster = (await clustered.cluster.GetCluster(pb.GetClusterRequest())).cluster

    assert (cluster.leader, cluster.leader_api_address) == ("", "")


async def test_members_are_added_and_removed_and_the_leadership_goes_to_another(clustered):
    await clustered.cluster.AddMember(pb.AddMemberRequest(node_id="node-3", address="localhost:9"))
    await clustered.cluster.RemoveMember(pb.RemoveMemberRequest(node_id="node-3"))
    named = await clustered.cluster.TransferLeadership(pb.TransferLeadershipRequest(node_id="node-3"))
    anyone = await clustered.cluster.TransferLeadership(pb.TransferLeadershipRequest())

    assert clustered.node.members == [
        ("add", "node-3", "localhost:9"),
        ("remove", "node-3"),
        ("transfer", "node-3"),
        ("transfer", ""),
    ]
    assert (named.leader, anyone.leader) == ("node-3", "node-2")


@pytest.mark.parametrize("deadline_s", [100.5, 600.0, 1_001.0, 3_600.0, 36_001.0])
async def test_a_new_member_may_catch_up_until_just_before_the_deadline_of_the_call(clustered, deadline_s):
    request = pb.AddMemberRequest(node_id="node-3", address="localhost:9")

    await clustered.cluster.AddMember(request, timeout=deadline_s)

    # gRPC rounds it up on its way, so the node does not know it to the second; the call may be under way for a while
    assert 0.9 * deadline_s - 60 <= clustered.node.catch_up_s <= deadline_s - 0.4


async def test_a_new_member_may_catch_up_for_a_minute_when_the_call_has_no_deadline(clustered):
    await clustered.cluster.AddMember(pb.AddMemberRequest(node_id="node-3", address="localhost:9"))

    assert clustered.node.catch_up_s == 60.0


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (WrongState("node-1 is the leader"), grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE"),
        (NoQuorum("alone"), grpc.StatusCode.UNAVAILABLE, "NO_QUORUM"),
        (OutcomeUnknown("cut off"), grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN"),
    ],
)
async def test_what_stands_against_a_change_is_told(clustered, error, code, reason):
    clustered.node.fails_with = error

    answer = await told(clustered.cluster.RemoveMember(pb.RemoveMemberRequest(node_id="node-1")))

    assert (answer.code, answer.reason, answer.message) == (code, reason, str(error))


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("AddMember", pb.AddMemberRequest(), ["node_id", "address"]),
        ("AddMember", pb.AddMemberRequest(node_id="a b", address="nowhere"), ["node_id", "address"]),
        ("AddMember", pb.AddMemberRequest(node_id="a", address="0.0.0.0:1"), ["address"]),
        ("AddMember", pb.AddMemberRequest(node_id="a", address="localhost:0"), ["address"]),
        ("AddMember", pb.AddMemberRequest(node_id="a", address="10.0.0.1:1"), ["address"]),
        ("RemoveMember", pb.RemoveMemberRequest(), ["node_id"]),
        ("TransferLeadership", pb.TransferLeadershipRequest(node_id="/"), ["node_id"]),
    ],
)
async def test_every_mistake_of_a_request_is_named(clustered, method, request_, fields):
    answer = await told(getattr(clustered.cluster, method)(request_))

    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == fields
    assert clustered.node.members == []


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetCluster", pb.GetClusterRequest()),
        ("AddMember", pb.AddMemberRequest(node_id="a", address="localhost:9")),
        ("RemoveMember", pb.RemoveMemberRequest(node_id="a")),
        ("TransferLeadership", pb.TransferLeadershipRequest()),
    ],
)
async def test_a_node_without_a_cluster_says_so(served, method, request_):
    answer = await told(getattr(served.cluster, method)(request_))

    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert answer.message == "this node is not part of a cluster"


async def test_whoever_may_look_sees_the_cluster_and_only_an_admin_changes_it(serve):
    served = await serve({"tokens": TOKENS}, cluster=CLUSTER)
    served.node.state = STATE
    remove = pb.RemoveMemberRequest(node_id="node-2")

    seen = await served.cluster.GetCluster(pb.GetClusterRequest(), metadata=bearer("look"))
    refused = await told(served.cluster.RemoveMember(remove, metadata=bearer("work")))
    await served.cluster.RemoveMember(remove, metadata=bearer("rule"))

    assert seen.cluster.name == "shop"
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED
    assert served.node.members == [("remove", "node-2")]


# --- the leader's address


async def leader_told_by(call) -> str | None:
    return next((value for key, value in await call.initial_metadata() if key == "tempolite-leader"), None)


async def test_every_call_tells_who_leads(clustered):
    call = clustered.nodes.GetStats(node_pb.GetStatsRequest())

    assert await leader_told_by(call) == "127.0.0.1:8367"
    assert (await call).stats.revision == 1


async def test_a_call_that_fails_and_a_session_tell_who_leads_too(clustered):
    failing = clustered.executions.GetExecution(executions_pb.GetExecutionRequest(id="unheard"))
    session = clustered.executions.Session(iter(()))

    assert await leader_told_by(failing) == "127.0.0.1:8367"
    assert await failing.code() is grpc.StatusCode.NOT_FOUND
    assert await leader_told_by(session) == "127.0.0.1:8367"
    assert [reply async for reply in session] == []


async def test_each_message_of_a_session_tells_who_leads_by_then(clustered):
    session = clustered.executions.Session()

    leaders = []
    for number, leader in ((1, "127.0.0.1:8367"), (2, "127.0.0.1:8368"), (3, None)):
        clustered.node.state = replace(STATE, leader_api_address=leader)
        call = executions_pb.SessionCall(number=number, get=executions_pb.GetExecutionRequest(id="unheard"))
        await session.write(executions_pb.SessionRequest(calls=[call]))
        leaders.append((await session.read()).leader)
    session.cancel()

    assert leaders == ["127.0.0.1:8367", "127.0.0.1:8368", ""]


async def test_while_nobody_leads_nothing_is_told(clustered):
    clustered.node.state = replace(STATE, leader=None, leader_api_address=None)

    assert await leader_told_by(clustered.nodes.GetStats(node_pb.GetStatsRequest())) is None


async def test_whoever_may_not_call_is_not_told_who_leads(serve):
    served = await serve({"tokens": TOKENS}, cluster=CLUSTER)
    served.node.state = STATE

    assert await leader_told_by(served.nodes.GetStats(node_pb.GetStatsRequest())) is None


# --- how fresh an answer is

READS = [
    ("GetExecution", executions_pb.GetExecutionRequest, {"id": "e"}),
    ("GetExecution", executions_pb.GetExecutionRequest, {"id": "e/step/pay"}),
    ("GetExecutionTree", executions_pb.GetExecutionTreeRequest, {"id": "e"}),
    ("ListExecutions", executions_pb.ListExecutionsRequest, {}),
    ("CountExecutions", executions_pb.CountExecutionsRequest, {}),
    ("ListExecutionEvents", executions_pb.ListExecutionEventsRequest, {"execution_id": "e"}),
    ("ExplainExecution", executions_pb.ExplainExecutionRequest, {"id": "e"}),
]


@pytest.mark.parametrize(("method", "message", "fields"), READS)
async def test_a_read_is_linearizable_unless_the_caller_is_content_with_less(served, method, message, fields):
    served.node.queries.executions["e"] = execution("e", row=1)
    ask = getattr(served.executions, method)
    for consistency in ("CONSISTENCY_UNSPECIFIED", "CONSISTENCY_LINEARIZABLE", "CONSISTENCY_STALE"):
        await ask(message(consistency=consistency, **fields)).code()

    assert served.node.reads == [Consistency.LINEARIZABLE, Consistency.LINEARIZABLE, Consistency.STALE]


@pytest.mark.parametrize(("method", "message", "fields"), READS)
async def test_a_consistency_that_is_none_is_refused(served, method, message, fields):
    answer = await told(getattr(served.executions, method)(message(consistency=7, **fields)))

    assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["consistency"])


async def test_a_linearizable_read_fails_without_a_majority(clustered):
    clustered.node.fails_with = NoQuorum("no majority answers")

    answer = await told(clustered.executions.CountExecutions(executions_pb.CountExecutionsRequest()))

    assert (answer.code, answer.reason) == (grpc.StatusCode.UNAVAILABLE, "NO_QUORUM")


async def test_an_explanation_goes_without_a_majority_and_says_so(clustered):
    node = clustered.node
    node.queries.executions["e"] = execution("e", row=1)
    node.fails_linearizable_with = NoQuorum("no majority answers")

    told = (await clustered.executions.ExplainExecution(executions_pb.ExplainExecutionRequest(id="e"))).explanation

    assert node.reads == [Consistency.LINEARIZABLE, Consistency.STALE]
    assert "no quorum (no majority answers)" in told.sentence
