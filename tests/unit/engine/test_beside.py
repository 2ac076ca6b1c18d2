"""Waits that synchronous code goes on beside: it meets the cancel elsewhere, and says where."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import (
    AnyRequest,
    DeliverCancel,
    FailSideEffect,
    ReceiveSignal,
    SetSignalAside,
    Sleep,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.effects import Interrupted, RequestCancel, Value, Wake
from tempolite_node.engine.model import OperationKind, OperationStatus, RetryPolicy, Status

from .story import Story, failure

ANSWER = ReceiveSignal(key="answer#1", name="answer", beside=True)
BEGUN: dict[str, AnyRequest] = {
    "signal": ANSWER,
    "timer": Sleep(key="sleep#1", duration_ms=60_000, beside=True),
    "wait": WaitForExecution(key="other#1", execution_id="other", beside=True),
}
PLACE = DeliverCancel(key="wait_any:#1")


@pytest.fixture
def story(story: Story) -> Story:
    story.running("other")
    story.running("order-1")
    return story


@pytest.mark.parametrize("what", BEGUN)
def test_they_are_not_interrupted_by_the_cancel(story: Story, what: str) -> None:
    story.ask("order-1", BEGUN[what])

    story.cancel("order-1", "no stock")

    assert [each.execution_id for each in story.effects_of(RequestCancel)] == ["order-1"]
    assert story.effects_of(Wake) == []
    assert not story["order-1"].cancel_delivered
    assert story.ask("order-1", PLACE) == Value()
    assert story["order-1"].pending == 1


@pytest.mark.parametrize("what", BEGUN)
def test_they_may_begin_after_the_cancel_and_be_asked_for_again(story: Story, what: str) -> None:
    story.cancel("order-1")
    story.ask("order-1", BEGUN[what])
    story.resumed("order-1")

    assert story.ask("order-1", BEGUN[what]) is None


def test_the_wait_that_the_code_is_in_is_interrupted_though_others_are_older(story: Story) -> None:
    story.ask("order-1", ANSWER)
    story.receive("order-1")

    story.cancel("order-1", "no stock")

    [wake] = story.effects_of(Wake)
    assert (wake.key, wake.answer) == ("approve#1", Interrupted(reason="no stock"))


def test_one_whose_stack_is_gone_is_queued_to_meet_it(story: Story) -> None:
    story.ask("order-1", ANSWER)
    story.ask("order-1", UnwindAttempt(waits=((OperationKind.SIGNAL, "answer#1"),)))

    story.cancel("order-1")

    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)


def test_one_that_is_unwound_when_it_was_cancelled_goes_on_at_once(story: Story) -> None:
    story.ask("order-1", ANSWER)
    story.cancel("order-1")

    story.ask("order-1", UnwindAttempt(waits=((OperationKind.SIGNAL, "answer#1"),)))

    assert story["order-1"].status is Status.QUEUED


@pytest.mark.parametrize("beside", [True, False])
def test_the_backoff_of_a_side_effect_is_cut_short_where_the_code_is_in_it(story: Story, *, beside: bool) -> None:
    retry = RetryPolicy(initial_interval_ms=60_000, jitter=0)
    failed = FailSideEffect(
        key="charge", digest=b"", failure=failure("E"), retry=retry, started_ms=story.now_ms, beside=beside
    )
    story.ask("order-1", failed)

    story.cancel("order-1")

    assert (story.effects_of(Wake) == []) is beside


def test_one_whose_signal_is_set_aside_is_still_one(story: Story) -> None:
    story.ask("order-1", ANSWER)
    story.signal("order-1", "answer", b'"odd"')
    story.ask("order-1", SetSignalAside(key="answer#1", name="answer", error="it is no number"))

    story.cancel("order-1")

    assert story.operation("order-1", OperationKind.SIGNAL, "answer#1").status is OperationStatus.PENDING
