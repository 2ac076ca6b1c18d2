"""Copies of a whole store: made beside the writer, and put in the place of another node's."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import apsw
import pytest

from tempolite_node.errors import StorageFailed
from tempolite_node.store.database import open_reader, open_writer
from tempolite_node.store.queries import Queries
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import StoreSnapshots
from tempolite_node.store.writer import StoreWriter, claim_store

from .conftest import execution, put
from .test_nodes import node, put_nodes


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return tmp_path / "snapshot.db"


class NodeStore:
    """The store of a node of cluster `shop`."""

    def __init__(self, directory: Path, node_id: str) -> None:
        self.path = directory / f"{node_id}.db"
        connection = open_writer(self.path)
        claim_store(connection, node_id, "shop")
        self.executions = StoreWriter(connection)
        self.readers = Readers(self.path)
        self.snapshots = StoreSnapshots(self.executions, self.readers, node_id)

    def reopened(self) -> StoreWriter:
        self.close()
        self.executions = StoreWriter(open_writer(self.path))
        return self.executions

    def close(self) -> None:
        self.readers.close()
        self.executions.close()


MakeStore = Callable[[str], NodeStore]


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[MakeStore]:
    made: list[NodeStore] = []

    def make(node_id: str) -> NodeStore:
        made.append(NodeStore(tmp_path, node_id))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def ahead(make_store: MakeStore) -> NodeStore:
    store = make_store("node-1")
    put(store.executions, *[execution(row, arguments=b"x" * 2_000) for row in range(1, 300)])
    return store


@pytest.fixture
def behind(make_store: MakeStore) -> NodeStore:
    store = make_store("node-2")
    put(store.executions, execution(7, id="old"))
    return store


def sound(path: Path) -> bool:
    with closing(open_reader(path)) as connection:
        return [row[0] for row in connection.execute("PRAGMA integrity_check")] == ["ok"]


@contextmanager
def another_program(path: Path, *statements: str) -> Iterator[None]:
    """SQLite's own shell, as it were: it has the store open, and has said this to it."""
    program = f"""
import apsw, sys
connection = apsw.Connection({str(path)!r}, apsw.SQLITE_OPEN_READWRITE)
for statement in {statements!r}:
    connection.execute(statement).fetchall()
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        assert process.stdin is not None
        process.stdin.close()


# --- made


def test_a_snapshot_is_the_store_at_its_applied_index(make_store: MakeStore, snapshot: Path) -> None:
    store = make_store("node-1")
    put(store.executions, execution(1), execution(2))
    put_nodes(store.executions, node("node-1"), node("node-2"))

    index = store.snapshots.make(snapshot)

    copy = StoreWriter(open_writer(snapshot))
    assert index == copy.applied_index == 2
    assert copy.execution("order-2") == store.executions.execution("order-2")
    assert copy.nodes() == store.executions.nodes()
    assert copy.last_row() == 2


def test_a_snapshot_is_one_sound_file_that_belongs_to_no_node(ahead: NodeStore, snapshot: Path) -> None:
    ahead.snapshots.make(snapshot)

    assert list(snapshot.parent.glob(f"{snapshot.name}*")) == [snapshot]
    assert sound(snapshot)
    assert open_reader(snapshot).execute("SELECT node_id, cluster FROM meta").fetchall() == [(None, "shop")]
    assert open_reader(ahead.path).execute("SELECT node_id FROM meta").get == "node-1"


def test_a_snapshot_is_for_its_user_alone(ahead: NodeStore, snapshot: Path) -> None:
    ahead.snapshots.make(snapshot)

    assert snapshot.stat().st_mode & 0o777 == 0o600


def test_the_writer_goes_on_while_a_snapshot_is_made(make_store: MakeStore, snapshot: Path) -> None:
    store = make_store("node-1")
    put(store.executions, *[execution(row, arguments=b"x" * 2_000) for row in range(1, 500)])
    made: list[int] = []
    making = threading.Thread(target=lambda: made.append(store.snapshots.make(snapshot)))

    making.start()
    row = 500
    while making.is_alive() or row == 500:
        put(store.executions, execution(row))
        row += 1
    making.join()

    copy = StoreWriter(open_writer(snapshot))
    assert copy.applied_index == made[0] < store.executions.applied_index
    # One execution came with each index, after the first: of those after the snapshot's index it has none.
    assert copy.last_row() == 498 + made[0]
    assert copy.execution(f"order-{copy.last_row()}") is not None
    assert copy.execution(f"order-{copy.last_row() + 1}") is None
    assert sound(snapshot)


def test_a_batch_that_is_being_saved_is_not_in_the_snapshot(ahead: NodeStore, snapshot: Path) -> None:
    writing = apsw.Connection(str(ahead.path))
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("UPDATE meta SET applied_index = 99")

    assert ahead.snapshots.make(snapshot) == 1

    writing.execute("ROLLBACK")


# --- put in the place of another store


def test_a_store_that_takes_a_snapshot_is_what_the_other_one_was_and_still_its_nodes(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    put_nodes(ahead.executions, node("node-1"), node("node-2"))
    ahead.snapshots.make(snapshot)

    behind.snapshots.install(snapshot)

    taken = behind.executions
    assert (taken.applied_index, taken.last_row()) == (2, 299)
    assert taken.execution("old") is None
    assert taken.execution("order-2") == ahead.executions.execution("order-2")
    assert taken.nodes() == ahead.executions.nodes()
    assert taken.open_by_owner() == ahead.executions.open_by_owner()
    behind.close()
    connection = open_writer(behind.path)
    claim_store(connection, "node-2", "shop")
    with pytest.raises(ValueError, match="the store belongs to node 'node-2'"):
        claim_store(connection, "node-1", "shop")


def test_a_snapshot_becomes_the_store_itself_and_nothing_of_either_is_left(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    ahead.snapshots.make(snapshot)
    file = snapshot.stat().st_ino

    behind.snapshots.install(snapshot)

    assert behind.path.stat().st_ino == file, "it was copied"
    assert not snapshot.exists()
    assert behind.reopened().last_row() == 299
    assert sound(behind.path)
    assert behind.path.stat().st_mode & 0o777 == 0o600


def test_the_store_can_be_written_after_it_took_a_snapshot(ahead: NodeStore, behind: NodeStore, snapshot: Path) -> None:
    ahead.snapshots.make(snapshot)
    behind.snapshots.install(snapshot)

    put(behind.executions, execution(300))

    assert Queries(open_reader(behind.path)).execution("order-300") == execution(300)
    assert behind.executions.applied_index == 2
    assert behind.reopened().execution("order-300") == execution(300)


async def test_who_read_before_sees_all_of_the_snapshot_after(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    ahead.snapshots.make(snapshot)
    assert await behind.readers.read(lambda queries: queries.execution("old")) is not None

    behind.snapshots.install(snapshot)

    assert await behind.readers.read(lambda queries: queries.execution("old")) is None
    assert await behind.readers.read(lambda queries: queries.execution("order-299")) is not None


async def test_a_reader_ends_what_it_reads_before_the_store_is_replaced(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    ahead.snapshots.make(snapshot)
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def read(queries: Queries) -> None:
        seen.append(queries.execution("old"))
        begun.set()
        go_on.wait()
        seen.append(queries.execution("old"))

    reading = asyncio.ensure_future(behind.readers.read(read))
    await asyncio.get_running_loop().run_in_executor(None, begun.wait)
    installing = asyncio.get_running_loop().run_in_executor(None, behind.snapshots.install, snapshot)
    behind_it = asyncio.ensure_future(behind.readers.read(lambda queries: queries.execution("order-299")))
    await asyncio.wait([installing], timeout=0.1)
    assert not installing.done(), "it did not wait"
    go_on.set()
    await asyncio.gather(reading, installing)

    assert None not in seen
    await behind_it
    assert await behind.readers.read(lambda queries: queries.execution("order-299")) is not None


def test_another_program_that_has_the_store_open_does_no_harm_to_the_one_in_its_place(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    ahead.snapshots.make(snapshot)

    with another_program(behind.path, "SELECT * FROM meta"):
        behind.snapshots.install(snapshot)
        put(behind.executions, execution(300))

    put(behind.executions, execution(301))
    assert {behind.executions.execution(f"order-{row}").row for row in (300, 301)} == {300, 301}  # type: ignore
    assert behind.reopened().last_row() == 301
    assert sound(behind.path)


def test_a_store_that_another_program_reads_is_not_replaced(
    ahead: NodeStore, behind: NodeStore, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.snapshots.make(snapshot)
    monkeypatch.setattr("tempolite_node.store.busy.WAIT_S", 0.0)

    with another_program(behind.path, "BEGIN", "SELECT * FROM meta"):
        put(behind.executions, execution(8))
        with pytest.raises(StorageFailed, match=r"another program reads the store, .* end it and start the node again"):
            behind.snapshots.install(snapshot)

    assert behind.reopened().execution("old") is not None
    assert behind.executions.execution("order-8") is not None


@pytest.mark.parametrize("content", [b"", b"Dear diary, today the node refused me. " * 100], ids=["empty", "no store"])
def test_a_file_that_is_no_store_is_not_taken_for_a_snapshot(behind: NodeStore, snapshot: Path, content: bytes) -> None:
    snapshot.write_bytes(content)

    with pytest.raises(StorageFailed, match=r"snapshot\.db"):
        behind.snapshots.install(snapshot)

    assert behind.executions.execution("old") is not None
    assert behind.reopened().execution("old") is not None


def test_a_snapshot_of_a_later_schema_is_refused_and_the_store_is_as_it_was(
    ahead: NodeStore, behind: NodeStore, snapshot: Path
) -> None:
    ahead.snapshots.make(snapshot)
    later = apsw.Connection(str(snapshot))
    later.pragma("user_version", 99)
    later.close()

    with pytest.raises(StorageFailed, match=r"the store has schema 99, this version knows up to \d+: upgrade"):
        behind.snapshots.install(snapshot)

    assert behind.reopened().execution("old") is not None


# --- a process that dies in the middle of it

_INSTALLS = """
import os, signal, sys
from pathlib import Path
from tempolite_node.store.database import open_writer
from tempolite_node.store.writer import StoreWriter
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import StoreSnapshots

store, snapshot, left = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def die(event, arguments):
    global left
    if event in ("open", "os.remove", "os.rename") and str(store.parent) in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

connection = open_writer(store)
connection.execute("UPDATE meta SET last_row = 8")  # and it is in the WAL alone
snapshots = StoreSnapshots(StoreWriter(connection), Readers(store), "node-2")
sys.addaudithook(die)
snapshots.install(snapshot)
"""


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "another program has the store open"])
def test_a_crash_at_any_step_of_it_leaves_one_store_or_the_other(
    ahead: NodeStore, behind: NodeStore, snapshot: Path, tmp_path: Path, watched: bool
) -> None:
    ahead.snapshots.make(snapshot)
    behind.close()
    left: list[str] = []
    for step in range(1, 20):
        home = tmp_path / str(step)
        home.mkdir()
        store, taken = Path(shutil.copy(behind.path, home)), Path(shutil.copy(snapshot, home))
        with another_program(store, "SELECT * FROM meta") if watched else nullcontext():
            installs = subprocess.run([sys.executable, "-c", _INSTALLS, store, taken, str(step)])
        connection = open_writer(store)
        claim_store(connection, "node-2", "shop")
        found = StoreWriter(connection)
        old, new = found.execution("old"), found.execution("order-299")
        assert (old is None) != (new is None)
        assert found.last_row() == (8 if old else 299)
        found.close()
        assert sound(store)
        left.append("old" if old else "new")
        if installs.returncode == 0:
            break

    assert installs.returncode == 0, "it did not come to the end"
    assert left.count("old") >= 3
    assert left.count("new") >= 2
    assert left == sorted(left, reverse=True), "the new store was gone again"


def test_a_store_is_synced_from_another_thread_while_its_writer_is_busy(make_store: MakeStore) -> None:
    store = make_store("node-1")
    connection = apsw.Connection(str(store.path))
    store.executions.open(connection)
    failed: list[BaseException] = []

    def sync() -> None:
        try:
            store.snapshots.sync()
        except BaseException as error:
            failed.append(error)

    def in_the_middle(*_: object) -> bool:
        other = threading.Thread(target=sync)
        other.start()
        other.join()
        return True

    connection.exec_trace = in_the_middle
    connection.execute("UPDATE meta SET last_row = 8")
    connection.exec_trace = None

    assert failed == []
