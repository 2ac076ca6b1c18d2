"""Partitions of a real network: each node in a namespace of its own, with TLS and tokens, and packets that are lost."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import grpc
import pytest

from tempolite_node.cli.certificates import make_certificates
from tempolite_sdk import TLS, Client, ExecutionStatus
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as common
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tests.e2e.daemon import PATIENCE_S, Gate

from .cluster import Cluster, Node, eventually, reason_of
from .conftest import Found
from .namespaces import Namespaces, NotPermitted

HANDLERS = [f"recovering:{name}" for name in ("quick", "work", "add", "listen", "finish")]
ELECTION_S = PATIENCE_S / 2  #: far more than it takes to miss the leader and to elect another one, as is PATIENCE_S

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def network() -> Iterator[Namespaces]:
    try:
        network = Namespaces(["a", "b", "c"])
    except NotPermitted as reason:
        pytest.skip(str(reason))
    yield network
    network.close()


@pytest.fixture(scope="module")
def nodes(network: Namespaces, shared_cluster: Found, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    certificates = tmp_path_factory.mktemp("certs")
    addresses = network.addresses
    make_certificates(certificates, hosts=list(addresses.values()), clients=[], peers=list(addresses))
    peer = f"{certificates}/peer-${{TEMPOLITE_NODE_ID}}"
    token = secrets.token_urlsafe()
    three = shared_cluster(
        *HANDLERS,
        nodes={
            node_id: {"peers": f"{address}:9367", "listen": f"{address}:8367"} for node_id, address in addresses.items()
        },
        api={
            "tls": {"certificate": f"{certificates}/server.pem", "key": f"{certificates}/server.key"},
            "tokens": [{"name": "test", "role": "admin", "sha256": hashlib.sha256(token.encode()).hexdigest()}],
        },
        pools={pool: {"workers": 8} for pool in ("handler", "saga", "side_effect")},
        cluster={
            "node_timeout": "2s",
            "write_timeout": "1s",
            "tls": {"certificate": f"{peer}.pem", "key": f"{peer}.key", "ca": f"{certificates}/ca.pem"},
        },
        start=False,
    )
    three.access = TLS(ca_file=certificates / "ca.pem"), token
    for node in three.nodes.values():
        node.enter = network.entry_command(node.id)
    return three.start()


@pytest.fixture
def three(nodes: Cluster, network: Namespaces) -> Iterator[Cluster]:
    """All of them up, and in touch."""
    yield nodes.heal()
    network.heal()


@contextmanager
def writing(client: Client) -> Iterator[list[str]]:
    """Ids of executions that somebody enqueues all the time, one after the other, once they are acknowledged."""
    acknowledged: list[str] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            acknowledged.append(client.enqueue("quick", len(acknowledged)).id)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield acknowledged
    finally:
        over.set()
        writer.join()


def stale(id: str) -> pb.GetExecutionRequest:
    return pb.GetExecutionRequest(id=id, consistency=common.CONSISTENCY_STALE)


def refuses_writes(node: Node) -> bool:
    """For want of a majority; what was under way when that went may be stored, and is told apart."""
    with pytest.raises(grpc.RpcError) as raised:
        node.ask("EnqueueExecution", pb.EnqueueExecutionRequest(handler="quick"))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE, raised.value
    return reason_of(raised.value) == "NO_QUORUM"


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_node_that_is_cut_off_is_replaced_refused_and_takes_part_again(
    three: Cluster, network: Namespaces, leads: bool
) -> None:
    # given: handlers in the middle of their code, on all nodes, and somebody who writes
    lonely = three.leader() if leads else three.follower()
    others = three.others(lonely)
    majority = three.client_of([node.address for node in others])
    ids = [f"{lonely.id}-{leads}-{number}" for number in range(6)]
    with majority as client, three.client(lonely) as anywhere, ExitStack() as stack:
        gates: list[Gate] = [stack.enter_context(three.gate(id)) for id in ids]
        handles = [client.options(id=id).enqueue("finish") for id in ids]
        three.until_world(lambda: all(three.effects()[f"{id} runs"] == 1 for id in ids))
        lost = [handle for handle in handles if handle.info().node_id == lonely.id]
        assert lost, "some of them run there"
        with writing(anywhere) as acknowledged:
            eventually(lambda: len(acknowledged) > 5, "writes are acknowledged")
            # when: packets between it and the others are lost, until the others do its work
            network.cut_off(lonely, others)
            began = time.monotonic()
            assert client.execute("work", 3) == [3, 4, 3]
            assert time.monotonic() - began < ELECTION_S
            assert {node.view().leader for node in others}.isdisjoint({lonely.id, ""})
            eventually(lambda: refuses_writes(lonely), "it refuses writes for want of a quorum")
            assert lonely.ask("GetExecution", stale(ids[0])).execution.id == ids[0]
            three.until_world(lambda: all(three.effects()[f"{handle.id} runs"] == 2 for handle in lost))
            for gate in gates:
                gate.open()
            assert [handle.result(PATIENCE_S) for handle in handles] == ["finished"] * 6
            before = len(acknowledged)
            eventually(lambda: len(acknowledged) > before, "a client of all nodes finds those that take writes")
            # then: it comes back by itself
            network.heal()
            three.until_all_live()
        # and what it ran and lost was done by others, once, and nothing acknowledged is lost
        assert {handle.info().node_id for handle in lost}.isdisjoint({lonely.id})
        three.until_applied()
        for id in [*ids, *acknowledged]:
            assert lonely.ask("GetExecution", stale(id)).execution.id == id
        assert {anywhere.handle(id).result(PATIENCE_S) for id in ids} == {"finished"}
        assert [anywhere.handle(id).result(PATIENCE_S) for id in acknowledged] == list(range(len(acknowledged)))
    effects = three.effects()
    assert [effects[f"{id} finished"] for id in ids] == [1] * len(ids)


def test_when_every_node_is_cut_off_nobody_writes_until_they_hear_each_other(
    three: Cluster, network: Namespaces
) -> None:
    with three.client() as client:
        handle = client.enqueue("listen")
        eventually(lambda: handle.info().status is ExecutionStatus.WAITING, "it waits")
        three.until_applied()
        for node in three.others():
            network.cut_off(node, three.others(node))
        for node in three.others():
            eventually(lambda node=node: refuses_writes(node), f"{node.id} refuses writes for want of a quorum")
            assert node.ask("GetExecution", stale(handle.id)).execution.id == handle.id
        network.heal()
        handle.send_signal("word", "go on")
        assert handle.result(PATIENCE_S) == "go on"


@pytest.mark.parametrize("lost", ["all that the leader says", "all that it is told"])
def test_a_leader_that_hears_nobody_or_is_not_heard_is_replaced(three: Cluster, network: Namespaces, lost: str) -> None:
    leader = three.leader()
    others = three.others(leader)
    with three.client_of([node.address for node in others]) as client:
        for node in others:
            if lost == "all that the leader says":
                network.lose(leader, node)
            else:
                network.lose(node, leader)
        began = time.monotonic()
        assert client.execute("work", 5) == [5, 6, 5]
        assert time.monotonic() - began < ELECTION_S
        assert {node.view().leader for node in others}.isdisjoint({leader.id, ""})


@pytest.mark.parametrize("lost", ["all that it says", "all that it is told"])
def test_a_follower_that_hears_nobody_or_is_not_heard_stops_nobody(
    three: Cluster, network: Namespaces, lost: str
) -> None:
    follower = three.follower()
    others = three.others(follower)
    with three.client_of([node.address for node in others]) as client:
        for node in others:
            if lost == "all that it says":
                network.lose(follower, node)
            else:
                network.lose(node, follower)
        three.until_lost(follower)
        assert client.execute("work", 6) == [6, 7, 6]
    assert not {node.view().leader for node in others} & {follower.id, ""}


def test_a_network_that_loses_packets_loses_nothing_else(three: Cluster, network: Namespaces) -> None:
    for node in three.others():
        for other in three.others(node):
            network.lose(node, other, share=0.1)
    with three.client() as client:
        assert [client.execute("work", number) for number in range(5)] == [[n, n + 1, n] for n in range(5)]


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_slow_link_makes_writes_slow_and_stops_none(three: Cluster, network: Namespaces, leads: bool) -> None:
    slow = three.leader() if leads else three.follower()
    network.slow_down(slow, 0.1)
    with slow.client() as client:
        handles = [client.enqueue("work", number) for number in range(5)]
        assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(5)]
    assert all(member.live for member in three.leader().view().members), "nobody is held for dead"


def test_after_all_that_the_nodes_hold_the_same(three: Cluster) -> None:
    three.check_equal_stores()
