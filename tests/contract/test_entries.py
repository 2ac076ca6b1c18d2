"""What every log of entries owes to the one who consumes it, whether one node keeps it or three."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from tempolite_node.errors import Overloaded, Unavailable
from tempolite_node.log.raft.entries import Entry, Member, RequestId
from tempolite_node.log.raft.errors import EntryTooLarge, LogStoreUnusable
from tempolite_node.log.raft.outcomes import Committed, NotLeader
from tempolite_node.log.raft.raft_log import RaftConfig, RaftLog
from tempolite_node.log.raft.timing import Limits, Timing
from tests.cluster.lab import free_ports

TIMING = Timing(heartbeat_s=0.1, election_min_s=0.6, election_max_s=1.2, tick_s=0.01)


class Consumer:
    """Applies what it is handed at once, or keeps it until it is told to."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.applied_index = 0
        self.applies = True
        self._news = threading.Condition()

    def deliver(self, entries: Sequence[Entry]) -> None:
        with self._news:
            self.entries.extend(entries)
            if self.applies:
                self.applied_index = entries[-1].index
            self._news.notify_all()

    def wait_for(self, count: int) -> list[Entry]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.entries) >= count, 20), f"{len(self.entries)} of {count} came"
            return list(self.entries)

    def sync(self) -> None:
        """Nobody cuts the power."""

    def make_snapshot(self, path: Path) -> int:
        path.write_bytes(b"")
        return self.applied_index

    def install_snapshot(self, path: Path, index: int) -> None:
        raise AssertionError(f"nobody was away: {path} at {index}")


class Cluster:
    def __init__(self, directory: Path, count: int, limits: Limits) -> None:
        ports = free_ports(count)
        self.members = tuple(Member(f"n{place}", f"127.0.0.1:{port}") for place, port in enumerate(ports))
        self.directory = directory
        self.limits = limits
        self.failures: list[BaseException] = []
        self.consumers = [Consumer() for _ in self.members]
        self.logs: list[RaftLog] = []
        self._requests = 0

    def start(self) -> None:
        self.logs = [
            RaftLog(self._config(member), consumer, on_failure=self.failures.append)
            for member, consumer in zip(self.members, self.consumers, strict=True)
        ]
        for log in self.logs:
            log.start()

    def _config(self, member: Member) -> RaftConfig:
        return RaftConfig(
            cluster="contract",
            node_id=member.node_id,
            listen=member.address,
            directory=self.directory / member.node_id,
            members=self.members,
            timing=TIMING,
            limits=self.limits,
        )

    def stop(self) -> None:
        for log in self.logs:
            log.stop()
        assert self.failures == []

    def restart(self) -> None:
        """With consumers that remember their applied index and nothing else."""
        self.stop()
        for place, old in enumerate(self.consumers):
            self.consumers[place] = Consumer()
            self.consumers[place].applied_index = old.applied_index
        self.start()

    def request_id(self) -> RequestId:
        self._requests += 1
        return RequestId(self._requests.to_bytes(16, "big"))

    def propose(self, data: bytes, *, at: int = 0, timeout_s: float = 20.0) -> Queue[Any]:
        outcomes: Queue[Any] = Queue()
        request_id = self.request_id()
        self.logs[at].propose(data, request_id=request_id, timeout_s=timeout_s, on_outcome=outcomes.put)
        return outcomes

    def commit(self, data: bytes, *, at: int = 0) -> Committed:
        outcome = self.propose(data, at=at).get(timeout=25)
        assert isinstance(outcome, Committed), outcome
        return outcome


@pytest.fixture(
    params=[pytest.param(1, id="one node"), pytest.param(3, id="three nodes", marks=pytest.mark.cluster)],
)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    made: list[Cluster] = []

    def make(limits: Limits | None = None) -> Cluster:
        made.append(Cluster(tmp_path, request.param, limits or Limits(entry_bytes_max=1_000)))
        made[-1].start()
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


def test_what_is_committed_is_handed_to_everyone_in_one_order(make: Callable[..., Cluster]) -> None:
    cluster = make()
    proposed = [b"%d" % number for number in range(60)]
    waiting = [cluster.propose(data, at=place % len(cluster.logs)) for place, data in enumerate(proposed)]
    outcomes = [outcome.get(timeout=25) for outcome in waiting]
    handed = [consumer.wait_for(60) for consumer in cluster.consumers]
    assert all(entries == handed[0] for entries in handed)
    assert sorted(entry.data for entry in handed[0]) == sorted(proposed)
    assert {outcome.index for outcome in outcomes} == {entry.index for entry in handed[0]}
    indexes = [entry.index for entry in handed[0]]
    assert indexes == sorted(set(indexes)), "indexes grow"


def test_proposals_of_one_node_keep_their_order(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.commit(b"first")
    waiting = [cluster.propose(b"%d" % number) for number in range(50)]
    for outcome in waiting:
        assert isinstance(outcome.get(timeout=25), Committed)
    assert [entry.data for entry in cluster.consumers[0].wait_for(51)][1:] == [b"%d" % number for number in range(50)]


def test_an_entry_is_handed_over_on_this_node_before_its_outcome_is_known(make: Callable[..., Cluster]) -> None:
    cluster = make()
    log, consumer = cluster.logs[-1], cluster.consumers[-1]
    known: Queue[list[bytes]] = Queue()
    log.propose(
        b"mine",
        request_id=cluster.request_id(),
        timeout_s=20.0,
        on_outcome=lambda _: known.put([entry.data for entry in consumer.entries]),
    )
    assert known.get(timeout=25) == [b"mine"]


def test_an_entry_comes_back_with_its_request(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.commit(b"a")
    for consumer in cluster.consumers:
        assert consumer.wait_for(1)[0].request_id == (1).to_bytes(16, "big")


def test_after_a_restart_only_what_was_not_applied_comes_again(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.commit(b"applied")
    for consumer in cluster.consumers:
        consumer.wait_for(1)
        consumer.applies = False
    cluster.commit(b"handed over, and lost in the crash")
    for consumer in cluster.consumers:
        consumer.wait_for(2)
    cluster.restart()
    cluster.commit(b"new")
    for consumer in cluster.consumers:
        assert [entry.data for entry in consumer.wait_for(2)] == [b"handed over, and lost in the crash", b"new"]


def test_a_consumer_that_does_not_apply_is_not_flooded(make: Callable[..., Cluster]) -> None:
    cluster = make(Limits(handed_ahead=10))
    for consumer in cluster.consumers:
        consumer.applies = False
    waiting = [cluster.propose(b"x") for _ in range(40)]
    for consumer in cluster.consumers:
        consumer.wait_for(10)
    for log in cluster.logs:
        while log.status().commit_index <= len(waiting):
            pass  # each look takes the log's thread as long as it takes
        log.status()  # its thread has been around once more: what may be handed over was
    assert {len(consumer.entries) for consumer in cluster.consumers} == {10}
    for log, consumer in zip(cluster.logs, cluster.consumers, strict=True):
        consumer.applies, consumer.applied_index = True, consumer.entries[-1].index
        log.wake()
    for outcome in waiting:
        assert isinstance(outcome.get(timeout=25), Committed)


def test_a_barrier_names_what_must_be_applied_to_see_everything_acknowledged(make: Callable[..., Cluster]) -> None:
    cluster = make()
    acknowledged = cluster.commit(b"a")
    outcomes: Queue[Any] = Queue()
    cluster.logs[-1].barrier(request_id=cluster.request_id(), timeout_s=20.0, on_outcome=outcomes.put)
    assert outcomes.get(timeout=25).index == acknowledged.index


def test_an_entry_that_is_too_large_is_refused_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make()
    with pytest.raises(EntryTooLarge, match="an entry of 1001 bytes; at most 1000"):
        cluster.propose(b"x" * 1_001)
    cluster.commit(b"x" * 1_000)


def test_more_than_may_wait_is_refused_at_once(make: Callable[..., Cluster]) -> None:
    cluster = make(Limits(proposals=20, handed_ahead=1))
    for consumer in cluster.consumers:
        consumer.applies = False
    with pytest.raises(Overloaded, match="20 proposals"):
        [cluster.propose(b"x") for _ in range(60)]


def test_one_request_is_not_under_way_twice(make: Callable[..., Cluster]) -> None:
    cluster = make()
    outcomes: Queue[Any] = Queue()
    for _ in range(2):
        cluster.logs[0].propose(b"x", request_id=RequestId(bytes(16)), timeout_s=20.0, on_outcome=outcomes.put)
    kinds = sorted(type(outcomes.get(timeout=25)).__name__ for _ in range(2))
    assert kinds == ["Committed", "Unknown"]
    cluster.commit(b"y")
    assert [entry.data for entry in cluster.consumers[0].wait_for(2)] == [b"x", b"y"]


def test_who_comes_after_the_stop_is_told_that_nothing_was_ordered(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.commit(b"a")
    cluster.stop()
    assert cluster.propose(b"late").get(timeout=5) == NotLeader(None)
    with pytest.raises(Unavailable):
        cluster.logs[0].status(1.0)


def test_every_proposal_that_waits_at_the_stop_has_an_outcome(make: Callable[..., Cluster]) -> None:
    cluster = make()
    cluster.commit(b"a")
    waiting = [cluster.propose(b"%d" % number) for number in range(200)]
    cluster.stop()
    try:
        outcomes = [outcome.get(timeout=5) for outcome in waiting]
    except Empty:
        pytest.fail("a proposal was left without an outcome")
    assert len(outcomes) == 200


def test_a_store_that_was_lost_is_noticed_at_the_start(make: Callable[..., Cluster]) -> None:
    cluster = make(Limits(keep_entries=1))
    for number in range(20):
        cluster.commit(b"%d" % number)
    for consumer in cluster.consumers:
        consumer.wait_for(20)
    cluster.commit(b"compacts")
    cluster.stop()
    cluster.consumers[0].applied_index = 0
    log = RaftLog(cluster._config(cluster.members[0]), cluster.consumers[0], on_failure=cluster.failures.append)
    with pytest.raises(LogStoreUnusable, match="was the store lost"):
        log.start()


def test_the_status_shows_who_leads_and_how_far_everyone_is(make: Callable[..., Cluster]) -> None:
    cluster = make()
    committed = cluster.commit(b"a")
    for consumer in cluster.consumers:
        consumer.wait_for(1)
    statuses = [log.status() for log in cluster.logs]
    assert len({status.leader for status in statuses}) == 1
    assert [status.role for status in statuses].count("leader") == 1
    assert {status.applied_index for status in statuses} == {committed.index}
    assert all(status.members == tuple(member.node_id for member in cluster.members) for status in statuses)
    leader = next(status for status in statuses if status.role == "leader")
    assert {peer.lag for peer in leader.peers} <= {0}
