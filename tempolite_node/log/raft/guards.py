"""pysyncobj with its gaps closed, and a plain face on it: no other file reads the library's private names.

The library elects, votes, appends and counts a majority. The methods below override it, by mangled name, where it is
unsafe (G1 to G8 of docs/design/raft.md) and where this package does a thing itself: proposals, replication, membership,
snapshots, compaction. That holds for one version of the library, which is therefore pinned and checked at import.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

from pysyncobj import SyncObj, SyncObjConf
from pysyncobj import syncobj as library
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from tempolite_node.log.raft.entries import LogEntry
from tempolite_node.log.raft.errors import RaftBroken
from tempolite_node.log.raft.log_store import VOTE_UNKNOWN, LogStore, Phase
from tempolite_node.log.raft.messages import (
    Ack,
    AnyMessage,
    AppendEntries,
    HigherTerm,
    RequestVote,
    TimeoutNow,
    Vote,
)
from tempolite_node.log.raft.timing import Timing

GUARDED_VERSION = "0.3.17"
if VERSION != GUARDED_VERSION:
    raise ImportError(
        f"pysyncobj {VERSION} is installed, but the guards are written for {GUARDED_VERSION}: install that version"
    )

_FOLLOWER, _CANDIDATE, _LEADER = range(3)


def now() -> float:
    """The clock that the library reads, in seconds: everything around it must read the same."""
    return library.monotonicTime()


class _NoPickle:
    """In the place of the library's pickle. None of its uses is reached; this keeps it so."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RaftBroken(f"the library reached for pickle.{name}: a guard is missing")


library.pickle = _NoPickle()


class _NoPoller:
    """The library polls sockets at the end of a tick. Here messages come through `receive`, between ticks."""

    def poll(self, _timeout: float) -> None:
        pass


class PeerNode(Node):
    """A node by its id. Its hash is the same in every process, so that sets are walked in one order and a
    simulation replays."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._hash = zlib.crc32(id.encode())

    def __hash__(self) -> int:
        return self._hash


class Owner(Protocol):
    """What happens around the library's part of a tick, in this order, and when it speaks."""

    def flush(self) -> None:
        """Makes everything durable that was received or decided, then lets the messages out."""
        ...

    def hand_over(self) -> None:
        """Gives committed entries to the consumer."""
        ...

    def take_proposals(self) -> None: ...

    def compact(self) -> None: ...

    def replicate(self) -> None:
        """Sends every peer what it lacks, or a heartbeat."""
        ...

    def send(self, peer: str, message: AnyMessage) -> None:
        """Puts a message into the outbox."""
        ...

    def role_changed(self) -> None:
        """Became leader, or is no longer. Called before a new leader's first entry."""
        ...

    def heard_from_leader(self) -> None: ...

    def append_acknowledged(self, peer: str, ack: Ack) -> None: ...

    @property
    def boot_id(self) -> str:
        """Names this process to the leader, among all that the node has had."""
        ...


class _Outbox(Transport):
    """The library's transport: turns what it says into messages, and leaves the rest to the owner."""

    def __init__(self, raft: GuardedRaft, self_node: Node, other_nodes: Iterable[Node]) -> None:
        super().__init__(raft, self_node, other_nodes)
        self._raft = raft

    def send(self, node: Node, message: dict[str, Any]) -> bool:
        self._raft.owner.send(node.id, self._converted(message))
        return True

    def _converted(self, message: dict[str, Any]) -> AnyMessage:
        match message["type"]:
            case "request_vote":
                return RequestVote(message["term"], message["last_log_index"], message["last_log_term"])
            case "response_vote":
                return Vote(message["term"])
            case "next_node_idx" if message["success"]:
                # G4. The library's own acknowledgement has no term: a late one of an earlier term commits entries
                # that the follower has since replaced.
                return self._raft.new_ack(message["next_node_idx"], success=True)
            case kind:
                raise RaftBroken(f"the library sends {kind!r}, which a guard does itself")


class GuardedRaft(SyncObj):
    """One node's part in elections, votes, appending and committing. Used by one thread; does no I/O of its own."""

    def __init__(self, *, node_id: str, journal: LogStore, owner: Owner, timing: Timing, rng: random.Random) -> None:
        self.owner = owner
        self.node_id = node_id
        self.journal = journal
        self._timing = timing
        self._rng = rng
        self._voters: set[str] = set()
        self._voters_term = 0
        conf = SyncObjConf(
            autoTick=False,  # the library's thread ends with the thread that built it; ours is in raft_log.py
            appendEntriesUseBatch=True,
            appendEntriesPeriod=timing.heartbeat_s,
            raftMinTimeout=timing.election_min_s,
            raftMaxTimeout=timing.election_max_s,
            connectionTimeout=timing.election_max_s,
            # 30 s in the library: that long, a leader that is cut off goes on believing in itself.
            leaderFallbackTimeout=timing.fallback_s,
            dynamicMembershipChange=False,  # membership entries are pickles there, and two at once are accepted
            onStateChanged=self._state_changed,
        )
        super().__init__(PeerNode(node_id), [], conf, nodeClass=PeerNode, transportClass=_Outbox)
        self._poller = _NoPoller()
        self._adopt_journal()

    def _adopt_journal(self) -> None:
        """The library starts with an empty journal in memory; what was true before a crash comes from ours."""
        state = self.journal.state
        self._SyncObj__raftLog = self.journal
        self._SyncObj__raftCurrentTerm = state.term
        self._SyncObj__votedForNodeId = state.voted_for
        self._SyncObj__raftCommitIndex = state.commit_index
        self._SyncObj__raftLastApplied = self.journal.first.index

    # --- reading

    @property
    def term(self) -> int:
        return self._SyncObj__raftCurrentTerm

    @property
    def is_leader(self) -> bool:
        return self._SyncObj__raftState == _LEADER

    @property
    def is_candidate(self) -> bool:
        return self._SyncObj__raftState == _CANDIDATE

    @property
    def leader(self) -> str | None:
        """The leader of this term as far as this node knows; possibly deposed."""
        leader = self._SyncObj__raftLeader
        return None if leader is None else leader.id

    @property
    def commit_index(self) -> int:
        return self._SyncObj__raftCommitIndex

    @property
    def last_applied(self) -> int:
        """How far entries were handed over, or skipped."""
        return self._SyncObj__raftLastApplied

    @property
    def voters(self) -> list[str]:
        """The other members."""
        return sorted(node.id for node in self._SyncObj__otherNodes)

    @property
    def receivers(self) -> list[str]:
        """The other members and the learners that are connected."""
        nodes = self._SyncObj__otherNodes | self._SyncObj__readonlyNodes
        return sorted(node.id for node in nodes & self._SyncObj__connectedNodes)

    def is_connected(self, peer: str) -> bool:
        return PeerNode(peer) in self._SyncObj__connectedNodes

    def matched(self, peer: str) -> int:
        """Up to where the peer is known to have the leader's entries on disk."""
        return self._SyncObj__raftMatchIndex.get(PeerNode(peer), 0)

    @property
    def election_deadline(self) -> float:
        return self._SyncObj__raftElectionDeadline

    @property
    def is_told_to_stand(self) -> bool:
        """The leader hands over to this node."""
        return self._SyncObj__transferInProgress

    # --- driving it

    def tick(self) -> None:
        self.doTick(0.0)
        self.owner.flush()

    def append(self, command: bytes) -> LogEntry:
        """Adds an entry of this leader's term."""
        assert self.is_leader, "only a leader adds entries"
        index = self.journal.last.index + 1
        self.journal.add(command, index, self.term)
        return self.journal.last

    def set_last_applied(self, index: int) -> None:
        self._SyncObj__raftLastApplied = index

    def set_committed(self, index: int) -> None:
        """For what is known to be committed without a leader's word: applied by the consumer, or a snapshot."""
        if index > self.commit_index:
            self._SyncObj__raftCommitIndex = index
            self.journal.setRaftCommitIndex(index)

    def set_matched(self, peer: str, index: int) -> None:
        self._SyncObj__raftMatchIndex[PeerNode(peer)] = index

    def heard_from(self, peer: str) -> None:
        """A leader steps down when it hears from no majority for a while."""
        self._SyncObj__lastResponseTime[PeerNode(peer)] = library.monotonicTime()

    def set_voters(self, peers: Iterable[str]) -> None:
        nodes: list[Node] = [PeerNode(peer) for peer in peers]
        added = set(nodes) - self._SyncObj__otherNodes
        matched = {node: self._SyncObj__raftMatchIndex.get(node, 0) for node in nodes}
        self._SyncObj__updateClusterConfiguration(nodes)
        # The library starts a new member at nothing, also one that has caught up as a learner.
        self._SyncObj__raftMatchIndex.update(matched)
        self._SyncObj__readonlyNodes -= set(nodes)
        for node in added:
            self._SyncObj__lastResponseTime[node] = library.monotonicTime()

    def add_learner(self, peer: str) -> None:
        """Replicates to a node that does not count towards a majority, yet."""
        self._SyncObj__readonlyNodes.add(PeerNode(peer))
        self._SyncObj__raftMatchIndex[PeerNode(peer)] = 0

    def drop_learners(self) -> None:
        self._SyncObj__readonlyNodes.clear()

    def connected(self, peer: str) -> None:
        self._SyncObj__onNodeConnected(PeerNode(peer))

    def disconnected(self, peer: str) -> None:
        self._SyncObj__onNodeDisconnected(PeerNode(peer))

    def adopt_term(self, term: int, *, vote: str | None = None) -> None:
        """Goes on in a higher term, as a follower that knows no leader."""
        assert term > self.term
        self._SyncObj__setCurrentTerm(term, vote)
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(_FOLLOWER)

    def seal_vote(self) -> None:
        """No vote of this node in the current term: it may have given one that it has forgotten."""
        self._SyncObj__setCurrentTerm(self.term, VOTE_UNKNOWN)

    def forget_leader(self) -> None:
        self._SyncObj__raftLeader = None

    def postpone_election(self) -> None:
        self._SyncObj__raftElectionDeadline = library.monotonicTime() + self._SyncObj__generateRaftTimeout()

    def stand_for_election(self) -> None:
        """At the next tick."""
        self._SyncObj__raftElectionDeadline = 0.0

    # --- messages

    def receive(self, peer: str, message: AppendEntries | RequestVote | Vote | TimeoutNow | HigherTerm | Ack) -> None:
        match message:
            case AppendEntries():
                self._receive_entries(peer, message)
            case Ack():
                self._receive_ack(peer, message)
            case RequestVote():
                self._receive_vote_request(peer, message)
            case Vote():
                self._receive_vote(peer, message)
            case TimeoutNow():
                self._library_receives(peer, {"type": "timeout_now", "term": message.term})
            case HigherTerm():
                if message.term > self.term:
                    self.adopt_term(message.term)

    def follow(self, peer: str, term: int) -> bool:
        """Takes a leader's word that it leads in this term, and nothing else. False: the term is over.

        The library says nothing to a leader of an earlier term, which so goes on believing in itself. It is told.
        """
        if term < self.term:
            self.owner.send(peer, HigherTerm(self.term))
            return False
        if term == self.term and self.is_leader:
            raise RaftBroken(f"{peer} and {self.node_id} both lead in term {term}")
        self.owner.heard_from_leader()
        self._library_receives(peer, {"type": "append_entries", "term": term, "commit_index": self.commit_index})
        return True

    def _library_receives(self, peer: str, message: dict[str, Any]) -> None:
        self._SyncObj__onMessageReceived(PeerNode(peer), message)

    def _receive_entries(self, peer: str, message: AppendEntries) -> None:
        if not self.follow(peer, message.term):
            return
        journal, commit = self.journal, self.commit_index
        previous, previous_term = message.prev_index, message.prev_term
        entries = [
            LogEntry(command, previous + 1 + offset, term) for offset, (term, command) in enumerate(message.entries)
        ]
        last_sent = previous + len(entries)
        if previous < commit:
            # What is committed is the same everywhere, and may be compacted here. Only what is behind it matters.
            if last_sent <= commit:
                self._check_committed(peer, entries)
                self._acknowledge(peer, last_sent)
                return
            self._check_committed(peer, entries[: commit - previous])
            entries = entries[commit - previous :]
            previous, previous_term = commit, journal.term_at(commit) or 0
        if journal.term_at(previous) != previous_term:
            self._refuse(peer, previous, previous_term)
            return
        # G2. The library cuts off everything behind `previous`, also what matches, so a late or repeated message
        # takes back entries that were acknowledged. Only what differs is cut off.
        matching = self._count_matching(entries)
        rest = entries[matching:]
        if rest:
            self._append_entries(peer, message.term, previous + matching, rest, message.commit_index)
        else:
            self._acknowledge(peer, last_sent)
            self._hear_commit_index(peer, message.term, min(message.commit_index, last_sent))

    def _check_committed(self, peer: str, entries: list[LogEntry]) -> None:
        """G3. The library cuts off committed entries when a leader says so; then state machines differ for good."""
        for entry in entries:
            if self.journal.term_at(entry.index) not in (None, entry.term):
                raise RaftBroken(f"{peer} contradicts entry {entry.index}, which is committed here: {entry.term=}")

    def _refuse(self, peer: str, previous: int, previous_term: int) -> None:
        if previous <= self.commit_index and self.journal.term_at(previous) is not None:
            raise RaftBroken(f"{peer} contradicts entry {previous}, which is committed here: {previous_term=}")
        # G5. The library goes back one entry per heartbeat. Everything up to the commit index is known to match.
        self.owner.send(peer, self.new_ack(self.commit_index + 1, success=False, rejected=previous))

    def _count_matching(self, entries: list[LogEntry]) -> int:
        for count, entry in enumerate(entries):
            if self.journal.term_at(entry.index) != entry.term:
                return count
        return len(entries)

    def _append_entries(self, peer: str, term: int, previous: int, rest: list[LogEntry], commit_index: int) -> None:
        """Cuts off what differs, appends and acknowledges: the library's part."""
        assert previous >= self.commit_index, f"entry {previous + 1} is committed and would be cut off"
        self._library_receives(
            peer,
            {
                "type": "append_entries",
                "term": term,
                "prevLogIdx": previous,
                "prevLogTerm": self.journal.term_at(previous),
                "entries": rest,
                # G1. A commit index may only be believed as far as entries are known to be the leader's.
                "commit_index": min(commit_index, rest[-1].index),
            },
        )

    def _acknowledge(self, peer: str, index: int) -> None:
        self.owner.send(peer, self.new_ack(index + 1, success=True))

    def new_ack(self, next_index: int, *, success: bool, rejected: int = 0) -> Ack:
        recovering = self.journal.state.phase is not Phase.PROVEN
        return Ack(self.term, next_index, success, rejected, recovering, self.owner.boot_id)

    def _hear_commit_index(self, peer: str, term: int, commit_index: int) -> None:
        self._library_receives(
            peer, {"type": "append_entries", "term": term, "commit_index": max(commit_index, self.commit_index)}
        )

    def _receive_ack(self, peer: str, ack: Ack) -> None:
        if not self.is_leader or ack.term != self.term or ack.next_index > self.journal.last.index + 1:
            return
        if PeerNode(peer) not in self._SyncObj__otherNodes | self._SyncObj__readonlyNodes:
            return
        self.heard_from(peer)
        if ack.success and ack.next_index - 1 > self.matched(peer):
            self.set_matched(peer, ack.next_index - 1)
        self.owner.append_acknowledged(peer, ack)

    def _receive_vote_request(self, peer: str, message: RequestVote) -> None:
        if message.term < self.term:
            self.owner.send(peer, HigherTerm(self.term))
            return
        self._library_receives(
            peer,
            {
                "type": "request_vote",
                "term": message.term,
                "last_log_index": message.last_index,
                "last_log_term": message.last_term,
            },
        )

    def _receive_vote(self, peer: str, message: Vote) -> None:
        """G4. The library counts votes without asking whose they are: one that comes twice counts twice."""
        if message.term != self.term or not self.is_candidate or peer not in self.voters:
            return
        if self._voters_term != message.term:
            self._voters_term, self._voters = message.term, set()
        if peer not in self._voters:
            self._voters.add(peer)
            self._library_receives(peer, {"type": "response_vote", "term": message.term})

    # --- overrides

    def _state_changed(self, _old: int, _new: int) -> None:
        self.owner.role_changed()

    def _SyncObj__generateRaftTimeout(self) -> float:
        return self._rng.uniform(self._timing.election_min_s, self._timing.election_max_s)

    def _SyncObj__applyLogEntries(self) -> bool:
        """G7. The library applies and answers what is only in memory. Here it is on disk first, and applied after.

        It also tries an entry that raises again for ever; what escapes from here ends the node.
        """
        self.owner.flush()
        self.owner.hand_over()
        return False

    def _checkCommandsToApply(self) -> None:
        self.owner.take_proposals()

    def _SyncObj__tryLogCompaction(self) -> None:
        """G6. The library's forked dump outlives a killed parent, and loading one drops the journal behind it."""
        self.owner.compact()

    def _SyncObj__sendAppendEntries(self) -> None:
        """G8. The library spins here while a snapshot is taken, sends large commands as pickles, cut wrongly near a
        multiple of the batch size, and knows no bound for what is under way."""
        self._SyncObj__newAppendEntriesTime = library.monotonicTime() + self._timing.heartbeat_s
        self.owner.replicate()

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> NoReturn:
        raise RaftBroken(f"the library loads a dump ({clearJournal=}), which snapshots.py does")

    def _SyncObj__doApplyCommand(self, command: bytes) -> NoReturn:
        raise RaftBroken(f"the library applies {command[:1]!r}, which handover.py does")
