"""Nodes that are not who they should be, bytes that are from no node, and clocks that are wrong."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest

from tempolite_node.cli.certificates import make_certificates
from tempolite_sdk import Client, ExecutionTimedOut
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tests.e2e.daemon import PATIENCE_S

from .cluster import ODD, Cluster, Node, eventually
from .conftest import Found
from .lab import free_ports

HANDLERS = [f"recovering:{name}" for name in ("quick", "work", "add", "listen")]

METHODS = ("/tempolite.internal.v1.Peers/Connect", "/tempolite.internal.v1.Peers/Ask")  # of the peers' port

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def nodes(shared_cluster: Found) -> Cluster:
    return shared_cluster(*HANDLERS)


@pytest.fixture
def three(nodes: Cluster) -> Cluster:
    """All of them up, as they should be."""
    nodes.write_config()
    return nodes.heal()


def works(client: Client) -> bool:
    return bool(client.execute("work", 3) == [3, 4, 3])


def refused_by(node: Node, other: Node, words: str) -> bool:
    """Whether the node says of the other that one of them does not let the other in, and why."""
    return node.sees(lambda view: any(words in each.refused for each in view.members if each.node_id == other.id))


# --- not who they should be


def test_a_second_daemon_on_one_data_directory_does_not_start(three: Cluster) -> None:
    with three.twin("a") as twin, three.client() as client:
        twin.spawn()
        assert twin.wait() == 1
        assert "another daemon uses this data directory" in str(twin.log)
        assert works(client)


def test_a_second_node_of_one_id_is_not_let_in(three: Cluster) -> None:
    follower = three.follower()
    peers, api = (f"127.0.0.1:{port}" for port in free_ports(2))
    with (
        three.twin(follower.id, data_dir="twin", peers_listen=peers, listen=api) as twin,
        three.client() as client,
    ):
        twin.start()
        twin.until_logged("another node named")
        with pytest.raises(grpc.RpcError) as raised:
            twin.ask("EnqueueExecution", pb.EnqueueExecutionRequest(handler="quick"))
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert works(client)
        assert follower.running


def test_a_node_of_another_cluster_does_not_start_on_this_ones_data(three: Cluster) -> None:
    node = three.follower()
    node.kill()
    with three.twin(node.id, name="another") as twin, three.client() as client:
        twin.spawn()
        assert twin.wait() == 1
        assert "cluster" in str(twin.log[-1])
        assert works(client)


def test_a_node_of_another_cluster_is_not_let_in(three: Cluster) -> None:
    node = three.follower()
    node.kill()
    with three.twin(node.id, name="another", data_dir="another") as twin, three.client() as client:
        twin.start()
        twin.until_logged("belongs to cluster 'test'")
        leader = three.leader()
        eventually(lambda: refused_by(leader, node, "belongs to cluster 'test'"), "the leader says so")
        assert works(client)


# --- certificates


def test_nodes_with_certificates_let_in_nobody_without_one_of_their_own(cluster: Found) -> None:
    nodes = {node_id: {} for node_id in ("a", "b", "c")}
    three = cluster(*HANDLERS, nodes=nodes, start=False)
    certificates = three.directory / "certs"
    make_certificates(certificates, hosts=["localhost"], clients=[], peers=list(nodes))
    tls = {
        "certificate": f"{certificates}/peer-${{TEMPOLITE_NODE_ID}}.pem",
        "key": f"{certificates}/peer-${{TEMPOLITE_NODE_ID}}.key",
        "ca": f"{certificates}/ca.pem",
    }
    three.write_config(tls=tls)
    three.start()
    node, leader = three.follower(), three.leader()
    with three.client(leader) as client:
        assert works(client)
        node.kill()
        foreign = three.directory / "foreign"
        make_certificates(foreign, hosts=["localhost"], clients=[], peers=list(nodes))
        three.write_config(tls={name: path.replace(str(certificates), str(foreign)) for name, path in tls.items()})
        node.start()
        eventually(lambda: "no trusted connection to" in str(node.log), "it is told")
        assert works(client)
        node.kill()
        three.write_config()
        node.start()
        assert not leader.sees(lambda view: {each.node_id: each.connected for each in view.members}[node.id])
        assert works(client)
        node.kill()
        three.write_config(tls=tls)
        node.start()
        three.until_all_live()


# --- bytes from nowhere


@pytest.mark.parametrize(
    "opening",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    ],
    ids=["nothing", "http/1", "http/2", "a frame"],
)
def test_garbage_on_the_peers_port_disturbs_nobody(three: Cluster, opening: bytes) -> None:
    dice = random.Random(opening)
    with three.client() as client:
        for node in three.nodes.values():
            host, port = three.entries[node.id]["peers"].split(":")
            for size in (0, 10, 1_000, 5_000_000):
                with socket.create_connection((host, int(port)), timeout=10) as connection:
                    with contextlib.suppress(OSError):  # it may have heard enough
                        connection.sendall(opening + dice.randbytes(size))
        assert works(client)
        assert len(three.others()) == 3


def test_calls_on_the_peers_port_without_a_hello_are_refused(three: Cluster) -> None:
    for node in three.nodes.values():
        with grpc.insecure_channel(three.entries[node.id]["peers"]) as channel:
            for method in METHODS:
                call = channel.unary_unary(method)
                with pytest.raises(grpc.RpcError) as raised:
                    call(os.urandom(1_000_000), timeout=PATIENCE_S)
                assert raised.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    with three.client() as client:
        assert works(client)


# --- wrong clocks


@pytest.fixture(scope="module")
def skewed(shared_cluster: Found) -> Cluster:
    """One clock is right, one five minutes ahead, one five minutes behind. Each node has a handler of its own."""
    handlers = [
        {"target": f"recovering:{name}", "name": f"{name}_{node}"} for name in ("nap", "listen") for node in "abc"
    ]
    nodes = {node: {"handlers": [f"nap_{node}", f"listen_{node}"]} for node in "abc"}
    three = shared_cluster(*handlers, nodes=nodes, start=False)
    return three.start(*ODD, environment={"b": {"CLOCK_AHEAD_S": "300"}, "c": {"CLOCK_AHEAD_S": "-300"}})


@pytest.mark.parametrize("leader", ["a", "b", "c"])
def test_what_is_due_is_due_when_it_should_be_although_the_clocks_differ(skewed: Cluster, leader: str) -> None:
    skewed.transfer_leadership(skewed[leader])
    for node in skewed.nodes.values():
        with node.client() as client, ThreadPoolExecutor(4) as at_once:
            assert client.execute(f"nap_{leader}", 0.01) == "awake"  # by then it has heard of the leader's clock

            def nap(where: str, client: Client = client) -> None:
                assert client.execute(f"nap_{where}", 1.5) == "awake"

            def be_late(client: Client = client, listen: str = f"listen_{node.id}") -> None:
                with pytest.raises(ExecutionTimedOut):
                    client.options(max_duration=1.5).execute(listen)

            taken = [at_once.submit(seconds_of, partial(nap, where)) for where in skewed.nodes]
            taken.append(at_once.submit(seconds_of, be_late))
            assert all(1.0 < each.result() < PATIENCE_S / 2 for each in taken)


def seconds_of(act: Callable[[], None]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


@pytest.mark.parametrize("away", ["killed", "frozen"])
def test_a_node_that_was_away_does_not_take_old_news_of_the_clock_for_new(skewed: Cluster, away: str) -> None:
    skewed.transfer_leadership(skewed["a"])
    node = skewed["c"]
    with skewed.client() as client:
        assert client.execute("nap_c", 0.01) == "awake"
        node.kill() if away == "killed" else node.pause()
        for _ in range(20):
            assert client.execute("nap_a", 0.2) == "awake"  # each takes batches of the leader
        node.start(*ODD, CLOCK_AHEAD_S="-300") if away == "killed" else node.resume()
        skewed.until_all_live()
        began = time.monotonic()
        assert client.execute("nap_c", 1.5) == "awake"
        assert 1.0 < time.monotonic() - began < PATIENCE_S / 2


def test_moments_do_not_depend_on_which_node_was_asked(skewed: Cluster) -> None:
    skewed.transfer_leadership(skewed["a"])
    created = []
    for node in skewed.nodes.values():
        with node.client() as client:
            for where in skewed.nodes:
                handle = client.enqueue(f"nap_{where}", 0.01)
                handle.result(PATIENCE_S)
                created.append(handle.info().create_time)
    assert None not in created
    assert (max(created) - min(created)).total_seconds() < PATIENCE_S  # type: ignore[type-var, operator]
