"""Without a majority nothing is written, and nothing is claimed; with one, everything goes on."""

from __future__ import annotations

import grpc
import pytest

from tempolite_sdk import ExecutionHandle, OutcomeUnknown, Unavailable
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as common
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import explanation_pb2
from tests.e2e.daemon import PATIENCE_S

from .cluster import Cluster, Node, eventually, reason_of
from .conftest import Found

HANDLERS = [f"recovering:{name}" for name in ("quick", "listen", "nap", "work")]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def nodes(shared_cluster: Found) -> Cluster:
    return shared_cluster(*HANDLERS, cluster={"node_timeout": "2s", "write_timeout": "1s"})


@pytest.fixture
def three(nodes: Cluster) -> Cluster:
    """All of them up."""
    return nodes.heal()


@pytest.fixture(scope="module", params=["the leader", "a follower"])
def left(nodes: Cluster, request: pytest.FixtureRequest) -> Node:
    """The only node that is left, which knows by then that it is alone. It led, or it followed."""
    three = nodes.heal()
    node = three.leader() if request.param == "the leader" else three.follower()
    for other in three.others(node):
        other.kill()
    eventually(lambda: node.sees(lambda view: view.leader == ""), f"{node.id} sees that nobody leads")
    return node


def refused(node: Node, method: str, request: object) -> str:
    """Why the node can't do it, by the reason that it gives."""
    with pytest.raises(grpc.RpcError) as raised:
        node.ask(method, request)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE, raised.value
    return reason_of(raised.value)


def get(id: str, consistency: common.Consistency.ValueType) -> pb.GetExecutionRequest:
    return pb.GetExecutionRequest(id=id, consistency=consistency)


def done(three: Cluster) -> ExecutionHandle[object]:
    with three.client() as client:
        handle = client.enqueue("quick", 7)
        assert handle.result(PATIENCE_S) == 7
    three.until_applied()
    return handle


def test_writes_are_refused_for_want_of_a_quorum(left: Node) -> None:
    enqueue = pb.EnqueueExecutionRequest(handler="quick")
    seen: list[str] = []

    def refused_for_that() -> bool:
        # What was under way when the majority went may have been stored, and is told apart.
        seen.append(refused(left, "EnqueueExecution", enqueue))
        return seen[-1] == "NO_QUORUM"

    eventually(refused_for_that, "a write is refused")
    assert set(seen) <= {"NO_QUORUM", "OUTCOME_UNKNOWN"}


def test_the_client_gives_up_with_an_error_that_says_so(left: Node) -> None:
    with left.client(timeout=4.0) as client, pytest.raises(Unavailable, match="no majority of the cluster's nodes"):
        client.enqueue("quick")


def test_a_node_that_nobody_hears_stops_and_tries_once_to_say_so(left: Node) -> None:
    """The last one that `left` is for."""
    before = len(left.log)
    assert left.stop() == 0
    said = [line for line in left.log[before:] if "can't be told that this one stops" in str(line.get("event"))]
    assert len(said) == 1


def test_stale_reads_go_on_and_linearizable_ones_are_refused(three: Cluster) -> None:
    handle = done(three)
    left = three.follower()
    for other in three.others(left):
        other.kill()
    stale = left.ask("GetExecution", get(handle.id, common.CONSISTENCY_STALE))
    assert stale.execution.id == handle.id
    assert left.ask("CountExecutions", pb.CountExecutionsRequest(consistency=common.CONSISTENCY_STALE)).count >= 1
    for consistency in (common.CONSISTENCY_LINEARIZABLE, common.CONSISTENCY_UNSPECIFIED):
        assert refused(left, "GetExecution", get(handle.id, consistency)) == "NO_QUORUM"


def test_why_an_execution_does_not_move_is_told_without_a_majority_too(three: Cluster) -> None:
    with three.client() as client:
        listening = client.enqueue("listen").id
    three.until(f"{listening} before")
    three.until_applied()
    left = three.follower()
    for other in three.others(left):
        other.kill()

    told = left.ask("ExplainExecution", pb.ExplainExecutionRequest(id=listening)).explanation

    assert told.causes[0].kind == explanation_pb2.CAUSE_KIND_NO_QUORUM
    assert "no quorum" in told.sentence


def test_everything_goes_on_when_a_second_node_is_back(three: Cluster) -> None:
    with three.client() as client:
        listening = [client.enqueue("listen") for _ in range(4)]
        three.until_world(lambda: all(three.effects()[f"{handle.id} before"] for handle in listening))
        memory = three.remember()
        left = three.follower()
        back, _ = others = three.others(left)
        for other in others:
            other.kill()
        with left.client(timeout=3.0) as there, pytest.raises(Unavailable):
            there.send_signal(listening[0].id, "word", "go on", request_id="once")
        back.start()
        for handle in listening:
            handle.send_signal("word", "go on", request_id="once")
        assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 4
        assert [handle.info().unconsumed_signals for handle in listening] == [0] * 4
        assert client.execute("quick", 5) == 5
    memory.check_nothing_ran_again()


def test_a_request_whose_outcome_is_unknown_is_repeated_and_done_once(three: Cluster) -> None:
    """The leader has it in its log, and nobody else; it becomes known when the others are back, or is lost for good."""
    leader = three.leader()
    others = three.others(leader)
    for other in others:
        other.pause()
    with leader.client(timeout=3.0) as client, pytest.raises(OutcomeUnknown):
        client.options(request_id="the-only-one").enqueue("quick")
    for other in others:
        other.resume()
    with three.client() as client:
        before = client.count()
        first = client.options(request_id="the-only-one").enqueue("quick")
        assert client.options(request_id="the-only-one").enqueue("quick").id == first.id
        assert first.result(PATIENCE_S) == 1
        assert client.count() <= before + 1
    assert three.effects()[f"{first.id} ran"] == 1
