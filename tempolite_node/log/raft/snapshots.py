"""Snapshots: files that the consumer makes and installs, carried from a leader to a follower in pieces.

A leader makes one when a follower lacks entries that the journal no longer has; until the last follower has it, the
journal keeps what comes behind it. The library's own dumps are not used.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from tempolite_node.log.raft.errors import RaftBroken
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.log_store import SnapshotMark
from tempolite_node.log.raft.messages import Outbox, SnapshotAck, SnapshotChunk
from tempolite_node.log.raft.timing import Limits, Timing
from tempolite_node.system import sync_file

logger = logging.getLogger(__name__)

_STEP_BYTES = 1024 * 1024  #: written, or given back, between two syncs: whoever else syncs waits for it
_RETRY_AFTER_S = 30.0  #: a snapshot that could not be made

T = TypeVar("T")


class Background(Protocol):
    def run(self, work: Callable[[], T], done: Callable[[T | Exception], None]) -> None:
        """Does the work somewhere else, and calls `done` between two ticks."""
        ...


class Maker(Protocol):
    """The consumer, as far as sending needs it."""

    @property
    def applied_index(self) -> int: ...

    def make_snapshot(self, path: Path) -> int:
        """Writes its state to a new file, complete and synced; returns the index that the state is at."""
        ...


class Installer(Protocol):
    """The consumer, as far as receiving needs it."""

    @property
    def applied_index(self) -> int: ...

    def install_snapshot(self, path: Path, index: int) -> None:
        """Replaces the state by the file's, and has it on disk with `index` as applied index when it returns.

        The file is the consumer's: it may move it away.
        """
        ...


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    path: Path
    mark: SnapshotMark
    size: int
    crc: int


@dataclass(frozen=True, slots=True)
class Made:
    index: int
    size: int
    crc: int


@dataclass(slots=True)
class Transfer:
    """Bytes from the start of the file."""

    sent: int = 0
    acknowledged: int = 0
    reported: int = 0  #: by the last answer; less than acknowledged when the peer started again
    progress_at: float = 0.0


class SnapshotSender:
    def __init__(
        self,
        raft: GuardedRaft,
        outbox: Outbox,
        maker: Maker,
        background: Background,
        *,
        directory: Path,
        limits: Limits,
        timing: Timing,
        clock: Callable[[], float],
    ) -> None:
        self._raft = raft
        self._outbox = outbox
        self._maker = maker
        self._background = background
        self._directory = directory
        self._limits = limits
        self._timing = timing
        self._clock = clock
        self._file: SnapshotFile | None = None
        self._making_above: int | None = None  #: the applied index when making it began
        self._failed_at = -float("inf")
        self._wanted_by: set[str] = set()
        self._transfers: dict[str, Transfer] = {}

    @property
    def hold_index(self) -> int | None:
        """The journal must keep this entry and those behind it."""
        if self._making_above is not None:
            return self._making_above
        return None if self._file is None else self._file.mark.index

    @property
    def receivers(self) -> list[str]:
        return sorted(self._transfers)

    def send_to(self, peer: str) -> bool:
        """The next pieces. False: there is no file yet."""
        if self._file is None:
            self._wanted_by.add(peer)
            self._make()
            return False
        self._wanted_by.discard(peer)
        transfer = self._transfers.setdefault(peer, Transfer(progress_at=self._clock()))
        self._send_pieces(peer, self._file, transfer)
        return True

    def acknowledged(self, peer: str, ack: SnapshotAck) -> None:
        file, transfer = self._file, self._transfers.get(peer)
        if file is None or transfer is None or (ack.index, ack.crc) != (file.mark.index, file.crc):
            return
        self._raft.heard_from(peer)
        transfer.reported = min(ack.received, file.size)
        if transfer.reported > transfer.acknowledged:
            transfer.acknowledged, transfer.progress_at = transfer.reported, self._clock()
            transfer.sent = max(transfer.sent, transfer.acknowledged)
            self._send_pieces(peer, file, transfer, at_least_one=False)

    def ended(self, peer: str) -> None:
        """The peer needs it no more: it has the snapshot, or is gone."""
        self._wanted_by.discard(peer)
        self._transfers.pop(peer, None)
        if not self._transfers and not self._wanted_by:
            self._drop_file()

    def keep_only(self, receivers: list[str]) -> None:
        """Forgets those that are no longer replicated to."""
        for peer in [*self._transfers, *self._wanted_by]:
            if peer not in receivers:
                self.ended(peer)

    def stop(self) -> None:
        """This node leads no more."""
        self._transfers.clear()
        self._wanted_by.clear()
        self._drop_file()

    def _send_pieces(self, peer: str, file: SnapshotFile, transfer: Transfer, *, at_least_one: bool = True) -> None:
        chunk, window = self._limits.chunk_bytes, self._limits.chunk_bytes * self._limits.chunks_in_flight
        if self._clock() - transfer.progress_at > self._timing.fallback_s:
            # Pieces or answers were lost; the last piece again when it is the final answer that is missing.
            transfer.acknowledged = transfer.reported
            transfer.sent = transfer.acknowledged if transfer.acknowledged < file.size else max(0, file.size - chunk)
            transfer.progress_at = self._clock()
        sent = False
        with file.path.open("rb") as source:
            source.seek(transfer.sent)
            while transfer.sent < file.size and transfer.sent - transfer.acknowledged < window:
                data = source.read(min(chunk, file.size - transfer.sent))
                if not data:
                    raise RaftBroken(f"{file.path} ends at {transfer.sent} and had {file.size} bytes")
                self._send_piece(peer, file, transfer.sent, data)
                transfer.sent += len(data)
                sent = True
        if not sent and at_least_one:
            self._send_piece(peer, file, transfer.sent, b"")

    def _send_piece(self, peer: str, file: SnapshotFile, offset: int, data: bytes) -> None:
        mark = file.mark
        self._outbox.send(
            peer,
            SnapshotChunk(
                self._raft.term, mark.index, mark.term, list(mark.members), file.size, file.crc, offset, data
            ),
        )

    # --- making one

    def _make(self) -> None:
        if self._making_above is not None or self._clock() - self._failed_at < _RETRY_AFTER_S:
            return
        self._making_above = max(self._maker.applied_index, self._raft.journal.first.index)
        path = self._directory / f"outgoing-{self._raft.term}-{self._making_above}.snapshot"
        path.unlink(missing_ok=True)
        self._background.run(lambda: self._write(path), lambda result: self._made(path, result))

    def _write(self, path: Path) -> Made:
        """In the background."""
        index = self._maker.make_snapshot(path)
        return Made(index, path.stat().st_size, _crc_of(path))

    def _made(self, path: Path, result: Made | Exception) -> None:
        at_least, self._making_above = self._making_above, None
        assert at_least is not None, "nobody asked for a snapshot"
        if isinstance(result, Exception):
            self._failed_at = self._clock()
            path.unlink(missing_ok=True)
            logger.error("%s: a snapshot could not be made: %s", path, result, exc_info=result)
        elif not self._raft.is_leader or not self._wanted_by:
            self._remove(path)
        else:
            self._file = SnapshotFile(path, self._mark(result.index, at_least), result.size, result.crc)

    def _mark(self, index: int, at_least: int) -> SnapshotMark:
        journal = self._raft.journal
        term = journal.term_at(index)
        if term is None or index < at_least:
            raise RaftBroken(f"a snapshot is at entry {index}; the journal has {at_least} and those behind it")
        return SnapshotMark(index, term, journal.configurations.at(index))

    def _drop_file(self) -> None:
        if self._file is not None:
            self._remove(self._file.path)
            self._file = None

    def _remove(self, path: Path) -> None:
        """Its name goes at once, its gibibytes in the background: heartbeats would wait for them."""
        try:
            file = path.open("rb+")
        except FileNotFoundError:
            return  # somebody has cleaned up: no reason to stop
        path.unlink(missing_ok=True)
        self._background.run(lambda: _give_back(file), _look_at)


def _give_back(file: BinaryIO) -> None:
    """To the disk, what a file holds that has no name any more. 500 MiB at once had others wait for 250 ms."""
    with file:
        for size in range(os.fstat(file.fileno()).st_size, 0, -_STEP_BYTES):
            os.ftruncate(file.fileno(), size)
            sync_file(file.fileno())


def _look_at(result: Exception | None) -> None:
    if result is not None:
        logger.error("a snapshot could not be removed: %s", result)


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


class SnapshotReceiver:
    """Takes the pieces of one snapshot at a time, in order, and installs it when it is whole."""

    def __init__(self, raft: GuardedRaft, outbox: Outbox, installer: Installer, *, directory: Path) -> None:
        self._raft = raft
        self._outbox = outbox
        self._installer = installer
        self._path = directory / "incoming.snapshot"
        self._file: BinaryIO | None = None
        self._identity: tuple[int, int, int, int] | None = None  #: index, term, size, checksum
        self._received = 0
        self._crc = 0

    def receive(self, peer: str, chunk: SnapshotChunk) -> bool:
        """True: the state was replaced."""
        if not self._raft.follow(peer, chunk.term):
            return False
        if chunk.index <= self._raft.commit_index:
            # G6. The library would install it and go back in time.
            self._outbox.send(peer, self._raft.new_ack(self._raft.commit_index + 1, success=True))
            self._discard()
            return False
        self._begin_if_new(chunk)
        if chunk.offset <= self._received:
            self._take(chunk.data[self._received - chunk.offset :])
        if self._received == chunk.size:
            return self._complete(peer, chunk)
        self._outbox.send(peer, SnapshotAck(self._raft.term, chunk.index, chunk.crc, self._received))
        return False

    def _begin_if_new(self, chunk: SnapshotChunk) -> None:
        identity = (chunk.index, chunk.last_term, chunk.size, chunk.crc)
        if self._identity != identity or self._file is None:
            self._discard()
            self._path.touch(mode=0o600)  # for its user alone, whatever it is to become
            self._file, self._identity = self._path.open("wb"), identity

    def _take(self, data: bytes) -> None:
        assert self._file is not None, "a piece without a file"
        self._file.write(data)
        if self._received // _STEP_BYTES < (self._received + len(data)) // _STEP_BYTES:
            self._file.flush()
            sync_file(self._file.fileno())  # a little at a time: all of it at the end holds up who else syncs
        self._received += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def _complete(self, peer: str, chunk: SnapshotChunk) -> bool:
        assert self._file is not None, "a snapshot without a file"
        if self._crc != chunk.crc:
            logger.error("the snapshot at entry %d came damaged from %s; it is taken again", chunk.index, peer)
            self._discard()
            self._outbox.send(peer, SnapshotAck(self._raft.term, chunk.index, chunk.crc, 0))
            return False
        self._file.flush()
        sync_file(self._file.fileno())
        self._file.close()
        self._file = None
        self._install(SnapshotMark(chunk.index, chunk.last_term, tuple(chunk.members)))
        self._discard()
        self._outbox.send(peer, self._raft.new_ack(chunk.index + 1, success=True))
        return True

    def _install(self, mark: SnapshotMark) -> None:
        """A crash at any line leaves a journal that says what to do about it: see `finish_installing`."""
        raft, journal = self._raft, self._raft.journal
        journal.update(installing=mark)
        journal.sync()
        if mark.index > self._installer.applied_index:
            self._installer.install_snapshot(self._path, mark.index)
            assert self._installer.applied_index >= mark.index, "the consumer did not install the snapshot"
        journal.restart_at(mark)
        journal.sync()
        raft.set_last_applied(mark.index)
        raft.set_committed(mark.index)
        raft.postpone_election()  # installing may have taken longer than a leader's silence is borne

    def _discard(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._identity, self._received, self._crc = None, None, 0, 0
        self._path.unlink(missing_ok=True)


def clear_leftovers(directory: Path) -> None:
    """Snapshots of an earlier start: they were whole by luck only."""
    for path in directory.glob("*.snapshot*"):
        path.unlink()
