"""One node between peers that a test plays: what the library alone would do wrong, message by message."""

from __future__ import annotations

import pickle
import random
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from pysyncobj import SyncObj
from pysyncobj import syncobj as library

from tempolite_node.log.raft import guards
from tempolite_node.log.raft.core import Identity, RaftCore
from tempolite_node.log.raft.entries import Entry, Kind, Member, Members, RequestId, pack
from tempolite_node.log.raft.errors import RaftBroken
from tempolite_node.log.raft.log_store import Change, LogStore, Phase, Stored
from tempolite_node.log.raft.messages import (
    Ack,
    AnyMessage,
    AppendEntries,
    Forward,
    HigherTerm,
    PreVote,
    PreVoteReply,
    RecoveryRequest,
    RequestVote,
    SnapshotChunk,
    TimeoutNow,
    Vote,
)
from tempolite_node.log.raft.outcomes import Outcome
from tempolite_node.log.raft.proposals import Proposal
from tempolite_node.log.raft.silence import PeerLiveness
from tempolite_node.log.raft.timing import Limits, Timing

MEMBERS = tuple(Member(name, f"{name}:1") for name in ("me", "p1", "p2", "p3", "p4"))
PEERS = ("p1", "p2", "p3", "p4")
SILENCE_S = 2.0


class Node:
    """A core with everything around it: records what it says, writes and hands over, in order."""

    def __init__(self, directory: Path, members: Members = MEMBERS) -> None:
        self.now = 1_000.0
        self.events: list[object] = []
        self.sent: list[tuple[str, AnyMessage]] = []
        self.applied_index = 0
        self.delivered: list[Entry] = []
        self.installed: list[int] = []
        self.run_name = ""  #: of this node's process
        self.registered = {peer: f"{peer}-1" for peer in PEERS}
        self.journal = LogStore(self, members)
        self.journal.update(phase=Phase.PROVEN)
        self.core = RaftCore(
            Identity(node_id="me", bootstrap=members, seeds=members, incarnation=1),
            journal=self.journal,
            machine=self,
            peers=self,
            background=self,
            snapshot_directory=directory,
            timing=Timing(heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0),
            limits=Limits(),
            clock=lambda: self.now,
            rng=random.Random(1),
            liveness=PeerLiveness(
                timeout_s=SILENCE_S,
                boot_id=lambda: self.run_name,
                live_boot_ids=lambda: self.registered,
                on_silence=lambda *_: None,
            ),
        )
        for peer in PEERS:
            self.core.connected(peer)
        self.core.tick()

    # what is around it

    def load(self) -> Stored | None:
        return None

    def write(self, _change: Change) -> None:
        self.events.append("disk")

    def close(self) -> None:
        pass

    def send(self, peer: str, message: AnyMessage) -> None:
        self.events.append(message)
        self.sent.append((peer, message))

    def learn_addresses(self, members: Members) -> None:
        pass

    def forget(self, peers: Collection[str]) -> None:
        pass

    def refusals(self) -> dict[str, str]:
        return {}

    def run(self, *_: object) -> None:
        raise AssertionError("nobody needs a snapshot")

    def deliver(self, entries: Sequence[Entry]) -> None:
        self.events.extend(entries)
        self.delivered.extend(entries)
        self.applied_index = entries[-1].index

    def sync(self) -> None:
        pass

    def make_snapshot(self, _path: Path) -> int:
        raise AssertionError("nobody needs a snapshot")

    def install_snapshot(self, _path: Path, index: int) -> None:
        self.installed.append(index)
        self.applied_index = index

    # what a test does

    def hear(self, peer: str, message: AnyMessage) -> list[AnyMessage]:
        """What it answers to that peer."""
        self.sent.clear()
        self.core.receive(peer, message)
        self.core.tick()
        return [answer for to, answer in self.sent if to == peer]

    def pass_time(self, seconds: float) -> list[tuple[str, AnyMessage]]:
        self.sent.clear()
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            self.core.tick()
        return list(self.sent)

    def listen(self, seconds: float, *answers: tuple[str, AnyMessage]) -> set[tuple[str, str]]:
        """For so long, with these messages again and again; returns whose processes were silent."""
        silent: set[tuple[str, str]] = set()
        for _ in range(round(seconds / 0.1)):
            self.pass_time(0.1)
            for peer, answer in answers:
                self.core.receive(peer, answer)
            silent.update(self.core.silent())
        return silent

    def elect(self) -> None:
        """Makes it the leader of the next term."""
        self.pass_time(1.1)
        term = self.core.raft.term + 1
        for peer in ("p1", "p2"):
            self.hear(peer, PreVoteReply(term, granted=True, current_term=term - 1))
        for peer in ("p1", "p2"):
            self.hear(peer, Vote(term))
        assert self.core.raft.is_leader

    def propose(self, number: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        request_id = RequestId(number.to_bytes(16, "big"))
        self.core.propose(
            Proposal(request_id=request_id, kind=Kind.DATA, data=b"", deadline=1e9, on_outcome=outcomes.append)
        )
        self.core.tick()
        return outcomes

    @property
    def terms(self) -> list[int]:
        return [entry.term for entry in self.journal[:]]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    clock = [lambda: 1_000.0]
    monkeypatch.setattr(library, "monotonicTime", lambda: clock[0]())
    made = Node(tmp_path)
    clock[0] = lambda: made.now
    yield made
    made.core.stop()


def entries(*terms: int) -> list[tuple[int, bytes]]:
    return [(term, pack(Kind.DATA, RequestId(bytes(16)), b"x" * term)) for term in terms]


def append(term: int, after: tuple[int, int], terms: Sequence[int] = (), commit: int = 1) -> AppendEntries:
    return AppendEntries(term, after[0], after[1], commit, entries(*terms))


def test_the_guards_override_methods_that_the_library_has() -> None:
    overrides = [name for name in vars(guards.GuardedRaft) if name.startswith("_SyncObj__")]
    assert len(overrides) >= 6
    for name in [*overrides, "_checkCommandsToApply"]:
        assert callable(getattr(SyncObj, name)), f"{name} is not the library's any more"


def test_the_library_can_not_unpickle() -> None:
    with pytest.raises(RaftBroken, match=r"pickle\.loads"):
        library.pickle.loads(pickle.dumps("harmless"))


# --- G1


def test_a_commit_index_is_not_believed_for_entries_that_are_not_known_to_be_the_leaders(node: Node) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1]))
    node.hear("p2", append(2, (2, 1), commit=4))  # a heartbeat of another leader, which has another entry 3
    assert node.core.raft.commit_index == 2


def test_a_piece_of_a_snapshot_commits_nothing(node: Node) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1]))
    node.hear("p2", SnapshotChunk(2, 50, 2, list(MEMBERS), 100, 7, 0, b"abc"))
    assert node.core.raft.commit_index == 1
    assert node.delivered == []


# --- G2, G3


def test_a_late_message_takes_no_acknowledged_entry_back(node: Node) -> None:
    first = append(1, (1, 0), [1, 1])
    node.hear("p1", first)
    node.hear("p1", append(1, (3, 1), [1, 1]))
    assert node.hear("p1", first) == [Ack(1, 4, success=True)]
    assert node.terms == [0, 1, 1, 1, 1]


def test_only_what_differs_is_cut_off(node: Node) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1, 1]))
    assert node.hear("p2", append(3, (1, 0), [1, 1, 3])) == [Ack(3, 5, success=True)]
    assert node.terms == [0, 1, 1, 3]


@pytest.mark.parametrize("after", [(1, 0), (3, 1)])
def test_a_leader_that_contradicts_a_committed_entry_ends_the_node(node: Node, after: tuple[int, int]) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1], commit=4))
    with pytest.raises(RaftBroken, match="committed here"):
        node.hear("p2", AppendEntries(2, 1, 0, 1, entries(1, 2, 2)) if after[0] == 1 else append(2, (4, 2), [2]))


def test_two_leaders_of_one_term_end_the_node(node: Node) -> None:
    node.elect()
    with pytest.raises(RaftBroken, match="both lead in term 1"):
        node.hear("p1", append(1, (1, 0)))


# --- G4


def test_an_acknowledgement_of_an_earlier_term_commits_nothing(node: Node) -> None:
    node.elect()
    node.propose(1)
    for peer in PEERS:
        node.hear(peer, Ack(0, 4, success=True))
    assert node.core.raft.commit_index == 1
    for peer in ("p1", "p2"):
        node.hear(peer, Ack(1, 4, success=True))
    assert node.core.raft.commit_index == 3


def test_an_acknowledgement_of_entries_that_the_leader_does_not_have_is_ignored(node: Node) -> None:
    node.elect()
    for peer in PEERS:
        node.hear(peer, Ack(1, 99, success=True))
    assert node.core.raft.commit_index == 1


def test_a_vote_that_comes_twice_counts_once_and_a_strangers_not_at_all(node: Node) -> None:
    node.pass_time(1.1)
    for peer in ("p1", "p2"):
        node.hear(peer, PreVoteReply(1, granted=True, current_term=0))
    for peer in ("p1", "p1", "p1", "stranger", "me"):
        node.hear(peer, Vote(1))
    assert not node.core.raft.is_leader
    node.hear("p3", Vote(1))
    assert node.core.raft.is_leader


def test_one_vote_is_given_in_a_term(node: Node) -> None:
    assert node.hear("p1", RequestVote(5, 1, 0)) == [Vote(5)]
    assert node.hear("p2", RequestVote(5, 9, 4)) == []
    assert node.journal.state.voted_for == "p1"


# --- G5 and stale terms


def test_a_conflict_is_answered_with_the_place_behind_what_is_committed(node: Node) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1, 1], commit=2))
    assert node.hear("p2", append(2, (40, 2))) == [Ack(2, 3, success=False, rejected=40)]


@pytest.mark.parametrize("message", [append(3, (1, 0)), RequestVote(3, 9, 9), SnapshotChunk(3, 9, 3, [], 1, 1, 0, b"")])
def test_who_speaks_for_an_earlier_term_is_told(node: Node, message: AnyMessage) -> None:
    node.hear("p1", append(9, (1, 0)))
    assert node.hear("p2", message) == [HigherTerm(9)]


def test_a_leader_that_is_told_of_a_higher_term_steps_down(node: Node) -> None:
    node.elect()
    node.hear("p1", HigherTerm(7))
    assert (node.core.raft.is_leader, node.core.raft.term) == (False, 7)


# --- G6


def test_a_snapshot_of_what_is_committed_here_is_not_taken(node: Node) -> None:
    node.hear("p1", append(1, (1, 0), [1, 1, 1, 1], commit=5))
    assert node.hear("p1", SnapshotChunk(1, 4, 1, list(MEMBERS), 3, 1, 0, b"abc")) == [Ack(1, 6, success=True)]
    assert node.installed == []


def test_a_damaged_snapshot_is_asked_for_again(node: Node) -> None:
    answers = node.hear("p1", SnapshotChunk(1, 40, 1, list(MEMBERS), 3, 12345, 0, b"abc"))
    assert [getattr(answer, "received", None) for answer in answers] == [0]
    assert node.installed == []


# --- G7


def test_nothing_is_promised_or_applied_before_it_is_on_disk(node: Node) -> None:
    node.events.clear()
    node.hear("p1", append(1, (1, 0), [1], commit=2))
    kinds = [event if isinstance(event, str) else type(event).__name__ for event in node.events]
    assert kinds == ["disk", "Ack", "Entry"]
    node.events.clear()
    node.hear("p2", RequestVote(5, 2, 1))
    assert node.events == ["disk", Vote(5)]


def test_a_leader_writes_while_its_followers_do(node: Node) -> None:
    node.elect()
    node.hear("p1", Ack(1, 3, success=True))  # it is known to match, so entries are sent ahead
    node.events.clear()
    node.propose(1)
    assert [event == "disk" for event in node.events] == [False] * (len(node.events) - 1) + [True]
    assert any(isinstance(event, AppendEntries) and event.entries for event in node.events)


# --- who speaks


def test_answers_of_a_process_that_is_not_registered_do_not_keep_the_one_before_it_live(node: Node) -> None:
    node.elect()
    answers = [(peer, Ack(1, 2, success=True, boot_id=node.registered[peer])) for peer in ("p1", "p2", "p3")]
    again = (
        "p4",
        Ack(1, 2, success=True, boot_id="p4-2"),
    )  # it has its journal, and votes; it has registered nowhere yet

    assert node.listen(SILENCE_S - 0.5, *answers, again) == set()
    assert node.listen(1.0, *answers, again) == {("p4", "p4-1")}

    node.registered["p4"] = "p4-2"
    assert node.listen(2 * SILENCE_S, *answers, again) == set()


def test_a_batch_for_the_log_is_a_sign_of_life_of_the_process_that_made_it(node: Node) -> None:
    node.elect()
    majority = [(peer, Ack(1, 2, success=True, boot_id=node.registered[peer])) for peer in ("p1", "p2")]
    forwards = [
        (peer, Forward(1, RequestId(peer.encode() * 8), Kind.DATA, b"", run))
        for peer, run in (("p3", "p3-1"), ("p4", "p4-2"))
    ]

    assert node.listen(SILENCE_S + 0.5, *majority, *forwards) == {("p4", "p4-1")}


def test_a_node_names_its_process_to_the_leader_and_another_one_when_it_begins_anew(node: Node) -> None:
    node.run_name = "me-1"
    assert node.hear("p1", append(1, (1, 0), [1])) == [Ack(1, 3, success=True, boot_id="me-1")]
    node.run_name = "me-2"
    assert node.hear("p1", append(1, (2, 1))) == [Ack(1, 3, success=True, boot_id="me-2")]

    node.propose(1)

    assert [message.boot_id for _, message in node.sent if isinstance(message, Forward)] == ["me-2"]


# --- pre-vote, handing over


def test_a_node_asks_before_it_stands_and_counts_no_term_up_alone(node: Node) -> None:
    said = {type(message) for _, message in node.pass_time(10.0)}
    assert said == {PreVote, RecoveryRequest}
    assert node.core.raft.term == 0


def test_nobody_is_promised_a_vote_while_a_leader_is_heard(node: Node) -> None:
    node.hear("p1", append(1, (1, 0)))
    assert node.hear("p2", PreVote(2, 9, 1)) == [PreVoteReply(2, granted=False, current_term=1)]
    node.now += 0.6
    assert node.hear("p2", PreVote(2, 9, 1)) == [PreVoteReply(2, granted=True, current_term=1)]
    assert node.hear("p2", PreVote(2, 0, 0)) == [PreVoteReply(2, granted=False, current_term=1)]


def test_who_is_told_to_by_the_leader_stands_at_once(node: Node) -> None:
    node.hear("p1", append(1, (1, 0)))
    node.hear("p1", TimeoutNow(1))
    assert ("p2", RequestVote(2, 1, 0)) in node.sent
    node.hear("p3", TimeoutNow(2))  # not the leader
    assert node.core.raft.term == 2
