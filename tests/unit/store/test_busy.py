"""Another program holds the store's lock."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from tempolite_node.store.busy import WAIT_S, BusyHandler
from tempolite_node.store.database import explained, open_writer
from tempolite_node.store.writer import claim_store


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def waited_s(handler: BusyHandler, clock: Clock, *, until_s: float) -> float:
    """How long it waits for a lock that is let go after so long."""
    start_s, tries = clock.now_s, 0
    while clock.now_s - start_s < until_s and handler(tries):
        tries += 1
    return clock.now_s - start_s


def test_a_lock_that_is_let_go_soon_is_waited_for_without_a_word() -> None:
    clock = Clock()
    handler = BusyHandler(Path("store.db"), clock_s=clock, sleep=clock.sleep)

    with capture_logs() as lines:
        assert waited_s(handler, clock, until_s=0.9) == pytest.approx(0.9, abs=0.05)

    assert lines == []


def test_a_lock_that_is_held_for_long_is_warned_of_once_each_time() -> None:
    clock = Clock()
    handler = BusyHandler(Path("store.db"), clock_s=clock, sleep=clock.sleep)

    with capture_logs() as lines:
        for _ in range(2):
            waited_s(handler, clock, until_s=8)

    assert [line["log_level"] for line in lines] == ["warning"] * 2
    assert "another program holds a lock of the store" in lines[0]["event"]


def test_a_lock_that_is_never_let_go_is_given_up() -> None:
    clock = Clock()
    handler = BusyHandler(Path("store.db"), clock_s=clock, sleep=clock.sleep)

    assert waited_s(handler, clock, until_s=float("inf")) == pytest.approx(WAIT_S, abs=0.1)
    assert "another program has held its lock for 60 s" in explained(apsw.BusyError("database is locked"))


class Holder:
    """Another program's connection, which lets go when this node has found the lock taken so often."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, *, finds: int) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.execute("BEGIN IMMEDIATE")
        self.found_taken = 0
        self._finds = finds
        call = BusyHandler.__call__

        def counted(handler: BusyHandler, tries: int) -> bool:
            self.found_taken += 1
            if self.found_taken == self._finds:
                self._connection.execute("ROLLBACK")
            return call(handler, tries)

        monkeypatch.setattr(BusyHandler, "__call__", counted)


def test_what_is_saved_meanwhile_is_saved_when_the_lock_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    connection = open_writer(path)
    holder = Holder(path, monkeypatch, finds=3)

    claim_store(connection, "n1")

    assert holder.found_taken == 3
    assert connection.execute("SELECT node_id FROM meta").get == "n1"


def test_what_can_not_be_saved_in_time_is_an_error_and_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    connection = open_writer(path)
    holder = Holder(path, monkeypatch, finds=-1)
    monkeypatch.setattr("tempolite_node.store.busy.WAIT_S", 0.0)

    with pytest.raises(apsw.BusyError):
        claim_store(connection, "n1")

    assert holder.found_taken == 1
    assert connection.execute("SELECT count(*) FROM meta").get == 0
