"""What is deleted leaves pages that hold nothing: they are given back, a few at a time or by compacting the store."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tempolite_node.engine.model import Status
from tempolite_node.engine.work import Work
from tempolite_node.store.database import open_writer
from tempolite_node.store.maintenance import compact, problems_of
from tempolite_node.store.writer import StoreWriter, claim_store

from .conftest import execution, put

LARGE = b"x" * 8_000
COUNT = 1_000


def filled(executions: StoreWriter) -> None:
    put(executions, *(execution(row, status=Status.COMPLETED, result=LARGE) for row in range(1, COUNT + 1)))


def delete_all(executions: StoreWriter) -> None:
    work = Work(executions)
    for row in range(1, COUNT + 1):
        work.delete(work.execution_at(row), lowest_epoch=0, until_ms=0)
    executions.save(work, executions.applied_index + 1)


def size(connection: apsw.Connection) -> int:
    connection.pragma("wal_checkpoint", "TRUNCATE")
    return Path(connection.filename).stat().st_size


def test_pages_that_hold_nothing_are_given_back_a_few_at_a_time(
    executions: StoreWriter, writer: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempolite_node.store.writer._FREE_PAGES_KEPT", 10)
    filled(executions)
    while executions.give_back():
        pass
    full = size(writer)
    delete_all(executions)
    assert size(writer) == full

    steps = 0
    while executions.give_back():
        steps += 1

    assert steps > COUNT * 2 // 64
    assert size(writer) < full / 20
    assert list(problems_of(Path(writer.filename))) == []


def test_a_store_of_an_earlier_version_shrinks_when_it_is_compacted_and_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    earlier = open_writer(path)
    claim_store(earlier, "node-1")
    earlier.pragma("auto_vacuum", "none")
    earlier.execute("VACUUM")
    executions = StoreWriter(earlier)
    filled(executions)
    delete_all(executions)
    assert not executions.give_back()
    full = size(earlier)
    earlier.close()

    before, after = compact(path)

    assert (before, path.stat().st_size) == (full, after)
    assert after < full / 20
    assert list(problems_of(path)) == []
    compacted = open_writer(path)
    assert compacted.pragma("auto_vacuum") == 2
    compacted.close()
