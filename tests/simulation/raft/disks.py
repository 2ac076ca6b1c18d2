"""What survives a power cut: a journal's last write, and what the consumer had synced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tempolite_node.log.raft.entries import Entry, LogEntry
from tempolite_node.log.raft.log_file import LogFile
from tempolite_node.log.raft.log_store import Change, Disk, HardState, Stored

#: Where the power may go in the middle of something.
PLACES = (
    "before the journal is written",
    "after the journal is written",
    "a message is sent",
    "entries are handed over",
    "entries are applied",
    "the store is synced",
    "a snapshot is made",
    "before a snapshot is installed",
    "after a snapshot is installed",
)


class PowerCut(BaseException):
    """Goes through everything: no code runs when the power is gone."""


class MemoryDisk:
    """A journal's durable image. Whatever was not written by `write` is lost with the object that wrote it."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.state: HardState | None = None

    def load(self) -> Stored | None:
        return None if self.state is None else Stored(list(self.entries), self.state)

    def write(self, change: Change) -> None:
        if change.cut_from is not None:
            self._cut_from(change.cut_from)
        if change.cut_to is not None and self.entries:
            del self.entries[: max(0, change.cut_to - self.entries[0].index)]
        for entry in change.entries:
            assert not self.entries or self.entries[-1].index + 1 == entry.index, "a hole in the journal"
            self.entries.append(entry)
        self.state = change.state

    def _cut_from(self, index: int) -> None:
        if self.entries:
            del self.entries[max(0, index - self.entries[0].index) :]

    def close(self) -> None:
        pass

    def has(self, entry: LogEntry) -> bool:
        """Durable here, itself or in what the journal no longer needs."""
        if not self.entries:
            return False
        place = entry.index - self.entries[0].index
        return place < 0 or (place < len(self.entries) and self.entries[place].term == entry.term)


class FileDisk(MemoryDisk):
    """The real file, and beside it the image that it must be equal to."""

    def __init__(self, path: Path, node_id: str) -> None:
        super().__init__()
        self._path, self._node_id = path, node_id
        self._file: LogFile | None = None

    def load(self) -> Stored | None:
        self.close()
        self._file = LogFile(self._path, cluster="simulated", node_id=self._node_id, synchronous="off")
        stored = self._file.load()
        assert stored == super().load(), f"{self._path} does not hold what was written"
        return stored

    def write(self, change: Change) -> None:
        assert self._file is not None
        self._file.write(change)
        super().write(change)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class FaultyDisk:
    """Takes time, and may lose its power before or after a write."""

    def __init__(self, disk: Disk, point: Callable[[str], None], spend: Callable[[], None]) -> None:
        self._disk, self._point, self._spend = disk, point, spend

    def load(self) -> Stored | None:
        return self._disk.load()

    def write(self, change: Change) -> None:
        self._point("before the journal is written")
        self._disk.write(change)
        self._spend()
        self._point("after the journal is written")

    def close(self) -> None:
        self._disk.close()


class Store:
    """The consumer's state: how far it is, and a digest of everything up to there."""

    def __init__(self) -> None:
        self.applied_index = 0
        self.digest = ""
        self.count = 0
        self._synced = (0, "", 0)

    def sync(self) -> None:
        self._synced = (self.applied_index, self.digest, self.count)

    def lose_what_was_not_synced(self) -> None:
        self.applied_index, self.digest, self.count = self._synced


class Consumer:
    """A consumer of one start of a node. What it was handed and has not applied is lost in a crash."""

    def __init__(
        self,
        store: Store,
        *,
        point: Callable[[str], None],
        seen: Callable[[Entry], None],
        installed: Callable[[], None],
        sync: bool,
    ) -> None:
        self.store = store
        self._point = point
        self._seen = seen
        self._installed = installed
        self._sync = sync
        self.queue: list[Entry] = []
        self._handed = store.applied_index

    @property
    def applied_index(self) -> int:
        return self.store.applied_index

    def deliver(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            assert entry.index > self._handed, f"entry {entry.index} is handed over after {self._handed}"
            self._handed = entry.index
            self._seen(entry)
        self.queue.extend(entries)
        self._point("entries are handed over")
        if self._sync:
            self.apply(len(self.queue))
            self._point("entries are applied")

    def apply(self, count: int) -> None:
        store = self.store
        for entry in self.queue[:count]:
            text = f"{store.digest} {entry.index} {entry.term} {entry.request_id.hex()} {entry.data.hex()}"
            store.digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            store.applied_index = entry.index
            store.count += 1
        del self.queue[:count]

    def sync(self) -> None:
        self.store.sync()
        self._point("the store is synced")

    def make_snapshot(self, path: Path) -> int:
        store = self.store
        path.write_text(json.dumps([store.applied_index, store.digest, store.count, "." * 150]))
        self._point("a snapshot is made")
        return store.applied_index

    def install_snapshot(self, path: Path, index: int) -> None:
        self._point("before a snapshot is installed")
        applied, digest, count, _ = json.loads(path.read_text())
        assert applied == index, f"the snapshot is at {applied}, not at {index}"
        assert index > self.store.applied_index, "the state goes back in time"
        self.store.applied_index, self.store.digest, self.store.count = applied, digest, count
        self.store.sync()
        self.queue.clear()
        self._handed = index
        self._installed()
        self._point("after a snapshot is installed")
