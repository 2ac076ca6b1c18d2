"""Sagas that give up: their steps are undone, last first, until all are or an operator is needed."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET, UnsetType

from tempolite_node.engine.commands import CompleteAttempt, Resolution
from tempolite_node.engine.effects import (
    Accepted,
    Halted,
    Interrupted,
    Ready,
    Refused,
    Rejection,
    RunCompensation,
    Value,
    Wake,
)
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    RetryState,
    Status,
)

from .story import STEADY, Story, ended_of, failure

COMPENSATION = OperationKind.COMPENSATION
STEPS = ("Reserve#1", "Charge#1", "Ship#1")


def undone(story: Story) -> str:
    """Runs the compensation that is due, well, and returns its key."""
    story.start("order-1")
    [run] = story.effects_of(RunCompensation)
    story.complete("order-1")
    return run.key


# --- in order


def test_completed_steps_are_undone_last_first(story: Story) -> None:
    story.compensating("order-1", *STEPS)

    assert [undone(story) for _ in STEPS] == ["Ship#1", "Charge#1", "Reserve#1"]

    assert story["order-1"].status is Status.COMPENSATED


def test_steps_are_undone_in_the_reverse_order_of_their_ends_however_they_began(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    for key in STEPS:
        story.begin_step("order-1", key)
    for key in ("Charge#1", "Ship#1", "Reserve#1"):
        story.complete_step("order-1", key)
    story.fail("order-1", non_retryable=True)

    assert [undone(story) for _ in STEPS] == ["Reserve#1", "Ship#1", "Charge#1"]


def test_a_step_that_a_later_attempt_has_done_is_undone_before_what_was_done_already(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.begin_step("order-1", "Reserve#1")
    story.fail_step("order-1", "Reserve#1")
    story.step("order-1", "Charge#1")
    story.retried("order-1")
    story.step("order-1", "Reserve#1")
    story.fail("order-1", non_retryable=True)

    assert [undone(story), undone(story)] == ["Reserve#1", "Charge#1"]


def test_a_step_that_ran_when_its_saga_gave_up_is_undone_first(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, max_duration_ms=1_000)
    story.begin_step("order-1", "Reserve#1")
    story.step("order-1", "Charge#1")
    story.advance(1_000)

    assert [undone(story), undone(story)] == ["Reserve#1", "Charge#1"]


def test_before_format_3_steps_were_undone_in_the_reverse_order_in_which_they_began(story: Story) -> None:
    story.of_format(2)
    story.running("order-1", component=Component.SAGA)
    for key in STEPS:
        story.begin_step("order-1", key)
    for key in reversed(STEPS):
        story.complete_step("order-1", key)
    story.fail("order-1", non_retryable=True)

    assert [undone(story) for _ in STEPS] == ["Ship#1", "Charge#1", "Reserve#1"]


# --- its children are stopped first


STOPPED = Options(retry=STEADY, close_policy=ClosePolicy.REQUEST_CANCEL)


def with_child(story: Story, *children: str, options: Options = STOPPED, **fields: Any) -> None:
    """A saga with a step that is done, and children that run."""
    story.running("order-1", component=Component.SAGA, **fields)
    story.step("order-1")
    for number, child in enumerate(children):
        story.child("order-1", child, key=f"ship#{number}", options=options)
        story.start(child)


def test_a_saga_is_undone_once_the_children_that_it_stops_have_ended(story: Story) -> None:
    with_child(story, "child-1", "child-2")
    story.sleep("child-2")

    story.fail("order-1", non_retryable=True)

    assert [story[child].cancel_requested for child in ("child-1", "child-2")] == [True, True]
    assert story["child-1"].reason == "its parent order-1 is undone"
    assert story["order-1"].status is Status.COMPENSATING
    assert isinstance(story.start("order-1"), Rejection)
    story.fail("child-2", "Cancelled", cancelled=True)
    assert story.effects_of(Ready) == []
    story.complete("child-1")
    assert [(ready.execution_id, ready.pool) for ready in story.effects_of(Ready)] == [
        ("order-1", Component.COMPENSATION)
    ]
    assert undone(story) == "Charge#1"
    assert story["order-1"].status is Status.COMPENSATED


def test_a_saga_is_undone_at_once_when_its_children_end_at_once(story: Story) -> None:
    with_child(story)
    story.child("order-1", "queued", options=STOPPED)
    story.child("order-1", "to be terminated", key="k", options=Options(close_policy=ClosePolicy.TERMINATE))

    story.fail("order-1", non_retryable=True)

    assert story["queued"].status is Status.CANCELLED
    assert story["to be terminated"].status is Status.TERMINATED
    assert undone(story) == "Charge#1"


@pytest.mark.parametrize("policy", [None, ClosePolicy.ABANDON])
def test_children_that_may_go_on_are_not_waited_for(story: Story, policy: ClosePolicy | None) -> None:
    with_child(story, "child-1", options=Options(close_policy=policy))

    story.fail("order-1", non_retryable=True)

    assert not story["child-1"].cancel_requested
    assert undone(story) == "Charge#1"


def test_a_cancelled_saga_waits_for_the_children_that_are_cancelled_with_it(story: Story) -> None:
    with_child(story, "child-1", options=Options(retry=STEADY))
    story.wait("order-1", "child-1")
    story.cancel("order-1")
    story.fail("order-1", "Cancelled", cancelled=True)
    assert isinstance(story.start("order-1"), Rejection)

    story.fail("child-1", "Cancelled", cancelled=True)

    assert undone(story) == "Charge#1"


def test_the_end_of_a_backoff_does_not_begin_what_waits_for_children(story: Story) -> None:
    with_child(story, "child-1")
    story.fail_side_effect("order-1")
    story.fail("order-1", non_retryable=True)

    assert story.advance(10_000) == ["order-1 side_effect:quote"]

    assert isinstance(story.start("order-1"), Rejection)
    story.complete("child-1")
    assert undone(story) == "Charge#1"


def test_a_saga_that_waits_for_its_children_survives_a_restart_and_can_be_terminated(story: Story) -> None:
    with_child(story, "child-1")
    story.fail("order-1", non_retryable=True)
    story.restart()
    assert isinstance(story.start("order-1"), Rejection)

    story.terminate("order-1")

    assert story["order-1"].status is Status.TERMINATED
    assert story["child-1"].status is Status.TERMINATED


def test_a_child_that_is_stopped_can_not_wait_for_its_saga(story: Story) -> None:
    with_child(story, "child-1")
    story.fail("order-1", non_retryable=True)

    answer = story.wait("child-1", "order-1")

    assert isinstance(answer, Refused)
    assert answer.message == "the wait would never end: child-1 waits for order-1 waits for child-1"


def test_a_saga_does_not_wait_for_a_child_that_waits_for_it(story: Story) -> None:
    with_child(story, "child-1")
    story.cancel("child-1", "by hand")
    assert isinstance(story.sleep("child-1"), Interrupted)
    story.wait("child-1", "order-1")

    story.fail("order-1", non_retryable=True)

    assert undone(story) == "Charge#1"
    assert ended_of(story.effects_of(Wake)[0].answer).status is Status.COMPENSATED


def test_before_format_3_a_saga_was_undone_while_its_children_went_on(story: Story) -> None:
    story.of_format(2)
    with_child(story, "child-1")

    story.fail("order-1", non_retryable=True)

    assert not story["child-1"].cancel_requested
    assert undone(story) == "Charge#1"


# --- and what became of it


def test_a_compensated_saga_tells_why_it_gave_up(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, options=Options(retry=RetryPolicy(maximum_attempts=1)))
    story.step("order-1")
    story.fail("order-1", "OutOfStock", message="none left")
    undone(story)

    saga = story["order-1"]
    assert (saga.status, saga.ending) == (Status.COMPENSATED, Status.FAILED)
    assert saga.failure == failure("OutOfStock", message="none left")
    assert saga.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_a_saga_without_steps_just_fails(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)

    story.fail("order-1", non_retryable=True)

    assert (story["order-1"].status, story["order-1"].ending) == (Status.FAILED, None)


def test_a_saga_is_retried_before_it_gives_up_and_keeps_its_steps(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1", "Reserve#1")

    story.retried("order-1")
    story.complete("order-1")

    assert story["order-1"].status is Status.COMPLETED
    assert story.operations("order-1", COMPENSATION) == []


def test_a_saga_that_ends_well_undoes_nothing(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")

    story.complete("order-1")

    assert story["order-1"].status is Status.COMPLETED


def test_a_compensation_gets_the_data_that_its_step_left(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.begin_step("order-1", "Charge#1", input=b'{"charge_id":null}')
    story.complete_step("order-1", "Charge#1", b'{"charge_id":7}')

    story.fail("order-1", non_retryable=True)

    compensation = story.operation("order-1", COMPENSATION, "Charge#1")
    assert (compensation.target, compensation.input) == ("shop:Charge", b'{"charge_id":7}')


def test_compensations_run_in_a_pool_of_their_own(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")

    story.fail("order-1", non_retryable=True)

    assert [(ready.pool, ready.order[0]) for ready in story.effects_of(Ready)] == [(Component.COMPENSATION, True)]
    assert isinstance(story.start("order-1", Component.SAGA), Rejection)
    assert story.start("order-1", Component.COMPENSATION) == Accepted(status=Status.COMPENSATING)


def test_a_saga_that_waited_in_its_own_pool_is_not_started_there_to_be_undone(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")
    story.fail("order-1")
    story.advance(1_000)
    assert [ready.pool for ready in story.effects_of(Ready)] == [Component.SAGA]
    story.cancel("order-1")

    assert isinstance(story.start("order-1", Component.SAGA), Rejection)

    assert story["order-1"].status is Status.COMPENSATING


def test_what_the_sagas_own_attempt_still_sends_is_stale_once_it_is_undone(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, options=Options(retry=STEADY, attempt_timeout_ms=1_000))
    story.step("order-1")
    epoch = story["order-1"].epoch
    story.cancel("order-1")
    story.advance(1_000)

    assert isinstance(story.ask("order-1", CompleteAttempt(result=b"1"), epoch=epoch), Rejection)

    assert story["order-1"].status is Status.COMPENSATING


def test_a_saga_that_takes_too_long_undoes_its_steps_and_has_no_deadline_for_that(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, max_duration_ms=5_000)
    story.step("order-1")

    assert story.advance(5_000) == ["order-1 deadline"]
    assert story["order-1"].status is Status.COMPENSATING
    assert story.advance(60_000) == []
    undone(story)

    saga = story["order-1"]
    assert (saga.status, saga.ending, saga.failure.type) == (
        Status.COMPENSATED,
        Status.TIMED_OUT,
        "MaxDurationExceeded",
    )


# --- retries


def test_a_failed_compensation_is_retried_by_its_own_policy(story: Story) -> None:
    policy = RetryPolicy(maximum_attempts=10, jitter=0.0, initial_interval_ms=7_000)
    story.compensating("order-1", options=Options(retry=STEADY, compensation_retry=policy))
    story.start("order-1")

    story.fail("order-1", "BankClosed")

    compensation = story.operation("order-1", COMPENSATION, "Charge#1")
    assert (compensation.status, compensation.failure.type) == (OperationStatus.RETRYING, "BankClosed")
    assert story["order-1"].status is Status.COMPENSATING
    assert story.timers("order-1") == {"start": 7_000}

    story.advance(7_000)
    undone(story)
    assert story["order-1"].status is Status.COMPENSATED
    assert story.operation("order-1", COMPENSATION, "Charge#1").attempt == 2


@pytest.mark.parametrize(("retry_spent", "is_retried"), [(UNSET, True), (True, True), (False, False)])
def test_a_compensation_is_retried_after_what_has_spent_its_own_unless_its_policy_says_not(
    story: Story, retry_spent: bool | UnsetType, is_retried: bool
) -> None:
    policy = RetryPolicy(maximum_attempts=10, retry_spent=retry_spent)
    story.compensating("order-1", options=Options(retry=STEADY, compensation_retry=policy))
    story.start("order-1")

    story.fail("order-1", "SideEffectFailed", spent=True)

    assert story["order-1"].status is (Status.COMPENSATING if is_retried else Status.STUCK)


def test_each_compensation_has_retries_of_its_own(story: Story) -> None:
    policy = RetryPolicy(maximum_attempts=2, jitter=0.0)
    story.compensating("order-1", "Reserve#1", "Charge#1", options=Options(compensation_retry=policy))
    for _ in range(2):
        story.start("order-1")
        story.fail("order-1", "BankClosed")
        story.advance(1_000)
        undone(story)

    assert story["order-1"].status is Status.COMPENSATED


def test_a_compensation_that_takes_too_long_is_retried(story: Story) -> None:
    options = Options(compensation_retry=STEADY, compensation_attempt_timeout_ms=2_000)
    story.compensating("order-1", options=options)
    story.start("order-1")

    assert story.advance(2_000) == ["order-1 attempt"]

    assert story.operation("order-1", COMPENSATION, "Charge#1").failure.type == "AttemptTimeout"
    assert story["order-1"].status is Status.COMPENSATING


def test_what_failed_inside_a_compensation_is_made_again_when_that_is_retried(story: Story) -> None:
    story.compensating("order-1", options=Options(compensation_retry=STEADY))
    story.start("order-1")
    story.receive("order-1", "refunded", timeout_ms=0)
    story.complete_side_effect("order-1", b"7", "refund")
    story.retried("order-1")

    assert story.receive("order-1", "refunded") is None
    assert story.begin_side_effect("order-1", "refund") == Value(payload=b"7")


def test_a_compensation_is_not_undone_for_non_determinism_but_fails(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")

    story.suspend("order-1")

    assert story["order-1"].status is Status.STUCK
    assert story.operation("order-1", COMPENSATION, "Charge#1").failure.type == "NonDeterminism"


# --- stuck


def test_a_compensation_out_of_retries_leaves_its_saga_stuck(story: Story) -> None:
    story.compensating("order-1", options=Options(compensation_retry=RetryPolicy(maximum_attempts=1)))
    story.start("order-1")

    story.fail("order-1", "BankClosed")

    assert story["order-1"].status is Status.STUCK
    [halted] = story.effects_of(Halted)
    assert (halted.execution, halted.failure.type) == (story["order-1"], "BankClosed")
    compensation = story.operation("order-1", COMPENSATION, "Charge#1")
    assert (compensation.status, compensation.failure.type) == (OperationStatus.FAILED, "BankClosed")
    assert compensation.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert story.timers("order-1") == {}


def test_a_stuck_saga_stays_so_through_a_restart(story: Story) -> None:
    story.stuck("order-1")

    story.restart()

    assert story["order-1"].status is Status.STUCK
    assert isinstance(story.start("order-1"), Rejection)


def test_an_operator_may_have_a_stuck_compensation_retried_with_all_its_attempts(story: Story) -> None:
    options = Options(compensation_retry=RetryPolicy(maximum_attempts=2, jitter=0.0), max_crashes=2)
    story.compensating("order-1", options=options)
    for _ in range(2):
        story.start("order-1")
        story.fail("order-1")
        story.advance(1_000)
    assert story["order-1"].status is Status.STUCK

    assert story.resolve("order-1", Resolution.RETRY) == Accepted(status=Status.COMPENSATING)
    assert [ready.order[0] for ready in story.effects_of(Ready)] == [True]
    story.start("order-1")
    story.fail("order-1")
    assert story["order-1"].status is Status.COMPENSATING
    story.advance(1_000)
    assert undone(story) == "Charge#1"

    assert story["order-1"].status is Status.COMPENSATED
    assert story.operation("order-1", COMPENSATION, "Charge#1").attempt == 4


@pytest.mark.parametrize(
    ("resolution", "recorded"),
    [(Resolution.SKIP, OperationStatus.SKIPPED), (Resolution.MARK_DONE, OperationStatus.COMPLETED)],
)
def test_an_operator_may_go_on_with_the_step_before(
    story: Story, resolution: Resolution, recorded: OperationStatus
) -> None:
    story.stuck("order-1", "Reserve#1", "Charge#1")

    assert story.resolve("order-1", resolution) == Accepted(status=Status.COMPENSATING)

    assert story.operation("order-1", COMPENSATION, "Charge#1").status is recorded
    assert undone(story) == "Reserve#1"
    assert story["order-1"].status is Status.COMPENSATED


@pytest.mark.parametrize("resolution", [Resolution.SKIP, Resolution.MARK_DONE])
def test_a_saga_whose_last_compensation_is_resolved_is_compensated(story: Story, resolution: Resolution) -> None:
    story.stuck("order-1")

    assert story.resolve("order-1", resolution) == Accepted(status=Status.COMPENSATED)


def test_a_resolution_that_is_repeated_resolves_no_other_compensation(story: Story) -> None:
    story.stuck("order-1", "Reserve#1", "Charge#1")
    story.resolve("order-1", Resolution.SKIP, request_id="r-1")
    story.start("order-1")
    story.fail("order-1", "BankClosed", non_retryable=True)

    assert story.resolve("order-1", Resolution.SKIP, request_id="r-1") == Accepted(status=Status.STUCK)
    assert story["order-1"].compensating == "Reserve#1"

    assert story.resolve("order-1", Resolution.SKIP, request_id="r-2") == Accepted(status=Status.COMPENSATED)
    assert story.resolve("order-1", Resolution.SKIP, request_id="r-2") == Accepted(status=Status.COMPENSATED)


def test_a_resolution_is_made_once(story: Story) -> None:
    story.stuck("order-1", "Reserve#1", "Charge#1")
    story.resolve("order-1", Resolution.SKIP)

    assert isinstance(story.resolve("order-1", Resolution.SKIP), Rejection)

    assert story["order-1"].compensating == "Reserve#1"


# --- waits inside of compensations


def test_a_compensation_that_is_unwound_while_it_waits_goes_on_afterwards(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    story.receive("order-1", "refunded")
    story.unwind("order-1")
    assert (story["order-1"].status, story["order-1"].ready_at) == (Status.COMPENSATING, None)

    story.signal("order-1", "refunded", b"7")

    assert [(ready.pool, ready.order[0]) for ready in story.effects_of(Ready)] == [(Component.COMPENSATION, False)]
    story.start("order-1")
    assert story.receive("order-1", "refunded") == Value(payload=b"7")
    assert story.operation("order-1", COMPENSATION, "Charge#1").attempt == 1


def test_the_waits_of_a_compensation_end_with_it(story: Story) -> None:
    story.compensating("order-1", "Reserve#1", "Charge#1")
    story.start("order-1")
    story.sleep("order-1", key="sleep#1")

    story.complete("order-1")

    assert (story["order-1"].pending, story.timers("order-1")) == (0, {})


def test_the_waits_of_a_failed_compensation_end_with_it(story: Story) -> None:
    story.compensating("order-1", options=Options(compensation_retry=STEADY))
    story.start("order-1")
    story.sleep("order-1", key="sleep#1")

    story.fail("order-1")

    assert (story["order-1"].pending, story.timers("order-1")) == (0, {"start": 1_000})


def test_a_compensation_that_crashed_too_often_takes_its_waits_with_it(story: Story) -> None:
    story.compensating("order-1", options=Options(max_crashes=1))
    story.start("order-1")
    story.sleep("order-1")

    story.crash("order-1")

    assert story["order-1"].status is Status.STUCK
    assert (story["order-1"].pending, story.timers("order-1")) == (0, {})
