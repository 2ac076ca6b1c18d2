"""Hands leadership to another node without an election timeout: before a restart, for instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.messages import Outbox, TimeoutNow
from tempolite_node.log.raft.outcomes import NotLeader, Refused, TransferOutcome, Transferred
from tempolite_node.log.raft.timing import Timing


@dataclass(slots=True, kw_only=True)
class Transfer:
    to: str | None  #: None: whoever has most of the log
    deadline: float
    on_outcome: Callable[[TransferOutcome], None]


class LeadershipTransfer:
    def __init__(self, raft: GuardedRaft, outbox: Outbox, timing: Timing, clock: Callable[[], float]) -> None:
        self._raft = raft
        self._outbox = outbox
        self._timing = timing
        self._clock = clock
        self._open: Transfer | None = None
        self._target = ""
        self._term = 0
        self._told_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Nothing new is appended, so that the target can have everything."""
        return self._open is not None and self._raft.is_leader

    def begin(self, transfer: Transfer) -> None:
        raft = self._raft
        candidates = [peer for peer in raft.voters if raft.is_connected(peer)]
        if not raft.is_leader:
            transfer.on_outcome(NotLeader(raft.leader))
        elif self._open is not None:
            transfer.on_outcome(Refused("another transfer of the leadership is under way"))
        elif transfer.to == raft.node_id:
            transfer.on_outcome(Transferred(raft.node_id))
        elif transfer.to is not None and transfer.to not in candidates:
            transfer.on_outcome(Refused(f"{transfer.to} is no member that this node is connected to"))
        elif not candidates:
            transfer.on_outcome(Refused("no other member is connected"))
        else:
            self._target = transfer.to or max(candidates, key=lambda peer: (raft.matched(peer), peer))
            self._open, self._term, self._told_at = transfer, raft.term, None

    def advance(self) -> None:
        """Once per tick."""
        transfer = self._open
        if transfer is None:
            return
        raft, now = self._raft, self._clock()
        if raft.term > self._term and raft.leader is not None:
            self._end(Transferred(raft.leader) if raft.leader == self._target else NotLeader(raft.leader))
        elif now >= transfer.deadline:
            self._end(Refused(f"{self._target} did not take over before the deadline"))
        elif self._told_at is not None and now - self._told_at > self._timing.election_max_s and raft.is_leader:
            self._end(Refused(f"{self._target} was told to take over and did not"))
        elif self._told_at is None and raft.is_leader and raft.matched(self._target) == raft.journal.last.index:
            self._told_at = now
            self._outbox.send(self._target, TimeoutNow(raft.term))

    def _end(self, outcome: TransferOutcome) -> None:
        assert self._open is not None, "no transfer is open"
        on_outcome, self._open = self._open.on_outcome, None
        on_outcome(outcome)
