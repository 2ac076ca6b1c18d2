"""A concurrency key is one thing on all nodes: whoever runs them, and whoever dies, executions with it take turns."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import groupby

import pytest

from tempolite_sdk import CauseKind, ExecutionStatus
from tests.e2e.daemon import PATIENCE_S, until_status

from .cluster import Cluster, eventually
from .conftest import Found

POOLS = {pool: {"workers": 8} for pool in ("handler", "side_effect")}
NODES = {"a": {"handlers": ["sync", "run"]}, "b": {"handlers": ["sync", "run"]}, "c": {"handlers": ["quick"]}}
KEYS = [f"key-{number}" for number in range(6)]

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def shared(shared_cluster: Found) -> Cluster:
    """Two of the nodes serve the same handlers; the third one only has a voice."""
    handlers = ["keyed:sync", "keyed:run", "recovering:quick"]
    return shared_cluster(*handlers, nodes=NODES, pools=POOLS, cluster={"node_timeout": "2s"})


@pytest.fixture
def nodes(shared: Cluster) -> Cluster:
    return shared.heal()


def turns(cluster: Cluster, key: str) -> list[int]:
    """Numbers of the executions with the key, each time that another one than before did something."""
    lines = (line for line in cluster.world.read_text().splitlines() if line.startswith(f"{key} "))
    return [number for number, _ in groupby(int(line.rpartition(" ")[2]) for line in lines)]


def test_a_key_never_runs_twice_at_a_time_also_when_a_node_that_runs_it_is_killed(nodes: Cluster) -> None:
    with nodes.client(nodes.nodes["c"]) as client, ExitStack() as closed:
        for key in KEYS:
            closed.enter_context(nodes.gate(f"{key}.3"))
        handles = {
            (key, n): client.options(concurrency_key=key).enqueue("sync", key, n) for n in range(6) for key in KEYS
        }
        for key in KEYS:
            nodes.until(f"{key} begin 3")
        killed = handles[KEYS[0], 3].info().node_id
        nodes.nodes[killed].kill()
        closed.close()
        results = list(client.wait_many(handles.values(), timeout=PATIENCE_S))
        taken_over = handles[KEYS[0], 3].info().node_id

    assert results == [n for _, n in handles]
    assert {killed, taken_over} == {"a", "b"}
    assert {key: turns(nodes, key) for key in KEYS} == {key: list(range(6)) for key in KEYS}


def test_what_a_lost_node_ran_keeps_its_place_until_it_has_ended_elsewhere(nodes: Cluster) -> None:
    with nodes.client(nodes.nodes["c"]) as client, nodes.gate("first") as gate:
        first = client.options(id="first", concurrency_key="k").enqueue("run")
        nodes.until("first runs")
        second = client.options(id="second", concurrency_key="k").enqueue("run")
        assert second.info().waits_for_key == "concurrency key 'k' of run is held by first"
        owner = first.info().node_id
        assert first.explain().sentence.startswith(f"run first runs its attempt 1 on node {owner}")
        assert (second.explain().root.kind, second.explain().root.names) == (CauseKind.CONCURRENCY_KEY, ("first",))

        nodes.nodes[first.info().node_id].kill()
        nodes.until("first runs", 2)
        assert second.info().status is ExecutionStatus.QUEUED

        gate.open()
        assert [handle.result(PATIENCE_S) for handle in (first, second)] == ["done", "done"]
        assert second.info().node_id == first.info().node_id, "the other one is down"


def test_who_waits_on_a_node_that_is_lost_is_run_by_another_in_its_turn(nodes: Cluster) -> None:
    with nodes.client(nodes.nodes["c"]) as client, nodes.gate("holds") as gate:
        holder = client.options(id="holds", concurrency_key="w").enqueue("run")
        nodes.until("holds runs")
        runs_on = holder.info().node_id
        waiting = [client.options(concurrency_key="w").enqueue("run") for _ in range(4)]
        lost = next(node for node in (nodes.nodes["a"], nodes.nodes["b"]) if node.id != runs_on)
        assert any(handle.info().node_id == lost.id for handle in waiting), "some of them belong to it"

        lost.kill()
        nodes.until_lost(lost)
        gate.open()

        assert [handle.result(PATIENCE_S) for handle in waiting] == ["done"] * 4
        assert {handle.info().node_id for handle in waiting} == {runs_on}


def test_all_nodes_come_to_the_same_places(nodes: Cluster) -> None:
    with nodes.client() as client, nodes.gate("last") as gate:
        client.options(id="last", concurrency_key="s").enqueue("run")
        waiting = client.options(concurrency_key="s").enqueue("run")
        until_status(client, waiting.id, ExecutionStatus.QUEUED)
        eventually(lambda: bool(waiting.info().waits_for_key), "it waits")
        gate.open()
        assert waiting.result(PATIENCE_S) == "done"
    nodes.check_equal_stores()
