"""Timers: each fires once, and one that was cleared or moved does not fire at all."""

from __future__ import annotations

from tempolite_node.engine.effects import Abandon, Reason, Rejection
from tempolite_node.engine.model import Options, Status

from .story import START_MS, STEADY, Story


def test_a_timer_fires_once(story: Story) -> None:
    story.enqueue("order-1", delay_ms=1_000)
    story.advance(1_000)

    outcome = story.fire("order-1", "start", START_MS + 1_000)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE


def test_a_timer_that_was_moved_does_not_fire_at_its_former_time(story: Story) -> None:
    story.running("order-1")
    story.fail("order-1")

    assert isinstance(story.fire("order-1", "start", START_MS + 999), Rejection)

    assert story["order-1"].status is Status.SCHEDULED


def test_a_timer_that_was_never_set_does_not_fire(story: Story) -> None:
    story.running("order-1")

    for name in ("start", "deadline", "wait:order-2", "side_effect:quote", "nonsense", "nonsense:key", ""):
        assert isinstance(story.fire("order-1", name, START_MS), Rejection)


def test_timers_fire_in_the_order_in_which_they_are_due(story: Story) -> None:
    story.enqueue("late", delay_ms=3_000)
    story.enqueue("early", delay_ms=1_000)
    story.running("between")
    story.sleep("between", 2_000)

    assert story.executions.next_due_ms() == START_MS + 1_000
    assert story.advance(5_000) == ["early start", "between timer:sleep#1", "late start"]
    assert story.executions.next_due_ms() is None


# --- queue_timeout


def test_an_execution_that_starts_too_late_has_timed_out(story: Story) -> None:
    story.enqueue("order-1", options=Options(queue_timeout_ms=2_000))

    assert story.advance(2_000) == ["order-1 queue"]

    order = story["order-1"]
    assert (order.status, order.failure.type, order.attempt) == (Status.TIMED_OUT, "QueueTimeout", 0)


def test_the_time_in_the_queue_is_counted_from_the_end_of_a_delay(story: Story) -> None:
    story.enqueue("order-1", options=Options(queue_timeout_ms=2_000), delay_ms=10_000)

    assert story.timers("order-1") == {"queue": 12_000, "start": 10_000}


def test_the_first_start_ends_the_time_in_the_queue_for_good(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, queue_timeout_ms=2_000))
    story.fail("order-1")

    assert story.advance(60_000) == ["order-1 start"]

    assert story["order-1"].status is Status.QUEUED


# --- max_duration


def test_an_execution_that_takes_too_long_is_abandoned_and_has_timed_out(story: Story) -> None:
    story.running("order-1", max_duration_ms=5_000)
    epoch = story["order-1"].epoch

    assert story.advance(5_000) == ["order-1 deadline"]

    order = story["order-1"]
    assert (order.status, order.failure.type) == (Status.TIMED_OUT, "MaxDurationExceeded")
    assert story.effects_of(Abandon) == [Abandon(execution_id="order-1", epoch=epoch)]


def test_the_duration_is_counted_from_enqueue_over_all_attempts_and_restarts(story: Story) -> None:
    story.enqueue("order-1", max_duration_ms=5_000)
    story.advance(2_000)
    story.start("order-1")
    story.fail("order-1")
    story.restart()

    assert story.advance(3_000) == ["order-1 start", "order-1 deadline"]

    assert story["order-1"].status is Status.TIMED_OUT


def test_a_deadline_ends_an_execution_in_any_state(story: Story) -> None:
    story.enqueue("queued", max_duration_ms=5_000)
    story.child(story.running("parent", max_duration_ms=5_000), "delayed", delay_ms=60_000)
    story.suspended("suspended", max_duration_ms=5_000)
    story.running("unwound", max_duration_ms=5_000)
    story.receive("unwound")
    story.unwind("unwound")

    story.advance(5_000)

    for name in ("queued", "delayed", "suspended", "unwound"):
        assert story[name].status is Status.TIMED_OUT
        assert story.timers(name) == {}
