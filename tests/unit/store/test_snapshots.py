"""Copies of a whole store: made beside the writer, and put in the place of another node's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import open_reader, open_writer
from tempolite_node.store.executions import Executions, claim_store
from tempolite_node.store.queries import Queries
from tempolite_node.store.snapshots import read_snapshot, write_snapshot

from .conftest import execution, put
from .test_nodes import node, put_nodes


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshot.db"


MakeStore = Callable[[str], tuple[apsw.Connection, Executions]]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """The store of a node of cluster `shop`."""

    def make(node_id: str) -> tuple[apsw.Connection, Executions]:
        connection = open_writer(tmp_path / f"{node_id}.db")
        claim_store(connection, node_id, "shop")
        return connection, Executions(connection)

    return make


def path_of(connection: apsw.Connection) -> Path:
    return Path(connection.filename)


def sound(path: Path) -> bool:
    connection = open_reader(path)
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")] == ["ok"]
    finally:
        connection.close()


# --- made


def test_a_snapshot_is_the_store_at_its_applied_index(make_store: MakeStore, snapshot: Path) -> None:
    connection, executions = make_store("node-1")
    put(executions, execution(1), execution(2))
    put_nodes(executions, node("node-1"), node("node-2"))

    index = write_snapshot(path_of(connection), snapshot)

    copy = Executions(open_writer(snapshot))
    assert index == copy.applied_index == 2
    assert copy.execution("order-2") == executions.execution("order-2")
    assert copy.nodes() == executions.nodes()
    assert copy.last_row() == 2


def test_a_snapshot_is_one_sound_file_that_belongs_to_no_node(make_store: MakeStore, snapshot: Path) -> None:
    connection, executions = make_store("node-1")
    put(executions, execution(1))

    write_snapshot(path_of(connection), snapshot)

    assert list(snapshot.parent.glob(f"{snapshot.name}*")) == [snapshot]
    assert sound(snapshot)
    assert open_reader(snapshot).execute("SELECT node_id, cluster FROM meta").fetchall() == [(None, "shop")]
    assert connection.execute("SELECT node_id FROM meta").get == "node-1"


def test_a_snapshot_is_for_its_user_alone(make_store: MakeStore, snapshot: Path) -> None:
    connection, _ = make_store("node-1")

    write_snapshot(path_of(connection), snapshot)

    assert snapshot.stat().st_mode & 0o777 == 0o600


def test_the_writer_goes_on_while_a_snapshot_is_made(make_store: MakeStore, snapshot: Path) -> None:
    connection, executions = make_store("node-1")
    put(executions, *[execution(row, arguments=b"x" * 2_000) for row in range(1, 500)])
    made: list[int] = []
    making = threading.Thread(target=lambda: made.append(write_snapshot(path_of(connection), snapshot)))

    making.start()
    row = 500
    while making.is_alive() or row == 500:
        put(executions, execution(row))
        row += 1
    making.join()

    copy = Executions(open_writer(snapshot))
    assert copy.applied_index == made[0] < executions.applied_index
    # One execution came with each index, after the first: of those after the snapshot's index it has none.
    assert copy.last_row() == 498 + made[0]
    assert copy.execution(f"order-{copy.last_row()}") is not None
    assert copy.execution(f"order-{copy.last_row() + 1}") is None
    assert sound(snapshot)


def test_a_batch_that_is_being_saved_is_not_in_the_snapshot(make_store: MakeStore, snapshot: Path) -> None:
    connection, executions = make_store("node-1")
    put(executions, execution(1))
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE meta SET applied_index = 99")

    index = write_snapshot(path_of(connection), snapshot)

    connection.execute("ROLLBACK")
    assert index == 1


# --- put in the place of another store


def test_a_store_that_takes_a_snapshot_is_what_the_other_one_was_and_still_its_nodes(
    make_store: MakeStore, snapshot: Path
) -> None:
    ahead, of_ahead = make_store("node-1")
    put(of_ahead, execution(1), execution(2))
    put_nodes(of_ahead, node("node-1"), node("node-2"))
    behind, of_behind = make_store("node-2")
    put(of_behind, execution(7))
    write_snapshot(path_of(ahead), snapshot)

    read_snapshot(behind, snapshot, "node-2")
    of_behind.reload()

    assert (of_behind.applied_index, of_behind.last_row()) == (2, 2)
    assert of_behind.execution("order-7") is None
    assert of_behind.execution("order-2") == execution(2)
    assert of_behind.nodes() == of_ahead.nodes()
    assert of_behind.open_by_owner() == of_ahead.open_by_owner()
    claim_store(behind, "node-2", "shop")
    with pytest.raises(ValueError, match="the store belongs to node 'node-2'"):
        claim_store(behind, "node-1", "shop")


def test_a_store_that_took_a_snapshot_is_on_disk_and_sound(make_store: MakeStore, snapshot: Path) -> None:
    ahead, of_ahead = make_store("node-1")
    put(of_ahead, *[execution(row, arguments=b"x" * 5_000) for row in range(1, 200)])
    behind, _ = make_store("node-2")
    write_snapshot(path_of(ahead), snapshot)
    path = path_of(behind)

    read_snapshot(behind, snapshot, "node-2")
    behind.close()

    again = open_writer(path)
    assert sound(path)
    assert Executions(again).last_row() == 199
    assert again.pragma("journal_mode") == "wal"


def test_the_store_can_be_written_after_it_took_a_snapshot(make_store: MakeStore, snapshot: Path) -> None:
    ahead, of_ahead = make_store("node-1")
    put(of_ahead, execution(1))
    behind, of_behind = make_store("node-2")
    write_snapshot(path_of(ahead), snapshot)
    read_snapshot(behind, snapshot, "node-2")
    of_behind.reload()

    put(of_behind, execution(2))

    assert Queries(open_reader(path_of(behind))).execution("order-2") == execution(2)
    assert of_behind.applied_index == 2


def test_a_reader_keeps_what_it_reads_until_it_is_done_and_then_sees_all_of_the_snapshot(
    make_store: MakeStore, snapshot: Path
) -> None:
    ahead, of_ahead = make_store("node-1")
    put(of_ahead, *[execution(row) for row in range(1, 300)])
    behind, of_behind = make_store("node-2")
    put(of_behind, execution(1, id="old"))
    reader = open_reader(path_of(behind))
    queries = Queries(reader)
    write_snapshot(path_of(ahead), snapshot)
    reader.execute("BEGIN")
    assert queries.execution("old") is not None

    read_snapshot(behind, snapshot, "node-2")

    assert queries.execution("old") is not None
    assert queries.execution("order-299") is None
    reader.execute("COMMIT")
    assert queries.execution("old") is None
    assert queries.execution("order-299") is not None


def test_a_file_that_is_no_store_is_not_taken_for_a_snapshot(make_store: MakeStore, snapshot: Path) -> None:
    connection, executions = make_store("node-1")
    put(executions, execution(1))
    snapshot.write_text("Dear diary, today the node refused me. " * 100)

    with pytest.raises(StorageFailed):
        read_snapshot(connection, snapshot, "node-1")

    executions.reload()
    assert executions.execution("order-1") == execution(1)


def test_a_damaged_snapshot_leaves_the_store_as_it_was(make_store: MakeStore, snapshot: Path) -> None:
    ahead, of_ahead = make_store("node-1")
    put(of_ahead, *[execution(row, arguments=b"x" * 2_000) for row in range(1, 200)])
    write_snapshot(path_of(ahead), snapshot)
    pages = bytearray(snapshot.read_bytes())
    pages[len(pages) // 2] ^= 0xFF
    snapshot.write_bytes(pages)
    behind, of_behind = make_store("node-2")
    put(of_behind, execution(7))

    with pytest.raises(apsw.IOError):
        read_snapshot(behind, snapshot, "node-2")

    of_behind.reload()
    assert of_behind.execution("order-7") == execution(7)
    assert sound(path_of(behind))
