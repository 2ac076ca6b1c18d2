"""The tables of legal moves: each move in them is made by some command, no other is, and the schema agrees."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import apsw
import pytest
from msgspec.structs import replace

from tempolite_node.engine.commands import DeliverCancel, Resolution
from tempolite_node.engine.model import (
    EXECUTION_MOVES,
    FINAL,
    OPERATION_MOVES,
    Component,
    Execution,
    Operation,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    Status,
)
from tempolite_node.engine.work import Work

from .invariants import check
from .story import ONCE, START_MS, STEADY, Story, new_store


class Walk(Story):
    """A story that keeps a record of the moves in it."""

    def __init__(self, path: Path) -> None:
        self.executions_moved: set[tuple[Status | None, Status]] = set()
        self.operations_moved: set[tuple[OperationKind, OperationStatus | None, OperationStatus]] = set()
        super().__init__(path)

    def make_work(self) -> Work:
        return RecordingWork(self)


class RecordingWork(Work):
    def __init__(self, walk: Walk) -> None:
        super().__init__(walk.executions)
        self._walk = walk

    def create(self, execution: Execution) -> Execution:
        self._walk.executions_moved.add((None, execution.status))
        return super().create(execution)

    def put(self, execution: Execution) -> Execution:
        before = self.executions.get(execution.row) or self._stored.execution_at(execution.row)
        if before is not None and before.status is not execution.status:
            self._walk.executions_moved.add((before.status, execution.status))
        return super().put(execution)

    def put_operation(self, execution: Execution, operation: Operation, *, before: Operation | None) -> Operation:
        recorded = self.operation(operation.execution_row, operation.kind, operation.key)
        assert (recorded and recorded.status) == (before and before.status), "it is another one than is recorded"
        held = before.status if before is not None and before.holds(operation.generation) else None
        self._walk.operations_moved.add((operation.kind, held, operation.status))
        return super().put_operation(execution, operation, before=before)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Walk]:
    told = Walk(new_store(tmp_path / "store.db"))
    yield told
    check(told.connection, told.executions)
    told.close()


def saga(story: Story, execution_id: str, options: Options | None = None) -> str:
    """One that runs, and has a step to undo."""
    story.running(execution_id, component=Component.SAGA, options=options or Options(retry=STEADY))
    story.step(execution_id)
    return execution_id


# --- executions


def scheduled(story: Story) -> None:
    for name in ("starts", "cancelled", "terminated"):
        story.enqueue(name, delay_ms=1_000)
    story.child(story.running("parent", max_duration_ms=1), "late", delay_ms=1_000)
    story.cancel("cancelled")
    story.terminate("terminated")
    story.fail(saga(story, "undone"))
    story.cancel("undone")
    story.advance(1_000)


def queued(story: Story) -> None:
    for name in ("starts", "cancelled", "terminated"):
        story.enqueue(name)
    story.enqueue("late", options=Options(queue_timeout_ms=1))
    story.start("starts")
    story.cancel("cancelled")
    story.terminate("terminated")
    story.fail(saga(story, "undone"))
    story.running("fails", options=Options(retry=STEADY, attempt_timeout_ms=1_000))
    story.receive("fails")
    story.unwind("fails")
    story.signal("fails")  # its stack is gone: it is queued, within the same attempt
    story.advance(1_000)
    story.cancel("undone")


def running(story: Story) -> None:
    story.receive(story.running("waits"))
    story.crash(story.running("crashes"))
    story.fail(story.running("retries"))
    story.suspended("suspended")
    story.complete(story.running("completes"))
    story.continue_as_new(story.running("goes-on"))
    story.fail(story.running("fails"), non_retryable=True)
    story.running("cancelled")
    story.cancel("cancelled")
    story.ask("cancelled", DeliverCancel(key="timer:sleep#1"))
    story.fail("cancelled", "Cancelled", cancelled=True)
    story.terminate(story.running("terminated"))
    story.running("late", max_duration_ms=1)
    story.compensating("undone")
    story.advance(1)


def waiting(story: Story) -> None:
    def waits(name: str, **fields: object) -> str:
        story.receive(story.running(name, **fields))
        return name

    story.signal(waits("goes-on"))
    story.unwind(waits("unwound"))
    story.signal("unwound")
    story.fail(waits("retries"))
    story.suspend(waits("suspended"))
    story.complete(waits("completes"))
    story.continue_as_new(waits("begins-anew"))
    story.fail(waits("fails"), non_retryable=True)
    waits("cancelled")
    story.sleep("cancelled")  # beside the other wait, which the cancel ends
    story.cancel("cancelled")
    story.fail("cancelled", "Cancelled", cancelled=True)
    story.terminate(waits("terminated"))
    waits("late", max_duration_ms=1)
    story.receive(saga(story, "undone"))
    story.fail("undone", non_retryable=True)
    story.advance(1)


def suspended(story: Story) -> None:
    story.cancel(story.suspended("cancelled"))
    story.terminate(story.suspended("terminated"))
    story.suspended("late", max_duration_ms=1)
    story.advance(1)
    story.suspend(saga(story, "undone"))
    story.cancel("undone")
    story.suspended("goes-on")
    story.restart()


def compensating(story: Story) -> None:
    story.start(story.compensating("undone"))
    story.complete("undone")
    story.stuck("stuck")
    story.terminate(story.compensating("terminated"))


def stuck(story: Story) -> None:
    story.resolve(story.stuck("again"), Resolution.RETRY)
    story.resolve(story.stuck("skipped"), Resolution.SKIP)
    story.terminate(story.stuck("terminated"))


@pytest.mark.parametrize(
    ("status", "tell"),
    [
        (Status.SCHEDULED, scheduled),
        (Status.QUEUED, queued),
        (Status.RUNNING, running),
        (Status.WAITING, waiting),
        (Status.SUSPENDED, suspended),
        (Status.COMPENSATING, compensating),
        (Status.STUCK, stuck),
    ],
)
def test_every_legal_move_of_an_execution_is_made(story: Walk, status: Status, tell: Callable[[Story], None]) -> None:
    tell(story)

    assert {after for before, after in story.executions_moved if before is status} == EXECUTION_MOVES[status]


def test_an_execution_begins_scheduled_or_queued(story: Walk) -> None:
    story.enqueue("delayed", delay_ms=1)
    story.enqueue("queued")

    assert story.executions_moved == {(None, first) for first in EXECUTION_MOVES[None]}


def test_an_execution_in_any_status_is_followed_by_something_unless_it_is_final() -> None:
    assert EXECUTION_MOVES.keys() == {None, *Status}
    assert {status for status in Status if not EXECUTION_MOVES[status]} == FINAL


def test_an_illegal_move_of_an_execution_is_refused_where_it_is_made(story: Walk) -> None:
    story.enqueue("order-1")
    queued = story["order-1"]
    for status in {*Status} - FINAL - EXECUTION_MOVES[Status.QUEUED] - {Status.QUEUED}:
        with pytest.raises(AssertionError, match=f"order-1: queued -> {status}"):
            Work(story.executions).put(replace(queued, status=status))

    with pytest.raises(AssertionError, match="order-2 begins as running"):
        Work(story.executions).create(replace(queued, id="order-2", status=Status.RUNNING))


# --- operations


def side_effect(story: Story) -> None:
    id = story.running()
    story.complete_side_effect(id, key="completes")
    story.fail_side_effect(id, key="fails", retry=ONCE)
    for key in ("completes later", "retries", "fails later"):
        story.fail_side_effect(id, key=key)
    story.advance(1_000)
    story.complete_side_effect(id, key="completes later")
    story.fail_side_effect(id, key="retries")
    story.fail_side_effect(id, key="fails later", retry=RetryPolicy(maximum_attempts=2))
    given_up = ("completes in time", "fails in time", "fails at first")
    for times in (1, 2):
        story.receive(id, key=f"inside {times}")
        story.unwind(id, *map(story.timed, (*given_up, "retries") if times == 1 else given_up))
        story.signal(id)
        story.start(id)
    story.complete_side_effect(id, key="completes in time")
    story.fail_side_effect(id, key="fails in time", retry=ONCE)
    story.fail_side_effect(id, key="fails at first")


def step(story: Story) -> None:
    id = story.running(component=Component.SAGA)
    story.begin_step(id, "completes")
    story.resumed(id)
    story.begin_step(id, "completes")
    story.complete_step(id, "completes")
    story.begin_step(id, "fails")
    story.fail_step(id, "fails")


def compensation(story: Story) -> None:
    story.start(story.compensating("completes"))
    story.resumed("completes")
    story.fail("completes")
    story.advance(1_000)
    story.start("completes")
    story.complete("completes")
    story.resolve(story.stuck("again"), Resolution.RETRY)
    story.resolve(story.stuck("skipped"), Resolution.SKIP)
    story.resolve(story.stuck("done by hand"), Resolution.MARK_DONE)


def child(story: Story) -> None:
    story.child(story.running("order-1"))
    story.start("child-1")
    story.fail("child-1", non_retryable=True)
    story.child(story.retried("order-1"))
    story.start("child-1")
    story.fail("child-1", non_retryable=True)
    story.retried("order-1")
    story.refusal("order-1", OperationKind.CHILD, "ship#1")
    story.refusal("order-1", OperationKind.CHILD, "ship#2")


def gives_up(story: Story, kind: OperationKind, *asks: Callable[[str], object]) -> None:
    """A wait that is begun in each of the ways, and given up; cancelled when it is open, and before it is begun."""
    story.running("gives up")
    for ask in asks:
        ask("gives up")
        story.advance(1)
        story.give_up("gives up", kind, "k")
    for name in ("cancelled in it", "cancelled after it"):
        asks[-1](story.running(name))
    story.cancel("cancelled in it")
    story.give_up("cancelled in it", kind, "k")
    story.give_up("cancelled after it", kind, "k")
    story.cancel("cancelled after it")
    asks[-1]("cancelled after it")


def wait(story: Story) -> None:
    for target in ("completed", "failed"):
        story.running(target)
    for waiting in ("waits for one", "waits for both", "in time", "cancelled", "cancelled before"):
        story.running(waiting)
    story.wait("waits for one", "completed", key="1")
    story.wait("waits for both", "failed", key="1")
    story.wait("in time", "failed", timeout_ms=1)
    story.advance(1)
    story.wait("cancelled", "failed")
    story.cancel("cancelled")
    story.cancel("cancelled before")
    story.wait("cancelled before", "failed")
    story.continue_as_new("completed")
    story.start("completed")
    story.complete("completed")
    story.fail("failed", non_retryable=True)
    story.wait("waits for one", "failed", key="2")
    story.wait("waits for both", "completed", key="2")
    story.wait("waits for one", "nobody", key="refused")
    story.running("stays")
    gives_up(
        story,
        OperationKind.WAIT,
        lambda id: story.wait(id, "completed", key="k"),
        lambda id: story.wait(id, "completed", key="k"),
        lambda id: story.wait(id, "failed", key="k"),
        lambda id: story.wait(id, "stays", key="k"),
        lambda id: story.wait(id, "stays", key="k", timeout_ms=1),
    )
    story.wait("gives up", "nobody", key="k")


def signal(story: Story) -> None:
    id = story.running()
    story.receive(id, key="1")
    story.signal(id)
    story.signal(id)
    story.receive(id, key="2")
    story.receive(id, key="3", timeout_ms=0)
    story.receive(id, key="4", timeout_ms=1)
    story.advance(1)
    story.receive(id, key="5")
    story.cancel(id)
    story.cancel(story.running("cancelled before"))
    story.receive("cancelled before")
    for name in ("takes the next", "waits again", "too late", "cancelled meanwhile"):
        story.signal(story.running(name))
        story.receive(name)
    story.signal("takes the next")
    story.cancel("cancelled meanwhile")
    story.set_aside("takes the next")
    story.set_aside("waits again")
    story.set_aside("too late", timeout_ms=0)
    story.set_aside("cancelled meanwhile")
    gives_up(
        story,
        OperationKind.SIGNAL,
        lambda id: story.receive(id, key="k"),
        lambda id: story.receive(id, key="k"),
        lambda id: story.receive(id, key="k", timeout_ms=0),
        lambda id: (story.signal(id), story.receive(id, key="k")),
        lambda id: story.receive(id, key="k"),
    )


def timer(story: Story) -> None:
    id = story.running()
    story.sleep(id, 1, key="1")
    story.advance(1)
    story.sleep(id, key="2")
    story.cancel(id)
    story.cancel(story.running("cancelled before"))
    story.sleep("cancelled before")
    gives_up(
        story, OperationKind.TIMER, lambda id: story.sleep(id, 1, key="k"), lambda id: story.sleep(id, 1_000, key="k")
    )


def signal_sent(story: Story) -> None:
    story.send(story.running())
    story.send("order-1", key="refused", to="nobody")


def cancel(story: Story) -> None:
    story.cancel_from(story.running("one"), "one")
    story.cancel_from("one", "nobody", key="c#2")


def marker(story: Story) -> None:
    story.marker(story.running(), b"1")


@pytest.mark.parametrize(
    ("kind", "tell"),
    [
        (OperationKind.SIDE_EFFECT, side_effect),
        (OperationKind.STEP, step),
        (OperationKind.COMPENSATION, compensation),
        (OperationKind.CHILD, child),
        (OperationKind.WAIT, wait),
        (OperationKind.SIGNAL, signal),
        (OperationKind.TIMER, timer),
        (OperationKind.SIGNAL_SENT, signal_sent),
        (OperationKind.MARKER, marker),
        (OperationKind.CANCEL, cancel),
    ],
)
def test_every_legal_move_of_an_operation_is_made(
    story: Walk, kind: OperationKind, tell: Callable[[Story], None]
) -> None:
    tell(story)

    legal = {(kind, before, after) for before, following in OPERATION_MOVES[kind].items() for after in following}
    assert {move for move in story.operations_moved if move[0] is kind} == legal


def test_every_kind_of_operation_has_its_moves_and_each_status_in_them_a_line() -> None:
    assert OPERATION_MOVES.keys() == {*OperationKind}
    for kind, moves in OPERATION_MOVES.items():
        assert {after for following in moves.values() for after in following} == moves.keys() - {None}, kind


def test_what_failed_is_recorded_anew_in_a_later_generation_alone(story: Walk) -> None:
    story.running()
    story.fail_side_effect("order-1", retry=ONCE)
    failed = story.operation("order-1", OperationKind.SIDE_EFFECT, "quote")
    again = replace(failed, status=OperationStatus.COMPLETED)

    with pytest.raises(AssertionError, match="side_effect quote: failed -> completed"):
        Work(story.executions).put_operation(story["order-1"], again, before=failed)

    later = replace(again, generation=failed.generation + 1)
    put = Work(story.executions).put_operation(story["order-1"], later, before=failed)
    assert put == replace(later, end_seq=put.end_seq)


def test_what_completed_stays_so_in_every_generation(story: Walk) -> None:
    story.complete_side_effect(story.running())
    completed = story.operation("order-1", OperationKind.SIDE_EFFECT, "quote")
    later = replace(completed, generation=completed.generation + 1)

    with pytest.raises(AssertionError, match="side_effect quote: completed -> completed"):
        Work(story.executions).put_operation(story["order-1"], later, before=completed)


# --- the schema


@pytest.mark.parametrize("status", Status)
def test_the_schema_has_a_time_of_the_end_for_final_statuses_alone(story: Walk, status: Status) -> None:
    story.enqueue()
    sql = "UPDATE executions SET status = ?, closed_ms = ?, ready_at = NULL"
    right, wrong = (START_MS, None) if status in FINAL else (None, START_MS)

    with pytest.raises(apsw.ConstraintError):
        story.connection.execute(sql, (status, wrong))

    story.connection.execute("BEGIN")
    story.connection.execute(sql, (status, right))
    story.connection.execute("ROLLBACK")  # nothing else goes with the change


@pytest.mark.parametrize(("table", "statuses"), [("executions", Status), ("operations", OperationStatus)])
def test_the_schema_tells_of_every_status(table: str, statuses: type[Status | OperationStatus]) -> None:
    schema = (files("tempolite_node.store") / "schema.sql").read_text()
    [comments] = re.findall(rf"CREATE TABLE {table} .*?\n    status [^\n]*\n((?: *--[^\n]*\n)+)", schema, re.DOTALL)
    going_on, _, for_good = comments.partition("and, for good:")
    told = {*re.findall(r"^ *-- ([a-z_]+)", going_on, re.MULTILINE), *re.findall(r"[a-z_]+", for_good)} - {"and"}

    assert told == {*statuses}
    if statuses is Status:
        assert {*re.findall(r"[a-z_]+", for_good)} == FINAL
