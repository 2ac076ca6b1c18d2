"""Opens the store's file: pragmas, migrations, one writer, many readers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from importlib.resources import files
from pathlib import Path

import apsw
import apsw.sqlite_extra

from tempolite_node.errors import StorageFailed
from tempolite_node.store.busy import WAIT_S, BusyHandler
from tempolite_node.system import sync_file

APPLICATION_ID = 0x54454D50  #: "TEMP": a file of ours and nobody else's

_CHECKSUM_BYTES = 8
_PAGE_CACHE_KIB = 65_536
_WAL_AUTOCHECKPOINT_PAGES = 4_000
_STEP_PAGES = 256  #: a mebibyte: as long as it takes the disk, others wait who sync to it


def open_writer(path: Path) -> apsw.Connection:
    """The one connection that writes. Makes the file, or brings it to the current schema.

    StorageFailed: the file can't be opened or written, is no store, or comes from a later version. It is left as it is.
    """
    with ExitStack() as on_failure:
        try:
            path.touch(mode=0o600)  # before SQLite makes it: the WAL takes its permissions
            connection = apsw.Connection(str(path), vfs=_checksums(), statementcachesize=256)
            on_failure.callback(connection.close)
            _make_store(connection, path)
        except (apsw.Error, OSError) as error:
            raise StorageFailed(f"{path}: the store can't be opened: {explained(error)}") from error
        on_failure.pop_all()
    return connection


def _make_store(connection: apsw.Connection, path: Path) -> None:
    if connection.readonly("main"):
        raise StorageFailed(f"{path}: the store can only be read, and must be written")
    _set_up(connection)
    version = _version(connection, path)
    # Nothing is written before this line: the file may be somebody else's.
    connection.reserve_bytes("main", _CHECKSUM_BYTES)  # of each page; a store that has tables keeps what it has
    if version == 0:
        connection.pragma("auto_vacuum", "incremental")  # of a new file alone; others get it by `store compact`
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "normal")  # a commit is on disk after `sync`: see docs/design/commit-and-sync.md
    connection.pragma("wal_autocheckpoint", _WAL_AUTOCHECKPOINT_PAGES)
    _migrate(connection, version)
    _compare_schema(connection, path)


def sync(path: Path) -> None:
    """Returns when all that was committed before is on disk. For any thread, while the writer is open.

    A commit appends to the WAL and does not wait for the disk, so that the next one can be made meanwhile; one sync is
    for all of them. A checkpoint syncs by itself what it needs. StorageFailed: what the disk has now is unknown.
    """
    try:
        wal = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        try:
            sync_file(wal)
        finally:
            os.close(wal)
    except OSError as error:
        raise StorageFailed(f"{path}: the store can't be synced: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Returns when the files of the directory will be found in it whatever happens. StorageFailed: they may not."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise StorageFailed(f"{path}: the directory can't be synced: {error.strerror}") from error


def sqlite_version() -> str:
    return apsw.sqlite_lib_version()


def explained(error: Exception) -> str:
    """The error's text, with what to do where that is not plain."""
    if isinstance(error, apsw.Error) and getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_DATA:
        return (
            "a page does not match its checksum: the disk has changed it, or another program has written to the store. "
            "`tempolite-node store repair` names it, and mends the second"
        )
    if isinstance(error, apsw.BusyError):
        return f"another program has held its lock for {WAIT_S:g} s: end it, and start the node again"
    return str(error)


def open_unverified(path: Path) -> apsw.Connection:
    """A connection that writes, each page with its checksum, and reads those too that do not match theirs."""
    connection = apsw.Connection(str(path), apsw.SQLITE_OPEN_READWRITE, _checksums())
    connection.pragma("checksum_verification", False)
    _set_up(connection)
    connection.reserve_bytes("main", _CHECKSUM_BYTES)
    return connection


def open_reader(path: Path, *, still: bool = False, verified: bool = True) -> apsw.Connection:
    """A connection that can't write. To be used by one thread.

    still: nobody writes to the file, and nothing is made beside it.
    verified: a page that does not match its checksum fails the read.
    """
    name = f"{path.resolve().as_uri()}?immutable=1" if still else str(path)
    flags = apsw.SQLITE_OPEN_READONLY | (apsw.SQLITE_OPEN_URI if still else 0)
    connection = apsw.Connection(name, flags, _checksums(), statementcachesize=64)
    if not verified:
        connection.pragma("checksum_verification", False)
    _set_up(connection)
    connection.pragma("query_only", True)
    return connection


def open_copy(path: Path) -> apsw.Connection:
    """A new file that is to be written whole, or is nothing: without a journal, and synced by whoever writes it."""
    path.touch(mode=0o600)
    connection = apsw.Connection(str(path), vfs=_checksums())
    connection.reserve_bytes("main", _CHECKSUM_BYTES)
    connection.pragma("journal_mode", "off")
    connection.pragma("synchronous", "off")
    connection.pragma("application_id", APPLICATION_ID)  # the first page: from here on checksums are kept
    return connection


def copy_pages(
    source: apsw.Connection,
    target: apsw.Connection,
    to: Path,
    told: Callable[[int, int], object] = lambda _done, _all: None,
) -> None:
    """Copies what the source reads in its transaction to the target, which is in the file `to`, and syncs as it goes.

    told: of pages that are copied, and of all.
    """
    with to.open("rb") as file, target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(_STEP_PAGES)
            sync_file(file.fileno())
            told(backup.page_count - backup.remaining, backup.page_count)


def check_store(connection: apsw.Connection, path: Path) -> bool:
    """Whether it has the schema of this version; False: an earlier one's. StorageFailed: it is no store, or a later
    version's, or its schema was changed."""
    version = _version(connection, path)
    if version == 0:
        raise StorageFailed(f"{path}: this is not a store of Tempolite Node")
    latest = version == _migrations()[-1][0]
    if latest:
        _compare_schema(connection, path)
    return latest


@cache
def _checksums() -> str:
    """Name of the VFS that keeps a checksum in each page, and fails a read that does not match it.

    Once in a process: what is loaded stays. A flipped bit is found when it is read, not when it has spread.
    Source: https://sqlite.org/cksumvfs.html
    """
    apsw.sqlite_extra.load(apsw.Connection(":memory:"), "cksumvfs")
    return "cksmvfs"


def _set_up(connection: apsw.Connection) -> None:
    connection.set_busy_handler(BusyHandler(Path(connection.filename)))
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    connection.pragma("cache_size", -_PAGE_CACHE_KIB)
    connection.pragma("temp_store", "memory")


def _migrations() -> list[tuple[int, str]]:
    """Version and SQL of each migration, in order. The name of its file starts with the version."""
    folder = files("tempolite_node.store") / "migrations"
    scripts = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return sorted((int(script.name.split("_")[0]), script.read_text()) for script in scripts)


def _version(connection: apsw.Connection, path: Path) -> int:
    """Of the store's schema; 0: it is new. StorageFailed: the file is not one to be written."""
    version = int(connection.pragma("user_version"))
    latest = _migrations()[-1][0]
    foreign = bool(schema(connection)) if version == 0 else connection.pragma("application_id") != APPLICATION_ID
    if foreign:
        raise StorageFailed(f"{path}: this is an SQLite file, but not a store of Tempolite Node")
    if version > latest:
        raise StorageFailed(f"{path}: the store has schema {version}, this version knows up to {latest}: upgrade")
    return version


def _migrate(connection: apsw.Connection, version: int) -> None:
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # a migration may change the text of the schema itself
    for number, script in _migrations():
        if number <= version:
            continue
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(script)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", number)
        connection.execute("COMMIT")
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)


def _compare_schema(connection: apsw.Connection, path: Path) -> None:
    """Whoever changed the schema by hand finds out now, and not at the first commit that fails."""
    expected = apsw.Connection(":memory:")
    expected.execute((files("tempolite_node.store") / "schema.sql").read_text())
    if schema(connection) != schema(expected):
        raise StorageFailed(f"{path}: the store's schema is not the one of this version; was it changed by hand?")


_SCHEMA = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name LIMIT 1000"


def schema(connection: apsw.Connection) -> list[tuple[str, str, str]]:
    """Every table and index, without comments and white space."""
    return [(kind, name, _bare(sql)) for kind, name, sql in connection.execute(_SCHEMA)]


def _bare(sql: str) -> str:
    return re.sub(r"\s+", "", re.sub(r"--[^\n]*", "", sql))
