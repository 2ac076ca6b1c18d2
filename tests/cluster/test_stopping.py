"""Planned stops: what a node has goes to the others before it ends, and clients notice nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tempolite_sdk import Client, ExecutionStatus
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as pb
from tests.e2e.daemon import PATIENCE_S, until_status

from .cluster import Cluster, Node, eventually
from .conftest import Found

HANDLERS = [f"recovering:{name}" for name in ("quick", "add", "work", "finish", "listen", "nap")]
POOLS = {pool: {"workers": 4} for pool in ("handler", "saga", "side_effect")}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def nodes(shared_cluster: Found) -> Cluster:
    """Nobody is held for dead for being silent: what moves has been given away."""
    return shared_cluster(*HANDLERS, pools=POOLS, cluster={"node_timeout": "5m"})


@pytest.fixture
def three(nodes: Cluster) -> Cluster:
    """All of them up."""
    return nodes.heal()


def test_a_node_that_stops_gives_away_what_it_has_and_the_leadership(three: Cluster) -> None:
    # given: a leader with executions that wait, and some that run
    stopping = three.leader()
    with three.client(*three.others(stopping)) as client:
        listening = client.enqueue_many("listen", [()] * 9, atomic=True)
        for handle in listening:
            until_status(client, handle.id, ExecutionStatus.WAITING)
        napping = [client.enqueue("nap", 0.5) for _ in range(9)]
        # when: it is told to stop
        assert stopping.stop() == 0
        three.until_lost(stopping)
        # then: it has given away all of it, and the others go on with it
        for handle in listening:
            handle.send_signal("word", "go on")
        assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 9
        assert [handle.result(PATIENCE_S) for handle in napping] == ["awake"] * 9
        assert {handle.info().node_id for handle in listening} == {node.id for node in three.others()}
    effects = three.effects()
    assert {effects[f"{handle.id} {when}"] for handle in listening for when in ("before", "after")} == {1}


def test_a_node_that_stops_lets_end_what_is_in_the_middle_of_its_code(three: Cluster) -> None:
    stopping = three.follower()
    with three.client(*three.others(stopping)) as client, ExitStack() as stack:
        ids = [f"in-the-middle-{number}" for number in range(6)]
        gates = {id: stack.enter_context(three.gate(id)) for id in ids}
        handles = [client.options(id=id).enqueue("finish") for id in ids]
        three.until_world(lambda: all(three.effects()[f"{id} runs"] == 1 for id in ids))
        own = [handle for handle in handles if handle.info().node_id == stopping.id]
        assert own, "some of them run there"
        stopping.signal(signal.SIGTERM)
        stopping.until_logged("draining")
        eventually(lambda: draining(three, stopping), "the others know that it stops")
        late = [client.enqueue("quick", number) for number in range(6)]
        assert [handle.result(PATIENCE_S) for handle in late] == list(range(6))
        assert stopping.id not in {handle.info().node_id for handle in late}, "it takes nothing new"
        assert stopping.running
        for gate in gates.values():
            gate.open()
        assert stopping.wait() == 0
        assert [handle.result(PATIENCE_S) for handle in handles] == ["finished"] * 6
    effects = three.effects()
    assert {effects[f"{id} {what}"] for id in ids for what in ("runs", "finished")} == {1}


def draining(three: Cluster, node: Node) -> bool:
    def seen(view: pb.Cluster) -> bool:
        return next(member.draining for member in view.members if member.node_id == node.id)

    return all(other.sees(seen) for other in three.others(node))


class Load:
    """Callers that ask for one execution after the other, over a client of all nodes, until they are told to stop."""

    def __init__(self, client: Client, callers: int) -> None:
        self._client = client
        self._over = threading.Event()
        self.results: list[tuple[int, object]] = []
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(callers)]

    def _call(self, caller: int) -> None:
        number = caller
        while not self._over.is_set():
            try:
                self.results.append((number, self._client.execute("work", number)))
            except BaseException as error:
                self.errors.append(error)
                return
            number += len(self._threads)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def until_it_goes_on(self) -> None:
        before = len(self.results)
        eventually(lambda: len(self.results) > before + len(self._threads) or bool(self.errors), "callers get answers")


@contextmanager
def load(three: Cluster, callers: int) -> Iterator[Load]:
    with three.client() as client:
        made = Load(client, callers)
        made.start()
        try:
            yield made
        finally:
            made.stop()


def test_three_nodes_restarted_one_after_the_other_under_load_fail_no_call(three: Cluster) -> None:
    with load(three, callers=4) as callers:
        callers.until_it_goes_on()
        for node in list(three.nodes.values()):
            assert node.stop() == 0
            callers.until_it_goes_on()
            node.start()
            three.until_all_live()
            callers.until_it_goes_on()
    assert callers.errors == []
    assert all(result == [number, number + 1, number] for number, result in callers.results)
    assert len(callers.results) > 20
