"""A journal in an SQLite file: one durable transaction per write, opened by one process at a time."""

from __future__ import annotations

import zlib
from pathlib import Path

import apsw
import msgspec

from tempolite_node.log.raft.entries import UNDECODABLE, LogEntry, is_well_formed
from tempolite_node.log.raft.errors import LogStoreFailed, LogStoreUnusable
from tempolite_node.log.raft.log_store import Change, HardState, Stored

APPLICATION_ID = 0x54454D4A  #: "TEMJ": a journal, and not the store ("TEMP")
VERSION = 1

_SCHEMA = """
-- entries: consecutive, from the first that is kept. checksum: CRC-32 of index, term and command.
CREATE TABLE entries (
    log_index INTEGER PRIMARY KEY CHECK (log_index >= 1),
    term      INTEGER NOT NULL CHECK (term >= 0),
    command   BLOB    NOT NULL,
    checksum  INTEGER NOT NULL
) STRICT;
-- node: one row. state: MessagePack (journal.py, HardState). checksum: CRC-32 of state.
CREATE TABLE node (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    cluster  TEXT    NOT NULL,
    node_id  TEXT    NOT NULL,
    state    BLOB    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;
"""

_CUT_FROM = "DELETE FROM entries WHERE log_index >= ?"
_CUT_TO = "DELETE FROM entries WHERE log_index < ?"
_INSERT = "INSERT INTO entries (log_index, term, command, checksum) VALUES (?, ?, ?, ?)"
_LOAD_ENTRIES = "SELECT log_index, term, command, checksum FROM entries ORDER BY log_index"
_LOAD_NODE = "SELECT cluster, node_id, state, checksum FROM node WHERE only_row = 1"
_SAVE_NODE = """
    INSERT INTO node (only_row, cluster, node_id, state, checksum) VALUES (1, ?, ?, ?, ?)
    ON CONFLICT (only_row) DO UPDATE SET state = excluded.state, checksum = excluded.checksum
"""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(HardState)


class LogFile:
    def __init__(self, path: Path, *, cluster: str, node_id: str, synchronous: str = "full") -> None:
        """LogStoreUnusable: the file is not a journal of this node in this cluster, or another process has it.

        synchronous: "off" for simulations, where no power is cut.
        """
        self._path = path
        self._cluster = cluster
        self._node_id = node_id
        try:
            self._connection = apsw.Connection(str(path), statementcachesize=16)
            self._set_up(synchronous)
        except apsw.BusyError as error:
            raise LogStoreUnusable(f"{path}: another process uses this journal; is the node running twice?") from error
        except apsw.Error as error:
            raise LogStoreUnusable(f"{path}: the journal can't be opened: {error}. {_ADVICE}") from error
        path.chmod(0o600)

    def _set_up(self, synchronous: str) -> None:
        connection = self._connection
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.pragma("locking_mode", "exclusive")  # a second process is refused instead of interleaved
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", synchronous)
        connection.pragma("wal_autocheckpoint", 4_000)
        connection.execute("BEGIN IMMEDIATE")
        version = int(connection.pragma("user_version"))
        application = int(connection.pragma("application_id"))
        if version == 0 and application == 0 and not _tables(connection):
            connection.execute(_SCHEMA)
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", VERSION)
        elif application != APPLICATION_ID:
            raise LogStoreUnusable(f"{self._path}: this is an SQLite file, but not a journal of Tempolite Node")
        elif version != VERSION:
            raise LogStoreUnusable(
                f"{self._path}: the journal has version {version}, this program knows {VERSION}: upgrade the program"
            )
        connection.execute("COMMIT")

    def load(self) -> Stored | None:
        try:
            problems = [row[0] for row in self._connection.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
            if problems:
                raise self._corrupt(problems[0])
            state = self._load_state()
            entries = self._load_entries()
        except apsw.Error as error:
            raise self._corrupt(str(error)) from error
        if state is None:
            if entries:
                raise self._corrupt("there are entries, but no state of a node")
            return None
        if not entries:
            raise self._corrupt("there is the state of a node, but no entry")
        return Stored(entries, state)

    def _load_state(self) -> HardState | None:
        row = self._connection.execute(_LOAD_NODE).fetchone()
        if row is None:
            return None
        cluster, node_id, state, checksum = row
        if (cluster, node_id) != (self._cluster, self._node_id):
            raise LogStoreUnusable(
                f"{self._path}: this is the journal of node {node_id!r} in cluster {cluster!r}, and not of"
                f" {self._node_id!r} in {self._cluster!r}: give each node a data directory of its own"
            )
        if zlib.crc32(state) != checksum:
            raise self._corrupt("the state does not match its checksum")
        try:
            return _decoder.decode(state)
        except UNDECODABLE as error:
            raise self._corrupt(f"the state can't be read: {error}") from error

    def _load_entries(self) -> list[LogEntry]:
        entries: list[LogEntry] = []
        for index, term, command, checksum in self._connection.execute(_LOAD_ENTRIES):
            entry = LogEntry(command, index, term)
            if _checksum(entry) != checksum or not is_well_formed(command):
                raise self._corrupt(f"entry {index} does not match its checksum")
            if entries and (entries[-1].index + 1 != index or entries[-1].term > term):
                raise self._corrupt(f"entry {index} of term {term} follows {entries[-1][1:]}")
            entries.append(entry)
        return entries

    def _corrupt(self, what: str) -> LogStoreUnusable:
        return LogStoreUnusable(f"{self._path}: the journal is damaged: {what}. {_ADVICE}")

    def write(self, change: Change) -> None:
        state = _encode(change.state)
        try:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            if change.cut_from is not None:
                connection.execute(_CUT_FROM, (change.cut_from,))
            if change.cut_to is not None:
                connection.execute(_CUT_TO, (change.cut_to,))
            if change.entries:
                rows = [(entry.index, entry.term, entry.command, _checksum(entry)) for entry in change.entries]
                connection.executemany(_INSERT, rows)
            connection.execute(_SAVE_NODE, (self._cluster, self._node_id, state, zlib.crc32(state)))
            connection.execute("COMMIT")
        except apsw.Error as error:
            # Not tried again: after a failed fsync the kernel may have dropped the pages it could not write.
            raise LogStoreFailed(f"{self._path}: the journal can't be written: {error}") from error

    def close(self) -> None:
        self._connection.close()


_ADVICE = (
    "Move the journal away and start the node again: it then takes what it lost from its peers,"
    " as long as the others still have theirs"
)


def _checksum(entry: LogEntry) -> int:
    return zlib.crc32(entry.command, zlib.crc32(b"%d %d" % (entry.index, entry.term)))


def _tables(connection: apsw.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
