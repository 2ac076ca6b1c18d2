"""Nodes that die, that stand still for a while and that come back: what was recorded is not done again."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tempolite_sdk import ExecutionHandle, ExecutionStatus
from tests.e2e.daemon import PATIENCE_S, Gate

from .cluster import Cluster, Node, eventually
from .conftest import Found

HANDLERS = [f"recovering:{name}" for name in ("quick", "add", "work", "work_async", "finish", "listen", "nap")]
POOLS = {pool: {"workers": 4} for pool in ("handler", "saga", "side_effect")}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def hasty_nodes(shared_cluster: Found) -> Cluster:
    return shared_cluster(*HANDLERS, pools=POOLS, cluster={"node_timeout": "2s"})


@pytest.fixture
def hasty(hasty_nodes: Cluster) -> Cluster:
    """Whoever is silent for two seconds is held for dead. All of them are up."""
    return hasty_nodes.heal()


@pytest.fixture(scope="module")
def patient_nodes(shared_cluster: Found) -> Cluster:
    return shared_cluster(*HANDLERS, pools=POOLS, cluster={"node_timeout": "5m"})


@pytest.fixture
def patient(patient_nodes: Cluster) -> Cluster:
    """Nobody is ever held for dead. All of them are up."""
    return patient_nodes.heal()


def owned_by(node: Node, handles: Collection[ExecutionHandle[object]]) -> list[ExecutionHandle[object]]:
    return [handle for handle in handles if handle.info().node_id == node.id]


@contextmanager
def gates_of(cluster: Cluster, name: str, count: int) -> Iterator[dict[str, Gate]]:
    """By name, closed. Those who come to them are executions of these ids."""
    with ExitStack() as stack:
        yield {id: stack.enter_context(cluster.gate(id)) for id in (f"{name}-{number}" for number in range(count))}


# --- killed


def test_what_a_dead_leader_ran_goes_on_elsewhere_from_its_journal(hasty: Cluster) -> None:
    leader = hasty.leader()
    before = sum(hasty.effects().values())
    with hasty.client() as client:
        listening = client.enqueue_many("listen", [()] * 6, atomic=True)
        working = [client.enqueue("work" if number % 2 else "work_async", number) for number in range(60)]
        lost = owned_by(leader, [*listening, *working])
        hasty.until_world(lambda: sum(hasty.effects().values()) >= before + 60)
        leader.kill()
        memory = hasty.remember()
        assert [handle.result(PATIENCE_S) for handle in working] == [[n, n + 1, n] for n in range(60)]
        for handle in listening:
            handle.send_signal("word", "go on")
        assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 6
        owners = {handle.info().node_id for handle in lost if handle.info().attempts}
    assert lost, "it ran some of them"
    assert leader.id not in owners, "what it had begun was given to others"
    memory.check_nothing_ran_again()
    assert max(hasty.effects().values()) <= 2, "what was under way may have run a second time, and no more"


def test_writes_are_taken_again_soon_after_the_leader_died(hasty: Cluster) -> None:
    leader = hasty.leader()
    with hasty.client(leader) as client:
        assert client.execute("quick", 1) == 1
        leader.kill()
        began = time.monotonic()
        client.enqueue("quick", 2)
        assert time.monotonic() - began < PATIENCE_S / 3


def test_a_node_that_was_held_for_dead_takes_work_again_when_it_is_back(hasty: Cluster) -> None:
    node = hasty.follower()
    node.kill()
    hasty.until_lost(node)
    node.start()
    hasty.until_all_live()
    with hasty.client() as client:
        handles = [client.enqueue("nap", 0.2) for _ in range(30)]
        assert [handle.result(PATIENCE_S) for handle in handles] == ["awake"] * 30
        assert owned_by(node, handles)


def test_all_of_them_killed_at_once_lose_nothing(hasty: Cluster) -> None:
    with hasty.client() as client:
        handles = [client.enqueue("work", number) for number in range(30)]
        for node in hasty.nodes.values():
            node.kill()
        memory = hasty.remember()
        hasty.heal()
        assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(30)]
    memory.check_nothing_ran_again()


# --- frozen


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_node_frozen_for_too_long_abandons_what_it_lost(hasty: Cluster, leads: bool) -> None:
    """Its handlers run on meanwhile, and what they ask for when it thaws is refused: it happens elsewhere, once."""
    # given: a handler of the node in the middle of its code
    frozen = hasty.leader() if leads else hasty.follower()
    name = f"frozen-{'leader' if leads else 'follower'}"
    with hasty.client(*hasty.others(frozen)) as client, gates_of(hasty, name, 6) as gates:
        handles = [client.options(id=gate).enqueue("finish") for gate in gates]
        hasty.until_world(lambda: all(hasty.effects()[f"{handle.id} runs"] == 1 for handle in handles))
        lost = owned_by(frozen, handles)
        assert lost, "some of them run there"
        # when: it stands still until the others have all of its work, and have done it
        frozen.pause()
        hasty.until_lost(frozen)
        hasty.until_world(lambda: all(hasty.effects()[f"{handle.id} runs"] == 2 for handle in lost))
        for gate in gates.values():
            gate.open()
        assert [handle.result(PATIENCE_S) for handle in handles] == ["finished"] * 6
        frozen.resume()
        hasty.until_all_live()
        # then: it takes work again, and nothing of what it had begun was done twice
        assert client.execute("quick", 1) == 1
        assert {handle.info().node_id for handle in lost}.isdisjoint({frozen.id})
        with frozen.client() as there:
            assert {there.handle(handle.id).info().status for handle in handles} == {ExecutionStatus.COMPLETED}
    effects = hasty.effects()
    assert [effects[f"{handle.id} finished"] for handle in handles] == [1] * 6


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_node_frozen_for_a_moment_goes_on_with_what_it_ran(patient: Cluster, leads: bool) -> None:
    frozen = patient.leader() if leads else patient.follower()
    name = f"moment-{'leader' if leads else 'follower'}"
    with patient.client(*patient.others(frozen)) as client, gates_of(patient, name, 6) as gates:
        handles = [client.options(id=gate).enqueue("finish") for gate in gates]
        patient.until_world(lambda: all(patient.effects()[f"{handle.id} runs"] == 1 for handle in handles))
        own = owned_by(frozen, handles)
        assert own, "some of them run there"
        frozen.pause()
        other = next(handle for handle in handles if handle not in own)
        gates[other.id].open()
        assert other.result(PATIENCE_S) == "finished", "the others go on, under a new leader if need be"
        frozen.resume()
        for gate in gates.values():
            gate.open()
        assert [handle.result(PATIENCE_S) for handle in handles] == ["finished"] * 6
        assert {handle.info().node_id for handle in own} == {frozen.id}
        assert {handle.info().attempts for handle in handles} == {()}
    effects = patient.effects()
    assert {effects[f"{handle.id} {what}"] for handle in handles for what in ("runs", "finished")} == {1}


# --- restarted at once


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_node_that_is_back_before_it_is_missed_goes_on_with_its_own_work(patient: Cluster, leads: bool) -> None:
    node = patient.leader() if leads else patient.follower()
    with patient.client(*patient.others(node)) as client:
        listening = client.enqueue_many("listen", [()] * 9, atomic=True)
        own = owned_by(node, listening)
        assert own, "some of them run there"
        patient.until_world(lambda: all(patient.effects()[f"{handle.id} before"] == 1 for handle in listening))
        eventually(
            lambda: all(handle.info().status is ExecutionStatus.WAITING for handle in listening), "they all wait"
        )
        memory = patient.remember()
        node.restart()
        for handle in listening:
            handle.send_signal("word", "go on")
        assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 9
        assert {handle.info().node_id for handle in own} == {node.id}
    assert len(memory) >= 9
    memory.check_nothing_ran_again()
    assert not any(line.get("now") == "down" for other in patient.others(node) for line in other.log)
