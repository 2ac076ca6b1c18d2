"""Executions that are stopped by others: by their parents, by a handler, by who takes their id."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tempolite_sdk import (
    Client,
    ExecutionCompensated,
    ExecutionStatus,
    ExecutionTerminated,
    OperationKind,
    OperationStatus,
    RetryPolicy,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, until_status

NAMES = (
    "wait",
    "cancel_child",
    "cancel_child_async",
    "cling",
    "cling_async",
    "rent_and_fail",
)


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(
        *(f"families:{name}" for name in NAMES),
        pools={"saga": {"workers": 2, "retry": {"maximum_attempts": 1}}},
    )


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


@pytest.mark.parametrize("handler", ["cancel_child", "cancel_child_async"])
def test_a_handler_cancels_its_child_and_learns_what_there_is_not(client: Client, handler: str) -> None:
    policy = RetryPolicy(maximum_attempts=2, initial_interval=0.001)

    handle = client.options(retry=policy).enqueue(handler)

    assert handle.result(PATIENCE_S) == ["Cancelled: not needed", "no execution nobody"]
    assert handle.info().attempt == 2
    recorded = [each.status for each in handle.tree().operations if each.kind is OperationKind.CANCEL]
    assert recorded == [OperationStatus.COMPLETED, OperationStatus.COMPLETED, OperationStatus.REFUSED]


def test_a_call_that_takes_an_id_answers_for_the_new_execution(client: Client) -> None:
    earlier = client.options(id="taken").enqueue("wait")
    until_status(client, "taken", ExecutionStatus.WAITING)

    taking = client.options(id="taken", id_conflict="terminate_existing").enqueue("wait")
    taking.send_signal("word", "first")
    assert taking.result(PATIENCE_S) == "first"

    client.options(id="taken", id_reuse="allow_duplicate").enqueue("wait")
    told = client.options(id="taken", id_conflict="terminate_existing").execute("cancel_child")
    assert told == ["Cancelled: not needed", "no execution nobody"]
    assert earlier.id == taking.id


@pytest.mark.parametrize("handler", ["cling", "cling_async"])
def test_a_terminated_handler_may_clean_up_and_none_of_its_operations_run(
    daemon: Daemon, client: Client, handler: str
) -> None:
    with daemon.gate(handler) as gate:
        handle = client.options(id=handler).enqueue(handler)
        daemon.until(f"{handler} runs")
        handle.terminate("enough")
        with pytest.raises(ExecutionTerminated, match="enough"):
            handle.result(PATIENCE_S)
        gate.open()
        daemon.until(f"{handler} has no heartbeat any more")

    effects = daemon.effects()
    assert [effects[f"{handler} has no {name} any more"] for name in ("side effect", "child", "heartbeat")] == [1, 1, 1]
    assert effects[f"{handler} ran a side effect"] == 0
    assert list(client.list(parent=handler)) == []


def test_a_saga_is_undone_when_the_child_that_it_stops_has_cleaned_up(daemon: Daemon, client: Client) -> None:
    with daemon.gate("renting.child goes on") as gate:
        handle = client.options(id="renting").enqueue("rent_and_fail")
        until_status(client, "renting.child", ExecutionStatus.WAITING)
        handle.send_signal("go")
        daemon.until("renting.child was told 'its parent renting is undone'")
        assert handle.info().status is ExecutionStatus.COMPENSATING
        assert daemon.effects()["renting gave back"] == 0
        gate.open()
        with pytest.raises(ExecutionCompensated):
            handle.result(PATIENCE_S)

    lines = daemon.world.read_text().splitlines()
    assert lines.index("renting.child cleaned up") < lines.index("renting gave back")


def test_the_timeout_of_a_side_effect_holds_though_its_stack_was_given_up(node: Start) -> None:
    handlers = ("wait_in_time", "wait_in_time_async")
    daemon = node(*(f"families:{name}" for name in handlers), hosts={"max_parked": 0})
    with daemon.client() as client:
        late = [client.enqueue(handler, 0.3) for handler in handlers]
        in_time = [client.enqueue(handler, 60) for handler in handlers]

        assert [handle.result(PATIENCE_S) for handle in late] == ["AttemptTimeout", "AttemptTimeout"]

        for handle in in_time:
            handle.send_signal("word", "in time")
            assert handle.result(PATIENCE_S) == "in time"
        began = [daemon.effects()[f"{handle.id}/side_effect/wait attempt 1"] for handle in (*late, *in_time)]
        assert began == [1, 1, 2, 2]
