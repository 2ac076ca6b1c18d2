"""A store's file: how it is made, and which files are refused and left as they are."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from tempolite_node.engine.commands import RegisterNode
from tempolite_node.engine.decide import decide
from tempolite_node.engine.model import FINAL, Status
from tempolite_node.engine.work import Work
from tempolite_node.errors import StorageFailed
from tempolite_node.store import database
from tempolite_node.store.database import APPLICATION_ID, open_reader, open_writer, schema, sync
from tempolite_node.store.rows import EXECUTIONS
from tempolite_node.store.writer import StoreWriter, claim_store
from tempolite_node.system import sync_file

from .conftest import NOW_MS, execution

SCHEMA = (files("tempolite_node.store") / "schema.sql").read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Path:
    """A store that was used and closed."""
    connection = open_writer(path)
    claim_store(connection, "node-1")
    connection.close()
    return path


def altered(path: Path, *statements: str) -> bytes:
    """Changes the file behind the node's back; returns what it holds now."""
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path.read_bytes()


def refused(path: Path) -> str:
    """Why the file can't be opened. Whoever opened it lets go of it."""
    with pytest.raises(StorageFailed) as caught:
        open_writer(path)
    assert not path.with_name(f"{path.name}-wal").exists()
    return str(caught.value)


# --- the schema


def test_the_migrations_end_in_exactly_the_schema(path: Path) -> None:
    expected = apsw.Connection(":memory:")
    expected.execute(SCHEMA)

    assert schema(open_writer(path)) == schema(expected)


def test_a_comment_or_a_line_break_is_no_other_schema() -> None:
    one, other = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    one.execute("CREATE TABLE t (a TEXT) STRICT")
    other.execute("CREATE TABLE t (\n    a TEXT  -- the first\n) STRICT")

    assert schema(one) == schema(other)


def test_what_is_final_in_the_schema_is_final_in_the_engine() -> None:
    [final] = re.findall(r"CHECK \(\(closed_ms IS NOT NULL\)\s+= \((.*?)\)\)", SCHEMA, re.DOTALL)

    assert set(re.findall(r"status = '(\w+)'", final)) == {str(status) for status in FINAL}


# --- a new store


def test_a_new_store_is_for_its_user_alone(path: Path) -> None:
    open_writer(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_commit_does_not_wait_for_the_disk_and_keeps_the_store_whole_if_the_power_goes(path: Path) -> None:
    connection = open_writer(path)

    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 1  # NORMAL


def test_a_sync_has_the_disk_keep_the_wal_that_the_commits_are_in(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = open_writer(path)
    claim_store(connection, "node-1")
    synced: list[os.stat_result] = []

    def note(file: int) -> None:
        synced.append(os.fstat(file))
        sync_file(file)

    monkeypatch.setattr(database, "sync_file", note)
    sync(path)

    (wal,) = synced
    assert os.path.samestat(wal, Path(connection.filename_wal).stat())
    assert wal.st_size > 0


def test_a_store_that_can_not_be_synced_says_so(path: Path) -> None:
    with pytest.raises(StorageFailed, match=r"store\.db: the store can't be synced: No such file"):
        sync(path)


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()

    claim_store(open_writer(path), "node-1")

    assert open_reader(path).execute("SELECT node_id FROM meta").get == "node-1"


def test_a_reader_sees_what_is_committed_and_writes_nothing(store: Path) -> None:
    reader = open_reader(store)

    assert reader.execute("SELECT node_id FROM meta").get == "node-1"
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("UPDATE meta SET node_id = 'node-2'")


def test_a_store_belongs_to_one_node(store: Path) -> None:
    connection = open_writer(store)

    with pytest.raises(ValueError, match="the store belongs to node 'node-1', not to 'node-2'"):
        claim_store(connection, "node-2")

    claim_store(connection, "node-1")


def test_a_store_belongs_to_one_log(path: Path) -> None:
    connection = open_writer(path)
    claim_store(connection, "node-1", "shop")

    with pytest.raises(ValueError, match="by a node of cluster 'shop', and this is a node of cluster 'bank'"):
        claim_store(connection, "node-1", "bank")
    with pytest.raises(ValueError, match="by a node of cluster 'shop', and this is a node that is alone"):
        claim_store(connection, "node-1")

    claim_store(connection, "node-1", "shop")


def test_the_store_of_a_node_that_was_alone_can_not_join_a_cluster(store: Path) -> None:
    connection = open_writer(store)

    with pytest.raises(ValueError, match="by a node that is alone, and this is a node of cluster 'shop'"):
        claim_store(connection, "node-1", "shop")

    assert connection.execute("SELECT cluster FROM meta").get is None


def test_a_snapshots_store_is_any_nodes_of_its_cluster(path: Path) -> None:
    connection = open_writer(path)
    claim_store(connection, "node-1", "shop")
    connection.execute("UPDATE meta SET node_id = NULL, applied_index = 7")

    with pytest.raises(ValueError, match="by a node of cluster 'shop'"):
        claim_store(connection, "node-2", "bank")
    claim_store(connection, "node-2", "shop")

    assert connection.execute("SELECT node_id, applied_index FROM meta").fetchall() == [("node-2", 7)]


# --- a store of an earlier version


def first_version(path: Path, *statements: str) -> Path:
    """A store as the first version made it, with what the statements put into it."""
    connection = apsw.Connection(str(path))
    connection.execute((files("tempolite_node.store") / "migrations" / "0001_initial.sql").read_text())
    for statement in statements:
        connection.execute(statement)
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", 1)
    connection.close()
    return path


RUNNING = execution(1, status=Status.RUNNING, attached=True, epoch=3, attempt=1)


@pytest.fixture
def of_first_version(path: Path) -> Path:
    """A store of node-1, at index 41, after its fifth start; it runs an execution."""
    meta = "INSERT INTO meta (one, applied_index, last_row, incarnation, node_id) VALUES (1, 41, 1, 5, 'node-1')"
    first_version(path, meta)
    connection = apsw.Connection(str(path))
    columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(executions)")]
    values = dict(zip(RUNNING.__struct_fields__, EXECUTIONS._inserted(RUNNING), strict=True))
    sql = f"INSERT INTO executions ({', '.join(columns)}) VALUES ({', '.join(f':{column}' for column in columns)})"
    connection.execute(sql, values)
    connection.close()
    return path


def test_what_an_earlier_version_stored_is_kept_when_its_store_is_brought_up_to_date(
    of_first_version: Path,
) -> None:
    connection = open_writer(of_first_version)
    claim_store(connection, "node-1")

    executions = StoreWriter(connection)
    assert (executions.applied_index, executions.last_row()) == (41, 1)
    assert executions.execution("order-1") == RUNNING
    assert executions.counts() == {(RUNNING.component, Status.RUNNING): 1}
    assert (executions.nodes()["node-1"].incarnation, executions.nodes()["node-1"].boot_id) == (5, "")
    assert connection.pragma("integrity_check") == "ok"
    with pytest.raises(apsw.ConstraintError):
        connection.execute("UPDATE executions SET status = 'completed'")  # without the time of its end


def test_signals_that_an_earlier_version_received_are_in_line_as_they_were(of_first_version: Path) -> None:
    received = "INSERT INTO inbox (execution_row, seq, name, payload, at_ms, consumed) VALUES"
    altered(of_first_version, f"{received} (1, 1, 'go', x'', 7, 1)", f"{received} (1, 2, 'go', x'35', 8, 0)")

    connection = open_writer(of_first_version)
    claim_store(connection, "node-1")

    executions = StoreWriter(connection)
    [waiting] = executions.signals_in_line(1, "go", 9)
    assert (waiting.seq, waiting.payload, waiting.sender, waiting.set_aside) == (2, b"5", "", None)
    assert executions.execution_at(1).format == 1  # type: ignore[union-attr]
    with pytest.raises(apsw.ConstraintError):
        connection.execute("UPDATE inbox SET consumed = 1, set_aside = 'unreadable'")  # it is one or the other


def test_what_a_node_of_an_earlier_version_ran_is_queued_again_when_it_starts(
    of_first_version: Path,
) -> None:
    connection = open_writer(of_first_version)
    claim_store(connection, "node-1")
    work = Work(StoreWriter(connection))

    decide(work, RegisterNode(at_ms=NOW_MS, node_id="node-1", boot_id="r", handlers=(), slots={}))

    assert work.execution_at(1).status is Status.QUEUED
    started = work.node("node-1")
    assert started is not None
    assert started.incarnation == 6


def test_a_store_of_the_first_version_that_was_never_started_has_no_nodes(path: Path) -> None:
    first_version(path)

    connection = open_writer(path)
    claim_store(connection, "node-1", "shop")

    assert StoreWriter(connection).nodes() == {}


# --- files that are refused


def test_a_text_file_is_no_store(path: Path) -> None:
    path.write_text("Dear diary, today the node refused me. " * 100)

    assert "file is not a database" in refused(path)

    assert path.read_text().startswith("Dear diary")


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_database_of_something_else_is_refused_and_left_as_it_is(path: Path, journal_mode: str) -> None:
    before = altered(path, f"PRAGMA journal_mode = {journal_mode}", "CREATE TABLE songs (title TEXT)")

    assert refused(path).endswith("store.db: this is an SQLite file, but not a store of Tempolite Node")

    assert path.read_bytes() == before


def test_a_database_with_a_version_of_something_else_is_refused(path: Path) -> None:
    before = altered(path, "CREATE TABLE songs (title TEXT)", "PRAGMA user_version = 1")

    assert "not a store of Tempolite Node" in refused(path)

    assert path.read_bytes() == before


def test_a_store_of_a_later_version_is_refused_and_left_as_it_is(store: Path) -> None:
    before = altered(store, "PRAGMA user_version = 99")

    assert "the store has schema 99, this version knows up to" in refused(store)

    assert store.read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE mine (a TEXT)",
        "DROP INDEX executions_by_status",
        "ALTER TABLE timers ADD COLUMN note TEXT",
        "CREATE VIEW open AS SELECT id FROM executions WHERE closed_ms IS NULL",
        "CREATE TRIGGER louder AFTER INSERT ON executions BEGIN SELECT 1; END",
    ],
)
def test_a_store_whose_schema_was_changed_by_hand_is_refused_and_left_as_it_is(store: Path, change: str) -> None:
    before = altered(store, change)

    assert "was it changed by hand?" in refused(store)

    assert store.read_bytes() == before


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="can't be opened"):
        open_writer(tmp_path)


def test_without_a_directory_there_can_be_no_store(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="can't be opened"):
        open_writer(tmp_path / "nowhere" / "store.db")


@pytest.fixture
def of_nobody() -> Iterator[Path]:
    """A directory of a user without rights, who runs the test: root may write anywhere."""
    is_root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as directory:
        open_writer(Path(directory, "store.db")).close()
        if is_root:
            for name in (directory, f"{directory}/store.db"):
                os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(directory)
        finally:
            if is_root:
                os.seteuid(0)
            os.chmod(directory, 0o700)


def test_a_store_that_can_only_be_read_is_refused_and_left_as_it_is(of_nobody: Path) -> None:
    path = of_nobody / "store.db"
    path.chmod(0o400)
    before = path.read_bytes()

    assert "the store can only be read, and must be written" in refused(path)

    assert path.read_bytes() == before


def test_a_store_in_a_directory_that_can_not_be_written_is_refused(of_nobody: Path) -> None:
    of_nobody.chmod(0o500)

    assert "the store can't be opened" in refused(of_nobody / "store.db")
    assert "the store can't be opened" in refused(of_nobody / "another.db")


def test_two_nodes_can_not_write_one_store_at_once(store: Path) -> None:
    first, second = open_writer(store), open_writer(store)
    second.set_busy_timeout(0)
    first.execute("BEGIN IMMEDIATE")

    with pytest.raises(apsw.BusyError):
        claim_store(second, "node-1")

    first.execute("ROLLBACK")
    assert StoreWriter(second).applied_index == 0
