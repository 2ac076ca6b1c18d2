"""What a node must still know after a crash: its entries, its term and vote, how far it is committed.

Everything is in memory and pending until `sync`, which makes it durable at once: one transaction, one fsync. The
outbox lets nothing leave the node before it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol, overload

import msgspec

from tempolite_node.log.raft.configurations import Configurations
from tempolite_node.log.raft.entries import NO_OP, LogEntry, Members

FIRST = LogEntry(NO_OP, 1, 0)  #: every journal starts with it, so that two empty ones agree on something

VOTE_UNKNOWN = ""  #: this node may have voted in the term, and has forgotten for whom: it gives no other vote in it


class Phase(enum.StrEnum):
    NEW = "new"  #: empty; whether it was always so, the peers must tell
    RECOVERING = "recovering"  #: it was lost. No votes until it is again what this node once acknowledged
    PROVEN = "proven"


class SnapshotMark(msgspec.Struct, frozen=True, array_like=True):
    """A snapshot that takes the place of the log up to its index."""

    index: int
    term: int
    members: Members


class HardState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything durable beside the entries."""

    members: Members  #: at the first entry
    term: int = 0
    voted_for: str | None = None
    commit_index: int = 1
    phase: Phase = Phase.NEW
    recovery_term: int = 0  #: while recovering: the highest term that a peer knew
    recovery_index: int = 0  #: while recovering: the highest index that a peer had
    installing: SnapshotMark | None = None  #: the consumer may or may not have this snapshot


class Change(NamedTuple):
    """What one sync writes, in this order."""

    cut_from: int | None  #: entries from here on go
    cut_to: int | None  #: entries before this one go
    entries: Sequence[LogEntry]
    state: HardState


class Stored(NamedTuple):
    entries: list[LogEntry]
    state: HardState


class Disk(Protocol):
    """Where a journal is kept."""

    def load(self) -> Stored | None:
        """What the last `write` left, or None for a new one. LogStoreUnusable: it can't be trusted."""
        ...

    def write(self, change: Change) -> None:
        """On disk, whole, when it returns; not at all if it raises LogStoreFailed."""
        ...

    def close(self) -> None: ...


class LogStore:
    """Used by the raft thread alone. Entries are consecutive; there is always at least one."""

    def __init__(self, disk: Disk, bootstrap: Members) -> None:
        """bootstrap: the members of a new cluster; a journal that isn't empty knows better."""
        self._disk = disk
        stored = disk.load()
        entries, state = stored or Stored([FIRST], HardState(members=bootstrap))
        self._entries = list(entries)
        self.state = state
        self._bytes = sum(len(entry.command) for entry in self._entries)
        self.configurations = Configurations(self.first.index, state.members)
        for entry in self._entries[1:]:
            self.configurations.added(entry)
        self._new: list[LogEntry] = [FIRST] if stored is None else []
        self._cut_from: int | None = None
        self._cut_to: int | None = None
        self._urgent = stored is None
        self._durable_term = state.term if stored is not None else -1
        self.syncs = 0

    # --- reading

    @property
    def first(self) -> LogEntry:
        return self._entries[0]

    @property
    def last(self) -> LogEntry:
        return self._entries[-1]

    @property
    def size_bytes(self) -> int:
        return self._bytes

    @property
    def durable_term(self) -> int:
        """The term that a crash right now would leave."""
        return self._durable_term

    def term_at(self, index: int) -> int | None:
        position = index - self._entries[0].index
        return self._entries[position].term if 0 <= position < len(self._entries) else None

    def entries(self, start: int, count: int) -> list[LogEntry]:
        """At most `count` entries from `start` on, which must not lie before the first one."""
        position = start - self._entries[0].index
        assert position >= 0, f"entry {start} is gone; the journal starts at {self._entries[0].index}"
        return self._entries[position : position + count]

    # --- changing: pending until sync

    def update(self, **changes: object) -> None:
        """Changes the hard state."""
        self.state = msgspec.structs.replace(self.state, **changes)
        self._urgent = True

    def compact_to(self, index: int) -> None:
        """Makes the entry at `index` the first one. Not urgent: a crash only brings back what is not needed."""
        self.deleteEntriesTo(index - self._entries[0].index)

    def restart_at(self, mark: SnapshotMark) -> None:
        """The snapshot takes the place of everything up to its index. What follows it is kept if it belongs to it."""
        keeps_tail = self.term_at(mark.index) == mark.term
        if keeps_tail:
            self.compact_to(mark.index)
        else:
            self.clear()
            self._append(LogEntry(NO_OP, mark.index, mark.term))
            self.configurations = Configurations(mark.index, mark.members)
        self.update(members=mark.members, commit_index=max(self.state.commit_index, mark.index), installing=None)

    # --- durability

    @property
    def needs_sync(self) -> bool:
        return self._urgent

    def sync(self) -> None:
        """Everything so far is durable. Costs nothing when nothing changed that a peer or the consumer may rely on."""
        if not self._urgent:
            return
        self._disk.write(Change(self._cut_from, self._cut_to, self._new, self.state))
        self._new, self._cut_from, self._cut_to, self._urgent = [], None, None, False
        self._durable_term = self.state.term
        self.syncs += 1

    def close(self) -> None:
        self._disk.close()

    # --- the library's names. Its journal is a list: places count from its first entry, and a slice is a list.

    def _append(self, entry: LogEntry) -> None:
        self._entries.append(entry)
        self._new.append(entry)
        self._bytes += len(entry.command)
        self._urgent = True

    def add(self, command: bytes, idx: int, term: int) -> None:
        assert idx == self.last.index + 1, f"entry {idx} does not follow {self.last.index}"
        entry = LogEntry(command, idx, term)
        self._append(entry)
        self.configurations.added(entry)

    def clear(self) -> None:
        self._cut_from = 0
        self._cut_to = None
        self._entries, self._new, self._bytes = [], [], 0
        self._urgent = True

    def deleteEntriesFrom(self, position: int) -> None:
        if position >= len(self._entries):
            return
        index = self._entries[position].index
        self._bytes -= sum(len(entry.command) for entry in self._entries[position:])
        del self._entries[position:]
        while self._new and self._new[-1].index >= index:
            self._new.pop()
        self._cut_from = index if self._cut_from is None else min(self._cut_from, index)
        self.configurations.cut_from(index)
        self._urgent = True

    def deleteEntriesTo(self, position: int) -> None:
        assert position < len(self._entries), "a journal keeps at least one entry"
        if position <= 0:
            return
        self._bytes -= sum(len(entry.command) for entry in self._entries[:position])
        del self._entries[:position]
        self._cut_to = self.first.index
        self._new = [entry for entry in self._new if entry.index >= self._cut_to]
        self.configurations.compacted_to(self._cut_to)
        # With the entries, in the next transaction: members are those at the first entry, in memory and on disk.
        self.state = msgspec.structs.replace(self.state, members=self.configurations.at(self._cut_to))

    @overload
    def __getitem__(self, position: int) -> LogEntry: ...
    @overload
    def __getitem__(self, position: slice) -> list[LogEntry]: ...
    def __getitem__(self, position: int | slice) -> LogEntry | list[LogEntry]:
        return self._entries[position]

    def __len__(self) -> int:
        return len(self._entries)

    def setRaftCommitIndex(self, index: int) -> None:
        # Not urgent: an older commit index after a crash only means to hear of it again.
        if index != self.state.commit_index:
            self.state = msgspec.structs.replace(self.state, commit_index=index)

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:
        if (term, voted_for) != (self.state.term, self.state.voted_for):
            self.update(term=term, voted_for=voted_for)

    def onOneSecondTimer(self) -> None:
        """The library's moment to save what is not urgent. Ours goes along with the next sync."""
