"""Attempts of handlers: how they end, and when another one follows."""

from __future__ import annotations

import pytest
from msgspec import UNSET, UnsetType

from tempolite_node.engine.commands import CompleteAttempt, FailAttempt, Heartbeat
from tempolite_node.engine.effects import Abandon, Accepted, Closed, Ready, Reason, Rejection, RunAttempt, Value
from tempolite_node.engine.model import Component, Options, RetryPolicy, RetryState, Status
from tempolite_node.engine.retry import retry_at_ms

from .story import NODE, ONCE, START_MS, STEADY, Story, failure

# --- start and completion


def test_a_started_execution_runs_under_a_new_epoch(story: Story) -> None:
    story.enqueue("order-1")

    outcome = story.start("order-1")

    assert outcome == Accepted(status=Status.RUNNING)
    assert (story["order-1"].attempt, story["order-1"].epoch) == (1, 1)
    assert story.effects == [RunAttempt(execution_id="order-1", owner=NODE, epoch=1)]


def test_an_execution_is_started_once_for_each_time_that_it_waits_for_a_slot(story: Story) -> None:
    story.running("order-1")

    outcome = story.start("order-1")

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE


def test_a_handler_that_returns_completes_its_execution(story: Story) -> None:
    story.running("order-1")
    story.advance(250)

    answer = story.complete("order-1", b'"receipt"')

    order = story["order-1"]
    assert answer == Value()
    assert (order.status, order.result, order.closed_ms) == (Status.COMPLETED, b'"receipt"', START_MS + 250)
    assert [closed.execution_id for closed in story.effects_of(Closed)] == ["order-1"]


def test_a_result_from_an_earlier_owner_is_rejected(story: Story) -> None:
    story.running("order-1")
    earlier = story["order-1"].epoch
    story.resumed("order-1")

    outcome = story.ask("order-1", CompleteAttempt(result=b"1"), epoch=earlier)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH
    assert story["order-1"].status is Status.RUNNING


def test_an_epoch_that_was_never_given_is_rejected(story: Story) -> None:
    story.running("order-1")

    outcome = story.ask("order-1", CompleteAttempt(result=b"1"), epoch=story["order-1"].epoch + 1)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH


def test_the_end_of_an_ended_execution_changes_nothing(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch
    story.complete("order-1", b'"first"')

    outcome = story.ask("order-1", FailAttempt(failure=failure()), epoch=epoch)

    assert isinstance(outcome, Rejection)
    assert story["order-1"].result == b'"first"'


# --- failures and retries


def test_a_failed_attempt_is_followed_by_another_after_its_backoff(story: Story) -> None:
    story.running("order-1")

    story.fail("order-1", "ConnectionError", message="no route")

    order = story["order-1"]
    assert (order.status, order.due_ms, order.failures) == (Status.SCHEDULED, START_MS + 1_000, 1)
    [attempt] = story.attempts("order-1")
    assert (attempt.number, attempt.failure.type, attempt.failure.message) == (1, "ConnectionError", "no route")

    story.advance(1_000)
    assert [ready.pool for ready in story.effects_of(Ready)] == [Component.HANDLER]
    story.start("order-1")

    assert (story["order-1"].status, story["order-1"].attempt) == (Status.RUNNING, 2)


def test_a_failed_attempt_is_kept_with_its_times(story: Story) -> None:
    story.enqueue("order-1")
    story.advance(100)
    story.start("order-1")
    story.advance(20)

    story.fail("order-1")

    [attempt] = story.attempts("order-1")
    assert (attempt.started_ms, attempt.ended_ms) == (START_MS + 100, START_MS + 120)
    assert story["order-1"].started_ms == START_MS + 100


def test_the_backoff_grows_up_to_its_maximum(story: Story) -> None:
    policy = RetryPolicy(maximum_attempts=0, jitter=0.0, initial_interval_ms=1_000, maximum_interval_ms=5_000)
    story.running("order-1", options=Options(retry=policy))
    delays = []
    for _ in range(5):
        failed_ms = story.now_ms
        story.retried("order-1")
        delays.append(story.now_ms - failed_ms)

    assert delays == [1_000, 2_000, 4_000, 5_000, 5_000]


def test_jitter_is_drawn_when_the_command_is_made_and_stored_with_the_backoff(story: Story) -> None:
    story.running("order-1", options=Options(retry=RetryPolicy(jitter=0.2)))

    story.ask("order-1", FailAttempt(failure=failure()), jitter=-0.5)

    assert story["order-1"].due_ms == START_MS + 900
    story.reopen()
    assert story["order-1"].due_ms == START_MS + 900
    assert story.timers("order-1") == {"start": 900}


def test_an_execution_fails_with_its_last_attempt(story: Story) -> None:
    story.running("order-1", options=Options(retry=RetryPolicy(maximum_attempts=2, jitter=0.0)))
    story.retried("order-1")

    story.fail("order-1", "TimeoutError")

    order = story["order-1"]
    assert (order.status, order.retry_state) == (Status.FAILED, RetryState.MAXIMUM_ATTEMPTS_REACHED)
    assert order.failure == failure("TimeoutError")
    assert [attempt.number for attempt in story.attempts("order-1")] == [1, 2]


def test_without_a_maximum_it_is_retried_for_ever(story: Story) -> None:
    story.running("order-1", options=Options(retry=RetryPolicy(maximum_attempts=0, jitter=0.0)))

    for _ in range(100):
        story.retried("order-1")

    assert story["order-1"].attempt == 101


def test_an_error_that_says_so_is_not_retried(story: Story) -> None:
    story.running("order-1")

    story.fail("order-1", "NonRetryable", non_retryable=True)

    assert story["order-1"].status is Status.FAILED
    assert story["order-1"].retry_state is RetryState.NON_RETRYABLE_FAILURE


@pytest.mark.parametrize(("retry_spent", "is_retried"), [(UNSET, False), (False, False), (True, True)])
def test_what_has_spent_its_own_retries_is_retried_by_a_policy_that_says_so_alone(
    story: Story, retry_spent: bool | UnsetType, is_retried: bool
) -> None:
    story.running("order-1", options=Options(retry=RetryPolicy(retry_spent=retry_spent)))

    story.fail("order-1", "SideEffectFailed", spent=True)

    assert story["order-1"].status is (Status.SCHEDULED if is_retried else Status.FAILED)
    assert story["order-1"].retry_state is (None if is_retried else RetryState.NON_RETRYABLE_FAILURE)


@pytest.mark.parametrize(
    ("listed", "is_retried"), [("CardDeclined", False), ("PaymentError", False), ("ConnectionError", True)]
)
def test_an_error_is_not_retried_when_its_class_or_a_base_of_it_is_listed(
    story: Story, listed: str, is_retried: bool
) -> None:
    policy = RetryPolicy(non_retryable_errors=("KeyError", listed))
    story.running("order-1", options=Options(retry=policy))

    story.fail("order-1", "CardDeclined", bases=("CardDeclined", "PaymentError", "Exception"))

    assert story["order-1"].status is (Status.SCHEDULED if is_retried else Status.FAILED)


def test_an_error_may_say_itself_when_to_try_again(story: Story) -> None:
    story.running("order-1")

    story.fail("order-1", "RetryAfter", retry_after_ms=42_000)

    assert story["order-1"].due_ms == START_MS + 42_000


def test_a_retry_that_has_no_room_before_the_deadline_is_not_made(story: Story) -> None:
    story.running("order-1", max_duration_ms=1_000)

    story.fail("order-1", "ConnectionError")

    order = story["order-1"]
    assert (order.status, order.retry_state) == (Status.FAILED, RetryState.TIMEOUT)
    assert order.failure == failure("ConnectionError")


def test_a_retry_just_before_the_deadline_is_made(story: Story) -> None:
    story.running("order-1", max_duration_ms=1_001)

    story.fail("order-1")

    assert story["order-1"].status is Status.SCHEDULED


def test_the_waits_of_a_failed_attempt_end_with_it(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", "approve")
    story.sleep("order-1")

    story.fail("order-1")

    assert story["order-1"].pending == 0
    assert story.timers("order-1") == {"start": 1_000}


@pytest.mark.parametrize(
    ("coefficient", "failures", "delay_ms"),
    [
        (1.0, 1_000_000, 1_000),
        (1_000.0, 1_000_000, 100_000),
        (float("inf"), 1, 1_000),
        (float("inf"), 2, 100_000),
    ],
)
def test_a_backoff_has_a_bound_for_any_number_of_failures_and_any_growth(
    coefficient: float, failures: int, delay_ms: int
) -> None:
    policy = RetryPolicy(maximum_attempts=0, jitter=0.0, backoff_coefficient=coefficient)

    due_ms = retry_at_ms(
        policy, failure=failure(), failures=failures, failed_at_ms=START_MS, jitter=0.0, deadline_ms=None
    )

    assert due_ms == START_MS + delay_ms


def test_a_delay_longer_than_any_calendar_can_be_stored(story: Story) -> None:
    story.running("order-1")

    story.fail("order-1", "RetryAfter", retry_after_ms=2**64 - 1)

    due_ms = story["order-1"].due_ms
    assert due_ms is not None
    assert due_ms > START_MS + 1_000 * 365 * 86_400_000


# --- limits of one attempt


def test_an_attempt_that_takes_too_long_is_abandoned_and_retried(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, attempt_timeout_ms=5_000))
    epoch = story["order-1"].epoch

    assert story.advance(5_000) == ["order-1 attempt"]

    assert story.effects_of(Abandon) == [Abandon(execution_id="order-1", epoch=epoch)]
    assert story["order-1"].status is Status.SCHEDULED
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["AttemptTimeout"]


def test_an_execution_whose_last_attempt_takes_too_long_has_timed_out(story: Story) -> None:
    story.running("order-1", options=Options(retry=ONCE, attempt_timeout_ms=5_000))

    story.advance(5_000)

    assert story["order-1"].status is Status.TIMED_OUT


def test_the_time_of_an_attempt_goes_on_while_it_waits_without_a_stack(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, attempt_timeout_ms=5_000))
    story.receive("order-1")
    story.unwind("order-1")

    assert story.advance(5_000) == ["order-1 attempt"]

    assert story["order-1"].status is Status.SCHEDULED


def test_an_attempt_that_is_run_again_after_a_restart_gets_its_whole_time(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, attempt_timeout_ms=5_000))
    story.advance(4_000)

    story.restart()
    story.start("order-1")

    assert story.timers("order-1") == {"attempt": 9_000}


def test_a_missed_heartbeat_ends_the_attempt(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, heartbeat_timeout_ms=1_000))
    story.advance(900)
    story.ask("order-1", Heartbeat(details=b"42"))

    assert story.advance(999) == []
    assert story.advance(1) == ["order-1 heartbeat"]

    assert story["order-1"].status is Status.SCHEDULED
    assert story["order-1"].heartbeat == b"42"
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["HeartbeatTimeout"]


def test_a_wait_beats_no_heart_and_needs_none(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, heartbeat_timeout_ms=1_000))
    story.receive("order-1")

    story.advance(10_000)

    assert story["order-1"].status is Status.WAITING
    story.signal("order-1")
    story.advance(1_000)
    assert story["order-1"].status is Status.SCHEDULED


def test_a_compensation_needs_no_heartbeat(story: Story) -> None:
    story.compensating("order-1", options=Options(heartbeat_timeout_ms=1_000))
    story.start("order-1")

    story.ask("order-1", Heartbeat())

    assert story.timers("order-1") == {}


def test_without_a_limit_no_timer_is_set(story: Story) -> None:
    story.running("order-1")

    assert story.timers("order-1") == {}
