"""Sagas: what was done is undone, last first, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tempolite_sdk import (
    Client,
    ExecutionCompensated,
    ExecutionStatus,
    FailedPrecondition,
    OperationStatus,
    RetryPolicy,
    RetryState,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, operation, until_operation, until_status

SAGAS = (
    "in_turn",
    "in_turn_async",
    "fail_after",
    "two_of_a_kind",
    "note_badly",
    "catch_and_go_on",
    "stop_in_the_middle",
    "undo_hardly",
    "undo_in_time",
    "undo_together",
    "wait_after_steps",
    "help_out",
    "be_interrupted",
    "be_interrupted_async",
    "note_once",
    "in_parallel",
)
HANDLERS = [
    *(f"sagas:{name}" for name in SAGAS),
    {"target": "sagas:crash_in_the_middle", "max_crashes": 2},
]
POOLS = {
    "saga": {"workers": 2, "retry": {"maximum_attempts": 1}},
    "compensation": {"retry": {"maximum_attempts": 3, "initial_interval": "1ms"}},
}


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS, pools=POOLS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def acts(daemon: Daemon, id: str) -> list[str]:
    """What the saga did and undid, in order."""
    lines = daemon.world.read_text().splitlines()
    return [line.removeprefix(f"{id} ") for line in lines if line.startswith((f"{id} did ", f"{id} undid "))]


def undone(step: str) -> str:
    return f"undid {step} by 'receipt of {step}'"


# --- steps that fail


@pytest.mark.parametrize("saga", ["in_turn", "in_turn_async"])
@pytest.mark.parametrize("fails_at", range(4))
def test_the_steps_before_one_that_failed_are_undone_last_first(
    daemon: Daemon, client: Client, fails_at: int, saga: str
) -> None:
    handle = client.enqueue(saga, 4, fails_at)
    with pytest.raises(ExecutionCompensated if fails_at else Exception, match=f"step {fails_at} failed"):
        handle.result(PATIENCE_S)
    steps = [f"step {number}" for number in range(fails_at)]
    assert acts(daemon, handle.id) == [
        *(f"did {step}" for step in [*steps, f"step {fails_at}"]),
        *(undone(step) for step in reversed(steps)),
    ]
    info = handle.info()
    assert info.status is (ExecutionStatus.COMPENSATED if fails_at else ExecutionStatus.FAILED)
    assert info.failure is not None
    assert info.failure.type == "StepFailed"


@pytest.mark.parametrize("saga", ["in_turn", "in_turn_async"])
def test_a_saga_whose_steps_are_done_undoes_nothing(daemon: Daemon, client: Client, saga: str) -> None:
    handle = client.enqueue(saga, 3)
    assert handle.result(PATIENCE_S) == [f"receipt of step {number}" for number in range(3)]
    assert acts(daemon, handle.id) == [f"did step {number}" for number in range(3)]


def test_a_step_is_done_once_however_often_its_saga_is_tried(daemon: Daemon, client: Client) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=0.001)
    handle = client.options(retry=policy).enqueue("fail_after", 2)
    assert handle.result(PATIENCE_S) == "receipt of first, receipt of second"
    assert acts(daemon, handle.id) == ["did first", "did second"]
    assert handle.info().attempt == 3


def test_a_saga_gives_up_only_after_its_last_attempt(daemon: Daemon, client: Client) -> None:
    policy = RetryPolicy(maximum_attempts=2, initial_interval=0.001)
    handle = client.options(retry=policy).enqueue("fail_after", 2)
    with pytest.raises(ExecutionCompensated, match="attempt 2"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did first", undone("first")]
    assert handle.info().retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_a_transaction_that_raised_is_undone_only_if_its_step_says_so(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("two_of_a_kind")
    with pytest.raises(ExecutionCompensated, match="enough"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == [
        "did sure",
        "did failed",
        "did in doubt",
        undone("in doubt"),
        undone("sure"),
    ]
    assert daemon.effects()[f"{handle.id} Do#2 raised ValueError"] == 1


@pytest.mark.parametrize(("size", "message"), [(0, "no JSON form"), (3_000_000, "at most 2,097,152 are allowed")])
def test_a_transaction_whose_notes_cannot_be_stored_has_failed_and_is_undone(
    daemon: Daemon, client: Client, size: int, message: str
) -> None:
    handle = client.enqueue("note_badly", size)
    with pytest.raises(ExecutionCompensated, match=message):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id)[2:] == ["undid in the middle by ''", undone("before")]


def test_a_saga_may_catch_a_failed_step_and_go_another_way(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("catch_and_go_on")
    assert handle.result(PATIENCE_S) == "there"
    assert acts(daemon, handle.id) == ["did by plane", "did by train"]


def test_a_step_in_doubt_is_undone_with_all_that_its_attempts_have_noted(daemon: Daemon, client: Client) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=0.001)
    handle = client.options(retry=policy).enqueue("note_once")
    with pytest.raises(ExecutionCompensated, match="attempt 3"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did once", undone("once")]


def test_steps_that_ran_beside_each_other_are_undone_as_they_ended_last_first(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("in_parallel")
    with pytest.raises(ExecutionCompensated, match="undo it all"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id)[3:] == [undone("second"), undone("third"), undone("first")]


# --- compensations


def test_a_compensation_that_fails_is_made_again_with_what_it_recorded(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("undo_hardly", failures=2)
    with pytest.raises(ExecutionCompensated, match="undo it all"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id)[3:] == [undone("last"), undone("hard"), undone("first")]
    compensation = operation(client, f"{handle.id}/compensation/UndoHardly#1")
    assert (compensation.status, compensation.attempt) == (OperationStatus.COMPLETED, 3)
    assert daemon.effects()[f"{compensation.id} prepared"] == 1, "its side effect is memoized"


@pytest.mark.parametrize("resolution", ["retry", "skip", "mark_done"])
def test_a_compensation_out_of_retries_waits_for_an_operator(daemon: Daemon, client: Client, resolution: str) -> None:
    handle = client.enqueue("undo_hardly")
    info = until_status(client, handle.id, ExecutionStatus.STUCK)
    assert info.failure is not None
    assert info.failure.message == "undo it all", "the cause, not the trouble of undoing it"
    id = f"{handle.id}/compensation/UndoHardly#1"
    stuck = operation(client, id)
    assert (stuck.status, stuck.attempt) == (OperationStatus.FAILED, 3)
    assert stuck.failure is not None
    assert "the bank does not answer" in stuck.failure.message
    assert handle.id in {each.id for each in client.list(status="stuck")}
    if resolution == "retry":
        with daemon.world.open("a") as world:
            world.write(f"{handle.id} may be undone\n")
    handle.resolve_compensation(resolution, "looked into it")
    with pytest.raises(ExecutionCompensated):
        handle.result(PATIENCE_S)
    expected = {
        "retry": OperationStatus.COMPLETED,
        "skip": OperationStatus.SKIPPED,
        "mark_done": OperationStatus.COMPLETED,
    }
    assert operation(client, id).status is expected[resolution]
    by_itself = [undone("hard")] if resolution == "retry" else []
    assert acts(daemon, handle.id)[3:] == [undone("last"), *by_itself, undone("first")]


def test_a_retry_that_fails_leaves_it_stuck_and_only_the_stuck_can_be_resolved(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("undo_hardly")
    until_status(client, handle.id, ExecutionStatus.STUCK)
    handle.resolve_compensation("retry")
    id = f"{handle.id}/compensation/UndoHardly#1"
    daemon.until(f"{id} attempt 6")
    assert until_operation(client, id, OperationStatus.FAILED).attempt == 6
    handle.resolve_compensation("skip")
    with pytest.raises(ExecutionCompensated):
        handle.result(PATIENCE_S)
    with pytest.raises(FailedPrecondition, match="only a stuck saga"):
        handle.resolve_compensation("skip")


def test_a_compensation_may_wait_for_others(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("undo_together")
    handle.send_signal("approve", "approved")
    with pytest.raises(ExecutionCompensated):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id)[2:] == ["undid together with help for together, approved", undone("first")]


# --- cancel, timeout


def test_a_cancel_waits_for_the_transaction_that_runs(daemon: Daemon, client: Client) -> None:
    with daemon.gate("cancelled") as gate:
        handle = client.options(id="cancelled").enqueue("stop_in_the_middle")
        daemon.until("cancelled/step/DoInTime#1 attempt 1")
        handle.cancel("stop")
        gate.open()
        with pytest.raises(ExecutionCompensated, match="stop"):
            handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did before", "did in the middle", undone("in the middle"), undone("before")]


@pytest.mark.parametrize("saga", ["be_interrupted", "be_interrupted_async"])
@pytest.mark.parametrize("how", ["waiting", "in a side effect", "running", "cleaning up"])
def test_a_transaction_that_a_cancel_interrupts_is_in_doubt_and_undone(
    daemon: Daemon, client: Client, how: str, saga: str
) -> None:
    id = f"{saga}-{how.replace(' ', '-')}"
    with daemon.gate(id) as gate:
        handle = client.options(id=id).enqueue(saga, how)
        daemon.until(f"{id} did slow")
        if how != "running":
            until_status(client, id, ExecutionStatus.WAITING)
        handle.cancel("stop")
        gate.open()
        with pytest.raises(ExecutionCompensated, match="no word came" if how == "cleaning up" else "stop"):
            handle.result(PATIENCE_S)
    assert acts(daemon, id) == ["did before", "did slow", "undid slow by 'receipt of slow'", undone("before")]


def test_what_a_saga_does_after_its_cancel_is_undone_too(daemon: Daemon, client: Client) -> None:
    handle = client.enqueue("wait_after_steps")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel()
    with pytest.raises(ExecutionCompensated):
        handle.result(PATIENCE_S)
    steps = ["first", "second", "a step after the cancel"]
    assert acts(daemon, handle.id) == [*(f"did {step}" for step in steps), *(undone(s) for s in reversed(steps))]


def test_a_saga_out_of_time_is_undone(daemon: Daemon, client: Client) -> None:
    handle = client.options(max_duration=2).enqueue("wait_after_steps")
    with pytest.raises(ExecutionCompensated, match="MaxDurationExceeded"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did first", "did second", undone("second"), undone("first")]


def test_a_transaction_out_of_time_is_in_doubt_and_undone(daemon: Daemon, client: Client) -> None:
    with daemon.gate("late") as gate:
        handle = client.options(id="late", max_duration=3).enqueue("stop_in_the_middle")
        until_status(client, handle.id, ExecutionStatus.COMPENSATING)
        gate.open()
        with pytest.raises(ExecutionCompensated, match="MaxDurationExceeded"):
            handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == [
        *("did before", "did in the middle"),  # it was not stopped, and what undoes it has waited for it
        *("undid in the middle by ''", undone("before")),
    ]


# --- crashes


def test_a_step_in_doubt_is_done_again_under_its_id(daemon: Daemon, client: Client) -> None:
    """Its worker host dies in the middle of the transaction."""
    handle = client.enqueue("crash_in_the_middle", 1)
    assert handle.result(PATIENCE_S) == "through"
    id = f"{handle.id}/step/Crash#1"
    assert daemon.effects()[f"{id} begun"] == 2
    assert operation(client, id).attempt == 2
    assert acts(daemon, handle.id) == ["did before", "did in the middle"]


def test_a_step_in_doubt_is_undone_when_its_saga_gives_up(daemon: Daemon, client: Client) -> None:
    """Its worker host dies each time. What the transaction would have noted is unknown."""
    handle = client.enqueue("crash_in_the_middle", 1_000_000)
    with pytest.raises(ExecutionCompensated, match="CrashedTooOften"):
        handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did before", "undid in the middle by ''", undone("before")]
    assert handle.info().retry_state is RetryState.CRASHED_TOO_OFTEN


@pytest.mark.parametrize("victim", ["host", "node"])
def test_whoever_is_killed_in_mid_transaction_the_saga_goes_through(node: Start, victim: str) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.gate("killed") as gate, daemon.client() as client:
        handle = client.options(id="killed").enqueue("stop_in_the_middle")
        daemon.until("killed/step/DoInTime#1 attempt 1")
        if victim == "host":
            os.kill(client.node_info().hosts[0].pid, signal.SIGKILL)
        else:
            daemon.kill()
            daemon.start()
        daemon.until("killed/step/DoInTime#1 attempt 2")
        gate.open()
        assert handle.result(PATIENCE_S) == "through"
    assert acts(daemon, handle.id) == ["did before", "did in the middle", "did after"]


def test_a_step_in_doubt_is_undone_when_its_saga_was_cancelled_before_the_node_died(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.gate("killed"), daemon.client() as client:
        handle = client.options(id="killed").enqueue("stop_in_the_middle")
        daemon.until("killed/step/DoInTime#1 attempt 1")
        handle.cancel("no use")
        daemon.kill()
        daemon.start()
        with pytest.raises(ExecutionCompensated, match="no use"):
            handle.result(PATIENCE_S)
    assert acts(daemon, handle.id) == ["did before", "undid in the middle by ''", undone("before")]


def test_compensations_know_what_their_transactions_noted_before_the_node_died(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.client() as client:
        waiting = client.enqueue("wait_after_steps")
        stuck = client.enqueue("undo_hardly")
        until_status(client, waiting.id, ExecutionStatus.WAITING)
        until_status(client, stuck.id, ExecutionStatus.STUCK)
        daemon.kill()
        daemon.start()
        waiting.cancel()
        assert stuck.info().status is ExecutionStatus.STUCK
        stuck.resolve_compensation("mark_done")
        for handle in (waiting, stuck):
            with pytest.raises(ExecutionCompensated):
                handle.result(PATIENCE_S)
    assert acts(daemon, waiting.id)[-2:] == [undone("second"), undone("first")]
    assert acts(daemon, stuck.id)[-2:] == [undone("last"), undone("first")]


@pytest.mark.parametrize("victim", ["host", "node"])
def test_a_compensation_that_was_killed_is_made_again(node: Start, victim: str) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.gate("killed") as gate, daemon.client() as client:
        handle = client.options(id="killed").enqueue("undo_in_time")
        daemon.until("killed/compensation/UndoInTime#1 attempt 1")
        if victim == "host":
            os.kill(client.node_info().hosts[0].pid, signal.SIGKILL)
        else:
            daemon.kill()
            daemon.start()
        # Its code is run again. Which number it tells hangs on whether the first answer was recorded before the kill.
        tries = [f"killed/compensation/UndoInTime#1 attempt {number}" for number in (1, 2)]
        daemon.until_world(lambda: sum(daemon.effects()[each] for each in tries) == 2)
        gate.open()
        with pytest.raises(ExecutionCompensated):
            handle.result(PATIENCE_S)
    assert acts(daemon, handle.id)[2:] == [undone("slow"), undone("first")]
