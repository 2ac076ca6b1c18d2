"""Waits for other executions and for time: what ends them, and what they are refused for."""

from __future__ import annotations

from tempolite_node.engine.commands import IdReuse
from tempolite_node.engine.effects import Ended, Reason, Refused, TimedOut, Value, Wake
from tempolite_node.engine.model import OperationKind, OperationStatus, Status
from tempolite_node.engine.times import LATEST_MS

from .story import START_MS, Story, ended_of, failure

WAIT = OperationKind.WAIT

# --- for executions


def test_a_wait_for_an_ended_execution_is_over_at_once(story: Story) -> None:
    story.running("order-1")
    story.complete("order-1", b'"receipt"')
    story.running("order-2")

    answer = story.wait("order-2", "order-1")

    assert answer == Ended(execution_id="order-1", status=Status.COMPLETED, result=b'"receipt"')
    assert story["order-2"].status is Status.RUNNING


def test_what_a_wait_found_at_once_is_answered_again_when_the_code_is_replayed(story: Story) -> None:
    story.running("order-1")
    story.complete("order-1", b"1")
    story.running("order-2")
    story.wait("order-2", "order-1")

    story.resumed("order-2")

    assert ended_of(story.wait("order-2", "order-1")).result == b"1"


def test_the_end_of_an_execution_wakes_all_who_wait_for_it(story: Story) -> None:
    story.running("order-1")
    for waiting in ("order-2", "order-3"):
        story.running(waiting)
        assert story.wait(waiting, "order-1") is None
        assert story[waiting].status is Status.WAITING

    story.fail("order-1", "ValueError", non_retryable=True)

    answer = Ended(execution_id="order-1", status=Status.FAILED, failure=failure(non_retryable=True))
    assert [(wake.execution_id, wake.key, wake.answer) for wake in story.effects_of(Wake)] == [
        ("order-2", "order-1", answer),
        ("order-3", "order-1", answer),
    ]
    assert story["order-2"].status is story["order-3"].status is Status.RUNNING


def test_what_a_wait_came_to_is_answered_again_when_the_code_is_replayed(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1")
    story.complete("order-1", b"1")

    story.resumed("order-2")

    assert ended_of(story.wait("order-2", "order-1")).result == b"1"


def test_a_wait_that_is_not_over_goes_on_when_the_code_is_replayed(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1")
    story.resumed("order-2")
    assert story["order-2"].status is Status.RUNNING

    assert story.wait("order-2", "order-1") is None

    assert (story["order-2"].status, story["order-2"].pending) == (Status.WAITING, 1)
    story.complete("order-1")
    [wake] = story.effects_of(Wake)
    assert (wake.execution_id, wake.epoch) == ("order-2", story["order-2"].epoch)


def test_a_wait_that_ended_badly_is_made_again_when_the_execution_is_retried(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1", key="k")
    story.terminate("order-1")
    story.retried("order-2")
    story.running("order-3")

    assert story.wait("order-2", "order-3", key="k") is None

    assert story.operation("order-2", WAIT, "k").target == "order-3"


def test_a_wait_tells_of_the_execution_that_it_was_for_though_its_id_was_given_away(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1")
    story.complete("order-1", b'"first"')
    story.enqueue("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)
    story.resumed("order-2")

    answer = ended_of(story.wait("order-2", "order-1"))

    assert (answer.status, answer.result) == (Status.COMPLETED, b'"first"')


def test_a_wait_for_another_execution_under_a_recorded_key_is_non_determinism(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.running("order-3")
    story.wait("order-1", "order-2", key="k")

    answer = story.wait("order-1", "order-3", key="k")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_a_wait_for_an_unknown_execution_is_refused(story: Story) -> None:
    story.running("order-1")

    assert story.wait("order-1", "nobody") == Refused(reason=Reason.NOT_FOUND, message="no execution nobody")


def test_a_wait_may_time_out_and_leaves_its_target_alone(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1", timeout_ms=3_000)

    assert story.advance(3_000) == ["order-2 wait:order-1"]

    [wake] = story.effects_of(Wake)
    assert wake.answer == TimedOut()
    assert story["order-2"].status is Status.RUNNING
    assert (story["order-1"].status, story["order-1"].waiters) == (Status.RUNNING, 0)
    assert story.wait("order-2", "order-1", timeout_ms=3_000) == TimedOut()


def test_a_wait_that_is_over_in_time_has_no_timer_left(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1", timeout_ms=3_000)

    story.complete("order-1")

    assert story.timers("order-2") == {}


def test_several_waits_at_once_are_answered_one_by_one(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.running("both")
    story.wait("both", "order-1")
    story.wait("both", "order-2")

    story.complete("order-2")
    assert [wake.key for wake in story.effects_of(Wake)] == ["order-2"]
    assert story["both"].status is Status.WAITING

    story.complete("order-1")
    assert [wake.key for wake in story.effects_of(Wake)] == ["order-1"]
    assert story["both"].status is Status.RUNNING


# --- that would never end


def test_an_execution_can_not_wait_for_itself(story: Story) -> None:
    story.running("a")

    answer = story.wait("a", "a")

    assert answer == Refused(reason=Reason.WAIT_CYCLE, message="the wait would never end: a waits for a")
    assert story["a"].status is Status.RUNNING


def test_two_executions_can_not_wait_for_each_other(story: Story) -> None:
    story.running("a")
    story.running("b")
    story.wait("a", "b")

    answer = story.wait("b", "a")

    assert answer == Refused(reason=Reason.WAIT_CYCLE, message="the wait would never end: b waits for a waits for b")


def test_three_executions_can_not_wait_in_a_circle(story: Story) -> None:
    for name in ("a", "b", "c"):
        story.running(name)
    story.wait("a", "b")
    story.wait("b", "c")

    answer = story.wait("c", "a")

    message = "the wait would never end: c waits for a waits for b waits for c"
    assert answer == Refused(reason=Reason.WAIT_CYCLE, message=message)


def test_a_circle_is_found_through_any_of_several_waits(story: Story) -> None:
    for name in ("a", "b", "c", "d"):
        story.running(name)
    story.receive("a")
    story.wait("a", "b")
    story.wait("a", "c")
    story.wait("b", "d")
    story.wait("c", "d")

    answer = story.wait("d", "a")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.WAIT_CYCLE
    assert answer.message in (
        "the wait would never end: d waits for a waits for b waits for d",
        "the wait would never end: d waits for a waits for c waits for d",
    )


def test_a_circle_is_found_though_one_of_its_waits_has_lost_its_stack(story: Story) -> None:
    story.running("a")
    story.running("b")
    story.wait("a", "b")
    story.unwind("a")

    assert isinstance(story.wait("b", "a"), Refused)


def test_a_circle_is_no_circle_once_a_wait_in_it_has_timed_out(story: Story) -> None:
    story.running("a")
    story.running("b")
    story.wait("a", "b", timeout_ms=1_000)
    story.advance(1_000)

    assert story.wait("b", "a") is None


def test_waits_that_meet_again_are_no_circle(story: Story) -> None:
    for name in ("a", "b", "c", "d"):
        story.running(name)
    story.wait("a", "b")
    story.wait("a", "c")
    story.wait("b", "d")

    assert story.wait("c", "d") is None


def test_a_refused_wait_leaves_the_other_execution_as_it_is(story: Story) -> None:
    story.running("a")
    story.child("a", "b")
    story.start("b")
    story.wait("b", "a")

    assert isinstance(story.wait("a", "b"), Refused)

    assert not story["b"].awaited
    assert story["b"].waiters == 0


# --- for time


def test_a_sleep_ends_at_its_time(story: Story) -> None:
    story.running("order-1")

    assert story.sleep("order-1", 60_000, key="sleep#1") is None
    assert story["order-1"].status is Status.WAITING
    assert story.advance(59_999) == []
    assert story.advance(1) == ["order-1 timer:sleep#1"]

    assert [wake.answer for wake in story.effects_of(Wake)] == [Value()]
    assert story["order-1"].status is Status.RUNNING
    assert story.sleep("order-1", 60_000, key="sleep#1") == Value()


def test_a_sleep_is_not_made_longer_by_a_restart(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 60_000)
    story.advance(40_000)
    story.restart()
    story.start("order-1")

    assert story.sleep("order-1", 60_000) is None

    assert story.timers("order-1") == {"timer:sleep#1": 60_000}


def test_a_sleep_that_ended_before_a_retry_is_over(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000)
    story.advance(1_000)

    story.retried("order-1")

    assert story.sleep("order-1", 1_000) == Value()


def test_a_sleep_that_was_cut_off_by_a_failure_begins_again(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 60_000)
    story.retried("order-1")

    assert story.sleep("order-1", 60_000) is None

    assert story.timers("order-1") == {"timer:sleep#1": 61_000}


def test_a_sleep_longer_than_any_calendar_can_be_stored(story: Story) -> None:
    story.running("order-1")

    story.sleep("order-1", 2**63)
    story.receive("order-1", timeout_ms=2**63)

    assert story.operation("order-1", OperationKind.TIMER, "sleep#1").due_ms == LATEST_MS
    assert story.operation("order-1", OperationKind.SIGNAL, "approve#1").due_ms == LATEST_MS
    assert START_MS < LATEST_MS


def test_the_waits_of_an_ended_execution_end_with_it(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-1", "order-2")
    story.sleep("order-1")

    story.complete("order-1")

    assert story["order-2"].waiters == 0
    assert story.timers("order-1") == {}
    assert story.operation("order-1", WAIT, "order-2").status is OperationStatus.CANCELLED
