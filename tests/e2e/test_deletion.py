"""What has ended is deleted, nobody misses it, and after a SIGKILL whoever asks again gets there."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import apsw
import pytest

from tempolite_sdk import Client, ExecutionStatus, FailedPrecondition, NotFound, Unavailable

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, until_status

HANDLERS = [f"deleting:{name}" for name in ("leaf", "family", "waits", "records", "hears")]
KILLING = (sys.executable, "-m", "tests.e2e.killing_daemon")
TABLES = ("executions", "operations", "attempts", "inbox", "outbox", "timers")


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def rows(daemon: Daemon) -> dict[str, int]:
    """Of each table, but for those that have none."""
    connection = apsw.Connection(str(daemon.directory / "data" / "store.db"), apsw.SQLITE_OPEN_READONLY)
    counts = {table: int(connection.execute(f"SELECT count(*) FROM {table}").get) for table in TABLES}
    connection.close()
    return {table: count for table, count in counts.items() if count}


def test_a_tree_is_deleted_with_all_that_is_in_it_and_its_id_is_free(daemon: Daemon, client: Client) -> None:
    client.options(id="f").enqueue("family", 120).result(PATIENCE_S)
    assert client.count() == 121

    assert client.delete("f") is True

    assert client.count() == 0
    assert rows(daemon) == {}
    with pytest.raises(NotFound):
        client.handle("f").result(1)
    assert client.delete("f") is False
    assert client.options(id="f").enqueue("leaf", 7).result(PATIENCE_S) == 7
    client.delete("f")


def test_what_goes_on_is_named_and_nothing_is_deleted(client: Client) -> None:
    client.options(id="open").enqueue("hears")
    until_status(client, "open", ExecutionStatus.WAITING)

    with pytest.raises(FailedPrecondition, match=r"can't be deleted before all of it has ended: open \(waiting\)"):
        client.delete("open")

    client.handle("open").send_signal("word", "x")
    assert client.handle("open").result(PATIENCE_S) == "x"
    assert client.delete("open")


def test_a_child_is_deleted_with_its_parent(client: Client) -> None:
    client.options(id="f").enqueue("family", 1).result(PATIENCE_S)
    [child] = client.list(parent="f")

    with pytest.raises(FailedPrecondition, match="is deleted with the one above it: delete f"):
        client.delete(child.id)

    assert client.delete("f")
    assert client.count() == 0


def test_all_runs_of_an_id_are_deleted_together(client: Client) -> None:
    client.options(id="r").enqueue("leaf", 1).result(PATIENCE_S)
    client.options(id="r", id_reuse="allow_duplicate").enqueue("hears")
    earlier = next(run.id for run in client.list() if run.id != "r")
    until_status(client, "r", ExecutionStatus.WAITING)
    for id in ("r", earlier):
        with pytest.raises(FailedPrecondition, match=r"r \(waiting\)"):
            client.delete(id)
    client.terminate("r")

    assert client.delete(earlier)

    assert client.count() == 0


def test_who_waited_for_it_and_goes_on_keeps_the_answer(daemon: Daemon, client: Client) -> None:
    client.options(id="other").enqueue("leaf", 42).result(PATIENCE_S)
    waiting = client.options(id="waits").enqueue("waits", "other")
    until_status(client, "waits", ExecutionStatus.WAITING)

    assert client.delete("other")
    daemon.kill()
    daemon.start()

    with daemon.client() as again:
        again.send_signal("waits", "go")
        assert again.handle("waits").result(PATIENCE_S) == 42
        again.delete(waiting.id)


def test_a_large_journal_goes_in_steps(daemon: Daemon, client: Client) -> None:
    client.options(id="large").enqueue("records", 600, 10).result(PATIENCE_S)

    assert client.delete("large")

    assert rows(daemon) == {}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 3, 4])
def test_a_node_that_dies_while_it_deletes_leaves_nothing_that_can_not_be_deleted(
    node: Start, moment: str, commit: int
) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        client.options(id="f").enqueue("family", 120).result(PATIENCE_S)
    daemon.stop()
    daemon.start(*KILLING, KILL_AT=f"{moment}:deletion:{commit}")

    with daemon.client(timeout=2.0) as client, pytest.raises(Unavailable):
        client.delete("f")
    daemon.wait()
    daemon.start()

    with daemon.client() as client:
        gone = moment == "after" and commit == 4
        assert client.delete("f") is not gone
        assert client.count() == 0
    assert rows(daemon) == {}
