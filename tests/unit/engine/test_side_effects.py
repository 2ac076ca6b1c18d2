"""Side effects: recorded once, retried by their own policy, and what becomes of records made inside them."""

from __future__ import annotations

from tempolite_node.engine.effects import Failed, Granted, Reason, Refused, Value, Wake
from tempolite_node.engine.model import (
    Component,
    OperationKind,
    OperationStatus,
    RetryPolicy,
    RetryState,
    Status,
    record_generation,
)

from .story import ONCE, START_MS, STEADY, Story, failure

SIDE_EFFECT = OperationKind.SIDE_EFFECT


# --- recorded once


def test_a_side_effect_runs_when_nothing_is_recorded_under_its_key(story: Story) -> None:
    story.running("order-1")

    assert story.begin_side_effect("order-1", "quote") == Granted(attempt=1)
    assert story.operations("order-1", SIDE_EFFECT) == []


def test_a_completed_side_effect_answers_from_its_record(story: Story) -> None:
    story.running("order-1")

    assert story.complete_side_effect("order-1", b"5", "quote") == Value(payload=b"5")

    assert story.begin_side_effect("order-1", "quote") == Value(payload=b"5")


def test_the_first_completion_of_a_side_effect_counts(story: Story) -> None:
    story.running("order-1")
    story.complete_side_effect("order-1", b"5")

    assert story.complete_side_effect("order-1", b"6") == Value(payload=b"5")
    assert story.fail_side_effect("order-1") == Value(payload=b"5")

    assert story.operation("order-1", SIDE_EFFECT, "quote").result == b"5"


def test_a_completed_side_effect_is_kept_when_the_execution_is_retried_or_resumed(story: Story) -> None:
    story.running("order-1")
    story.complete_side_effect("order-1", b"5")

    story.retried("order-1")
    assert story.begin_side_effect("order-1") == Value(payload=b"5")

    story.restart()
    story.start("order-1")
    assert story.begin_side_effect("order-1") == Value(payload=b"5")


def test_side_effects_with_other_keys_are_others(story: Story) -> None:
    story.running("order-1")
    story.complete_side_effect("order-1", b"5", "quote")

    assert story.begin_side_effect("order-1", "tax") == Granted(attempt=1)


def test_another_input_under_a_recorded_key_is_non_determinism(story: Story) -> None:
    story.running("order-1")
    story.complete_side_effect("order-1", b"5", digest=b"two items")

    answer = story.begin_side_effect("order-1", digest=b"three items")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM
    assert isinstance(story.complete_side_effect("order-1", b"6", digest=b"three items"), Refused)


# --- retries


def test_a_failed_side_effect_is_made_again_after_its_backoff(story: Story) -> None:
    story.running("order-1")

    assert story.fail_side_effect("order-1", "quote", type="ConnectionError") is None

    operation = story.operation("order-1", SIDE_EFFECT, "quote")
    assert (operation.status, operation.attempt) == (OperationStatus.RETRYING, 1)
    assert operation.due_ms == START_MS + 1_000
    assert story.advance(1_000) == ["order-1 side_effect:quote"]
    assert story.effects_of(Wake) == [
        Wake(execution_id="order-1", epoch=1, kind=SIDE_EFFECT, key="quote", answer=Granted(attempt=2))
    ]


def test_the_attempts_of_a_side_effect_leave_the_execution_running(story: Story) -> None:
    story.running("order-1")

    story.fail_side_effect("order-1")
    story.advance(1_000)

    assert (story["order-1"].status, story["order-1"].failures) == (Status.RUNNING, 0)


def test_each_failed_attempt_of_a_side_effect_is_kept(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", type="ConnectionError")
    story.advance(1_000)
    story.fail_side_effect("order-1", type="TimeoutError")

    assert [
        (attempt.kind, attempt.key, attempt.number, attempt.failure.type) for attempt in story.attempts("order-1")
    ] == [
        (SIDE_EFFECT, "quote", 1, "ConnectionError"),
        (SIDE_EFFECT, "quote", 2, "TimeoutError"),
    ]


def test_a_side_effect_completes_in_a_later_attempt(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1")
    story.advance(1_000)

    story.complete_side_effect("order-1", b"5")

    operation = story.operation("order-1", SIDE_EFFECT, "quote")
    assert (operation.status, operation.attempt, operation.failure) == (OperationStatus.COMPLETED, 2, None)
    assert operation.started_ms == START_MS


def test_a_side_effect_out_of_retries_fails_and_says_why(story: Story) -> None:
    story.running("order-1")

    answer = story.fail_side_effect("order-1", retry=ONCE, type="ConnectionError")

    assert answer == Failed(failure=failure("ConnectionError"), attempts=1)
    operation = story.operation("order-1", SIDE_EFFECT, "quote")
    assert operation.status is OperationStatus.FAILED
    assert operation.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_a_side_effect_has_no_retry_that_would_come_after_the_deadline(story: Story) -> None:
    story.running("order-1", max_duration_ms=500)

    assert isinstance(story.fail_side_effect("order-1"), Failed)

    assert story.operation("order-1", SIDE_EFFECT, "quote").retry_state is RetryState.TIMEOUT


def test_a_side_effect_that_is_asked_for_during_its_backoff_waits_for_its_end(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1")
    story.resumed("order-1")

    assert story.begin_side_effect("order-1") is None

    story.advance(1_000)
    [wake] = story.effects_of(Wake)
    assert (wake.epoch, wake.answer) == (story["order-1"].epoch, Granted(attempt=2))


def test_a_backoff_that_ends_while_nobody_runs_is_over_for_the_next_attempt(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1")
    story.crash("order-1", suspect=False)
    story.advance(1_000)
    story.start("order-1")

    assert story.begin_side_effect("order-1") == Granted(attempt=2)


def test_the_retries_of_a_side_effect_go_on_in_the_next_attempt_of_its_execution(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", retry=RetryPolicy(maximum_attempts=2, jitter=0.0))
    story.retried("order-1")

    assert story.begin_side_effect("order-1") == Granted(attempt=2)
    assert isinstance(story.fail_side_effect("order-1", retry=RetryPolicy(maximum_attempts=2)), Failed)


def test_a_side_effect_that_failed_for_good_answers_its_failure_until_the_execution_is_retried(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", retry=ONCE)

    story.resumed("order-1")
    assert story.begin_side_effect("order-1") == Failed(failure=failure(), attempts=1)

    story.retried("order-1")
    assert story.begin_side_effect("order-1") == Granted(attempt=1)
    assert story.complete_side_effect("order-1", b"5") == Value(payload=b"5")


def test_a_side_effect_that_is_made_again_may_have_another_input(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", retry=ONCE, digest=b"two items")
    story.retried("order-1")

    assert story.begin_side_effect("order-1", digest=b"three items") == Granted(attempt=1)


def test_a_record_keeps_its_place_in_the_journal_when_it_is_made_again(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", "quote", retry=ONCE)
    story.complete_side_effect("order-1", b"1", "tax")
    story.retried("order-1")

    story.complete_side_effect("order-1", b"5", "quote")

    assert [op.key for op in story.operations("order-1", SIDE_EFFECT)] == ["quote", "tax"]
    assert [op.key for op in story.executions.operations(story["order-1"].row, 1_000_000) or ()] == ["quote", "tax"]


def test_a_started_time_from_a_clock_that_is_ahead_is_not_believed(story: Story) -> None:
    story.running("order-1")

    story.complete_side_effect("order-1", started_ms=2**64 - 1)
    story.fail_side_effect("order-1", "tax", started_ms=2**64 - 1)

    assert story.operation("order-1", SIDE_EFFECT, "quote").started_ms == START_MS
    assert story.operation("order-1", SIDE_EFFECT, "tax").started_ms == START_MS
    assert [attempt.started_ms for attempt in story.attempts("order-1")] == [START_MS]


# --- inside of a side effect


def test_what_failed_inside_a_side_effect_is_made_again_when_that_is_retried(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", "quote > tax", retry=ONCE)
    assert isinstance(story.begin_side_effect("order-1", "quote > tax"), Failed)

    story.fail_side_effect("order-1", "quote")
    story.advance(1_000)

    assert story.begin_side_effect("order-1", "quote > tax", side_effect_failures=1) == Granted(attempt=1)


def test_what_completed_inside_a_side_effect_is_kept_when_that_is_retried(story: Story) -> None:
    story.running("order-1")
    story.complete_side_effect("order-1", b"1", "quote > tax")

    story.fail_side_effect("order-1", "quote")
    story.advance(1_000)

    assert story.begin_side_effect("order-1", "quote > tax", side_effect_failures=1) == Value(payload=b"1")


def test_a_wait_that_timed_out_inside_a_side_effect_is_made_again_when_that_is_retried(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", "approve", key="quote > approve#1", timeout_ms=0)
    story.fail_side_effect("order-1", "quote")
    story.advance(1_000)

    answer = story.receive("order-1", "approve", key="quote > approve#1", timeout_ms=500, side_effect_failures=1)

    assert answer is None
    assert story["order-1"].status is Status.WAITING


def test_a_child_that_ended_badly_inside_a_side_effect_is_enqueued_anew_when_that_is_retried(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", key="quote > ship#1")
    story.terminate("child-1")
    story.fail_side_effect("order-1", "quote")
    story.advance(1_000)

    assert story.child("order-1", "child-2", key="quote > ship#1") == Value(payload=b'"child-1"')
    answer = story.child("order-1", "child-2", key="quote > ship#1", side_effect_failures=1)

    assert answer == Value(payload=b'"child-2"')


def test_the_waits_that_a_side_effect_left_behind_end_with_it(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", key="side_effect:quote > sleep#1")
    story.receive("order-1", key="side_effect:quote > side_effect:tax > approve#1")
    assert story["order-1"].status is Status.WAITING

    story.complete_side_effect("order-1", b"5", "quote")

    assert (story["order-1"].status, story["order-1"].pending, story.timers("order-1")) == (Status.RUNNING, 0, {})


def test_the_waits_outside_of_a_side_effect_go_on_after_it(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", key="sleep#1")
    story.sleep("order-1", key="side_effect:quote2 > sleep#1")
    story.sleep("order-1", key="side_effect:quote > sleep#1")

    story.fail_side_effect("order-1", "quote")

    assert (story["order-1"].status, story["order-1"].pending) == (Status.WAITING, 2)


def test_a_failed_attempt_of_the_execution_counts_for_more_than_any_number_inside_it() -> None:
    assert record_generation(0, 0) < record_generation(0, 1) < record_generation(0, 10**9) < record_generation(1, 0)


def test_a_side_effect_of_a_compensation_is_retried_though_the_deadline_has_passed(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, max_duration_ms=10_000)
    story.step("order-1")
    story.advance(10_000)
    story.start("order-1")

    assert story.fail_side_effect("order-1", "refund") is None
    assert story.advance(1_000) == ["order-1 side_effect:refund"]


def test_a_compensation_may_ask_for_a_side_effect_whose_backoff_the_saga_did_not_live_to_see(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")
    story.fail_side_effect("order-1", "quote", retry=STEADY)
    story.fail("order-1", non_retryable=True)
    story.start("order-1")

    assert story.begin_side_effect("order-1", "quote") is None
    assert story.advance(1_000) == ["order-1 side_effect:quote"]
    assert [wake.answer for wake in story.effects_of(Wake)] == [Granted(attempt=2)]
