"""A statement over many rows does the same as over one after the other, however many there are."""

from __future__ import annotations

import apsw
import pytest

from tempolite_node.engine.model import Status, Timer
from tempolite_node.engine.work import Work
from tempolite_node.store.statement import Statement
from tempolite_node.store.writer import StoreWriter

from .conftest import NOW_MS, execution, put

COUNTS = (0, 1, 7, 8, 9, 31, 32, 33, 75)


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_is_written_once_whatever_their_number(count: int) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE pairs (one, other)")
    rows = [(number, f"n{number}") for number in range(count)]

    Statement("INSERT INTO pairs VALUES {rows}", 2).run(connection, rows)

    assert connection.execute("SELECT * FROM pairs ORDER BY one").fetchall() == rows


@pytest.mark.parametrize("count", COUNTS)
def test_each_changed_row_is_saved_as_its_own_value_says(
    executions: StoreWriter, writer: apsw.Connection, count: int
) -> None:
    put(executions, *(execution(row) for row in range(1, count + 4)))
    changed = [execution(row, status=Status.RUNNING, attached=True, attempt=row) for row in range(1, count + 1)]

    put(executions, *changed)

    executions = StoreWriter(writer)
    assert [executions.execution_at(row) for row in range(1, count + 1)] == changed
    assert executions.execution_at(count + 1) == execution(count + 1)


@pytest.mark.parametrize("count", COUNTS)
def test_the_timers_that_are_cleared_go_and_the_others_stay(executions: StoreWriter, count: int) -> None:
    put(executions, *(execution(row) for row in range(1, count + 3)))
    work = Work(executions)
    for row in range(1, count + 3):
        work.set_timer(row, "start", NOW_MS)
        work.set_timer(row, "deadline", NOW_MS)
    executions.save(work, 2)
    work = Work(executions)
    for row in range(1, count + 1):
        work.clear_timers(row)
    work.clear_timer(count + 1, "start")

    executions.save(work, 3)

    last = [Timer(execution_row=count + 2, name=name, due_ms=NOW_MS) for name in ("deadline", "start")]
    left = [timer for _, timer in executions.due_timers(NOW_MS, 1_000)]
    assert sorted(left, key=lambda timer: (timer.execution_row, timer.name)) == [
        Timer(execution_row=count + 1, name="deadline", due_ms=NOW_MS),
        *last,
    ]
