"""The whole store in one file: made beside the writer, at one applied index, and put in the place of another node's."""

from __future__ import annotations

from pathlib import Path

import apsw

from tempolite_node.store.database import open_reader, open_writer


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
    copy = apsw.Connection(str(to), vfs="cksmvfs")
    try:
        copy.pragma("journal_mode", "delete")  # one file, and nothing beside it
        copy.pragma("synchronous", "full")
        copy.execute("UPDATE meta SET node_id = NULL WHERE one = 1")
    finally:
        copy.close()
    return index


def _copy(source: apsw.Connection, to: Path) -> None:
    target = open_writer(to)
    try:
        with target.backup("main", source, "main") as backup:
            backup.step(-1)
        target.pragma("wal_checkpoint", "TRUNCATE")
    finally:
        target.close()


def read_snapshot(connection: apsw.Connection, path: Path, node_id: str) -> None:
    """Replaces all that is in the store by the snapshot's, in one transaction of the writer's connection."""
    snapshot = open_writer(path)
    try:
        snapshot.execute("UPDATE meta SET node_id = ? WHERE one = 1", (node_id,))
        snapshot.pragma("wal_checkpoint", "TRUNCATE")
        with connection.backup("main", snapshot, "main") as backup:
            backup.step(-1)
    finally:
        snapshot.close()
    connection.pragma("wal_checkpoint", "PASSIVE")
