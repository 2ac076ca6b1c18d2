"""Pre-vote: a node asks whether it would be elected before it stands, and changes nothing by asking.

Without it a node that comes back from a partition, with the terms it counted up alone, deposes a good leader (Raft
thesis, section 9.6).
"""

from __future__ import annotations

from collections.abc import Callable

from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.messages import Outbox, PreVote, PreVoteReply
from tempolite_node.log.raft.timing import Timing


class Elections:
    def __init__(
        self,
        raft: GuardedRaft,
        outbox: Outbox,
        timing: Timing,
        clock: Callable[[], float],
        *,
        may_vote: Callable[[], bool],
        may_stand: Callable[[], bool],
        on_silence: Callable[[], None],
    ) -> None:
        """may_vote: whether this node remembers its votes. may_stand: whether it is a member, too.

        on_silence: an election timeout passed without a leader.

        Who is no member as far as this node's log says may have become one in entries that it lacks, and so may this
        node itself: a vote does not ask for either (Raft thesis, section 4.1).
        """
        self._raft = raft
        self._outbox = outbox
        self._timing = timing
        self._clock = clock
        self._may_vote = may_vote
        self._may_stand = may_stand
        self._on_silence = on_silence
        self._asked_term = 0  #: of the round that is open; 0: none is
        self._granted: set[str] = set()
        self._won_term = 0  #: this node may stand in this term
        self._leader_heard_at = -float("inf")

    def heard_from_leader(self) -> None:
        self._leader_heard_at = self._clock()
        self._asked_term = self._won_term = 0

    def before_tick(self) -> None:
        """Lets the library stand for election only if a majority would have it."""
        raft = self._raft
        if raft.is_leader or raft.election_deadline >= self._clock() or raft.is_told_to_stand:
            return
        if self._may_stand() and (self._won_term == raft.term + 1 or not raft.voters):
            self._won_term = 0
            return
        raft.postpone_election()
        raft.forget_leader()
        self._on_silence()
        if self._may_stand():
            self._ask()

    def _ask(self) -> None:
        raft = self._raft
        self._asked_term, self._granted = raft.term + 1, set()
        last = raft.journal.last
        for peer in raft.voters:
            self._outbox.send(peer, PreVote(self._asked_term, last.index, last.term))

    def asked(self, peer: str, question: PreVote) -> None:
        granted = self._would_vote(question)
        self._outbox.send(peer, PreVoteReply(question.term, granted, self._raft.term))

    def _would_vote(self, question: PreVote) -> bool:
        raft, last = self._raft, self._raft.journal.last
        return (
            self._may_vote()
            and not raft.is_leader
            and self._clock() - self._leader_heard_at >= self._timing.election_min_s
            and question.term > raft.term
            and (question.last_term, question.last_index) >= (last.term, last.index)
        )

    def answered(self, peer: str, reply: PreVoteReply) -> None:
        raft = self._raft
        if reply.current_term > raft.term:
            # Or the only node with a complete log could go on asking in a term that is over for the others.
            raft.adopt_term(reply.current_term)
            self._asked_term = 0
            return
        if raft.is_leader or reply.term != self._asked_term or self._asked_term != raft.term + 1:
            return
        if not reply.granted or peer not in raft.voters:
            return
        self._granted.add(peer)
        if 2 * (len(self._granted) + 1) > len(raft.voters) + 1:
            self._won_term, self._asked_term = self._asked_term, 0
            raft.stand_for_election()
