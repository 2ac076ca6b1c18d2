"""What the engine reads of the store, and how a unit of work is saved: all of it or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    Signal,
    Status,
)
from tempolite_node.engine.work import Work
from tempolite_node.store.database import open_writer
from tempolite_node.store.execution_cache import ExecutionCache
from tempolite_node.store.queries import Queries
from tempolite_node.store.writer import StoreWriter, claim_store

from .conftest import NOW_MS, execution, plan, put

# --- saving


def test_a_batch_and_the_index_it_brings_the_store_to_are_saved_together(executions: StoreWriter, path: Path) -> None:
    work = Work(executions)
    work.put(execution(work.next_row()))
    executions.save(work, 7)

    again = StoreWriter(open_writer(path))

    assert (again.applied_index, again.last_row()) == (7, 1)
    assert again.execution("order-1") == execution(1)


def test_an_execution_that_changes_often_in_a_batch_is_saved_as_it_is_at_its_end(executions: StoreWriter) -> None:
    work = Work(executions)
    queued = work.put(execution(work.next_row()))
    running = work.put(replace(queued, status=Status.RUNNING, attached=True))
    work.put(replace(running, status=Status.COMPLETED, attached=False, closed_ms=NOW_MS))
    executions.save(work, 1)

    saved = executions.execution("order-1")

    assert saved is not None
    assert saved.status is Status.COMPLETED
    assert executions.counts()[Component.HANDLER, Status.QUEUED] == 0
    assert executions.counts()[Component.HANDLER, Status.COMPLETED] == 1


def test_many_ids_are_looked_for_in_one_query(executions: StoreWriter, writer: apsw.Connection) -> None:
    put(executions, execution(1), execution(2))
    executions = StoreWriter(writer)
    statements: list[str] = []
    writer.exec_trace = lambda _, sql, __: not statements.append(sql)

    executions.look_up(["order-1", "order-2", "nobody", "nobody-else"])
    found = [executions.execution(id_) for id_ in ("order-1", "order-2", "nobody", "nobody-else")]

    writer.exec_trace = None
    assert found == [execution(1), execution(2), None, None]
    assert len(statements) == 1


def test_an_id_that_nobody_had_is_found_once_it_is_saved(executions: StoreWriter) -> None:
    executions.look_up(["order-1", "order-2"])

    put(executions, execution(1))

    assert executions.execution("order-1") == execution(1)
    assert executions.execution("order-2") is None


def test_counts_are_found_again_when_a_store_is_opened(executions: StoreWriter, path: Path) -> None:
    put(executions, execution(1), execution(2), execution(3, component=Component.SAGA))

    again = StoreWriter(open_writer(path))

    assert again.counts()[Component.HANDLER, Status.QUEUED] == 2
    assert again.counts()[Component.SAGA, Status.QUEUED] == 1


def test_an_id_may_pass_from_one_execution_to_another_in_one_batch(executions: StoreWriter) -> None:
    put(executions, execution(1, status=Status.COMPLETED))
    work = Work(executions)
    work.put(replace(work.execution_at(1), id="order-1~1"))
    work.put(execution(work.next_row(), id="order-1"))
    executions.save(work, 2)

    assert [executions.execution(name).row for name in ("order-1", "order-1~1")] == [2, 1]


def test_what_breaks_a_rule_of_the_schema_is_not_saved(executions: StoreWriter, queries: Queries) -> None:
    put(executions, execution(1))
    work = Work(executions)
    work.put(replace(work.execution_at(1), priority=5, status=Status.RUNNING))
    work.put(execution(work.next_row(), id="order-1"))

    with pytest.raises(apsw.ConstraintError):
        executions.save(work, 2)

    assert executions.execution("order-1") == queries.execution("order-1") == execution(1)
    assert (executions.applied_index, executions.last_row()) == (1, 1)
    assert executions.counts()[Component.HANDLER, Status.QUEUED] == 1


@pytest.mark.parametrize(
    ("sql", "broken"),
    [
        ("UPDATE executions SET status = 'completed'", "closed without a time"),
        ("UPDATE executions SET closed_ms = 1", "open with the time of its end"),
        ("UPDATE executions SET pending = -1", "less than no waits"),
        ("UPDATE executions SET consumed = 1", "consumed what never came"),
        ("UPDATE executions SET status = 'failed', closed_ms = 1", "ended and in a queue"),
        ("UPDATE executions SET attached = 2", "no boolean"),
        ("UPDATE executions SET place = 1", "a place of no key"),
        ("INSERT INTO executions SELECT * FROM executions", "twice"),
    ],
)
def test_sqlite_guards_what_the_engine_asserts(
    executions: StoreWriter, writer: apsw.Connection, sql: str, broken: str
) -> None:
    put(executions, execution(1, ready_at=NOW_MS))

    with pytest.raises(apsw.ConstraintError):
        writer.execute(sql)
    assert broken


def test_a_full_disk_fails_the_save_and_nothing_of_the_batch_is_saved(
    executions: StoreWriter, writer: apsw.Connection, path: Path
) -> None:
    put(executions, execution(1))
    writer.pragma("max_page_count", int(writer.pragma("page_count")) + 2)
    work = Work(executions)
    work.put(replace(work.execution_at(1), priority=5))
    work.put(execution(work.next_row(), arguments=b"x" * 100_000))
    work.set_timer(1, "start", NOW_MS)

    with pytest.raises(apsw.FullError):
        executions.save(work, 2)

    assert (executions.applied_index, executions.last_row()) == (1, 1)
    assert executions.execution("order-2") is None
    assert executions.next_due_ms() is None
    assert not writer.in_transaction
    writer.close()
    again = StoreWriter(open_writer(path))
    assert again.execution("order-1") == execution(1)
    assert again.execution("order-2") is None
    put(again, execution(2))


def test_after_a_failed_save_a_smaller_one_may_succeed(executions: StoreWriter, writer: apsw.Connection) -> None:
    put(executions, execution(1))
    writer.pragma("max_page_count", int(writer.pragma("page_count")) + 2)
    too_large = Work(executions)
    too_large.put(execution(too_large.next_row(), arguments=b"x" * 100_000))
    with pytest.raises(apsw.FullError):
        executions.save(too_large, 2)

    put(executions, execution(2))

    assert executions.counts()[Component.HANDLER, Status.QUEUED] == 2


# --- what is kept in memory


def test_what_is_small_is_read_once(executions: StoreWriter, writer: apsw.Connection) -> None:
    put(executions, execution(1))

    assert plan(writer, lambda: executions.execution("order-1")) == []
    assert plan(writer, lambda: executions.execution_at(1)) == []


def test_executions_are_kept_in_memory_up_to_their_bytes_the_last_ones_that_were_needed() -> None:
    """Whatever of them is large."""
    cache = ExecutionCache(bytes_max=100_000)
    large = {
        "arguments": b"x" * 20_000,
        "heartbeat": b"x" * 20_000,
        "failure": Failure(type="E", traceback="x" * 10_000, cause=Failure(type="E", message="x" * 10_000)),
        "reason": "x" * 20_000,
    }
    for row in range(1, 101):
        field = list(large)[row % len(large)]
        cache.put(execution(row, **{field: large[field]}))

        assert cache.bytes <= 100_000
    assert [cache.by_row.get(row) is not None for row in (96, 97, 98, 99, 100)] == [False, True, True, True, True]
    assert cache.by_id.get("order-100") is cache.by_row.get(100)


def test_one_that_is_larger_than_all_may_be_is_not_kept() -> None:
    cache = ExecutionCache(bytes_max=100_000)
    cache.put(execution(1, heartbeat=b"1"))

    cache.put(execution(1, heartbeat=b"x" * 100_000))

    assert (cache.by_row.get(1), cache.by_id.get("order-1"), cache.bytes) == (None, None, 0)


def test_the_cache_forgets_those_that_were_not_saved_for_the_longest_time(
    executions: StoreWriter, writer: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempolite_node.store.execution_cache._COUNT_MAX", 2)
    put(executions, execution(1), execution(2))
    put(executions, execution(1, priority=1))
    put(executions, execution(3))

    assert plan(writer, lambda: executions.execution("order-1")) == []
    assert plan(writer, lambda: executions.execution("order-2")) != []


def test_the_journal_of_a_running_execution_is_what_is_stored(executions: StoreWriter, path: Path) -> None:
    work = Work(executions)
    running = work.put(execution(work.next_row(), status=Status.RUNNING, attached=True, epoch=1))
    first = work.put_operation(running, child(seq=work.next_row(), key="a"), before=None)
    executions.save(work, 1)
    work = Work(executions)
    work.put_operation(running, child(seq=work.next_row(), key="b"), before=None)
    work.put_operation(running, child(seq=2, key="a", result=b"2"), before=first)
    executions.save(work, 2)

    stored = StoreWriter(open_writer(path)).operations(1, 1_000_000)

    assert [(op.key, op.result) for op in stored] == [("a", b"2"), ("b", b"1")]
    assert executions.operations(1, 1_000_000) == stored
    assert executions.operations_of_kind(1, OperationKind.CHILD) == stored
    assert executions.operation(1, OperationKind.CHILD, "a") == stored[0]
    assert executions.operation(1, OperationKind.CHILD, "c") is None


def child(*, seq: int, key: str, result: bytes = b"1") -> Operation:
    return Operation(
        execution_row=1,
        kind=OperationKind.CHILD,
        key=key,
        seq=seq,
        status=OperationStatus.COMPLETED,
        result=result,
        started_ms=NOW_MS,
        closed_ms=NOW_MS,
    )


# --- queues


def ready(row: int, **fields: object) -> Execution:
    return execution(row, **({"ready_at": NOW_MS} | fields))


def test_a_queue_is_in_the_order_in_which_it_is_served(executions: StoreWriter) -> None:
    put(
        executions,
        ready(1, ready_at=NOW_MS + 5),
        ready(2),
        ready(3, priority=1, ready_at=NOW_MS + 5),
        ready(4, resumes=True, ready_at=NOW_MS + 9),
        ready(5, resumes=True, priority=-1),
        ready(6),
        execution(7),
        ready(8, component=Component.SAGA, pool=Component.COMPENSATION, status=Status.COMPENSATING),
        ready(9, owner="node-2"),
        ready(10, handler="unknown"),
    )

    queue = executions.ready(Component.HANDLER, "node-1", {"fulfil"}, 100)

    assert [each.row for each in queue] == [4, 5, 3, 1, 2, 6]
    assert [each.queue_order for each in queue] == sorted(each.queue_order for each in queue)
    assert [each.row for each in executions.ready(Component.HANDLER, "node-1", {"fulfil"}, 2)] == [4, 5]
    assert [each.row for each in executions.ready(Component.COMPENSATION, "node-1", {"fulfil"}, 9)] == [8]


def wait_for(work: Work, row: int, target_row: int) -> Operation:
    """An execution waits for the end of another one."""
    target = work.execution_at(target_row)
    work.put(replace(target, waiters=target.waiters + 1))
    return work.put_operation(
        work.execution_at(row),
        Operation(
            execution_row=row,
            kind=OperationKind.WAIT,
            key=f"of-{target_row}",
            seq=work.next_row(),
            status=OperationStatus.PENDING,
            target_row=target_row,
            started_ms=NOW_MS,
        ),
        before=None,
    )


def test_who_waits_for_an_execution_is_known_without_a_query(executions: StoreWriter, writer: apsw.Connection) -> None:
    put(executions, execution(1), execution(2), execution(3))
    work = Work(executions)
    waits = [wait_for(work, 1, 3), wait_for(work, 2, 3)]
    executions.save(work, 2)

    assert plan(writer, lambda: executions.waiters(3)) == []
    assert executions.waiters(3) == waits


def test_a_wait_that_is_over_is_none_any_more(executions: StoreWriter) -> None:
    put(executions, execution(1), execution(2), execution(3))
    work = Work(executions)
    first, second = wait_for(work, 1, 3), wait_for(work, 2, 3)
    executions.save(work, 2)
    work = Work(executions)
    work.put_operation(
        work.execution_at(1), replace(first, status=OperationStatus.CANCELLED, closed_ms=NOW_MS), before=first
    )
    work.put(replace(work.execution_at(3), waiters=1))
    executions.save(work, 3)

    assert executions.waiters(3) == [second]


def test_waits_of_before_a_restart_are_found_with_those_of_after_it(
    executions: StoreWriter, writer: apsw.Connection
) -> None:
    put(executions, execution(1), execution(2), execution(3))
    work = Work(executions)
    first = wait_for(work, 1, 3)
    executions.save(work, 2)

    again = StoreWriter(writer)
    work = Work(again)
    second = wait_for(work, 2, 3)
    again.save(work, 3)

    assert again.waiters(3) == [first, second]


def test_timers_are_due_in_their_order(executions: StoreWriter) -> None:
    put(executions, execution(1), execution(2))
    work = Work(executions)
    work.set_timer(1, "start", NOW_MS + 3)
    work.set_timer(2, "start", NOW_MS + 1)
    work.set_timer(1, "deadline", NOW_MS + 2)
    executions.save(work, 2)

    assert executions.next_due_ms() == NOW_MS + 1
    assert executions.due_timers(NOW_MS, 10) == []
    due = [(name, timer.name) for name, timer in executions.due_timers(NOW_MS + 3, 10)]
    assert due == [("order-2", "start"), ("order-1", "deadline"), ("order-1", "start")]
    assert len(executions.due_timers(NOW_MS + 3, 2)) == 2


def test_timers_that_are_cleared_and_set_again_in_one_batch_are_as_they_are_at_its_end(executions: StoreWriter) -> None:
    put(executions, execution(1))
    work = Work(executions)
    for name in ("start", "queue", "deadline"):
        work.set_timer(1, name, NOW_MS)
    executions.save(work, 2)
    work = Work(executions)
    work.clear_timers(1)
    work.set_timer(1, "deadline", NOW_MS + 5)
    work.set_timer(1, "queue", NOW_MS + 6)
    work.clear_timer(1, "queue")
    assert [work.timer(1, name) is not None for name in ("start", "queue", "deadline")] == [False, False, True]
    executions.save(work, 3)

    assert [(timer.name, timer.due_ms) for _, timer in executions.due_timers(NOW_MS + 9, 9)] == [
        ("deadline", NOW_MS + 5)
    ]


# --- how the writer finds what it needs


def test_the_writer_finds_everything_by_an_index(executions: StoreWriter, writer: apsw.Connection) -> None:
    queries = {
        "executions_ready (owner=? AND pool=?": lambda: executions.ready(Component.HANDLER, "node-1", {"fulfil"}, 10),
        "executions_by_status (status=?": lambda: executions.attached_or_suspended("node-1"),
        "executions_by_parent (parent_row=?": lambda: executions.open_children(1),
        "executions_by_parent (parent_row=?)": lambda: executions.children_with_children(1),
        "operations_pending (execution_row=?": lambda: executions.pending(1),
        "operations_waiters (target_row=?": lambda: executions.waiters(1),
        "inbox_in_line (execution_row=? AND name=?": lambda: executions.signals_in_line(1, "approve", 1),
        "inbox_requests (execution_row=? AND request_id=?": lambda: executions.signal_by_request(1, "r-1"),
        "timers_due (due_ms<?": lambda: executions.due_timers(NOW_MS, 10),
        "executions_waiting_for_place (handler=? AND concurrency_key=?)": lambda: executions.places.first_waiting(
            KEY, ()
        ),
        "executions_with_place (handler=? AND concurrency_key=? AND attempt=?": (
            lambda: executions.places.last_not_started(KEY, ())
        ),
        "executions_waiting_for_place (handler=?)": lambda: executions.places.unsettled_keys("fulfil"),
    }
    for index, query in queries.items():
        steps = plan(writer, query)
        assert any(f"INDEX {index}" in step for step in steps), steps
        assert not [step for step in steps if step.startswith("SCAN executions")]


def test_the_queue_is_served_without_sorting_it(executions: StoreWriter, writer: apsw.Connection) -> None:
    steps = plan(writer, lambda: executions.ready(Component.HANDLER, "node-1", {"fulfil"}, 10))

    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


def test_whose_turn_it_is_in_a_key_is_found_without_sorting(executions: StoreWriter, writer: apsw.Connection) -> None:
    steps = plan(writer, lambda: executions.places.first_waiting(KEY, ()))
    steps += plan(writer, lambda: executions.places.last_not_started(KEY, ()))

    assert not [step for step in steps if "TEMP B-TREE" in step]


# --- places of concurrency keys

KEY = ("fulfil", "customer-7")


def keyed(row: int, **fields: Any) -> Execution:
    return execution(row, concurrency_key=KEY[1], **fields)


def test_places_are_found_again_when_a_store_is_opened(executions: StoreWriter, path: Path) -> None:
    under_way = {"status": Status.RUNNING, "attached": True, "attempt": 1}
    put(
        executions,
        keyed(1, place=1, **under_way),
        keyed(2, place=1, **under_way),
        keyed(3, place=3, ready_at=NOW_MS),
        keyed(4),
        keyed(5, priority=1),
        execution(6, ready_at=NOW_MS),
    )

    for places in (executions.places, StoreWriter(open_writer(path)).places):
        assert (places.taken(KEY), places.taken(("fulfil", "other"))) == (2, 0)
        assert (places.members(1), places.members(3), places.members(4)) == (2, 1, 0)
        assert places.waiting_of("node-1", Component.HANDLER) == 2
        assert places.unsettled_keys("fulfil") == {KEY[1]}


def test_turns_go_by_priority_and_then_by_age(executions: StoreWriter) -> None:
    put(executions, keyed(1), keyed(2, priority=1), keyed(3, priority=1))
    put(executions, *(keyed(row, place=row, ready_at=NOW_MS, priority=row % 2) for row in (4, 5, 6)))

    first = [executions.places.first_waiting(KEY, besides) for besides in ((), (2,), (2, 3), (1, 2, 3))]
    last = [executions.places.last_not_started(KEY, besides) for besides in ((), (6,), (4, 6), (4, 5, 6))]

    assert first == [2, 3, 1, None]
    assert last == [6, 4, 5, None]


def test_a_key_that_nobody_uses_any_more_takes_no_memory(executions: StoreWriter) -> None:
    running = keyed(1, place=1, status=Status.RUNNING, attached=True, attempt=1)
    put(executions, running, keyed(2))
    put(executions, replace(running, status=Status.COMPLETED, attached=False, place=None, closed_ms=NOW_MS))
    put(executions, keyed(2, status=Status.CANCELLED, closed_ms=NOW_MS))

    assert not executions.places.remembers_anything


# --- signals


def test_signals_are_kept_with_their_requests_and_what_became_of_them(executions: StoreWriter) -> None:
    put(executions, execution(1, inbox=2))
    work = Work(executions)
    signals = [
        Signal(execution_row=1, seq=seq, name="item", payload=b"1", at_ms=NOW_MS, request_id=f"r-{seq}")
        for seq in (1, 2)
    ]
    for signal in signals:
        work.put_signal(signal)
    executions.save(work, 2)
    work = Work(executions)
    work.put_signal(replace(signals[0], consumed=True, payload=b""))
    executions.save(work, 3)

    assert executions.signals_in_line(1, "item", 9) == [signals[1]]
    assert executions.signals_in_line(1, "other", 9) == []
    consumed = executions.signal_by_request(1, "r-1")
    assert consumed is not None
    assert consumed.consumed


def test_attempts_may_repeat_their_numbers(executions: StoreWriter, queries: Queries) -> None:
    put(executions, execution(1))
    work = Work(executions)
    for _ in range(2):
        work.add_attempt(
            EndedAttempt(
                execution_row=1, kind=None, key="", number=1, failure=Failure(type="E"), started_ms=1, ended_ms=2
            )
        )
    executions.save(work, 2)

    assert len(queries.attempts(1)) == 2


def test_a_store_must_be_registered_before_it_is_used(path: Path) -> None:
    with pytest.raises(AssertionError, match="claim_store comes first"):
        StoreWriter(open_writer(path))
    claim_store(open_writer(path), "node-1")


def test_a_start_looks_at_no_execution_that_is_not_under_way(executions: StoreWriter, writer: apsw.Connection) -> None:
    """Whatever the store has of those that have ended."""
    put(executions, execution(1), execution(2, status=Status.COMPLETED))

    def start() -> None:
        opened = StoreWriter(writer)
        opened.next_due_ms()
        opened.attached_or_suspended("node-1")
        opened.misplaced(100)
        opened.ready(Component.HANDLER, "node-1", {"fulfil"}, 10)

    steps = plan(writer, start)

    scans = [step for step in steps if step.startswith("SCAN executions")]
    partial = ("USING INDEX executions_with_place", "USING INDEX executions_waiting_for_place", "USING COVERING INDEX")
    assert [step for step in scans if not any(index in step for index in partial)] == []
    assert not [step for step in scans if "COVERING" in step and "executions_with_place" not in step]


def test_the_counts_are_the_same_when_the_store_is_opened_again(executions: StoreWriter, path: Path) -> None:
    put(executions, execution(1), execution(2, status=Status.RUNNING), execution(3, status=Status.COMPLETED))
    put(executions, execution(2, status=Status.COMPLETED), execution(1, owner="node-2"))

    again = StoreWriter(open_writer(path))

    assert +again.counts() == +executions.counts()
    assert again.count_of("node-2", Component.HANDLER, Status.QUEUED) == 1
    assert again.counts()[Component.HANDLER, Status.COMPLETED] == 2


def test_what_is_in_backoff_is_found_without_a_look_at_the_journal(
    executions: StoreWriter, writer: apsw.Connection
) -> None:
    assert "operations_retrying (execution_row=?)" in plan(writer, lambda: executions.retrying(1))[0]
