"""A leader's side of replication: what each peer has, what is under way to it, what comes next.

As in etcd/raft a peer is probed, one message at a time, until one matches; then entries are sent ahead, as far as a
window of what is not acknowledged allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tempolite_node.log.raft.entries import LogEntry
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.messages import Ack, AppendEntries, Outbox
from tempolite_node.log.raft.timing import Limits, Timing


class SnapshotSender(Protocol):
    def send_to(self, peer: str) -> bool:
        """Sends a part of a snapshot. False: there is none to be sent yet."""
        ...

    def ended(self, peer: str) -> None:
        """The peer needs no snapshot, or none any more."""
        ...


@dataclass(slots=True)
class Progress:
    next_index: int
    probing: bool = True
    probed_at: float = -float("inf")
    fell_back_at: float = -float("inf")  #: from sending ahead to probing
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)  #: last index and bytes of each message
    in_flight_bytes: int = 0

    def sent(self, last_index: int, size: int) -> None:
        self.in_flight.append((last_index, size))
        self.in_flight_bytes += size
        self.next_index = last_index + 1

    def acknowledged(self, index: int) -> None:
        while self.in_flight and self.in_flight[0][0] <= index:
            self.in_flight_bytes -= self.in_flight.popleft()[1]

    def probe(self, next_index: int) -> None:
        # Entry 1 is in every journal that starts with it, so there is never a reason to send it.
        self.next_index, self.probing, self.probed_at = max(next_index, 2), True, -float("inf")
        self.in_flight.clear()
        self.in_flight_bytes = 0


class Replication:
    def __init__(
        self,
        raft: GuardedRaft,
        outbox: Outbox,
        snapshots: SnapshotSender,
        *,
        limits: Limits,
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        self._raft = raft
        self._outbox = outbox
        self._snapshots = snapshots
        self._limits = limits
        self._timing = timing
        self._clock = clock
        self._peers: dict[str, Progress] = {}

    def restart(self) -> None:
        """This node became leader: nothing is known of the others."""
        self._peers.clear()

    def reconnected(self, peer: str) -> None:
        """What was under way may be lost."""
        if peer in self._peers:
            self._peers[peer].probe(self._raft.matched(peer) + 1)

    def forgot_everything(self, peer: str) -> None:
        """The peer lost its journal. What it acknowledged is there no more."""
        if self._raft.is_leader and self._raft.matched(peer):
            self._raft.set_matched(peer, 0)
            self._progress(peer).probe(1)

    def send_to_all(self) -> None:
        for peer in self._raft.receivers:
            self._send_to(peer)

    def acknowledged(self, peer: str, ack: Ack) -> None:
        progress = self._progress(peer)
        matched = self._raft.matched(peer)
        if ack.success:
            progress.acknowledged(matched)
            if progress.probing and matched >= progress.next_index - 1:
                progress.probe(matched + 1)
                progress.probing = False
            progress.next_index = max(progress.next_index, matched + 1)
            if progress.next_index > self._raft.journal.first.index:
                self._snapshots.ended(peer)
            if progress.next_index <= self._raft.journal.last.index:
                self._send_to(peer, heartbeat=False)
            return
        if ack.recovering and ack.next_index <= matched:
            # An acknowledgement from before it lost its journal came late.
            matched = ack.next_index - 1
            self._raft.set_matched(peer, matched)
        if ack.rejected > matched and self._is_news(progress, ack):
            progress.probe(max(min(ack.next_index, ack.rejected), matched + 1))
            self._send_to(peer)

    def _is_news(self, progress: Progress, ack: Ack) -> bool:
        """Whether it answers the last probe, or the first of what was sent ahead and did not fit.

        The others behind that one are refused as well. To answer each with all that follows, which is refused in turn
        where messages arrive out of order, makes more messages than it ends.
        """
        if progress.probing:
            return ack.rejected == progress.next_index - 1
        now = self._clock()
        if now - progress.fell_back_at < self._timing.heartbeat_s:
            return False
        progress.fell_back_at = now
        return True

    def _progress(self, peer: str) -> Progress:
        return self._peers.setdefault(peer, Progress(self._raft.journal.last.index + 1))

    def _send_to(self, peer: str, *, heartbeat: bool = True) -> None:
        """Everything that the window allows. heartbeat: at least one message, though there is nothing new."""
        progress, journal = self._progress(peer), self._raft.journal
        if progress.next_index <= journal.first.index:
            if not self._snapshots.send_to(peer):
                self._send(peer, journal.last.index, [])  # it can't match, and is answered: a heartbeat
            return
        if progress.probing:
            self._probe(peer, progress)
            return
        sent = not heartbeat
        while entries := self._next_entries(progress):
            self._send(peer, progress.next_index - 1, entries)
            progress.sent(entries[-1].index, _size(entries))
            sent = True
        if not sent:
            self._send(peer, progress.next_index - 1, [])

    def _probe(self, peer: str, progress: Progress) -> None:
        now = self._clock()
        if now - progress.probed_at < self._timing.heartbeat_s * 0.9:
            return  # the answer to the last one is still to come
        progress.probed_at = now
        self._send(peer, progress.next_index - 1, self._next_entries(progress))

    def _next_entries(self, progress: Progress) -> list[LogEntry]:
        limits = self._limits
        if progress.in_flight_bytes >= limits.window_bytes or len(progress.in_flight) >= limits.window_messages:
            return []
        entries = self._raft.journal.entries(progress.next_index, limits.append_entries)
        size = 0
        for count, entry in enumerate(entries):
            size += len(entry.command)
            if size > limits.append_bytes and count:
                return entries[:count]
        return entries

    def _send(self, peer: str, previous: int, entries: list[LogEntry]) -> None:
        raft = self._raft
        term_before = raft.journal.term_at(previous)
        assert term_before is not None, f"entry {previous} is not in the journal"
        sent = [(entry.term, entry.command) for entry in entries]
        self._outbox.send(peer, AppendEntries(raft.term, previous, term_before, raft.commit_index, sent))


def _size(entries: list[LogEntry]) -> int:
    return sum(len(entry.command) for entry in entries)
