"""Unwinding: an attempt without a stack goes on when one of its waits is over, and no answer is lost."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import UnwindAttempt
from tempolite_node.engine.effects import Ready, Reason, Refused, Rejection, Value
from tempolite_node.engine.model import OperationKind, Options, Status

from .story import STEADY, Story

SIGNAL = (OperationKind.SIGNAL, "approve#1")
TIMER = (OperationKind.TIMER, "sleep#1")
SIDE_EFFECT = (OperationKind.SIDE_EFFECT, "quote")


def test_an_unwound_execution_waits_without_a_stack_and_without_a_slot(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")

    assert story.unwind("order-1") == Value()

    order = story["order-1"]
    assert (order.status, order.attached, order.ready_at) == (Status.WAITING, False, None)
    assert story.effects == []


def test_it_is_queued_ahead_of_new_work_when_its_wait_is_over(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.unwind("order-1")

    story.signal("order-1", payload=b"yes")

    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)
    story.start("order-1")
    assert story.receive("order-1") == Value(payload=b"yes")


def test_it_is_the_same_attempt_that_goes_on(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.unwind("order-1")
    story.signal("order-1")
    story.start("order-1")

    assert (story["order-1"].attempt, story["order-1"].failures) == (1, 0)
    assert story.attempts("order-1") == []


def test_an_answer_that_was_on_its_way_to_the_stack_is_not_lost(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1")

    story.unwind("order-1")

    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)


def test_a_stack_that_was_given_up_can_say_nothing_more(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    epoch = story["order-1"].epoch
    story.unwind("order-1")

    outcome = story.ask("order-1", UnwindAttempt(), epoch=epoch)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH


def test_an_unwound_execution_misses_no_heartbeat(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, heartbeat_timeout_ms=1_000))
    story.receive("order-1")

    story.unwind("order-1")

    assert story.timers("order-1") == {}


# --- several waits


def test_any_of_several_waits_brings_it_back(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.sleep("order-1", 1_000)
    story.unwind("order-1")

    story.advance(1_000)

    assert (story["order-1"].status, story["order-1"].pending) == (Status.QUEUED, 1)


def test_of_several_waits_none_is_lost_while_it_is_queued_again(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.sleep("order-1", 1_000)
    story.unwind("order-1")
    story.advance(1_000)
    story.signal("order-1", payload=b"yes")
    story.start("order-1")

    assert story.sleep("order-1", 1_000) == Value()
    assert story.receive("order-1") == Value(payload=b"yes")


@pytest.mark.parametrize(
    ("still_open", "status"), [((SIGNAL,), Status.WAITING), ((SIGNAL, TIMER), Status.QUEUED), ((TIMER,), Status.QUEUED)]
)
def test_of_several_waits_one_whose_answer_was_on_its_way_brings_it_back_at_once(
    story: Story, still_open: tuple[tuple[OperationKind, str], ...], status: Status
) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.sleep("order-1", 1_000)
    story.advance(1_000)

    story.ask("order-1", UnwindAttempt(waits=still_open))

    assert story["order-1"].status is status


# --- backoff of side effects


def test_a_stack_that_waits_for_a_backoff_is_unwound_until_that_is_over(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1")

    story.unwind("order-1")
    assert (story["order-1"].status, story["order-1"].ready_at) == (Status.WAITING, None)
    story.advance(1_000)

    assert [ready.execution_id for ready in story.effects_of(Ready)] == ["order-1"]
    story.start("order-1")
    assert story["order-1"].attempt == 1


def test_the_end_of_a_backoff_brings_it_back_though_a_signal_is_yet_to_come(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.fail_side_effect("order-1")
    story.ask("order-1", UnwindAttempt(waits=(SIGNAL, SIDE_EFFECT)))
    assert story["order-1"].status is Status.WAITING

    story.advance(1_000)

    assert (story["order-1"].status, story["order-1"].pending) == (Status.QUEUED, 1)


def test_a_side_effect_that_is_due_brings_it_back_at_once(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.fail_side_effect("order-1")
    story.advance(1_000)

    story.ask("order-1", UnwindAttempt(waits=(SIGNAL, SIDE_EFFECT)))

    assert story["order-1"].status is Status.QUEUED


def test_a_side_effect_that_waited_for_its_first_slot_brings_it_back_at_once(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")

    story.ask("order-1", UnwindAttempt(waits=(SIGNAL, SIDE_EFFECT)))

    assert story["order-1"].status is Status.QUEUED


def test_a_wait_that_replay_had_not_reached_holds_nothing_up(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.resumed("order-1")

    story.unwind("order-1")

    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)


# --- suspended


def test_code_that_is_not_what_was_recorded_suspends_its_execution(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")

    story.suspend("order-1")

    order = story["order-1"]
    assert (order.status, order.attached) == (Status.SUSPENDED, False)
    assert order.failure.type == "NonDeterminism"
    assert order.failure.message == "child ship#1: recorded was ship with [] (execution child-1), replay asks for bill"
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["NonDeterminism"]


def test_what_a_suspended_execution_waited_for_is_recorded_when_it_comes(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.suspend("order-1")

    story.signal("order-1", payload=b"yes")

    assert story["order-1"].status is Status.SUSPENDED
    story.restart()
    story.start("order-1")
    assert story.receive("order-1") == Value(payload=b"yes")


def test_a_suspended_execution_uses_up_no_retries(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1", retry=STEADY)
    story.suspend("order-1")
    story.restart()

    assert (story["order-1"].failures, story["order-1"].generation) == (0, 0)


def test_refusals_leave_the_attempt_running(story: Story) -> None:
    story.running("order-1")

    assert isinstance(story.wait("order-1", "order-1"), Refused)

    assert story.complete("order-1") == Value()
