"""What a node with an empty journal may do: nothing that it might have promised otherwise before.

An empty journal is a new cluster's, a new member's, or that of a node that lost its disk. The last one has forgotten
votes and entries that it acknowledged, and a majority may have counted on them. It must ask *every* other member (one
of them may stand for election with a vote that this node has forgotten), must not follow a leader of a term before the
highest they know, and must not vote before it has again everything that it can have acknowledged: everything the
others had when they answered, or an entry of a later term, whose leader was elected without this node and so has it.

One journal is lost at a time. So if this one was, a peer that is itself new or recovering never was in a majority, and
its answer is complete; and if that one's was, this node has promised nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from tempolite_node.log.raft.entries import Members
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.log_store import VOTE_UNKNOWN, Phase
from tempolite_node.log.raft.messages import AnyMessage, RecoveryReply, RecoveryRequest
from tempolite_node.log.raft.timing import Timing

logger = logging.getLogger(__name__)


class Peers(Protocol):
    def send(self, peer: str, message: AnyMessage) -> None: ...

    def learn_addresses(self, members: Members) -> None:
        """Opens connections to those that are not known yet."""
        ...


class Recovery:
    def __init__(
        self,
        raft: GuardedRaft,
        peers: Peers,
        timing: Timing,
        clock: Callable[[], float],
        *,
        bootstrap: Members,
        seeds: Members,
        nonce: int,
    ) -> None:
        """bootstrap: the members of a new cluster, this node among them; empty for a node that joins one.

        seeds: whom to ask first. nonce: of this start, so that an answer to an earlier one does not count.
        """
        self._raft = raft
        self._journal = raft.journal
        self._peers = peers
        self._timing = timing
        self._clock = clock
        self._bootstrap = bootstrap
        self._seeds = seeds
        self._nonce = nonce
        self._ask_at = 0.0
        self._replies: dict[str, RecoveryReply] = {}

    @property
    def phase(self) -> Phase:
        return self._journal.state.phase

    @property
    def is_proven(self) -> bool:
        """This node's votes and acknowledgements count."""
        return self.phase is Phase.PROVEN

    def before_tick(self) -> None:
        match self.phase:
            case Phase.NEW:
                self._conclude()
                if self.phase is Phase.NEW and self._clock() >= self._ask_at:
                    self._ask()
            case Phase.RECOVERING:
                self._check_recovered()
            case Phase.PROVEN:
                pass

    def _ask(self) -> None:
        self._ask_at = self._clock() + self._timing.election_min_s
        seeds = {member.node_id for member in self._seeds} - {self._raft.node_id}
        for peer in sorted(seeds | self._required()):
            self._peers.send(peer, RecoveryRequest(self._nonce))

    def ask_for_members(self) -> None:
        """No leader is heard. It may be one that joined while this node was away, and that it would not let in."""
        seeds = {member.node_id for member in self._seeds} - {self._raft.node_id}
        for peer in sorted(seeds | set(self._raft.voters)):
            self._peers.send(peer, RecoveryRequest(0))

    def asked(self, peer: str, request: RecoveryRequest) -> None:
        state, last = self._journal.state, self._journal.last
        fresh = last.index == 1 and state.term == 0
        members = self._journal.configurations.current
        self._peers.send(peer, RecoveryReply(request.nonce, fresh, state.term, last.index, list(members)))

    def answered(self, peer: str, reply: RecoveryReply) -> None:
        if reply.nonce == 0:
            self._peers.learn_addresses(tuple(reply.members))
        if self.phase is not Phase.NEW or reply.nonce != self._nonce:
            return
        self._replies[peer] = reply
        if not reply.fresh:
            self._peers.learn_addresses(tuple(reply.members))

    def _required(self) -> set[str]:
        """Whoever may hold what this node has forgotten: all members that anybody names, but itself."""
        known = [reply for reply in self._replies.values() if not reply.fresh]
        named = {member.node_id for reply in known for member in reply.members}
        return (named or {member.node_id for member in self._bootstrap}) - {self._raft.node_id}

    def _conclude(self) -> None:
        required = self._required()
        if not required <= self._replies.keys() or not (required or self._bootstrap):
            return
        if all(self._replies[peer].fresh for peer in required):
            self._start_cluster(required)
        else:
            self._start_recovering([self._replies[peer] for peer in required])

    def _start_cluster(self, required: set[str]) -> None:
        """Nobody was ever in a term: this is the first start of all."""
        ours = {member.node_id for member in self._bootstrap}
        for peer in sorted(required):
            theirs = {member.node_id for member in self._replies[peer].members}
            if theirs and theirs != ours:
                logger.error(
                    "no cluster is started: %s is configured with the members %s, and this node with %s",
                    peer,
                    sorted(theirs),
                    sorted(ours),
                )
                self._replies.clear()
                return
        if self._raft.node_id in ours:
            self._journal.update(phase=Phase.PROVEN)

    def _start_recovering(self, replies: list[RecoveryReply]) -> None:
        floor = max(reply.term for reply in replies)
        target = max(reply.last_index for reply in replies)
        self._journal.update(phase=Phase.RECOVERING, recovery_term=floor, recovery_index=target)
        if floor > self._raft.term:
            self._raft.adopt_term(floor, vote=VOTE_UNKNOWN)
        logger.warning("the journal was empty: recovering from peers up to entry %d, term %d", target, floor)

    def _check_recovered(self) -> None:
        state, commit = self._journal.state, self._raft.commit_index
        term = self._journal.term_at(commit) or 0
        if commit < state.recovery_index and term <= state.recovery_term:
            return
        # In the current term this node may have voted before it lost its journal.
        self._raft.seal_vote()
        self._journal.update(phase=Phase.PROVEN)
        logger.info("recovered up to entry %d", commit)
