"""Nodes are added, removed and replaced while the cluster runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from signal import SIGKILL

import pytest

from tempolite_sdk import Client, FailedPrecondition, Unavailable
from tests.e2e.daemon import PATIENCE_S

from .cluster import ODD, Cluster, Node, eventually
from .conftest import Found

HANDLERS = [f"recovering:{name}" for name in ("quick", "listen", "work", "add", "order")]

pytestmark = pytest.mark.timeout(300)

NODES = {"a": {}, "b": {}, "c": {}, "d": {"join": True}}


@pytest.fixture
def four(cluster: Found) -> Cluster:
    """Three that run, and one that may join them."""
    alone = {"name": "order_alone", "target": "recovering:order", "isolation": "process"}
    return cluster(*HANDLERS, alone, nodes=NODES, cluster={"node_timeout": "2s"})


@pytest.fixture
def client(four: Cluster) -> Iterator[Client]:
    with four.client() as client:
        yield client


def join(client: Client, four: Cluster, node: Node) -> None:
    node.spawn()
    client.add_member(node.id, four.entries[node.id]["peers"], timeout=PATIENCE_S)
    four.until_all_live(four.others())


def test_a_fourth_node_joins_takes_work_and_the_first_can_go(four: Cluster, client: Client) -> None:
    # given: a cluster with work
    listening = client.enqueue_many("listen", [()] * 6, atomic=True)
    memory_of_before = client.execute("work", 1)
    assert memory_of_before == [1, 2, 1]
    # when: a node joins
    newcomer = four["d"]
    join(client, four, newcomer)
    # then: it has what there was, and its share of what comes
    with newcomer.client() as there:
        assert there.count(consistency="stale") == client.count()
        handles = there.enqueue_many("work", [(number,) for number in range(20)], atomic=True)
        assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(20)]
        assert newcomer.id in {handle.info().node_id for handle in handles}
    # when: one of the founders is removed
    leaving = four.follower(newcomer)
    client.remove_member(leaving.id)
    # then: it knows, and says so, and its work is done by the others
    assert leaving.wait() != 0
    assert f"node {leaving.id} was removed from its cluster" in str(leaving.log)
    for handle in listening:
        handle.send_signal("word", "go on")
    assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 6
    assert leaving.id not in {handle.info().node_id for handle in listening}
    assert {member.node_id for member in client.cluster().members} == {node.id for node in four.others()}
    four.check_equal_stores()


def test_a_set_of_strings_has_the_same_order_on_every_node_also_after_a_restart_and_on_one_that_joins(
    four: Cluster, client: Client
) -> None:
    def orders(*nodes: Node) -> set[str]:
        """As told by all of these nodes."""
        found: set[str] = set()
        told: set[str | None] = set()
        while not {node.id for node in nodes} <= told:
            handles = client.enqueue_many("order", [()] * 20, atomic=True)
            handles += client.enqueue_many("order_alone", [()] * 3, atomic=True)
            found |= {",".join(handle.result(PATIENCE_S)) for handle in handles}
            told |= {handle.info().node_id for handle in handles}
        return found

    before = orders(*four.founders)
    assert len(before) == 1

    follower = four.follower()
    assert follower.stop() == 0
    follower.start()
    four.until_all_live()
    join(client, four, four["d"])

    assert orders(*four.others()) == before


def test_the_leader_is_not_removed_before_another_leads(four: Cluster, client: Client) -> None:
    leader = four.leader()
    with pytest.raises(FailedPrecondition):
        client.remove_member(leader.id)
    other = four.follower()
    assert client.transfer_leadership(other.id) == other.id
    eventually(lambda: four.leader() is other, "the other one leads")
    client.remove_member(leader.id)
    assert leader.wait() != 0
    assert client.execute("quick", 3) == 3


def test_a_node_that_is_down_is_removed_and_its_work_goes_elsewhere(four: Cluster, client: Client) -> None:
    listening = client.enqueue_many("listen", [()] * 6, atomic=True)
    four.until_world(lambda: all(four.effects()[f"{handle.id} before"] for handle in listening))
    gone = four.follower()
    gone.kill()
    client.remove_member(gone.id)
    client.remove_member(gone.id)  # as a client does whose answer was lost
    for handle in listening:
        handle.send_signal("word", "go on")
    assert [handle.result(PATIENCE_S) for handle in listening] == ["go on"] * 6
    # and when it is started again it learns that it is no member any more
    gone.spawn()
    assert gone.wait() != 0


def test_a_node_that_lost_its_data_directory_gets_everything_back_from_the_others(
    four: Cluster, client: Client
) -> None:
    handles = [client.enqueue("work", number) for number in range(20)]
    listening = client.enqueue("listen")
    assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(20)]
    lost = four.follower()
    lost.kill()
    lost.lose_data()
    lost.start()
    four.until_all_live()
    listening.send_signal("word", "go on")
    assert listening.result(PATIENCE_S) == "go on"
    with lost.client() as there:
        assert there.count(consistency="stale") == client.count()
    four.check_equal_stores()


def test_a_node_that_lost_its_data_directory_is_given_no_work_before_it_has_everything_back(
    four: Cluster, client: Client
) -> None:
    # given: a node that has lost its disk, and has not yet applied what it gets back
    assert client.execute("work", 1) == [1, 2, 1]
    lost = four.follower()
    lost.kill()
    lost.lose_data()
    with four.gate("disk") as gate:
        lost.start(*ODD, APPLIES_AFTER="disk")
        lost.until_logged("stands at the gate")
        four.until_lost(lost)
        # when: there is work, then: others do it
        handles = [client.enqueue("work", number) for number in range(20)]
        assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(20)]
        assert lost.id not in {handle.info().node_id for handle in handles}
        assert not any(member.live for member in four.leader().view().members if member.node_id == lost.id)
        gate.open()
    # until it has everything, and does its share again
    four.until_all_live()
    handles = [client.enqueue("work", number) for number in range(20)]
    assert [handle.result(PATIENCE_S) for handle in handles] == [[n, n + 1, n] for n in range(20)]
    assert lost.id in {handle.info().node_id for handle in handles}
    four.check_equal_stores()


def test_a_node_that_was_away_for_long_takes_a_snapshot_and_serves_its_waits(four: Cluster, client: Client) -> None:
    """The others have thrown away the entries that it would need, so it takes the whole store of one of them."""
    # given: nodes that keep few entries, one of which is frozen while someone waits at it
    for node in four.founders:
        node.restart(*ODD, KEEP_ENTRIES="20")
    four.until_all_live()
    away = four.follower()
    with away.client() as there, ThreadPoolExecutor(1) as waiting:
        handle = client.enqueue("listen")
        answer = waiting.submit(there.handle(handle.id).result, 3 * PATIENCE_S)
        eventually(lambda: four.effects()[f"{handle.id} before"] == 1, "it runs")
        away.pause()
        # when: more happens than the others keep
        handle.send_signal("word", "go on")
        assert handle.result(PATIENCE_S) == "go on"
        for number in range(100):
            client.execute("quick", number)
        away.resume()
        # then: it takes a snapshot, and whoever waited is answered
        away.until_logged("this node was far behind")
        assert answer.result() == "go on"
    four.until_all_live()
    assert client.execute("quick", 7) == 7
    eventually(lambda: not any(four.directory.glob("*/snapshots/*")), "nobody keeps the snapshot")
    four.check_equal_stores()


def test_a_node_that_dies_while_it_puts_a_snapshot_in_place_has_one_store_or_the_other(
    four: Cluster, client: Client
) -> None:
    # given: nodes that keep few entries
    for node in four.founders:
        node.restart(*ODD, KEEP_ENTRIES="20")
    four.until_all_live()
    away = four.follower()
    away.kill()
    # when: one misses so much that it is given a snapshot, and dies before, around or after the file gets its name
    for moment in ("1", "5", "6", "end"):
        for number in range(15):
            client.execute("quick", number)
        away.spawn(*ODD, DIES_INSTALLING=moment)
        assert away.wait() == -SIGKILL, f"it did not get to step {moment}"
    # then: it is one of them again, and has what they have
    away.start()
    four.until_all_live()
    assert client.execute("quick", 7) == 7
    four.check_equal_stores()


def test_a_wait_at_a_node_that_is_removed_is_not_left_hanging(four: Cluster, client: Client) -> None:
    leaving = four.follower()
    handle = client.enqueue("listen")
    with leaving.client(timeout=3.0) as there, ThreadPoolExecutor(1) as waiting:
        answer = waiting.submit(there.handle(handle.id).result, PATIENCE_S)
        client.remove_member(leaving.id)
        with pytest.raises(Unavailable):
            answer.result()
