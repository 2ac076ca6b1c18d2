"""The order in which operations end: in it their answers are released, in the first run as in every replay."""

from __future__ import annotations

from tempolite_node.engine.commands import Resolution
from tempolite_node.engine.effects import Value, Wake
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import Component, OperationKind, OperationStatus

from .story import ONCE, Story


def ends(story: Story, execution_id: str = "order-1") -> list[str]:
    """Keys of the operations that are over, in the order in which that was decided."""
    over = [op for op in story.queries.operations(story[execution_id].row, 1_000) if op.end_seq]
    return [op.key for op in sorted(over, key=lambda op: op.end_seq)]


def test_operations_have_the_order_of_their_ends_and_not_of_their_beginnings(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000, key="sleep")
    story.receive("order-1", key="approval")
    story.marker("order-1", b"1", key="now")
    story.child("order-1", key="child")

    story.signal("order-1")
    story.complete_side_effect("order-1", key="charge")
    story.fail_side_effect("order-1", key="declined", retry=ONCE)
    story.send("order-1", key="packed")
    story.advance(1_000)

    assert ends(story) == ["now", "child", "approval", "charge", "declined", "packed", "sleep"]


def test_what_goes_on_has_no_place_yet(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.begin_step("order-1")
    story.fail_side_effect("order-1")
    story.sleep("order-1")

    assert ends(story) == []

    story.complete_step("order-1")

    assert ends(story) == ["Charge#1"]


def test_who_is_woken_hears_the_place_and_the_time_of_the_end(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000)

    story.advance(1_000)

    [wake] = story.effects_of(Wake)
    slept = story.operation("order-1", OperationKind.TIMER, "sleep#1")
    assert (wake.end_seq, wake.at_ms) == (slept.end_seq, slept.closed_ms)


def test_an_answer_that_nobody_had_comes_behind_those_that_others_had_meanwhile(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000, key="first")
    story.sleep("order-1", 2_000, key="second")
    story.resumed("order-1")
    story.sleep("order-1", key="second")  # it is replayed, and has not come to the first one again
    story.advance(1_000)
    story.advance(1_000)
    [wake] = story.effects_of(Wake)
    assert wake.key == "second"

    story.sleep("order-1", key="first")

    assert ends(story) == ["second", "first"]
    assert story.operation("order-1", OperationKind.TIMER, "first").closed_ms == story.now_ms


def test_a_child_that_a_retry_has_as_it_is_has_its_place_in_the_retry(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", key="child")
    story.marker("order-1", b"1", key="now")
    story.retried("order-1")
    story.complete_side_effect("order-1", key="charge")

    assert story.child("order-1", key="child") == Value(payload=b'"child-1"')

    assert ends(story) == ["now", "charge", "child"]


def test_a_child_that_ends_badly_after_a_retry_had_it_is_not_enqueued_anew_by_its_replay(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", key="child")
    story.retried("order-1")
    story.child("order-1", key="child")
    story.start("child-1")
    story.fail("child-1", non_retryable=True)
    ended = story["child-1"].row
    story.resumed("order-1")

    story.child("order-1", key="child")

    assert story["child-1"].row == ended


def test_the_cancel_has_its_place_among_the_ends(story: Story) -> None:
    story.running("order-1")
    story.marker("order-1", b"1", key="before")
    story.cancel("order-1")
    story.marker("order-1", b"1", key="after")

    before = story.operation("order-1", OperationKind.MARKER, "before").end_seq
    after = story.operation("order-1", OperationKind.MARKER, "after").end_seq
    assert before < (story["order-1"].cancel_seq or 0) < after
    assert story["order-1"].cancelled_ms == story.now_ms


def test_an_execution_of_an_earlier_format_has_no_order_to_its_end(story: Story) -> None:
    story.of_format(EXACT_REPLAY - 1)
    story.running("order-1")
    story.sleep("order-1", 1_000)
    story.register(boot_id="upgraded")
    story.start("order-1")

    story.marker("order-1", b"1")
    story.cancel("order-1")
    story.advance(1_000)

    assert ends(story) == []
    assert story["order-1"].cancel_seq is None


def test_a_stuck_compensation_that_is_tried_again_has_not_ended(story: Story) -> None:
    story.resolve(story.stuck("order-1"), Resolution.RETRY)

    undone = story.operation("order-1", OperationKind.COMPENSATION, "Charge#1")
    assert (undone.status, undone.end_seq) == (OperationStatus.PENDING, 0)
