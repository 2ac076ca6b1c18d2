"""Changes of the members: one at a time, and a newcomer catches up before its voice counts.

The library accepts two changes at once, which may give two majorities that have no node in common. Here the next one
begins when the last one is committed, and not before the leader has committed an entry of its own term (Raft thesis,
section 4.1, and the correction to it of 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from tempolite_node.log.raft.entries import Entry, Kind, Member, Members, RequestId, encode_members, pack
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.messages import Ack, AnyMessage, Introduction
from tempolite_node.log.raft.outcomes import Committed, MembershipOutcome, NotLeader, Refused, Unknown
from tempolite_node.log.raft.timing import Timing

_CAUGHT_UP_ENTRIES = 64  #: a newcomer that lacks no more is quick enough to be counted on


class Peers(Protocol):
    def send(self, peer: str, message: AnyMessage) -> None: ...

    def learn_addresses(self, members: Members) -> None: ...

    def forget(self, peers: Collection[str]) -> None:
        """Closes the connections to them, and refuses theirs."""
        ...


@dataclass(slots=True, kw_only=True)
class MemberChange:
    """Adds a member, or removes one."""

    request_id: RequestId
    add: Member | None = None
    remove: str | None = None
    deadline: float
    on_outcome: Callable[[MembershipOutcome], None]
    newcomer_votes: bool = False  #: it remembers what it must (recovery.py), and says so
    entry: tuple[int, int] | None = None  #: index and term, once it is in the log


class Membership:
    def __init__(self, raft: GuardedRaft, peers: Peers, timing: Timing, clock: Callable[[], float]) -> None:
        self._raft = raft
        self._timing = timing
        self._peers = peers
        self._clock = clock
        self._open: MemberChange | None = None
        self._introduce_at = 0.0
        self._voting: set[str] = set()  #: peers that said, to this leader, that they are not recovering
        self._followed: Members | None = None

    @property
    def current(self) -> Members:
        """Those of the last configuration in the log, committed or not."""
        return self._raft.journal.configurations.current

    @property
    def includes_this_node(self) -> bool:
        return self._raft.node_id in {member.node_id for member in self.current}

    @property
    def learner(self) -> Member | None:
        return self._open.add if self._open is not None and self._open.entry is None else None

    def follow_log(self) -> None:
        """Brings the library to the configuration that the log has now: one may have come, or been cut off."""
        members = self.current
        if members is self._followed:
            return
        before, self._followed = self._followed or (), members
        self._raft.set_voters(member.node_id for member in members if member.node_id != self._raft.node_id)
        self._peers.learn_addresses(members)
        # Not whoever is no member here: this node may lag, and a later entry may bring in who leads it now.
        removed = {member.node_id for member in before} - {member.node_id for member in members}
        self._peers.forget(removed - {self._raft.leader or ""})

    # --- changing

    def change(self, change: MemberChange) -> None:
        """Begins it, or tells why not."""
        if not self._raft.is_leader:
            change.on_outcome(NotLeader(self._raft.leader))
            return
        if self._takes_over(change):
            return
        if reason := self._why_not(change):
            change.on_outcome(Refused(reason))
        elif not self._has_effect(change):
            change.on_outcome(Committed(self._raft.journal.configurations.current_index, self._raft.term))
        else:
            self._open = change
            if change.add is not None:
                self._peers.learn_addresses((change.add,))
                self._raft.add_learner(change.add.node_id)

    def _takes_over(self, change: MemberChange) -> bool:
        """A newcomer that is asked for again is waited for as the last caller says; one that is removed, no more.

        So whoever repeats an addition, its call having been lost, is not told that it is in its own way.
        """
        waiting = self._open
        if waiting is None or waiting.entry is not None or waiting.add is None:
            return False
        if change.remove == waiting.add.node_id:
            self._give_up(waiting, Refused("the new member was removed before it had caught up"))
        if change.add != waiting.add:
            return False
        change.newcomer_votes = waiting.newcomer_votes
        self._open = change
        waiting.on_outcome(Refused("the new member was asked for again, by another call"))
        return True

    def _why_not(self, change: MemberChange) -> str | None:
        raft = self._raft
        if self._open is not None or raft.journal.configurations.current_index > raft.commit_index:
            return "another change of the members is under way; repeat it when that one is over"
        if raft.journal.term_at(raft.commit_index) != raft.term:
            return "the leader is new and has not committed an entry yet; repeat it in a moment"
        if change.remove is not None and not self._leaves_a_majority(change):
            return "of the members that would be left, no majority answers and may vote; bring them back first"
        if change.remove == raft.node_id:
            return f"{raft.node_id} is the leader: transfer the leadership to another node first"
        clash = next((member for member in self.current if change.add and _clash(member, change.add)), None)
        return f"{clash.node_id} at {clash.address} is a member already" if clash else None

    def _leaves_a_majority(self, change: MemberChange) -> bool:
        """Whether those that answer and may vote could elect a leader among the members there would be.

        Otherwise the next election fails, and with it every further change that could help.
        """
        members = {member.node_id for member in self._after(change)}
        voting = {peer for peer in self._voting if self._raft.is_connected(peer)} | {self._raft.node_id}
        if change.newcomer_votes and change.add is not None:
            voting.add(change.add.node_id)
        return 2 * len(members & voting) > len(members)

    def _has_effect(self, change: MemberChange) -> bool:
        return self._after(change) != self.current

    def _after(self, change: MemberChange) -> Members:
        kept = [member for member in self.current if member.node_id != change.remove and member != change.add]
        return tuple(sorted([*kept, change.add] if change.add else kept))

    def advance(self) -> None:
        """Once per tick: puts the change into the log when the newcomer has caught up, or gives up."""
        change = self._open
        if change is None:
            return
        if not self._raft.is_leader:
            self._give_up(change, NotLeader(self._raft.leader))
        elif self._clock() >= change.deadline:
            self._give_up(change, Refused("the new member did not catch up before the deadline; is it running?"))
        elif change.entry is None and self._is_ready(change):
            self._append(change)
        elif change.entry is None and change.add is not None:
            self._introduce(change.add)

    def _introduce(self, newcomer: Member) -> None:
        """Now and then, for those that were not there."""
        if self._clock() >= self._introduce_at:
            self._introduce_at = self._clock() + self._timing.election_min_s
            for peer in self._raft.voters:
                self._peers.send(peer, Introduction(self._raft.term, newcomer))

    def introduced(self, peer: str, introduction: Introduction) -> None:
        if peer == self._raft.leader and introduction.term == self._raft.term:
            self._peers.learn_addresses((introduction.member,))

    def _is_ready(self, change: MemberChange) -> bool:
        if change.add is None:
            return True
        lag = self._raft.journal.last.index - self._raft.matched(change.add.node_id)
        return change.newcomer_votes and lag <= _CAUGHT_UP_ENTRIES and self._leaves_a_majority(change)

    def leads(self) -> None:
        """This node became the leader: who votes, their answers will tell."""
        self._voting.clear()

    def acknowledged(self, peer: str, ack: Ack) -> None:
        (self._voting.discard if ack.recovering else self._voting.add)(peer)
        if self.learner is not None and self.learner.node_id == peer:
            assert self._open is not None, "a learner without a change"
            self._open.newcomer_votes = ack.success and not ack.recovering

    def _append(self, change: MemberChange) -> None:
        data = encode_members(self._after(change))
        entry = self._raft.append(pack(Kind.MEMBERS, change.request_id, data))
        change.entry = (entry.index, entry.term)
        self.follow_log()

    def _give_up(self, change: MemberChange, outcome: MembershipOutcome) -> None:
        self._open = None
        self._raft.drop_learners()
        if change.add is not None and change.add not in self.current:
            self._peers.forget({change.add.node_id})
        change.on_outcome(outcome if change.entry is None else Unknown("the entry is not known to be committed"))

    def handed_over(self, entry: Entry) -> None:
        change = self._open
        if change is not None and change.entry == (entry.index, entry.term):
            self._open = None
            change.on_outcome(Committed(entry.index, entry.term))


def _clash(member: Member, newcomer: Member) -> bool:
    """Two members with one id or one address."""
    return member != newcomer and (member.node_id == newcomer.node_id or member.address == newcomer.address)
