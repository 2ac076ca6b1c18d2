"""Gives committed entries to the consumer, in order and once, as far ahead of what it has applied as a bound allows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from tempolite_node.log.raft.entries import Entry, Kind, LogEntry, unpack
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.timing import Limits


class Consumer(Protocol):
    @property
    def applied_index(self) -> int:
        """The last entry whose effect is in its state: on disk since its last `sync` or start. Read from any thread."""
        ...

    def sync(self) -> None:
        """Returns when the effect of all entries that were applied before is on disk."""
        ...

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Committed entries, in order. They may be applied right here or queued."""
        ...


class HandOver:
    def __init__(
        self, raft: GuardedRaft, consumer: Consumer, limits: Limits, on_committed: Callable[[Entry, int], None]
    ) -> None:
        """on_committed: told of every committed entry after the consumer has it, also of those without data.

        With the index of the last entry with data so far: what the consumer can be waited for to have applied.
        """
        self._raft = raft
        self._consumer = consumer
        self._limits = limits
        self._on_committed = on_committed
        self._handed = self._last_data = consumer.applied_index
        self._ahead: deque[int] = deque()  #: indexes that the consumer has and has not applied

    @property
    def is_behind(self) -> bool:
        """There is more to hand over, and room for it."""
        return self._raft.commit_index > self._raft.last_applied and self._room() > 0

    @property
    def unapplied(self) -> int:
        """Committed entries that the consumer has not applied."""
        self._room()
        return self._raft.commit_index - self._raft.last_applied + len(self._ahead)

    def run(self) -> None:
        room = min(self._room(), self._limits.handed_at_once)
        start = self._raft.last_applied + 1
        count = min(self._raft.commit_index - self._raft.last_applied, room)
        if count <= 0:
            return
        committed = [_opened(entry) for entry in self._raft.journal.entries(start, count)]
        new = [entry for kind, entry in committed if kind is Kind.DATA and entry.index > self._handed]
        if new:
            self._handed = new[-1].index
            self._ahead.extend(entry.index for entry in new)
            self._consumer.deliver(new)
        self._raft.set_last_applied(start + len(committed) - 1)
        for kind, entry in committed:
            if kind is Kind.DATA:
                self._last_data = max(self._last_data, entry.index)
            self._on_committed(entry, self._last_data)

    def skipped_to(self, index: int) -> None:
        """The consumer has a snapshot at `index`."""
        self._handed = self._last_data = max(self._handed, index)
        self._ahead.clear()

    def _room(self) -> int:
        applied = self._consumer.applied_index
        while self._ahead and self._ahead[0] <= applied:
            self._ahead.popleft()
        return self._limits.handed_ahead - len(self._ahead)


def _opened(entry: LogEntry) -> tuple[Kind, Entry]:
    content = unpack(entry.command)
    return content.kind, Entry(entry.index, entry.term, content.request_id, content.data)
