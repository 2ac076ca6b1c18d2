"""What a log owes to the node on it (log/base.py), whether the node is alone or shares it: the same tests for both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempolite_node.driver.inputs import Barrier, Submit, SubmitBatch
from tempolite_node.engine.commands import Cancel, Enqueue, SendSignal
from tempolite_node.engine.effects import Accepted, Rejection, SignalStored
from tempolite_node.engine.model import Component, Status
from tests.unit.driver.conftest import complete
from tests.unit.driver.simulated import SimulatedNode
from tests.unit.engine.invariants import check, dump
from tests.unit.engine.story import new_store
from tests.unit.log.test_replicated import POOLS, ReplicatedNode, enqueue, enqueued


class LocalNode(SimulatedNode):
    def __init__(self, directory: Path) -> None:
        path = directory / "store.db"
        super().__init__(path if path.exists() else new_store(path), POOLS)

    def stop(self) -> None:
        self.close()


@pytest.fixture(params=[LocalNode, ReplicatedNode], ids=["alone", "shared"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Starts the node on its directory; an earlier start of it has ended by then, with what was on disk."""
    running: list[Any] = []

    def start() -> Any:
        while running:
            running.pop().stop()
        running.append(request.param(tmp_path))
        return running[-1]

    yield start
    node = running.pop()
    check(node.connection, node.executions)
    node.stop()


@pytest.fixture
def node(start: Callable[[], Any]) -> Any:
    return start()


def until(node: Any, come_true: Callable[[], Any]) -> None:
    while not come_true():
        node.driver._round()


def outcomes(node: Any, *commands: Any) -> list[Any]:
    told: list[Any] = []
    for command in commands:
        node.driver.put(Submit(command=command, answer=told.append))
    until(node, lambda: len(told) == len(commands))
    return told


def cancel(execution_id: str) -> Cancel:
    return Cancel(at_ms=0, execution_id=execution_id)


def signal(execution_id: str) -> SendSignal:
    return SendSignal(at_ms=0, execution_id=execution_id, name="go", payload=b"1")


def test_commands_are_decided_in_the_order_in_which_they_were_given(node: Any) -> None:
    told = outcomes(node, signal("a"), enqueue("a"), signal("a"), signal("a"), cancel("a"), signal("a"))

    assert isinstance(told[0], Rejection)
    assert told[1:5] == [
        enqueued("a"),
        SignalStored(sequence=1),
        SignalStored(sequence=2),
        Accepted(status=Status.CANCELLED),
    ]
    assert isinstance(told[5], Rejection)


def test_an_outcome_is_told_when_what_it_changed_is_on_disk(node: Any) -> None:
    seen: list[Any] = []

    node.driver.put(Submit(command=enqueue("a"), answer=lambda _: seen.append(node.executions.execution("a"))))
    until(node, lambda: seen)

    assert seen[0] is not None
    assert seen[0].status is Status.QUEUED


def test_what_was_acknowledged_is_there_after_a_start_and_was_done_once(start: Callable[[], Any]) -> None:
    node = start()
    outcomes(node, enqueue("a"), *(signal("a") for _ in range(20)))
    before = dump(node.connection)["inbox"]

    node = start()
    told = outcomes(node, signal("a"))

    assert told == [SignalStored(sequence=21)]
    assert set(dump(node.connection)["inbox"]) > set(before)


def test_the_index_grows_with_what_is_saved_and_never_falls(start: Callable[[], Any]) -> None:
    indexes = []
    for number in range(3):
        node = start()
        outcomes(node, enqueue(f"a{number}"))
        indexes.append(node.executions.applied_index)
        outcomes(node, enqueue(f"b{number}"))
        indexes.append(node.executions.applied_index)

    assert indexes == sorted(set(indexes))


def test_a_command_that_is_refused_changes_no_execution(node: Any) -> None:
    outcomes(node, enqueue("a"))
    before = dump(node.connection)

    assert isinstance(outcomes(node, enqueue("a"))[0], Rejection)

    after = dump(node.connection)
    assert {name: rows for name, rows in after.items() if name not in ("meta", "nodes")} == {
        name: rows for name, rows in before.items() if name not in ("meta", "nodes")
    }


def test_many_commands_are_answered_together_and_in_order(node: Any) -> None:
    told: list[Any] = []
    commands = [enqueue(f"e{number}") for number in range(5_000)]

    node.driver.put(SubmitBatch(commands=commands, answer=told.append))
    until(node, lambda: told)

    assert told == [[enqueued(f"e{number}") for number in range(5_000)]]


def test_a_barrier_is_passed_when_what_was_asked_before_it_can_be_read(node: Any) -> None:
    passed: list[Any] = []

    def at_barrier(error: object) -> None:
        passed.append((error, node.executions.execution("a") is not None))

    outcomes(node, enqueue("a"))
    node.driver.put(Barrier(answer=at_barrier))
    until(node, lambda: passed)

    assert passed == [(None, True)]


def test_executions_start_and_end_and_start_others(node: Any) -> None:
    outcomes(node, enqueue("a"), enqueue("b"))

    node.host_up()
    until(node, lambda: "a" in node.attempts)
    complete(node, "a")
    until(node, lambda: "b" in node.attempts)

    assert node.executions.execution("a").status is Status.COMPLETED
    assert node.executions.execution("b").status is Status.RUNNING


def test_what_ran_when_the_node_went_down_runs_again_under_a_higher_epoch(start: Callable[[], Any]) -> None:
    node = start()
    outcomes(node, enqueue("a"))
    node.host_up()
    until(node, lambda: "a" in node.attempts)
    epoch = node.attempts["a"].epoch

    node = start()
    node.host_up()
    until(node, lambda: "a" in node.attempts)

    assert node.attempts["a"].epoch > epoch


def test_a_timer_fires_when_it_is_due_by_the_clock_of_the_log(node: Any) -> None:
    delayed = Enqueue(
        at_ms=node.driver.now_ms(),
        execution_id="later",
        handler=enqueue("x").handler,
        component=Component.HANDLER,
        arguments=b"[]",
        options=enqueue("x").options,
        delay_ms=1_000,
    )
    outcomes(node, delayed)
    assert node.executions.execution("later").status is Status.SCHEDULED

    node.now_ms += 1_000
    outcomes(node, enqueue("something else, which wakes the driver"))
    until(node, lambda: node.executions.execution("later").status is Status.QUEUED)

    assert node.executions.next_due_ms() is None


def test_a_log_that_nothing_is_under_way_on_takes_a_batch(node: Any) -> None:
    outcomes(node, enqueue("a"))

    assert node.driver._log.idle
    assert node.driver._log.leads
    assert node.driver._log.is_current
    assert node.driver._log.index >= node.executions.applied_index
