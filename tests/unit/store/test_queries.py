"""What the API reads: executions by filter, newest first, page by page, and by an index."""

from __future__ import annotations

import apsw
import pytest

from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    Options,
    Signal,
    Status,
)
from tempolite_node.engine.work import Work
from tempolite_node.store.queries import Queries
from tempolite_node.store.writer import StoreWriter
from tempolite_node.views import ExecutionFilter

from .conftest import NOW_MS, execution, plan, put


@pytest.fixture
def orders(executions: StoreWriter) -> None:
    put(
        executions,
        execution(1, status=Status.COMPLETED),
        execution(2, handler="ship", parent_row=1, parent_id="order-1"),
        execution(3, component=Component.SAGA),
        execution(4, status=Status.RUNNING),
        execution(5, handler="ship", status=Status.COMPLETED, parent_row=1, parent_id="order-1"),
        execution(6, handler="bill", component=Component.SAGA, status=Status.COMPLETED),
    )


FILTERS = [
    (ExecutionFilter(), [6, 5, 4, 3, 2, 1]),
    (ExecutionFilter(statuses=frozenset({Status.COMPLETED})), [6, 5, 1]),
    (ExecutionFilter(statuses=frozenset({Status.COMPLETED, Status.RUNNING})), [6, 5, 4, 1]),
    (ExecutionFilter(statuses=frozenset({Status.STUCK})), []),
    (ExecutionFilter(handlers=frozenset({"ship"})), [5, 2]),
    (ExecutionFilter(handlers=frozenset({"ship", "bill"})), [6, 5, 2]),
    (ExecutionFilter(handlers=frozenset({"' OR 1 --"})), []),
    (ExecutionFilter(components=frozenset({Component.SAGA})), [6, 3]),
    (ExecutionFilter(parent_id="order-1"), [5, 2]),
    (ExecutionFilter(parent_id="nobody"), []),
    (ExecutionFilter(roots_only=True), [6, 4, 3, 1]),
    (ExecutionFilter(created_after_ms=NOW_MS + 2), [6, 5, 4, 3]),
    (ExecutionFilter(created_before_ms=NOW_MS + 2), [1]),
    (ExecutionFilter(created_after_ms=NOW_MS + 2, created_before_ms=NOW_MS + 5), [4, 3]),
    (ExecutionFilter(handlers=frozenset({"ship"}), statuses=frozenset({Status.COMPLETED})), [5]),
    (ExecutionFilter(parent_id="order-1", statuses=frozenset({Status.QUEUED})), [2]),
]


@pytest.mark.parametrize(("filter", "rows"), FILTERS)
@pytest.mark.usefixtures("orders")
def test_executions_are_listed_and_counted_by_what_they_meet_newest_first(
    queries: Queries, filter: ExecutionFilter, rows: list[int]
) -> None:
    assert [found.row for found in queries.list_executions(filter, 100, None)] == rows
    assert queries.count_executions(filter) == len(rows)


@pytest.mark.parametrize(("filter", "rows"), FILTERS)
@pytest.mark.parametrize("page", [1, 2, 4])
@pytest.mark.usefixtures("orders")
def test_pages_miss_nothing_and_repeat_nothing(
    queries: Queries, filter: ExecutionFilter, rows: list[int], page: int
) -> None:
    listed: list[int] = []
    after: int | None = None
    while found := queries.list_executions(filter, page, after):
        assert len(found) <= page
        listed += [each.row for each in found]
        after = listed[-1]

    assert listed == rows


@pytest.mark.usefixtures("orders")
def test_a_page_is_not_moved_by_what_is_new(executions: StoreWriter, queries: Queries) -> None:
    first = queries.list_executions(ExecutionFilter(), 2, None)
    put(executions, execution(7))

    second = queries.list_executions(ExecutionFilter(), 2, first[-1].row)

    assert [each.row for each in [*first, *second]] == [6, 5, 4, 3]


def test_a_list_ends_with_the_first_that_does_not_fit_beside_another(executions: StoreWriter, queries: Queries) -> None:
    put(executions, *(execution(row, arguments=b" " * 1_000) for row in range(1, 6)))

    for bytes_max, rows in [(500, [5, 4]), (2_500, [5, 4, 3]), (5_000, [5, 4, 3, 2, 1])]:
        found = queries.list_executions(ExecutionFilter(), 100, None, bytes_max=bytes_max)
        assert [each.row for each in found] == rows


@pytest.mark.usefixtures("orders")
def test_children_are_listed_oldest_first(queries: Queries) -> None:
    assert [child.row for child in queries.children(1, 10)] == [2, 5]
    assert [child.row for child in queries.children(1, 1)] == [2]


def test_an_execution_is_read_as_it_was_saved(executions: StoreWriter, queries: Queries) -> None:
    saved = execution(
        1,
        status=Status.WAITING,
        attached=True,
        pending=2,
        options=Options(queue_timeout_ms=5),
        failure=Failure(type="E", cause=Failure(type="C")),
        heartbeat=b"\x00",
        ending=None,
    )
    put(executions, saved)

    assert queries.execution("order-1") == saved
    assert queries.execution("nobody") is None


def test_operations_attempts_and_signals_are_read_in_their_order(executions: StoreWriter, queries: Queries) -> None:
    work = Work(executions)
    work.last_row = 3
    work.put(execution(1))
    for seq, (kind, status) in enumerate(
        [
            (OperationKind.MARKER, OperationStatus.COMPLETED),
            (OperationKind.COMPENSATION, OperationStatus.PENDING),
            (OperationKind.TIMER, OperationStatus.PENDING),
        ],
        start=1,
    ):
        work.put_operation(
            work.execution_at(1),
            Operation(execution_row=1, kind=kind, key="k", seq=seq, status=status, started_ms=NOW_MS, result=b"1"),
            before=None,
        )
    for number in (1, 2):
        work.add_attempt(
            EndedAttempt(
                execution_row=1, kind=None, key="", number=number, failure=Failure(type="E"), started_ms=1, ended_ms=2
            )
        )
    for seq, name in ((1, "packed"), (2, "shipped"), (3, "packed")):
        work.put_outbox(Signal(execution_row=1, seq=seq, name=name, payload=b"1", at_ms=NOW_MS))
    executions.save(work, 1)

    assert [op.seq for op in queries.operations(1, 10)] == [1, 2, 3]
    assert [op.seq for op in queries.operations(1, 2)] == [1, 2]
    assert [op.kind for op in queries.pending(1)] == [OperationKind.TIMER]
    assert queries.operation("order-1", OperationKind.MARKER, "k") == queries.operations(1, 1)[0]
    assert queries.operation("order-1", OperationKind.WAIT, "k") is None
    assert [attempt.number for attempt in queries.attempts(1)] == [1, 2]
    assert [signal.seq for signal in queries.outbox(1, "", 0, 10)] == [1, 2, 3]
    assert [signal.seq for signal in queries.outbox(1, "packed", 1, 10)] == [3]


def test_of_many_attempts_the_latest_are_shown(executions: StoreWriter, queries: Queries) -> None:
    work = Work(executions)
    work.last_row = 1
    work.put(execution(1))
    for number in range(1, 1_502):
        work.add_attempt(
            EndedAttempt(
                execution_row=1, kind=None, key="", number=number, failure=Failure(type="E"), started_ms=1, ended_ms=2
            )
        )
    executions.save(work, 1)

    numbers = [attempt.number for attempt in queries.attempts(1)]

    assert (len(numbers), numbers[0], numbers[-1]) == (1_000, 502, 1_501)


def test_a_reader_sees_nothing_of_what_is_not_committed(executions: StoreWriter, queries: Queries) -> None:
    work = Work(executions)
    work.last_row = 1
    work.put(execution(1))
    assert queries.execution("order-1") is None

    executions.save(work, 1)

    assert queries.execution("order-1") is not None


# --- how they are found


@pytest.mark.parametrize("after", [None, 5])
@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (ExecutionFilter(statuses=frozenset({Status.QUEUED})), "executions_by_status (status=?"),
        (ExecutionFilter(statuses=frozenset({Status.QUEUED, Status.STUCK})), "executions_by_status (status=?"),
        (ExecutionFilter(handlers=frozenset({"ship"})), "executions_by_handler (handler=?"),
        (ExecutionFilter(handlers=frozenset({"ship", "bill"})), "executions_by_handler (handler=?"),
        (ExecutionFilter(parent_id="order-1"), "executions_by_parent (parent_row=?"),
        (
            ExecutionFilter(parent_id="order-1", statuses=frozenset({Status.QUEUED})),
            "executions_by_parent (parent_row=?",
        ),
    ],
)
def test_a_filter_by_status_handler_or_parent_looks_at_no_other_execution(
    reader: apsw.Connection, queries: Queries, filter: ExecutionFilter, index: str, after: int | None
) -> None:
    for query in (lambda: queries.list_executions(filter, 10, after), lambda: queries.count_executions(filter)):
        steps = plan(reader, query)
        assert f"INDEX {index}" in steps[0]
        assert not [step for step in steps if step.startswith("SCAN")]


@pytest.mark.parametrize(
    "filter",
    [
        ExecutionFilter(),
        ExecutionFilter(statuses=frozenset({Status.QUEUED})),
        ExecutionFilter(handlers=frozenset({"ship"})),
        ExecutionFilter(parent_id="order-1"),
    ],
)
def test_a_page_is_found_without_sorting_all_that_there_is(
    reader: apsw.Connection, queries: Queries, filter: ExecutionFilter
) -> None:
    steps = plan(reader, lambda: queries.list_executions(filter, 10, None))

    assert "USE TEMP B-TREE FOR ORDER BY" not in steps
