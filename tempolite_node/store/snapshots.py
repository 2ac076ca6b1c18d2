"""The whole store in one file: made beside the writer, at one applied index, and put in the place of another node's."""

from __future__ import annotations

from pathlib import Path

import apsw

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import copy_pages, open_copy, open_writer, sync, sync_directory
from tempolite_node.store.readers import Readers
from tempolite_node.store.writer import StoreWriter


class StoreSnapshots:
    """What a log that several nodes share asks of the store of one."""

    def __init__(self, executions: StoreWriter, readers: Readers, node_id: str) -> None:
        self._executions = executions
        self._readers = readers
        self._node_id = node_id

    def sync(self) -> None:
        """Returns when all that was saved before is on disk. For any thread, but while a snapshot is installed."""
        sync(self._executions.path)

    def make(self, to: Path) -> int:
        """Copies the store as of its last commit to a new file, on disk when this returns; returns its applied index.

        For any thread: the writer goes on meanwhile. The copy belongs to no node.
        """
        with self._readers.connection() as source:
            source.execute("BEGIN")
            try:
                index = int(source.execute("SELECT applied_index FROM meta WHERE one = 1").get)
                _copy(source, to)
            finally:
                source.execute("ROLLBACK")
        return index

    def install(self, snapshot: Path) -> None:
        """Makes the file the store, whatever that is now. It must be on disk, whole and on the same file system.

        For the driver's thread; waits until nobody reads. There is no second copy: to write one takes the disk, which
        others sync to, as long as it took to receive the first. A crash at any line leaves one store or the other.

        StorageFailed: the file is no store, or of a later version, or another program reads the store. Nothing has
        changed.
        """
        _give_to(snapshot, self._node_id)
        with self._readers.away():
            path = self._executions.path
            self._executions.checkpoint()
            self._executions.close()
            _remove_wal(path)
            snapshot.replace(path)
            sync_directory(path.parent)
            self._executions.open(open_writer(path))


def _copy(source: apsw.Connection, to: Path) -> None:
    """One file, and nothing beside it. A copy that is not whole is no snapshot, so it needs no journal of its own."""
    target = open_copy(to)
    try:
        copy_pages(source, target, to)
        target.pragma("synchronous", "full")
        target.execute("UPDATE meta SET node_id = NULL WHERE one = 1")
    finally:
        target.close()


def _give_to(snapshot: Path, node_id: str) -> None:
    """Brings it to the schema of this version too, if it comes from an earlier one."""
    connection = open_writer(snapshot)
    try:
        connection.execute("UPDATE meta SET node_id = ? WHERE one = 1", (node_id,))
        if connection.changes() != 1:
            raise StorageFailed(f"{snapshot}: the snapshot is empty")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.close()


def _remove_wal(path: Path) -> None:
    """What another program has kept open. It would be read as that of whatever file has the store's name."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    sync_directory(path.parent)
