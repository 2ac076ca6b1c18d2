"""Waits that the code gives up: they take nothing any more, and what they took, others may have."""

from __future__ import annotations

from tempolite_node.engine.effects import Value, Wake
from tempolite_node.engine.model import OperationKind, OperationStatus, Status

from .story import Story

WAIT, SIGNAL, TIMER = OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER


def test_a_wait_that_was_given_up_swallows_no_signal(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", key="given up")

    assert story.give_up("order-1", SIGNAL, "given up") == Value()

    story.signal("order-1", payload=b"yes")
    assert story.effects_of(Wake) == []
    assert story.receive("order-1", key="wanted") == Value(payload=b"yes")


def test_a_signal_that_was_taken_goes_back_to_the_front_of_its_line(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", key="given up")
    story.signal("order-1", payload=b"first")
    story.signal("order-1", payload=b"second")

    story.give_up("order-1", SIGNAL, "given up")

    assert story.receive("order-1", key="1") == Value(payload=b"first")
    assert story.receive("order-1", key="2") == Value(payload=b"second")
    assert story["order-1"].consumed == 2


def test_a_signal_that_was_taken_goes_to_a_wait_that_is_open(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", key="given up")
    story.receive("order-1", key="wanted")
    story.signal("order-1", payload=b"yes")

    story.give_up("order-1", SIGNAL, "given up")

    [wake] = story.effects_of(Wake)
    assert (wake.key, wake.answer) == ("wanted", Value(payload=b"yes"))


def test_a_timer_is_cancelled(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000, key="limit")

    story.give_up("order-1", TIMER, "limit")

    assert story.timers("order-1") == {}
    assert story.operation("order-1", TIMER, "limit").status is OperationStatus.GIVEN_UP


def test_a_child_goes_on_when_the_wait_for_it_is_given_up(story: Story) -> None:
    story.running("order-1")
    story.child("order-1")
    story.start("child-1")
    story.wait("order-1", "child-1")

    story.give_up("order-1", WAIT, "child-1")

    assert story["child-1"].waiters == 0
    story.complete("child-1")
    assert story.effects_of(Wake) == []


def test_giving_up_has_its_place_also_where_the_wait_was_over(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000)
    story.advance(1_000)
    over = story.operation("order-1", TIMER, "sleep#1")

    story.give_up("order-1", TIMER, "sleep#1")

    given_up = story.operation("order-1", TIMER, "sleep#1")
    assert given_up.status is OperationStatus.GIVEN_UP
    assert given_up.end_seq > over.end_seq


def test_to_give_up_twice_or_what_was_never_begun_changes_nothing(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1")
    story.give_up("order-1", TIMER, "sleep#1")
    before = story.operation("order-1", TIMER, "sleep#1")

    assert story.give_up("order-1", TIMER, "sleep#1") == Value()
    assert story.give_up("order-1", TIMER, "never begun") == Value()

    assert story.operations("order-1", TIMER) == [before]


def test_code_that_gives_its_last_wait_up_runs(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.sleep("order-1")
    story.give_up("order-1", TIMER, "sleep#1")
    assert (story["order-1"].status, story["order-1"].pending) == (Status.WAITING, 1)

    story.give_up("order-1", SIGNAL, "approve#1")

    assert (story["order-1"].status, story["order-1"].pending) == (Status.RUNNING, 0)


def test_who_asks_again_under_the_key_begins_anew(story: Story) -> None:
    story.running("order-1")
    story.sleep("order-1", 1_000)
    story.give_up("order-1", TIMER, "sleep#1")
    story.advance(500)

    assert story.sleep("order-1", 1_000) is None

    assert story.timers("order-1") == {"timer:sleep#1": 1_500}
    assert story.operation("order-1", TIMER, "sleep#1").end_seq == 0
