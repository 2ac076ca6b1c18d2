"""What becomes of a proposal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Committed:
    """Ordered for good: on disk on a majority, and handed over on this node right before."""

    index: int  #: of the entry; of a barrier, that of the last entry with data before it
    term: int


@dataclass(frozen=True, slots=True)
class NotLeader:
    """Not ordered, and it never will be. To repeat it, here or at the leader, is safe."""

    leader: str | None  #: as far as this node knows


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been ordered, or may still be. To repeat it is safe only if the consumer knows the request id."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Transferred:
    leader: str


Outcome = Committed | NotLeader | Unknown
MembershipOutcome = Committed | NotLeader | Unknown | Refused
TransferOutcome = Transferred | NotLeader | Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    node_id: str
    address: str
    connected: bool
    votes: bool  #: False: a learner, which catches up before it becomes a member
    matched_index: int | None  #: known to the leader alone
    lag: int | None  #: entries that the leader has and the peer is not known to have
    refused: str | None  #: why one of the two refuses the other's connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    node_id: str
    role: str  #: leader, candidate, follower, or new, recovering (recovery.py), or learner
    term: int
    leader: str | None
    members: tuple[str, ...]
    peers: tuple[PeerStatus, ...]
    first_index: int
    last_index: int
    commit_index: int
    applied_index: int  #: by the consumer
    lag: int  #: entries that are committed here and not applied
    proposals: int  #: waiting or under way
