"""Children: their link to the parent, what a retry does with them, and the deadline they inherit."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import IdReuse
from tempolite_node.engine.effects import Reason, Refused, Value
from tempolite_node.engine.model import ClosePolicy, Component, OperationKind, OperationStatus, Options, Status

from .story import ONCE, START_MS, Story, ended_of

CHILD = OperationKind.CHILD


def test_a_child_and_its_link_are_recorded_together(story: Story) -> None:
    story.running("order-1")

    answer = story.child("order-1", "child-1", key="ship#1")

    assert answer == Value(payload=b'"child-1"')
    child, parent = story["child-1"], story["order-1"]
    assert (child.parent_id, child.parent_row, child.status) == ("order-1", parent.row, Status.QUEUED)
    link = story.operation("order-1", CHILD, "ship#1")
    assert (link.target, link.target_row, link.status) == ("child-1", child.row, OperationStatus.COMPLETED)
    assert parent.has_children


def test_a_recorded_child_answers_with_its_id_and_no_other_one_is_made(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")

    story.resumed("order-1")

    assert story.child("order-1", "another-id") == Value(payload=b'"child-1"')


def test_a_child_with_other_arguments_under_a_recorded_key_is_non_determinism(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", digest=b"one")

    answer = story.child("order-1", "child-2", digest=b"two")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_a_child_can_not_have_the_id_of_another_execution(story: Story) -> None:
    story.running("order-1")
    story.enqueue("child-1")

    answer = story.child("order-1", "child-1")

    assert answer == Refused(reason=Reason.ALREADY_EXISTS, message="execution child-1 exists")
    assert not story["order-1"].has_children


def test_a_child_may_start_later(story: Story) -> None:
    story.running("order-1")

    story.child("order-1", "child-1", delay_ms=1_000)

    assert story["child-1"].status is Status.SCHEDULED


def test_a_child_outlives_its_parent_unless_its_policy_says_otherwise(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")

    story.complete("order-1")

    assert story["child-1"].status is Status.QUEUED


# --- retries of the parent


def test_a_child_that_completed_is_kept_when_its_parent_is_retried(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    story.complete("child-1")

    story.retried("order-1")

    assert story.child("order-1", "child-2") == Value(payload=b'"child-1"')


def test_a_child_that_still_runs_is_kept_when_its_parent_is_retried(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")

    story.retried("order-1")

    assert story.child("order-1", "child-2") == Value(payload=b'"child-1"')


def test_a_child_that_ended_badly_is_enqueued_anew_when_its_parent_is_retried(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    story.fail("child-1", non_retryable=True)
    ended_of(story.wait("order-1", "child-1", key="ship#1"))

    story.retried("order-1")

    assert story.child("order-1", "child-2") == Value(payload=b'"child-2"')
    assert story.wait("order-1", "child-2", key="ship#1") is None
    assert story.operation("order-1", CHILD, "ship#1").target == "child-2"


def test_a_child_that_ended_badly_is_kept_until_its_parent_is_retried(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    story.fail("child-1", non_retryable=True)

    story.resumed("order-1")

    assert story.child("order-1", "child-2") == Value(payload=b'"child-1"')


STOPPED = {
    "terminated": lambda story: story.terminate("child-1"),
    "cancelled before it began": lambda story: story.cancel("child-1"),
    "cancelled": lambda story: (
        story.start("child-1"),
        story.sleep("child-1"),
        story.cancel("child-1"),
        story.fail("child-1", "Cancelled", cancelled=True),
    ),
    "cancelled, and failed over it": lambda story: (
        story.start("child-1"),
        story.cancel("child-1"),
        story.fail("child-1"),
    ),
    "cancelled, and undone": lambda story: (
        story.start("child-1"),
        story.step("child-1"),
        story.sleep("child-1"),
        story.cancel("child-1"),
        story.fail("child-1", "Cancelled", cancelled=True),
        story.start("child-1"),
        story.complete("child-1"),
    ),
}


@pytest.mark.parametrize("how", STOPPED)
def test_a_child_that_somebody_stopped_is_not_run_again_by_its_parents_retry(story: Story, how: str) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", component=Component.SAGA)
    STOPPED[how](story)
    assert story["child-1"].closed

    story.retried("order-1")

    assert story.child("order-1", "child-2", component=Component.SAGA) == Value(payload=b'"child-1"')
    assert ended_of(story.wait("order-1", "child-1")).status is story["child-1"].status


def test_before_format_3_a_child_that_was_cancelled_was_run_again(story: Story) -> None:
    story.of_format(2)
    story.running("order-1")
    story.child("order-1", "child-1")
    story.cancel("child-1")

    story.retried("order-1")

    assert story.child("order-1", "child-2") == Value(payload=b'"child-2"')


def test_a_child_with_an_id_of_the_callers_choice_takes_it_from_its_former_self(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "ship-1")
    story.start("ship-1")
    epoch = story["ship-1"].epoch
    story.fail("ship-1", non_retryable=True)
    story.retried("order-1")

    assert story.child("order-1", "ship-1") == Value(payload=b'"ship-1"')

    assert story["ship-1"].status is Status.QUEUED
    assert story["ship-1"].epoch > epoch
    assert [child.id for child in story.queries.children(story["order-1"].row, 10)] == ["ship-1~2", "ship-1"]


def test_a_run_under_a_reused_id_has_the_ids_that_are_derived_from_it(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "order-1.ship")
    story.start("order-1.ship")
    story.child("order-1.ship", "order-1.ship.label")
    for execution_id in ("order-1.ship.label", "order-1.ship", "order-1"):
        story.start(execution_id)
        story.complete(execution_id)

    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)
    assert story.child("order-1", "order-1.ship") == Value(payload=b'"order-1.ship"')
    story.start("order-1.ship")
    assert story.child("order-1.ship", "order-1.ship.label") == Value(payload=b'"order-1.ship.label"')

    assert story["order-1.ship"].parent_row == story["order-1"].row
    assert [child.id for child in story.queries.children(story["order-1~1"].row, 10)] == ["order-1.ship~2"]


def test_a_child_that_is_enqueued_anew_has_the_ids_that_are_derived_from_its_own(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "ship-1")
    story.start("ship-1")
    story.child("ship-1", "ship-1.label")
    story.start("ship-1.label")
    story.complete("ship-1.label")
    story.fail("ship-1", non_retryable=True)
    story.retried("order-1")
    story.child("order-1", "ship-1")
    story.start("ship-1")

    assert story.child("ship-1", "ship-1.label") == Value(payload=b'"ship-1.label"')

    assert story["ship-1.label"].status is Status.QUEUED


def test_the_id_of_a_child_of_an_earlier_run_that_goes_on_is_taken(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "order-1.ship")
    story.complete("order-1")
    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    answer = story.child("order-1", "order-1.ship")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.ALREADY_EXISTS


def test_an_id_of_somebody_elses_child_is_taken(story: Story) -> None:
    story.running("order-2")
    story.child("order-2", "ship-1")
    story.terminate("ship-1")
    story.running("order-1")

    assert isinstance(story.child("order-1", "ship-1"), Refused)


def test_before_format_3_the_id_of_an_earlier_runs_child_was_taken(story: Story) -> None:
    story.of_format(2)
    story.running("order-1")
    story.child("order-1", "order-1.ship")
    story.terminate("order-1.ship")
    story.complete("order-1")
    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    assert isinstance(story.child("order-1", "order-1.ship"), Refused)


# --- deadlines


def test_a_child_inherits_what_is_left_of_its_parents_time(story: Story) -> None:
    story.running("order-1", max_duration_ms=10_000)
    story.advance(4_000)

    story.child("order-1", "child-1")
    story.child("order-1", "short", key="k2", max_duration_ms=1_000)
    story.child("order-1", "long", key="k3", max_duration_ms=60_000)

    assert story["child-1"].deadline_ms == START_MS + 10_000
    assert story["short"].deadline_ms == START_MS + 5_000
    assert story["long"].deadline_ms == START_MS + 10_000
    assert story.timers("child-1") == {"deadline": 10_000}


def test_a_child_that_is_to_be_abandoned_has_time_though_its_parents_is_over(story: Story) -> None:
    story.running("order-1", max_duration_ms=10_000)
    story.child("order-1", "child-1", delay_ms=60_000, options=Options(close_policy=ClosePolicy.ABANDON))
    story.complete("order-1")

    story.advance(60_000)

    assert (story["child-1"].status, story["child-1"].deadline_ms) == (Status.QUEUED, None)


def test_a_childs_own_time_counts_from_the_moment_when_it_is_due(story: Story) -> None:
    story.running("order-1")

    story.child("order-1", "child-1", delay_ms=60_000, max_duration_ms=1_000)

    assert story["child-1"].deadline_ms == START_MS + 61_000


def test_before_format_3_an_abandoned_child_had_its_parents_time(story: Story) -> None:
    story.of_format(2)
    story.running("order-1", max_duration_ms=10_000)

    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.ABANDON))

    assert story["child-1"].deadline_ms == START_MS + 10_000


def test_without_a_deadline_there_is_none_to_inherit(story: Story) -> None:
    story.running("order-1")

    story.child("order-1", "child-1")

    assert story["child-1"].deadline_ms is None


def test_a_child_of_a_compensation_has_time_though_the_sagas_is_over(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, max_duration_ms=10_000)
    story.step("order-1")
    story.advance(10_000)
    story.start("order-1")

    story.child("order-1", "refund-1")

    assert story["refund-1"].deadline_ms is None


# --- what else is recorded


def test_a_marker_keeps_its_first_value(story: Story) -> None:
    story.running("order-1")

    assert story.marker("order-1", b"1") == Value(payload=b"1")
    assert story.marker("order-1", b"2") == Value(payload=b"1")

    story.retried("order-1")
    assert story.marker("order-1", b"3") == Value(payload=b"1")
    assert story.marker("order-1", b"4", key="now#2") == Value(payload=b"4")


def test_records_of_one_key_and_several_kinds_do_not_meet(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.marker("order-1", b"1", key="k")
    story.complete_side_effect("order-1", b"2", "k")
    story.child("order-1", "child-1", key="k")
    story.fail_side_effect("order-1", "l", retry=ONCE)

    assert story.begin_side_effect("order-1", "k") == Value(payload=b"2")
    assert story.marker("order-1", b"9", key="k") == Value(payload=b"1")
