"""The journal of an execution has a limit, which names the way to go on."""

from __future__ import annotations

import pytest

from tempolite_node.engine.effects import Abandon, AttemptOver, JournalGrown, Value
from tempolite_node.engine.model import (
    MAX_JOURNAL_BYTES,
    MAX_OPERATIONS,
    Component,
    OperationKind,
    Options,
    RetryState,
    Status,
)
from tempolite_node.engine.work import Work

from .story import STEADY, Story

SMALL = Options(retry=STEADY, max_operations=20)
LIGHT = Options(retry=STEADY, max_journal_bytes=1_000)


def record(story: Story, count: int, first: int = 1, result: bytes = b"1") -> None:
    for number in range(first, first + count):
        assert story.complete_side_effect("order-1", result, f"k{number}") == Value(payload=result)


def test_a_journal_may_have_as_many_operations_as_the_limit_says(story: Story) -> None:
    story.running("order-1", options=SMALL)

    record(story, 20)

    assert story["order-1"].status is Status.RUNNING


def test_one_more_ends_the_execution_and_says_how_to_go_on(story: Story) -> None:
    story.running("order-1", options=SMALL)
    record(story, 20)

    outcome = story.complete_side_effect("order-1", b"1", "k21")

    ended = story["order-1"]
    assert outcome == AttemptOver()
    assert [effect.epoch for effect in story.effects_of(Abandon)] == [1]
    assert (ended.status, ended.retry_state) == (Status.FAILED, RetryState.NON_RETRYABLE_FAILURE)
    assert ended.failure is not None
    assert ended.failure.type == "JournalTooLarge"
    assert "21 operations, and max_operations is 20" in ended.failure.message
    assert "ctx.continue_as_new" in ended.failure.message
    assert story.operation("order-1", OperationKind.SIDE_EFFECT, "k21").result == b"1"  # it has happened


def test_more_bytes_than_the_limit_says_end_it_too(story: Story) -> None:
    story.running("order-1", options=LIGHT)
    record(story, 4, result=b"x" * 250)
    assert story["order-1"].status is Status.RUNNING

    assert story.complete_side_effect("order-1", b"1", "k5") == AttemptOver()

    failure = story["order-1"].failure
    assert failure is not None
    assert "1,001 bytes, and max_journal_bytes is 1,000" in failure.message


@pytest.mark.parametrize(
    "grow",
    [
        lambda story: story.complete_side_effect("order-1", b"1", "more"),
        lambda story: story.marker("order-1", b"1"),
        lambda story: story.child("order-1", "order-2"),
        lambda story: story.receive("order-1"),
        lambda story: story.sleep("order-1", 1_000),
        lambda story: story.send("order-1"),
    ],
    ids=["side effect", "marker", "child", "signal", "timer", "signal sent"],
)
def test_every_kind_of_operation_counts(story: Story, grow: object) -> None:
    story.running("order-1", options=SMALL)
    record(story, 20)

    assert grow(story) == AttemptOver()  # type: ignore[operator]


def test_what_is_answered_from_its_record_counts_once(story: Story) -> None:
    story.running("order-1", options=SMALL)
    record(story, 20)

    record(story, 20)
    story.restart()
    story.start("order-1")
    record(story, 20)

    assert story["order-1"].status is Status.RUNNING


def test_the_count_is_the_same_after_a_restart(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, max_operations=20, max_journal_bytes=500))
    story.fail_side_effect("order-1", "quote")
    record(story, 3, result=b"x" * 30)
    counted = Work(story.executions).journal_size(story["order-1"].row)

    story.reopen()

    assert Work(story.executions).journal_size(story["order-1"].row) == counted
    assert counted[0] == 4


def test_a_tenth_of_a_limit_is_told_once(story: Story) -> None:
    story.running("order-1", options=SMALL)
    told = []
    for number in range(1, 10):
        record(story, 1, first=number)
        told += [(effect.operations, effect.bytes) for effect in story.effects_of(JournalGrown)]

    assert told == [(2, 2)]


def test_a_saga_that_comes_to_its_limit_is_compensated_whatever_that_takes(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, options=SMALL)
    story.step("order-1", "Charge#1")
    record(story, 19)

    assert story.complete_side_effect("order-1", b"1", "k20") == AttemptOver()
    story.start("order-1")
    record(story, 30, first=100)
    story.complete("order-1")

    assert story["order-1"].status is Status.COMPENSATED


def test_what_was_enqueued_in_an_earlier_format_has_no_limit(story: Story) -> None:
    story.of_format(2)
    story.running("order-1", options=SMALL)

    record(story, 40)

    assert story["order-1"].status is Status.RUNNING
    # Nodes of an earlier version know no such option, and keep none.
    assert story["order-1"].options.max_operations == MAX_OPERATIONS
    assert story["order-1"].options.max_journal_bytes == MAX_JOURNAL_BYTES
