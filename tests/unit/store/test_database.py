"""A store's file: how it is made, and which files are refused and left as they are."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

import apsw
import pytest

from tempolite_node.engine.model import FINAL, Component, OperationKind, OperationStatus, Status
from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import open_reader, open_writer, schema
from tempolite_node.store.executions import Executions, register_start

SCHEMA = (files("tempolite_node.store") / "schema.sql").read_text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path) -> Path:
    """A store that was used and closed."""
    connection = open_writer(path)
    register_start(connection, "node-1")
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


def values_of(column: str, table: str) -> set[str]:
    """What the schema's CHECK allows in a column."""
    [body] = re.findall(rf"CREATE TABLE {table} \((.*?)\) STRICT", re.sub(r"--[^\n]*", "", SCHEMA), re.DOTALL)
    [allowed] = re.findall(rf"^\s*{column}\s[^\n]*CHECK \({column} IN \((.*?)\)\)", body, re.DOTALL | re.MULTILINE)
    return set(re.findall(r"'(\w+)'", allowed))


@pytest.mark.parametrize(
    ("table", "column", "members"),
    [
        ("executions", "status", set(Status)),
        ("executions", "component", {Component.HANDLER, Component.SAGA}),
        ("executions", "pool", {Component.HANDLER, Component.SAGA, Component.COMPENSATION}),
        ("operations", "kind", set(OperationKind)),
        ("operations", "status", set(OperationStatus)),
    ],
)
def test_the_states_in_the_schema_are_the_engines(table: str, column: str, members: set[StrEnum]) -> None:
    assert values_of(column, table) == {str(member) for member in members}


def test_what_is_final_in_the_schema_is_final_in_the_engine() -> None:
    [final] = re.findall(r"CHECK \(\(closed_ms IS NOT NULL\)\s+= \(status IN \((.*?)\)\)\)", SCHEMA, re.DOTALL)

    assert set(re.findall(r"'(\w+)'", final)) == {str(status) for status in FINAL}


# --- a new store


def test_a_new_store_is_for_its_user_alone(path: Path) -> None:
    open_writer(path)

    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_acknowledged_is_on_disk(path: Path) -> None:
    connection = open_writer(path)

    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2  # FULL


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()

    assert register_start(open_writer(path), "node-1") == 1


def test_a_reader_sees_what_is_committed_and_writes_nothing(store: Path) -> None:
    reader = open_reader(store)

    assert reader.execute("SELECT node_id FROM meta").get == "node-1"
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("UPDATE meta SET node_id = 'node-2'")


def test_each_start_of_a_node_is_counted(path: Path) -> None:
    for incarnation in (1, 2, 3):
        connection = open_writer(path)
        assert register_start(connection, "node-1") == incarnation
        connection.close()


def test_a_store_belongs_to_one_node(store: Path) -> None:
    connection = open_writer(store)

    with pytest.raises(ValueError, match="the store belongs to node 'node-1', not to 'node-2'"):
        register_start(connection, "node-2")

    assert register_start(connection, "node-1") == 2


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
        register_start(second, "node-1")

    first.execute("ROLLBACK")
    assert Executions(second).applied_index == 0
