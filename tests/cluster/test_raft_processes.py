"""Three processes, real sockets, mutual TLS: killed, stopped, wiped, impersonated."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from tempolite_node.cli.certificates import make_certificates
from tests.cluster.lab import Lab, Process, lab

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]


class Load:
    """Proposes on whichever node is up, until it is ended."""

    def __init__(self, cluster: Lab, per_second: int = 100) -> None:
        self._cluster = cluster
        self._pause = 1 / per_second
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        names = sorted(self._cluster.nodes)
        while not self._over.wait(self._pause):
            number = self._cluster.next_number()
            node = self._cluster.nodes[names[number % len(names)]]
            if node.is_up():
                node.tell("propose", number=number, timeout_s=8.0)


def check_nothing_is_lost(cluster: Lab) -> int:
    """How many were acknowledged: each is in every store, once."""
    numbers = cluster.same_stores()["numbers"]
    assert len(numbers) == len(set(numbers)), "an entry was applied twice"
    missing = set(cluster.acknowledged()) - set(numbers)
    assert not missing, f"acknowledged and lost: {sorted(missing)[:10]}"
    return len(numbers)


def test_killing_the_leader_again_and_again_loses_nothing(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        with Load(cluster):
            for _ in range(4):
                leader = cluster.leader()
                cluster.acknowledges(50)  # it dies under load
                leader.kill()
                cluster.leader(besides=leader)
                leader.start()
        cluster.leader()
        assert check_nothing_is_lost(cluster) > 100


def test_killing_all_at_once_loses_nothing(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        with Load(cluster):
            for _ in range(2):
                cluster.leader()
                cluster.acknowledges(50)
                for node in cluster.nodes.values():
                    node.kill()
                for node in cluster.nodes.values():
                    node.start()
        cluster.leader()
        assert check_nothing_is_lost(cluster) > 50


def test_a_leader_that_is_frozen_is_replaced_and_follows_when_it_thaws(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        frozen = cluster.leader()
        assert cluster.commit(frozen)
        frozen.signal(signal.SIGSTOP)
        began = time.monotonic()
        new = cluster.leader(besides=frozen)
        assert time.monotonic() - began < 15
        assert cluster.commit(new)
        late = cluster.next_number()
        frozen.tell("propose", number=late, timeout_s=10.0)  # it wakes up with this, and believes that it leads
        frozen.signal(signal.SIGCONT)
        frozen.wait_for(lambda event: event["event"] == "outcome" and event["number"] == late)
        frozen.wait_for(lambda event: event["event"] == "leader" and event["leader"] == new.node_id)
        assert cluster.commit(frozen), "it forwards to the new leader"
        assert check_nothing_is_lost(cluster) >= 3


def test_a_node_with_an_empty_directory_takes_a_snapshot_and_goes_on(tmp_path: Path) -> None:
    limits = {"keep_entries": 50, "chunk_bytes": 8_192}
    with lab(tmp_path, limits=limits) as cluster:
        cluster.start()
        leader = cluster.leader()
        lost = next(node for node in cluster.nodes.values() if node is not leader)
        lost.kill()
        for _ in range(300):
            leader.tell("propose", number=cluster.next_number(), bytes=2_000, timeout_s=20.0)
        assert cluster.commit(leader)
        assert leader.ask("status")["first"] > 100
        shutil.rmtree(lost.directory)
        lost.start()
        lost.wait_for(lambda event: event["event"] == "installed")
        assert cluster.commit(leader)
        assert check_nothing_is_lost(cluster) == 302
        assert lost.ask("status")["role"] == "follower"


def test_a_node_joins_and_another_leaves(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        leader = cluster.leader()
        assert cluster.commit(leader)
        newcomer = cluster.add_process("n4")
        newcomer.start()
        added = cluster.commit(leader, do="add", member=["n4", cluster.addresses["n4"]])
        assert added is not None
        leaving = next(node for node in cluster.nodes.values() if node not in (leader, newcomer))
        assert cluster.commit(leader, do="remove", node_id=leaving.node_id)
        leaving.kill()
        leader.kill()
        new = cluster.leader(besides=leader)
        assert sorted(new.ask("status")["members"]) == sorted({"n1", "n2", "n3", "n4"} - {leaving.node_id})
        leader.start()
        assert cluster.commit(new)
        cluster.same_stores()


def test_leadership_is_handed_over(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        leader = cluster.leader()
        target = next(node for node in cluster.nodes.values() if node is not leader)
        assert cluster.commit(leader)
        number = cluster.next_number()
        leader.tell("transfer", number=number, to=target.node_id)
        outcome = leader.wait_for(lambda event: event["event"] == "outcome" and event["number"] == number)
        assert (outcome["kind"], outcome["leader"]) == ("Transferred", target.node_id)


# --- who is not let in


def refusal(node: Process, peer: str, text: str) -> None:
    """Waits until the node says so in its status."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        reason = node.ask("status")["peers"].get(peer, {}).get("refused") or ""
        if text in reason:
            return
        time.sleep(0.1)
    raise AssertionError(f"{node.node_id} says of {peer}: {reason!r}")


def started_but_one(cluster: Lab, name: str) -> Process:
    """Starts the cluster, waits until it works, and takes one node away again."""
    cluster.start()
    cluster.leader()
    node = cluster.nodes[name]
    node.kill()
    return node


def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        node = started_but_one(cluster, "n3")
        foreign = tmp_path / "foreign"
        make_certificates(foreign, hosts=["localhost"], clients=[], peers=["n3"])
        node.changes["certificates"] = cluster.certificates_of("n3", foreign)
        node.start()
        node.wait_for(lambda event: event["event"] == "up" and event["start"] == 2)
        refusal(node, "n1", "no trusted connection to n1")
        leader = cluster.leader()
        assert not leader.ask("status")["peers"]["n3"]["connected"]
        assert cluster.commit(leader)


def test_a_certificate_for_another_node_is_refused(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        node = started_but_one(cluster, "n3")
        node.changes["certificates"] = cluster.certificates_of("n2")
        node.start()
        node.wait_for(lambda event: event["event"] == "up" and event["start"] == 2)
        refusal(node, "n1", "the certificate is for n2, and not for n3")


def test_a_node_of_another_cluster_is_refused(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        node = started_but_one(cluster, "n3")
        node.changes |= {"cluster": "other", "directory": "n3-other"}
        node.start()
        node.wait_for(lambda event: event["event"] == "up" and event["start"] == 2)
        refusal(node, "n1", "n1 belongs to cluster 'lab', n3 to 'other'")


def test_a_second_node_of_the_same_id_is_refused(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        leader = cluster.leader()
        other = next(node for node in cluster.nodes.values() if node is not leader)
        elsewhere = f"127.0.0.1:{other.lab.addresses[other.node_id].split(':')[1]}".replace("127.0.0.1", "127.0.0.2")
        twin = cluster.add_process(other.node_id, as_="twin", listen=elsewhere, directory="twin")
        twin.start()
        twin.wait_for(lambda event: event["event"] == "up")
        refusal(twin, leader.node_id, f"another node named {other.node_id} is connected")
        assert cluster.commit(leader)
        assert twin.ask("status")["role"] == "new"


def test_a_journal_of_another_cluster_is_refused_at_the_start(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        node = started_but_one(cluster, "n3")
        node.changes["cluster"] = "other"
        node.start()
        refused = node.wait_for(lambda event: event["event"] == "refused")
        assert "is the journal of node 'n3' in cluster 'lab'" in refused["error"]


def test_a_node_that_runs_already_is_refused_at_the_start(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        cluster.start()
        cluster.leader()
        twin = cluster.add_process("n1", as_="twin")
        twin.start()
        refused = twin.wait_for(lambda event: event["event"] == "refused")
        assert "another process uses this journal" in refused["error"]


def test_an_address_that_is_taken_is_refused_at_the_start(tmp_path: Path) -> None:
    with lab(tmp_path) as cluster:
        node = started_but_one(cluster, "n3")
        node.changes["listen"] = cluster.addresses["n1"]
        node.start()
        refused = node.wait_for(lambda event: event["event"] == "refused")
        assert "the peers' address can't be used" in refused["error"]


def test_peers_without_tls_are_for_loopback_only(tmp_path: Path) -> None:
    with lab(tmp_path, tls=False) as cluster:
        cluster.start()
        assert cluster.commit(cluster.leader())
        open_to_all = cluster.add_process("n9", listen="0.0.0.0:0", directory="n9")
        open_to_all.start()
        refused = open_to_all.wait_for(lambda event: event["event"] == "refused")
        assert "PeersUnsafe: peers at 0.0.0.0:0 without TLS" in refused["error"]
