"""The nodes that a store knows, and which executions it finds on a node that can't run them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tempolite_node.engine.model import Component, NodeState, Options, ServedHandler, Status
from tempolite_node.engine.work import Work
from tempolite_node.store.database import open_writer
from tempolite_node.store.writer import StoreWriter

from .conftest import NOW_MS, execution, plan, put


def node(node_id: str, *handlers: str, **fields: Any) -> NodeState:
    """One that is up and serves `fulfil`, unless told otherwise."""
    served = tuple(ServedHandler(name=name, component=Component.HANDLER) for name in handlers or ("fulfil",))
    return NodeState(id=node_id, **({"boot_id": "r", "incarnation": 1, "handlers": served} | fields))


def put_nodes(executions: StoreWriter, *nodes: NodeState, removed: Iterable[str] = ()) -> None:
    work = Work(executions)
    for each in nodes:
        work.put_node(each)
    for node_id in removed:
        work.remove_node(node_id)
    executions.save(work, executions.applied_index + 1)


def running(row: int, **fields: Any) -> Any:
    return execution(row, **({"status": Status.RUNNING, "attached": True} | fields))


def ready(row: int, **fields: Any) -> Any:
    return execution(row, **({"ready_at": NOW_MS} | fields))


# --- what is kept


def test_a_node_is_found_again_as_it_was_saved_when_the_store_is_opened(executions: StoreWriter, path: Path) -> None:
    known = NodeState(
        id="node-2",
        boot_id="r-1",
        incarnation=3,
        live=False,
        draining=True,
        handlers=(
            ServedHandler(
                name="ship",
                component=Component.SAGA,
                options=Options(attempt_timeout_ms=7),
                priority=2,
                max_duration_ms=9,
                queue_limit=4,
            ),
        ),
        slots={Component.HANDLER: 3, Component.SIDE_EFFECT: 8},
        address="10.0.0.2:7000",
    )

    put_nodes(executions, known)

    assert executions.nodes() == StoreWriter(open_writer(path)).nodes() == {"node-2": known}


def test_nodes_are_told_in_the_order_of_their_ids(executions: StoreWriter, path: Path) -> None:
    put_nodes(executions, node("c"), node("a"))
    put_nodes(executions, node("b"))

    assert list(executions.nodes()) == list(StoreWriter(open_writer(path)).nodes()) == ["a", "b", "c"]
    assert [each.id for each in executions.serving("fulfil")] == ["a", "b", "c"]


def test_who_serves_a_handler_follows_every_change(executions: StoreWriter) -> None:
    put_nodes(executions, node("a"), node("b", "ship"))
    assert [each.id for each in executions.serving("ship")] == ["b"]

    put_nodes(executions, node("a", "ship"), removed=["b"])

    assert [each.id for each in executions.serving("ship")] == ["a"]
    assert executions.serving("fulfil") == ()


def test_another_mapping_of_the_nodes_tells_that_one_has_changed(executions: StoreWriter) -> None:
    put_nodes(executions, node("a"))
    before = executions.nodes()

    put(executions, execution(1))
    assert executions.nodes() is before

    put_nodes(executions, node("a", draining=True))
    assert executions.nodes() is not before
    assert not before["a"].draining


def test_a_unit_of_work_sees_its_own_nodes_before_they_are_saved(executions: StoreWriter) -> None:
    put_nodes(executions, node("a"), node("b"))
    work = Work(executions)
    work.put_node(node("c"))
    work.remove_node("a")

    assert [each.id for each in work.serving("fulfil")] == ["b", "c"]
    assert work.node("a") is None
    assert [each.id for each in executions.serving("fulfil")] == ["a", "b"]


def test_the_number_of_a_nodes_last_batch_is_saved_with_what_the_batch_changed(
    executions: StoreWriter, path: Path
) -> None:
    put_nodes(executions, node("a"))
    work = Work(executions)
    work.sequences["a"] = 5
    assert work.changed, "a batch without commands is noted too"
    executions.save(work, 9)

    again = StoreWriter(open_writer(path))

    assert executions.sequence("a") == again.sequence("a") == 5
    assert (again.sequence("unknown"), again.applied_index) == (0, 9)


def test_a_node_that_changes_keeps_the_number_of_its_last_batch(executions: StoreWriter, path: Path) -> None:
    put_nodes(executions, node("a"))
    work = Work(executions)
    work.sequences["a"] = 5
    executions.save(work, 2)

    put_nodes(executions, node("a", live=False))

    assert executions.sequence("a") == StoreWriter(open_writer(path)).sequence("a") == 5


def test_nodes_are_saved_with_the_batch_or_not_at_all(executions: StoreWriter, writer: apsw.Connection) -> None:
    work = Work(executions)
    work.put_node(node("a"))
    work.put(execution(work.next_row()))
    writer.execute("CREATE TEMP TRIGGER full BEFORE INSERT ON nodes BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
    writer.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)

    with pytest.raises(apsw.ConstraintError, match="the disk is full"):
        executions.save(work, 1)

    assert (executions.nodes(), executions.execution("order-1"), executions.applied_index) == ({}, None, 0)


# --- whose executions there are


def test_open_executions_are_counted_by_owner(executions: StoreWriter, path: Path) -> None:
    put(
        executions,
        execution(1),
        execution(2, owner="node-2"),
        running(3, owner="node-2"),
        execution(4, owner="node-2", status=Status.COMPLETED),
    )

    expected = Counter({"node-1": 1, "node-2": 2})
    assert executions.open_by_owner() == StoreWriter(open_writer(path)).open_by_owner() == expected


def test_an_execution_that_moves_is_counted_at_its_new_owner(executions: StoreWriter) -> None:
    put(executions, ready(1))

    put(executions, ready(1, owner="node-2"))

    assert executions.count_of("node-1", Component.HANDLER, Status.QUEUED) == 0
    assert executions.count_of("node-2", Component.HANDLER, Status.QUEUED) == 1
    assert executions.counts()[Component.HANDLER, Status.QUEUED] == 1


# --- what is misplaced


def everything(executions: StoreWriter) -> None:
    """Of node-1, whose row tells what it is: one that waits for a slot, one that runs, and so on."""
    put(
        executions,
        ready(1),
        running(2),
        execution(3, status=Status.SUSPENDED),
        execution(4, status=Status.SCHEDULED, due_ms=NOW_MS),
        execution(5, status=Status.WAITING),  # unwound
        execution(6, status=Status.COMPLETED),
        ready(7, handler="ship"),
        running(8, status=Status.WAITING, pending=1),
        running(9, status=Status.COMPENSATING, component=Component.SAGA, pool=Component.COMPENSATION),
    )


def misplaced(executions: StoreWriter, limit: int = 100) -> list[str]:
    return sorted(each.removeprefix("order-") for each in executions.misplaced(limit))


def test_nothing_is_misplaced_on_a_node_that_takes_work(executions: StoreWriter) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", "fulfil", "ship"), node("node-2", "fulfil", "ship"))

    assert misplaced(executions) == []


def test_nothing_is_misplaced_where_no_other_node_could_run_it(executions: StoreWriter) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", live=False), node("node-2", "bill"), node("node-3", draining=True))

    assert misplaced(executions) == []


def test_a_node_that_is_alone_has_nowhere_to_give_anything(executions: StoreWriter) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", draining=True))

    assert misplaced(executions) == []


def test_on_a_node_that_drains_what_holds_no_stack_is_misplaced(executions: StoreWriter) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", draining=True), node("node-2"))

    assert misplaced(executions) == ["1", "3"]


@pytest.mark.parametrize("removed", [False, True])
def test_on_a_lost_or_removed_node_what_runs_is_misplaced_too(executions: StoreWriter, removed: bool) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", live=False), node("node-2"))
    if removed:
        put_nodes(executions, removed=["node-1"])

    assert misplaced(executions) == ["1", "2", "3", "8", "9"]


def test_what_its_node_does_not_serve_any_more_is_misplaced_once_another_one_does(executions: StoreWriter) -> None:
    everything(executions)
    put_nodes(executions, node("node-1"), node("node-2"))
    assert misplaced(executions) == []

    put_nodes(executions, node("node-2", "ship"))

    assert misplaced(executions) == ["7"]


def test_no_more_are_named_than_were_asked_for(executions: StoreWriter) -> None:
    put(executions, *[ready(row, owner=f"lost-{row % 3}") for row in range(1, 10)])
    put_nodes(executions, node("node-2"))

    assert len(executions.misplaced(4)) == 4
    assert len(set(executions.misplaced(100))) == 9


def test_what_is_misplaced_is_found_by_an_index(executions: StoreWriter, writer: apsw.Connection) -> None:
    everything(executions)
    put_nodes(executions, node("node-1", live=False), node("node-2"))

    steps = plan(writer, lambda: executions.misplaced(10))

    assert [step for step in steps if "executions" in step] != []
    assert not [step for step in steps if step.startswith("SCAN executions")]
