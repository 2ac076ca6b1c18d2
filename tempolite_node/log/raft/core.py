"""One node's log, without a thread, a socket or a clock of its own: messages and ticks go in, messages come out.

A tick: stand for election if a majority would have it; the library counts what is committed; everything is made durable
and let out; committed entries go to the consumer; proposals are appended or forwarded; peers are sent what they lack;
everything is made durable and let out again. The thread around it is `raft_log.py`; a simulation has another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tempolite_node.log.raft import snapshots
from tempolite_node.log.raft.elections import Elections
from tempolite_node.log.raft.entries import Entry, Kind, Members
from tempolite_node.log.raft.errors import LogStoreUnusable
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.handover import Consumer, HandOver
from tempolite_node.log.raft.log_store import LogStore, Phase
from tempolite_node.log.raft.membership import MemberChange, Membership
from tempolite_node.log.raft.messages import (
    Ack,
    AnyMessage,
    AppendEntries,
    Forward,
    ForwardRefused,
    HigherTerm,
    Introduction,
    PreVote,
    PreVoteReply,
    RecoveryReply,
    RecoveryRequest,
    RequestVote,
    SnapshotAck,
    SnapshotChunk,
    TimeoutNow,
    Vote,
)
from tempolite_node.log.raft.outcomes import LogStatus, PeerStatus
from tempolite_node.log.raft.proposals import Proposal, Proposals
from tempolite_node.log.raft.recovery import Recovery
from tempolite_node.log.raft.replication import Replication
from tempolite_node.log.raft.silence import NOBODY_IS_WATCHED, PeerLiveness, Silence
from tempolite_node.log.raft.snapshots import Background, SnapshotReceiver, SnapshotSender
from tempolite_node.log.raft.timing import Limits, Timing
from tempolite_node.log.raft.transfer import LeadershipTransfer, Transfer


class RaftStateMachine(Consumer, snapshots.Maker, snapshots.Installer, Protocol):
    """What the log's entries are applied to. Its own transaction holds its applied index."""


class Peers(Protocol):
    """The way to the other nodes. A message arrives once at most, and in order while a connection lasts."""

    def send(self, peer: str, message: AnyMessage) -> None:
        """Never blocks. Lost if there is no connection."""
        ...

    def learn_addresses(self, members: Members) -> None:
        """Opens connections to those that are not known yet."""
        ...

    def forget(self, peers: Collection[str]) -> None:
        """Closes the connections to them, and refuses theirs."""
        ...

    def refusals(self) -> dict[str, str]:
        """Peers that can't be connected to, and why."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    node_id: str
    bootstrap: Members  #: of a new cluster; empty for a node that joins one
    seeds: Members  #: whom a node with an empty journal asks
    incarnation: int  #: of this start; random


class RaftCore:
    """Called by one thread."""

    def __init__(
        self,
        identity: Identity,
        *,
        journal: LogStore,
        machine: RaftStateMachine,
        peers: Peers,
        background: Background,
        snapshot_directory: Path,
        timing: Timing,
        limits: Limits,
        clock: Callable[[], float],
        rng: random.Random,
        liveness: PeerLiveness = NOBODY_IS_WATCHED,
    ) -> None:
        """LogStoreUnusable: journal and store don't belong to each other."""
        self._machine = machine
        self._peers = peers
        self._limits = limits
        self._outbox: list[tuple[str, AnyMessage]] = []
        self._announced_commit = 0
        self._clock = clock
        self._liveness = liveness
        self._silence = Silence(liveness.timeout_s)
        self._timing = timing
        self._looks_at = -float("inf")  #: for whom is silent
        snapshots.clear_leftovers(snapshot_directory)
        _finish_installing(journal, machine)
        self.journal = journal
        self.raft = raft = GuardedRaft(node_id=identity.node_id, journal=journal, owner=self, timing=timing, rng=rng)
        self._skip_what_is_applied()
        self.recovery = Recovery(
            raft,
            self,
            timing,
            clock,
            bootstrap=identity.bootstrap,
            seeds=identity.seeds,
            nonce=identity.incarnation,
        )
        self.membership = Membership(raft, self, timing, clock)
        self.elections = Elections(
            raft,
            self,
            timing,
            clock,
            may_vote=lambda: self.recovery.is_proven,
            may_stand=self._may_stand,
            on_silence=self.recovery.ask_for_members,
        )
        self.proposals = Proposals(raft, self, limits=limits, timing=timing, clock=clock, boot_id=liveness.boot_id)
        self.transfer = LeadershipTransfer(raft, self, timing, clock)
        self.sender = SnapshotSender(
            raft,
            self,
            machine,
            background,
            directory=snapshot_directory,
            limits=limits,
            timing=timing,
            clock=clock,
        )
        self.receiver = SnapshotReceiver(raft, self, machine, directory=snapshot_directory)
        self.replication = Replication(raft, self, self.sender, limits=limits, timing=timing, clock=clock)
        self.handover = HandOver(raft, machine, limits, self._committed)
        self.membership.follow_log()
        if not self._may_stand():
            # Its journal names no members, or not all: the node is new, recovers, or has not heard yet that it is one.
            peers.learn_addresses(identity.seeds)

    def _skip_what_is_applied(self) -> None:
        """What the consumer applied was committed, whether or not the journal had heard of it."""
        applied = min(self._machine.applied_index, self.journal.last.index)
        if applied > self.journal.first.index and self.journal.state.phase is not Phase.RECOVERING:
            self.raft.set_committed(applied)
            self.raft.set_last_applied(applied)

    def _may_stand(self) -> bool:
        return self.recovery.is_proven and self.membership.includes_this_node

    # --- what its thread calls

    def tick(self) -> None:
        self.recovery.before_tick()
        self.elections.before_tick()
        self.raft.tick()

    @property
    def is_busy(self) -> bool:
        """There is something to do without waiting for a message."""
        raft = self.raft
        commits_alone = raft.is_leader and not raft.voters and raft.commit_index < self.journal.last.index
        return commits_alone or self.handover.is_behind

    def connected(self, peer: str) -> None:
        self.raft.connected(peer)
        self.replication.reconnected(peer)

    def disconnected(self, peer: str) -> None:
        self.raft.disconnected(peer)

    def propose(self, proposal: Proposal) -> None:
        self.proposals.propose(proposal)

    def change_members(self, change: MemberChange) -> None:
        self.membership.change(change)

    def transfer_leadership(self, transfer: Transfer) -> None:
        self.transfer.begin(transfer)

    def stop(self) -> None:
        """Tells those who wait, and closes the journal."""
        self.proposals.stop()
        self.sender.stop()
        self.journal.close()

    # --- messages

    def receive(self, peer: str, message: AnyMessage) -> None:
        if self._may_hear(message):
            self._dispatch(peer, message)
            self.membership.follow_log()

    def _may_hear(self, message: AnyMessage) -> bool:
        """A node whose journal is empty must first know what it may have promised, and votes last of all."""
        match self.recovery.phase:
            case Phase.NEW:
                return isinstance(message, RecoveryRequest | RecoveryReply)
            case Phase.RECOVERING:
                return not isinstance(message, RequestVote | PreVote | TimeoutNow)
            case Phase.PROVEN:
                return True

    def _dispatch(self, peer: str, message: AnyMessage) -> None:
        match message:
            case AppendEntries() | Ack() | RequestVote() | Vote() | TimeoutNow() | HigherTerm():
                self.raft.receive(peer, message)
            case PreVote():
                self.elections.asked(peer, message)
            case PreVoteReply():
                self.elections.answered(peer, message)
            case SnapshotChunk():
                if self.receiver.receive(peer, message):
                    self.handover.skipped_to(message.index)
                    self.proposals.skipped_to(message.index)
            case SnapshotAck():
                if self.raft.is_leader and message.term == self.raft.term:
                    self.sender.acknowledged(peer, message)
            case Forward():
                if message.kind == Kind.DATA:  # a node that catches up asks by barriers how far it is
                    self._silence.heard(peer, message.boot_id, self._clock())
                self.proposals.forwarded(peer, message)
            case ForwardRefused():
                self.proposals.refused(peer, message)
            case RecoveryRequest():
                if message.nonce:
                    self.replication.forgot_everything(peer)
                self.recovery.asked(peer, message)
            case RecoveryReply():
                self.recovery.answered(peer, message)
            case Introduction():
                self.membership.introduced(peer, message)

    # --- what the library's tick calls (guards.Owner), in this order

    def flush(self) -> None:
        """G7. Nothing that depends on the disk leaves before it is there.

        A leader's entries go out first: its followers write them while it does, and it counts itself only later. Its
        term must be durable by then, or it could, after a crash, vote for another in the term that it led.
        """
        outbox, self._outbox = self._outbox, []
        if not self.journal.needs_sync:
            self._let_out(outbox)
            return
        term = self.journal.durable_term
        early: list[tuple[str, AnyMessage]] = []
        later: list[tuple[str, AnyMessage]] = []
        for item in outbox:
            message = item[1]
            first = isinstance(message, AppendEntries | SnapshotChunk) and message.term == term
            (early if first else later).append(item)
        self._let_out(early)
        self.journal.sync()
        self._let_out(later)

    def _let_out(self, outbox: list[tuple[str, AnyMessage]]) -> None:
        for peer, message in outbox:
            self._peers.send(peer, message)

    def hand_over(self) -> None:
        self.handover.run()

    def _committed(self, entry: Entry, last_data_index: int) -> None:
        self.proposals.handed_over(entry, last_data_index)
        self.membership.handed_over(entry)

    def take_proposals(self) -> None:
        last = self.journal.last.index
        self.transfer.advance()
        self.membership.advance()
        self.proposals.take(paused=self.transfer.is_open)
        if not self.raft.is_leader:
            return
        if self.journal.last.index > last or self._announced_commit != self.raft.commit_index:
            self.replicate()

    def compact(self) -> None:
        """Follows the consumer. Does nothing until a quarter more than what is kept has gathered."""
        journal, limits = self.journal, self._limits
        self.sender.keep_only(self.raft.receivers)
        target = min(self._machine.applied_index, self.raft.last_applied)
        hold = self.sender.hold_index
        target = target if hold is None else min(target, hold)
        behind = target - journal.first.index
        if behind > limits.keep_entries * 5 // 4:
            target -= limits.keep_entries
        elif behind > 0 and journal.size_bytes > limits.keep_bytes * 5 // 4:
            target = min(target, self._first_within(limits.keep_bytes))
        else:
            return
        self._machine.sync()  # what it would lose with the power it must find in the journal
        journal.compact_to(target)

    def _first_within(self, size: int) -> int:
        excess = self.journal.size_bytes - size
        for entry in self.journal[:]:
            excess -= len(entry.command)
            if excess <= 0:
                return entry.index
        return self.journal.last.index

    def replicate(self) -> None:
        self._announced_commit = self.raft.commit_index
        self.replication.send_to_all()

    def send(self, peer: str, message: AnyMessage) -> None:
        self._outbox.append((peer, message))

    def learn_addresses(self, members: Members) -> None:
        self._peers.learn_addresses(members)

    def forget(self, peers: Collection[str]) -> None:
        self._peers.forget(peers)

    def role_changed(self) -> None:
        if self.raft.is_leader:
            self.replication.restart()
            self.proposals.leads()
            self.membership.leads()
        else:
            self.sender.stop()

    def heard_from_leader(self) -> None:
        self.elections.heard_from_leader()

    def append_acknowledged(self, peer: str, ack: Ack) -> None:
        if not ack.recovering:
            self._silence.heard(peer, ack.boot_id, self._clock())
        self.replication.acknowledged(peer, ack)
        self.membership.acknowledged(peer, ack)

    @property
    def boot_id(self) -> str:
        return self._liveness.boot_id()

    def silent(self) -> list[tuple[str, str]]:
        """At the leader: members whose registered process has been silent for too long, and which; see silence.py."""
        leads, now = self.raft.is_leader, self._clock()
        if now < self._looks_at:
            return []
        self._looks_at = now + self._timing.tick_s  # a thread that is busy asks more often than anybody need know
        return self._silence.look(self._boot_ids_of_others() if leads else {}, now, leads=leads)

    def _boot_ids_of_others(self) -> dict[str, str]:
        boot_ids = self._liveness.live_boot_ids()
        others = (member.node_id for member in self.membership.current if member.node_id != self.raft.node_id)
        return {node_id: boot_ids[node_id] for node_id in others if node_id in boot_ids}

    def was_removed(self, strangers: Collection[str]) -> bool:
        """Whether so many members say that this node is none that they can be right. strangers: those who say so."""
        members = {member.node_id for member in self.membership.current}
        return self.membership.includes_this_node and 2 * len(members & set(strangers)) > len(members)

    # --- status

    def status(self) -> LogStatus:
        raft, applied = self.raft, self._machine.applied_index
        return LogStatus(
            node_id=raft.node_id,
            role=self._role(),
            term=raft.term,
            leader=raft.leader,
            members=tuple(member.node_id for member in self.membership.current),
            peers=tuple(self._peer_statuses()),
            first_index=self.journal.first.index,
            last_index=self.journal.last.index,
            commit_index=raft.commit_index,
            applied_index=applied,
            lag=self.handover.unapplied,
            proposals=len(self.proposals),
        )

    def _role(self) -> str:
        if not self.recovery.is_proven:
            return str(self.recovery.phase)
        if self.raft.is_leader:
            return "leader"
        if not self.membership.includes_this_node:
            return "learner"
        return "candidate" if self.raft.is_candidate else "follower"

    def _peer_statuses(self) -> list[PeerStatus]:
        learner, refusals = self.membership.learner, self._peers.refusals()
        others = [member for member in self.membership.current if member.node_id != self.raft.node_id]
        return [
            PeerStatus(
                node_id=member.node_id,
                address=member.address,
                connected=self.raft.is_connected(member.node_id),
                votes=member is not learner,
                matched_index=self.raft.matched(member.node_id) if self.raft.is_leader else None,
                lag=self.journal.last.index - self.raft.matched(member.node_id) if self.raft.is_leader else None,
                refused=refusals.get(member.node_id),
            )
            for member in ([*others, learner] if learner else others)
        ]


def _finish_installing(journal: LogStore, machine: RaftStateMachine) -> None:
    """Brings journal and store together after whatever a crash left, or says that they can't be."""
    state, applied = journal.state, machine.applied_index
    if state.installing is not None:
        if applied >= state.installing.index:
            journal.restart_at(state.installing)
        else:
            journal.update(installing=None)
    if journal.state.phase is not Phase.PROVEN:
        return  # the journal was lost, and the store may well be ahead of it
    if applied > journal.last.index:
        raise LogStoreUnusable(
            f"the store has applied entry {applied}, but the journal ends at {journal.last.index}: was it taken from"
            " an older copy? Move the journal away, so that the node recovers from its peers"
        )
    if applied < journal.first.index and journal.first.index > 1:
        raise LogStoreUnusable(
            f"the store has applied entry {applied}, but the journal starts at {journal.first.index}: was the store"
            " lost? Move the journal away, so that the node recovers from its peers"
        )
