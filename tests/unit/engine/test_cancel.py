"""Cancel: seen once, as soon as the execution's state allows, so that its cleanup may still wait."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import DeliverCancel, IdReuse
from tempolite_node.engine.effects import (
    Abandon,
    Accepted,
    Halted,
    Interrupted,
    Reason,
    Refused,
    RequestCancel,
    Value,
    Wake,
)
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    OperationKind,
    OperationStatus,
    Options,
    RetryState,
    Status,
)

from .story import STEADY, Story, ended_of

# --- again


def test_requested_again_after_it_was_raised_it_is_raised_again_with_its_first_reason(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1", "no stock")
    story.ask("order-1", DeliverCancel(key="timer:sleep#1"))
    story.cancel("order-1", "really")

    assert [each.reason for each in story.effects_of(RequestCancel)] == ["no stock"]
    assert story.ask("order-1", DeliverCancel(key="timer:sleep#2")) == Value()
    assert isinstance(story.ask("order-1", DeliverCancel(key="timer:sleep#3")), Refused)


def test_requested_again_before_it_was_raised_it_is_raised_once(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")
    story.cancel("order-1")
    story.ask("order-1", DeliverCancel(key="timer:sleep#1"))

    assert isinstance(story.ask("order-1", DeliverCancel(key="timer:sleep#2")), Refused)


def test_an_execution_that_was_cancelled_again_ends_cancelled_by_the_first(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")
    story.ask("order-1", DeliverCancel(key="timer:sleep#1"))
    story.cancel("order-1")

    story.fail("order-1", "Cancelled", cancelled=True)

    assert story["order-1"].status is Status.CANCELLED


# --- where it is seen


def test_what_has_not_started_is_cancelled_at_once(story: Story) -> None:
    story.enqueue("queued")
    story.enqueue("delayed", delay_ms=1_000)

    assert story.cancel("queued", "no stock") == Accepted(status=Status.CANCELLED)
    assert story.cancel("delayed") == Accepted(status=Status.CANCELLED)

    cancelled = story["queued"]
    assert (cancelled.reason, cancelled.failure.type, cancelled.failure.message) == (
        "no stock",
        "Cancelled",
        "no stock",
    )
    assert story.timers("delayed") == {}


def test_what_waits_for_its_next_attempt_is_cancelled_at_once(story: Story) -> None:
    story.running("order-1")
    story.fail("order-1")

    assert story.cancel("order-1") == Accepted(status=Status.CANCELLED)


def test_a_running_execution_is_told_and_meets_its_cancel_at_its_next_operation(story: Story) -> None:
    story.running("order-1")

    assert story.cancel("order-1", "no stock") == Accepted(status=Status.RUNNING)
    [told] = story.effects
    assert isinstance(told, RequestCancel)
    assert (told.epoch, told.reason) == (1, "no stock")

    assert story.ask("order-1", DeliverCancel(key="child:ship#1")) == Value()
    assert story.operation("order-1", OperationKind.MARKER, "cancel@child:ship#1").result == b"true"
    assert story["order-1"].cancel_delivered


def test_a_waiting_execution_is_interrupted(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", key="approve#1")

    assert story.cancel("order-1", "no stock") == Accepted(status=Status.RUNNING)

    [wake] = story.effects_of(Wake)
    assert (wake.key, wake.answer) == ("approve#1", Interrupted(reason="no stock"))
    assert story["order-1"].cancel_delivered


def test_of_several_waits_the_oldest_is_interrupted(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", key="approve#1")
    story.sleep("order-1")

    story.cancel("order-1")

    assert [wake.key for wake in story.effects_of(Wake)] == ["approve#1"]
    assert (story["order-1"].status, story["order-1"].pending) == (Status.WAITING, 1)


WAITS = {
    "for an execution": lambda story: story.wait("order-1", "order-2"),
    "for a signal": lambda story: story.receive("order-1"),
    "for time": lambda story: story.sleep("order-1"),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_crossed_the_cancel_on_its_way_is_interrupted(story: Story, wait: str) -> None:
    story.running("order-2")
    story.running("order-1")
    story.cancel("order-1", "no stock")

    assert WAITS[wait](story) == Interrupted(reason="no stock")

    assert (story["order-1"].status, story["order-1"].pending) == (Status.RUNNING, 0)
    assert story["order-1"].cancel_delivered
    story.resumed("order-1")
    assert WAITS[wait](story) == Interrupted(reason="no stock")


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_is_asked_for_again_meets_the_cancel_too(story: Story, wait: str) -> None:
    story.running("order-2")
    story.running("order-1")
    assert WAITS[wait](story) is None
    story.crash("order-1", suspect=False)
    story.cancel("order-1", "no stock")
    story.start("order-1")

    assert WAITS[wait](story) == Interrupted(reason="no stock")

    assert (story["order-1"].pending, story["order-2"].waiters) == (0, 0)


def test_an_answer_that_is_there_goes_before_the_cancel(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", payload=b"yes")
    story.cancel("order-1")

    assert story.receive("order-1") == Value(payload=b"yes")
    assert not story["order-1"].cancel_delivered


def test_an_execution_that_was_unwound_is_replayed_to_meet_its_cancel(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.unwind("order-1")

    story.cancel("order-1", "no stock")
    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)
    story.start("order-1")

    assert story.receive("order-1") == Interrupted(reason="no stock")


def test_an_execution_that_was_unwound_in_a_backoff_is_replayed_to_meet_its_cancel(story: Story) -> None:
    story.running("order-1")
    story.fail_side_effect("order-1")
    story.unwind("order-1")
    assert story["order-1"].status is Status.WAITING

    story.cancel("order-1")

    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)
    assert not story["order-1"].cancel_delivered


def test_an_execution_that_is_to_be_replayed_meets_its_cancel_then(story: Story) -> None:
    story.running("order-1")
    story.crash("order-1", suspect=False)

    assert story.cancel("order-1") == Accepted(status=Status.QUEUED)
    story.start("order-1")

    assert story.ask("order-1", DeliverCancel(key="child:ship#1")) == Value()


def test_a_suspended_execution_is_cancelled_at_once(story: Story) -> None:
    story.suspended("order-1")

    assert story.cancel("order-1") == Accepted(status=Status.CANCELLED)


def test_an_execution_that_is_suspended_before_it_saw_its_cancel_is_cancelled(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")

    story.suspend("order-1")

    assert story["order-1"].status is Status.CANCELLED
    assert story.effects_of(Halted) == []  # it waits for nobody


# --- once


def test_a_cancel_is_delivered_once_so_that_cleanup_may_wait(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.cancel("order-1")

    assert story.sleep("order-1", 1_000) is None
    assert story.advance(1_000) == ["order-1 timer:sleep#1"]

    assert [wake.answer for wake in story.effects_of(Wake)] == [Value()]


def test_a_second_cancel_changes_nothing(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1", "first")

    story.cancel("order-1", "second")

    assert story["order-1"].reason == "first"
    assert story.effects == []


def test_a_cancel_that_was_not_requested_or_was_delivered_is_not_delivered(story: Story) -> None:
    story.running("order-1")
    none = story.ask("order-1", DeliverCancel(key="child:ship#1"))
    story.cancel("order-1")
    story.ask("order-1", DeliverCancel(key="child:ship#1"))

    again = story.ask("order-1", DeliverCancel(key="child:ship#2"))

    for answer in (none, again):
        assert isinstance(answer, Refused)
        assert answer.reason == Reason.WRONG_STATE


def test_a_delivered_cancel_is_not_delivered_again_after_a_restart(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")
    story.ask("order-1", DeliverCancel(key="child:ship#1"))
    story.restart()
    story.start("order-1")

    assert story.sleep("order-1") is None


def test_a_cancel_may_be_delivered_at_a_wait_that_replay_has_not_reached(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", key="sleep#1")
    story.crash("order-1", suspect=False)
    story.cancel("order-1")
    story.start("order-1")

    assert story.ask("order-1", DeliverCancel(key="timer:sleep#1")) == Value()

    assert story.operation("order-1", OperationKind.TIMER, "sleep#1").status is OperationStatus.CANCELLED
    assert (story["order-1"].pending, story.timers("order-1")) == (0, {})


# --- how it ends


def test_an_execution_that_lets_its_cancel_pass_ends_cancelled(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.cancel("order-1")

    story.fail("order-1", "Cancelled", cancelled=True)

    assert (story["order-1"].status, story["order-1"].retry_state) == (Status.CANCELLED, None)
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["Cancelled"]


def test_an_execution_that_returns_though_it_was_cancelled_is_completed(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")

    story.complete("order-1")

    assert story["order-1"].status is Status.COMPLETED


def test_an_error_during_cleanup_is_not_retried(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")

    story.fail("order-1", "KeyError")

    assert (story["order-1"].status, story["order-1"].retry_state) == (Status.FAILED, RetryState.CANCEL_REQUESTED)


def test_an_error_that_only_looks_like_the_cancel_is_an_error(story: Story) -> None:
    story.running("order-1")

    story.fail("order-1", "Cancelled", cancelled=True)

    assert story["order-1"].status is Status.SCHEDULED


def test_a_cancelled_saga_undoes_its_steps_and_its_cause_is_told(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")
    story.receive("order-1")
    story.cancel("order-1")

    story.fail("order-1", "Cancelled", cancelled=True)

    saga = story["order-1"]
    assert (saga.status, saga.ending) == (Status.COMPENSATING, Status.CANCELLED)
    story.start("order-1")
    story.complete("order-1")
    assert story["order-1"].status is Status.COMPENSATED
    assert story["order-1"].failure.type == "Cancelled"


def test_a_saga_that_is_cancelled_in_its_backoff_undoes_its_steps(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1")
    story.fail("order-1")

    assert story.cancel("order-1") == Accepted(status=Status.COMPENSATING)

    assert story.timers("order-1") == {}


def test_a_saga_without_steps_is_cancelled_like_a_handler(story: Story) -> None:
    story.enqueue("order-1", component=Component.SAGA)

    assert story.cancel("order-1") == Accepted(status=Status.CANCELLED)


@pytest.mark.parametrize("started", [False, True])
def test_what_is_being_undone_is_undone_to_the_end(story: Story, started: bool) -> None:
    story.compensating("order-1")
    if started:
        story.start("order-1")

    assert story.cancel("order-1") == Accepted(status=Status.COMPENSATING)
    assert story.effects == []
    if not started:
        story.start("order-1")
    assert story.sleep("order-1") is None
    story.complete("order-1")

    assert story["order-1"].status is Status.COMPENSATED


def test_a_compensation_meets_no_cancel(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    story.cancel("order-1")

    assert isinstance(story.ask("order-1", DeliverCancel(key="timer:sleep#1")), Refused)


def test_a_stuck_saga_is_left_to_its_operator(story: Story) -> None:
    story.stuck("order-1")

    assert story.cancel("order-1") == Accepted(status=Status.STUCK)


# --- children


@pytest.mark.parametrize(
    ("policy", "awaited", "reached"),
    [
        (None, True, True),
        (None, False, False),
        (ClosePolicy.REQUEST_CANCEL, False, True),
        (ClosePolicy.ABANDON, True, False),
        (ClosePolicy.TERMINATE, False, False),
    ],
)
def test_a_cancel_reaches_a_child_by_its_policy_and_by_default_if_it_is_waited_for(
    story: Story, policy: ClosePolicy | None, awaited: bool, reached: bool
) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(retry=STEADY, close_policy=policy))
    if awaited:
        story.wait("order-1", "child-1")

    story.cancel("order-1")

    assert story["child-1"].cancel_requested is reached
    assert story["child-1"].status is (Status.CANCELLED if reached else Status.QUEUED)


def test_a_cancel_goes_down_to_the_children_of_children(story: Story) -> None:
    story.running("order-1")
    for parent, child in (("order-1", "child-1"), ("child-1", "child-2"), ("child-2", "child-3")):
        story.child(parent, child)
        story.wait(parent, child)
        story.start(child)

    story.cancel("order-1")

    assert [story[name].cancel_requested for name in ("child-1", "child-2", "child-3")] == [True] * 3
    assert [effect.execution_id for effect in story.effects_of(RequestCancel)] == [
        "order-1",
        "child-1",
        "child-2",
        "child-3",
    ]


def test_a_cancel_does_not_reach_the_children_of_a_compensation(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    story.child("order-1", "refund-1")
    story.wait("order-1", "refund-1")

    story.cancel("order-1")

    assert not story["refund-1"].cancel_requested
    assert story["order-1"].pending == 1


def test_a_child_that_waits_for_its_sibling_is_cancelled_as_it_is_by_then(story: Story) -> None:
    story.running("order-1")
    options = Options(retry=STEADY, close_policy=ClosePolicy.REQUEST_CANCEL)
    story.child("order-1", "first", key="k1", options=options)
    story.child("order-1", "second", key="k2", options=options)
    story.start("second")
    story.wait("second", "first")

    story.cancel("order-1")

    assert story["first"].status is Status.CANCELLED
    second = story["second"]
    assert (second.status, second.cancel_requested, second.cancel_delivered) == (Status.RUNNING, True, False)
    assert story.effects_of(Abandon) == []


def test_the_end_of_a_parent_cancels_its_children_if_that_is_their_policy(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.REQUEST_CANCEL))

    story.complete("order-1")

    assert (story["child-1"].status, story["child-1"].reason) == (Status.CANCELLED, "its parent order-1 ended")


def test_the_end_of_a_parent_leaves_a_child_that_was_cancelled_to_its_cleaning_up(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.REQUEST_CANCEL))
    story.start("child-1")
    story.cancel("child-1", "by hand")
    assert isinstance(story.sleep("child-1"), Interrupted)
    story.sleep("child-1", key="clean up")

    story.complete("order-1")

    assert (story["child-1"].status, story["child-1"].reason) == (Status.WAITING, "by hand")


# --- asked for by another execution


def test_an_execution_may_request_the_cancel_of_another_one_and_that_is_recorded(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")

    assert story.cancel_from("order-1", "child-1", "not needed") == Value()

    assert (story["child-1"].cancel_requested, story["child-1"].reason) == (True, "not needed")
    assert [told.execution_id for told in story.effects_of(RequestCancel)] == ["child-1"]
    recorded = story.operation("order-1", OperationKind.CANCEL, "c#1")
    assert (recorded.status, recorded.target) == (OperationStatus.COMPLETED, "child-1")


def test_a_cancel_is_requested_once_whatever_has_the_id_by_then(story: Story) -> None:
    story.running("order-1")
    story.enqueue("order-2")
    story.cancel_from("order-1", "order-2")
    story.running("order-2", id_reuse=IdReuse.ALLOW_DUPLICATE)

    story.retried("order-1")

    assert story.cancel_from("order-1", "order-2") == Value()
    assert not story["order-2"].cancel_requested
    assert isinstance(story.cancel_from("order-1", "order-2", digest=b"another reason"), Refused)


def test_what_has_ended_is_cancelled_without_a_change(story: Story) -> None:
    story.running("order-2")
    story.complete("order-2")
    story.running("order-1")

    assert story.cancel_from("order-1", "order-2") == Value()

    assert story["order-2"].status is Status.COMPLETED


def test_that_there_is_nobody_to_cancel_is_recorded_until_the_execution_is_retried(story: Story) -> None:
    story.running("order-1")
    refusal = Refused(reason="not_found", message="no execution order-2")
    assert story.cancel_from("order-1", "order-2") == refusal
    story.running("order-2")

    story.resumed("order-1")
    assert story.cancel_from("order-1", "order-2") == refusal
    story.retried("order-1")
    assert story.cancel_from("order-1", "order-2") == Value()

    assert story["order-2"].cancel_requested


def test_an_execution_may_cancel_itself_and_sees_it_at_its_next_operation(story: Story) -> None:
    story.running("order-1")

    assert story.cancel_from("order-1", "order-1") == Value()

    assert isinstance(story.sleep("order-1"), Interrupted)


def test_a_cancelled_child_wakes_who_waits_for_it(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.wait("order-1", "child-1")

    story.cancel_from("order-1", "child-1")

    [wake] = story.effects_of(Wake)
    assert ended_of(wake.answer).status is Status.CANCELLED
