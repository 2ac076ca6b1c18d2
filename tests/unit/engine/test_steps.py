"""Steps of sagas: recorded before their transaction and after it, and what a crash between the two leaves."""

from __future__ import annotations

import pytest

from tempolite_node.engine.effects import Failed, Granted, Reason, Refused, Value
from tempolite_node.engine.model import Component, OperationKind, OperationStatus, Status

from .story import Story, failure

STEP = OperationKind.STEP
CHARGE = "Charge#1"


@pytest.fixture
def saga(story: Story) -> Story:
    story.running("order-1", component=Component.SAGA)
    return story


def test_a_step_is_recorded_with_its_data_before_its_transaction_runs(saga: Story) -> None:
    assert saga.begin_step("order-1", CHARGE, input=b'{"amount":5}') == Granted(attempt=1)

    step = saga.operation("order-1", STEP, CHARGE)
    assert (step.status, step.target, step.input) == (OperationStatus.RUNNING, "shop:Charge", b'{"amount":5}')
    assert not step.in_doubt


def test_a_completed_step_keeps_the_data_that_its_transaction_left(saga: Story) -> None:
    saga.begin_step("order-1", CHARGE, input=b"{}")

    assert saga.complete_step("order-1", CHARGE, b'{"charge_id":7}') == Value(payload=b'{"charge_id":7}')

    step = saga.operation("order-1", STEP, CHARGE)
    assert (step.status, step.result) == (OperationStatus.COMPLETED, b'{"charge_id":7}')
    assert saga.begin_step("order-1", CHARGE) == Value(payload=b'{"charge_id":7}')


def test_a_completed_step_is_kept_when_its_saga_is_retried(saga: Story) -> None:
    saga.step("order-1")
    saga.retried("order-1")

    assert isinstance(saga.begin_step("order-1"), Value)


def test_another_input_of_a_completed_step_is_non_determinism(saga: Story) -> None:
    saga.begin_step("order-1", digest=b"five")
    saga.complete_step("order-1")

    answer = saga.begin_step("order-1", digest=b"six")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_a_step_that_was_not_begun_does_not_end(saga: Story) -> None:
    for answer in (saga.complete_step("order-1"), saga.fail_step("order-1")):
        assert isinstance(answer, Refused)
        assert answer.reason == Reason.WRONG_STATE


def test_a_step_ends_once(saga: Story) -> None:
    saga.step("order-1")

    assert isinstance(saga.fail_step("order-1"), Refused)
    assert isinstance(saga.complete_step("order-1", data=b"2"), Refused)
    assert saga.operation("order-1", STEP, CHARGE).result == b'{"id":1}'


def test_the_waits_that_a_transaction_left_behind_end_with_it(saga: Story) -> None:
    saga.begin_step("order-1", CHARGE)
    saga.sleep("order-1", key=f"step:{CHARGE} > sleep#1")

    saga.complete_step("order-1", CHARGE)

    assert (saga["order-1"].status, saga["order-1"].pending) == (Status.RUNNING, 0)


# --- failure


def test_a_failed_step_answers_its_failure_in_the_attempt_that_made_it(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    saga.resumed("order-1")

    assert saga.begin_step("order-1") == Failed(failure=failure("CardDeclined"), attempts=1)


def test_a_failed_step_is_made_again_when_its_saga_is_retried(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    saga.retried("order-1")

    assert saga.begin_step("order-1", digest=b"another card") == Granted(attempt=2)
    saga.complete_step("order-1")
    step = saga.operation("order-1", STEP, CHARGE)
    assert (step.status, step.attempt, step.failure) == (OperationStatus.COMPLETED, 2, None)


def test_each_failed_transaction_is_kept(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1")
    saga.retried("order-1")
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    kept = [(attempt.key, attempt.number) for attempt in saga.attempts("order-1") if attempt.kind is STEP]
    assert kept == [(CHARGE, 1), (CHARGE, 2)]


def test_a_step_that_failed_needs_no_compensation(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    saga.fail("order-1", non_retryable=True)

    assert saga["order-1"].status is Status.FAILED


def test_a_step_that_failed_is_compensated_if_it_says_so_with_the_data_it_left(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1", data=b'{"half":"done"}', compensate=True)

    saga.fail("order-1", non_retryable=True)

    assert saga["order-1"].status is Status.COMPENSATING
    assert saga.operation("order-1", OperationKind.COMPENSATION, CHARGE).input == b'{"half":"done"}'


# --- in doubt


def test_a_step_whose_transaction_was_cut_off_is_in_doubt_and_runs_again(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.resumed("order-1")

    assert saga.begin_step("order-1") == Granted(attempt=2)

    step = saga.operation("order-1", STEP, CHARGE)
    assert (step.status, step.in_doubt) == (OperationStatus.RUNNING, True)


def test_a_step_in_doubt_that_runs_again_must_have_the_same_input(saga: Story) -> None:
    saga.begin_step("order-1", digest=b"five")
    saga.resumed("order-1")

    answer = saga.begin_step("order-1", digest=b"six")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_a_completion_ends_the_doubt(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.resumed("order-1")
    saga.step("order-1")

    assert not saga.operation("order-1", STEP, CHARGE).in_doubt


def test_a_step_in_doubt_is_compensated_even_if_a_later_run_of_it_failed(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.resumed("order-1")
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    saga.fail("order-1", non_retryable=True)

    assert saga["order-1"].status is Status.COMPENSATING


def test_a_step_in_doubt_stays_so_through_the_retries_of_its_saga(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.resumed("order-1")
    saga.begin_step("order-1")
    saga.fail_step("order-1")
    saga.retried("order-1")
    saga.begin_step("order-1")
    saga.fail_step("order-1")

    saga.fail("order-1", non_retryable=True)

    assert saga["order-1"].status is Status.COMPENSATING


def test_a_step_in_mid_transaction_is_compensated_with_the_data_it_began_with(saga: Story) -> None:
    saga.begin_step("order-1", input=b'{"amount":5}')

    saga.fail("order-1", non_retryable=True)

    assert saga.operation("order-1", OperationKind.COMPENSATION, CHARGE).input == b'{"amount":5}'


def test_a_step_in_doubt_that_runs_again_begins_with_what_it_had_left(saga: Story) -> None:
    saga.begin_step("order-1", input=b'{"id":null}')
    saga.fail_step("order-1", data=b'{"id":7}', compensate=True)
    saga.retried("order-1")

    assert saga.begin_step("order-1", input=b'{"id":null}') == Granted(attempt=2, data=b'{"id":7}')

    saga.fail("order-1", non_retryable=True)
    assert saga.operation("order-1", OperationKind.COMPENSATION, CHARGE).input == b'{"id":7}'


def test_what_a_step_in_doubt_had_left_survives_crashes_of_later_attempts(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1", data=b'{"id":7}', compensate=True)
    saga.retried("order-1")
    saga.begin_step("order-1")
    saga.resumed("order-1")

    assert saga.begin_step("order-1") == Granted(attempt=3, data=b'{"id":7}')


def test_a_step_that_failed_for_sure_begins_anew(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1", data=b'{"id":7}')
    saga.retried("order-1")

    assert saga.begin_step("order-1") == Granted(attempt=2)


# --- it has run, and what it left can't be stored


def test_a_step_that_has_run_is_not_run_again_by_any_attempt_and_is_undone(saga: Story) -> None:
    saga.begin_step("order-1")
    saga.fail_step("order-1", data=b'{"half":"stored"}', compensate=True, has_run=True)
    saga.retried("order-1")

    answer = saga.begin_step("order-1")

    assert answer == Failed(failure=failure("CardDeclined"), attempts=1)
    saga.fail("order-1", non_retryable=True)
    assert saga.operation("order-1", OperationKind.COMPENSATION, CHARGE).input == b'{"half":"stored"}'
