"""What the store keeps in memory is bounded by the bytes of all that it holds, whatever of it is large."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tempolite_node.engine import sizes
from tempolite_node.engine.model import Failure, Operation, OperationKind, OperationStatus, Status
from tempolite_node.engine.work import Work
from tempolite_node.store.journals import Journals
from tempolite_node.store.writer import StoreWriter

from .conftest import NOW_MS, execution

MOST = 1024**2


def operation(row: int, number: int, **fields: object) -> Operation:
    made = Operation(
        execution_row=row,
        kind=OperationKind.SIDE_EFFECT,
        key=f"k{number}",
        seq=number,
        status=OperationStatus.COMPLETED,
        started_ms=NOW_MS,
    )
    return replace(made, **fields)


LARGE = {
    "result": {"result": b"x" * 50_000},
    "input": {"input": b"x" * 50_000},
    "failure": {"failure": Failure(type="E", cause=Failure(type="E", traceback="x" * 50_000))},
    "target": {"target": "x" * 50_000},
    "key": {"key": "x" * 50_000},
}


@pytest.mark.parametrize("large", LARGE)
def test_journals_are_kept_up_to_their_bytes(large: str) -> None:
    journals = Journals(bytes_max=MOST)
    for row in range(1, 101):
        journals.open(row)
        for number in range(3):
            made = operation(row, number, **LARGE[large])
            journals.update(row, {(made.kind, made.key): made})
            known = [journals.by_row.get(each) or {} for each in range(1, row + 1)]
            held = sum(sizes.of_operation(op) for journal in known for op in journal.values())
            assert journals.bytes == held <= MOST

    assert journals.by_row.get(100) is not None


def test_one_large_journal_leaves_the_others_in_peace() -> None:
    journals = Journals()
    journals.open(1)
    journals.open(2)

    made = operation(2, 1, result=b"x" * 2 * 1024**2)
    journals.update(2, {(made.kind, made.key): made})

    assert (journals.by_row.get(1), journals.by_row.get(2), journals.bytes) == ({}, None, 0)


def test_a_journal_that_is_closed_leaves_nothing() -> None:
    journals = Journals()
    journals.open(1, [operation(1, 1), operation(1, 2)])
    journals.update(1, {(OperationKind.SIDE_EFFECT, "k1"): operation(1, 1, result=b"x" * 1_000)})

    journals.close(1)

    assert journals.bytes == 0


def test_heartbeats_of_many_executions_are_kept_up_to_their_bytes(executions: StoreWriter) -> None:
    for _ in range(30):
        work = Work(executions)
        for _ in range(20):
            work.put(execution(work.next_row(), status=Status.RUNNING, attached=True, heartbeat=b"x" * 200_000))
        executions.save(work, executions.applied_index + 1)

        assert executions._cache.bytes <= 64 * 1024**2
    assert len(executions._cache) < 350


def test_waits_are_kept_up_to_their_bytes(executions: StoreWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempolite_node.store.writer._WAITS_BYTES_MAX", 100_000)
    work = Work(executions)
    target = work.put(execution(work.next_row(), waiters=1_000)).row
    waiting = work.put(execution(work.next_row(), status=Status.RUNNING, pending=1_000)).row
    executions.save(work, 1)
    for number in range(1_000):
        work = Work(executions)
        wait = operation(waiting, number, kind=OperationKind.WAIT, status=OperationStatus.PENDING, target_row=target)
        work.put_operation(work.execution_at(waiting), wait, before=None)
        executions.save(work, 2 + number)

        assert executions._waits_bytes <= 100_000

    assert len(executions.waiters(target)) == 1_000
