"""The whole store in one file: made beside the writer, at one applied index, and put in the place of another node's."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from tempolite_node.store.database import open_copy, open_reader, open_writer

_STEP_PAGES = 1_024


def write_snapshot(store: Path, to: Path) -> int:
    """Copies the store as of its last commit to a new file, on disk when this returns; returns its applied index.

    For any thread: the writer goes on meanwhile. The copy belongs to no node.
    """
    source = open_reader(store)
    try:
        source.execute("BEGIN")
        index = int(source.execute("SELECT applied_index FROM meta WHERE one = 1").get)
        _copy(source, to)
    finally:
        source.close()
    return index


def _copy(source: apsw.Connection, to: Path) -> None:
    """One file, and nothing beside it. A copy that is not whole is no snapshot, so it needs no journal of its own."""
    target = open_copy(to)
    try:
        _copy_paced(target, source, to)
        target.pragma("synchronous", "full")
        target.execute("UPDATE meta SET node_id = NULL WHERE one = 1")
    finally:
        target.close()


def _copy_paced(target: apsw.Connection, source: apsw.Connection, written: Path) -> None:
    """Has the disk take the pages as they come: all at the end, they would hold up whoever else writes to that disk."""
    with written.open("rb") as file, target.backup("main", source, "main") as backup:
        while not backup.done:
            backup.step(_STEP_PAGES)
            os.fdatasync(file.fileno())


def read_snapshot(connection: apsw.Connection, path: Path, node_id: str) -> None:
    """Replaces all that is in the store by the snapshot's, in one transaction of the writer's connection."""
    snapshot = open_writer(path)
    try:
        snapshot.execute("UPDATE meta SET node_id = ? WHERE one = 1", (node_id,))
        snapshot.pragma("wal_checkpoint", "TRUNCATE")
        _copy_paced(connection, snapshot, Path(connection.filename_wal))
    finally:
        snapshot.close()
    connection.pragma("wal_checkpoint", "PASSIVE")
