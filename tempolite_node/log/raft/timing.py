"""Every bound of the replicated log, with its unit."""

from __future__ import annotations

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. A heartbeat must fit several times into an election timeout, or leaders change without need."""

    heartbeat_s: float = 0.1
    election_min_s: float = 0.75
    election_max_s: float = 1.5
    tick_s: float = 0.02  #: the longest the raft thread sleeps

    def __post_init__(self) -> None:
        assert self.election_min_s > 3 * self.heartbeat_s, "an election timeout is at least three heartbeats"
        assert self.election_max_s > self.election_min_s

    @property
    def fallback_s(self) -> float:
        """A leader that has not heard from a majority for so long steps down: within two election timeouts."""
        return 2 * self.election_min_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    entry_bytes_max: int = 8 * _MIB
    append_bytes: int = 1 * _MIB  #: of one message; a single entry may be larger
    append_entries: int = 1_024  #: of one message
    window_bytes: int = 8 * _MIB  #: sent to a peer and not acknowledged
    window_messages: int = 64
    uncommitted_entries: int = 4_096  #: beyond it, a leader leaves proposals in the queue
    proposals: int = 10_000  #: waiting or under way on this node
    proposals_bytes: int = 64 * _MIB  #: waiting on this node; a single one may be larger
    handed_ahead: int = 4_096  #: entries that the consumer has and has not applied
    handed_at_once: int = 1_024
    keep_entries: int = 10_000  #: behind the applied index, for followers that were away for a moment
    keep_bytes: int = 64 * _MIB
    chunk_bytes: int = 256 * _KIB
    chunks_in_flight: int = 8
    recent_forwards: int = 65_536  #: ids of forwarded proposals that a leader remembers

    frame_bytes: int = 512 * _KIB  #: messages that wait for a peer are sent together up to this size
    link_bytes: int = 64 * _MIB  #: waiting for one peer, unless one message is larger; the rest is lost, and sent later

    @property
    def frame_bytes_max(self) -> int:
        """Of a frame that a peer may send: the largest message behind a frame that was almost full."""
        return self.frame_bytes + max(self.entry_bytes_max, self.append_bytes, self.chunk_bytes) + _MIB
