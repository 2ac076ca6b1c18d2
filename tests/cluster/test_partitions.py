"""Nodes that run and can't hear each other: a majority goes on, nobody else does, and in the end all are as one."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tempolite_sdk import Client, ExecutionStatus
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tests.e2e.daemon import PATIENCE_S

from .cluster import Cluster, Node, eventually
from .conftest import Found
from .lab import free_ports
from .network import Network

HANDLERS = [f"recovering:{name}" for name in ("quick", "work", "add", "listen")]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def wired(shared_cluster: Found) -> Iterator[tuple[Cluster, Network]]:
    nodes = {node_id: {"peers_listen": f"127.0.0.1:{port}"} for node_id, port in zip("abc", free_ports(3), strict=True)}
    three = shared_cluster(*HANDLERS, nodes=nodes, cluster={"node_timeout": "2s", "write_timeout": "1s"}, start=False)
    network = Network(three)
    three.start()
    yield three, network
    network.close()


@pytest.fixture
def network(wired: tuple[Cluster, Network]) -> Iterator[Network]:
    yield wired[1]
    wired[1].heal()


@pytest.fixture
def three(wired: tuple[Cluster, Network]) -> Cluster:
    """All of them up, and in touch."""
    cluster, network = wired
    network.heal()
    return cluster.heal()


def all_listen(three: Cluster, client: Client, count: int) -> list[str]:
    """Ids of executions that wait for a word, on all of the nodes."""
    # In one command: each is load to those behind it, which one that waits already is not.
    handles = client.enqueue_many("listen", [()] * count, atomic=True)
    eventually(lambda: all(each.info().status is ExecutionStatus.WAITING for each in handles), "they all wait")
    assert {each.info().node_id for each in handles} == set(three.nodes)
    return [each.id for each in handles]


def hear(client: Client, ids: list[str]) -> None:
    for id in ids:
        client.send_signal(id, "word", "go on")
    assert [client.handle(id).result(PATIENCE_S) for id in ids] == ["go on"] * len(ids)


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_node_that_is_cut_off_does_nothing_and_the_others_do_its_work(
    three: Cluster, network: Network, leads: bool
) -> None:
    lonely = three.leader() if leads else three.follower()
    others = three.others(lonely)
    with Client([node.address for node in others], timeout=PATIENCE_S) as client:
        ids = all_listen(three, client, 6)
        memory = three.remember()
        network.cut_off(lonely, others)
        eventually(lambda: not_live(others, lonely), "the others hold it for dead")
        hear(client, ids)
        assert client.execute("work", 3) == [3, 4, 3]
        with pytest.raises(grpc.RpcError) as raised:
            lonely.ask("EnqueueExecution", pb.EnqueueExecutionRequest(handler="quick"))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        network.heal()
        three.until_all_live()
    with lonely.client() as there:
        assert {there.get(id).status for id in ids} == {ExecutionStatus.COMPLETED}
        assert there.execute("work", 4) == [4, 5, 4]
    memory.check_nothing_ran_again()


def not_live(seen_by: list[Node], lost: Node) -> bool:
    return all(
        node.sees(lambda view: not any(member.live for member in view.members if member.node_id == lost.id))
        for node in seen_by
    )


def test_a_node_that_hears_nobody_and_is_heard_deposes_no_leader(three: Cluster, network: Network) -> None:
    leader = three.leader()
    deaf, other = three.others(leader)
    with Client([leader.address, other.address], timeout=PATIENCE_S) as client:
        ids = all_listen(three, client, 6)
        term = leader.view().term
        for node in (leader, other):
            network.cut(node, deaf)
        eventually(lambda: not_live([leader, other], deaf), "the others hold it for dead")
        hear(client, ids)
        assert (three.leader(), leader.view().term) == (leader, term)
        network.heal()
        three.until_all_live()
        assert leader.view().term == term


def test_a_leader_that_is_not_heard_is_replaced(three: Cluster, network: Network) -> None:
    mute = three.leader()
    others = three.others(mute)
    with Client([node.address for node in others], timeout=PATIENCE_S) as client:
        ids = all_listen(three, client, 6)
        for node in others:
            network.cut(mute, node)
        eventually(lambda: any(node.sees(lambda view: view.role == "leader") for node in others), "another one leads")
        hear(client, ids)
        network.heal()
        three.until_all_live()


def test_a_slow_way_to_a_node_is_no_reason_to_give_it_up(three: Cluster, network: Network) -> None:
    slow = three.follower()
    network.slow_down(slow, 0.1)
    with three.client(slow) as client:
        assert [client.execute("work", number) for number in range(5)] == [[n, n + 1, n] for n in range(5)]
        hear(client, all_listen(three, client, 6))


def test_after_all_that_the_nodes_hold_the_same(three: Cluster) -> None:
    three.check_equal_stores()
