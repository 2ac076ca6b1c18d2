"""A refusal is an answer: it is recorded, and the same in each replay of the generation that it was given in."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tempolite_node.engine.commands import SendSignalFromAttempt
from tempolite_node.engine.effects import AnyOutcome, Reason, Refused, Value
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import OperationKind, OperationStatus

from .story import Story

CHILD, WAIT, SENT = OperationKind.CHILD, OperationKind.WAIT, OperationKind.SIGNAL_SENT
Ask = Callable[[Story], AnyOutcome]


def send(story: Story) -> AnyOutcome:
    return story.send("order-1", key="k", to="later")


def wait(story: Story) -> AnyOutcome:
    return story.wait("order-1", "later", key="k")


def circle(story: Story) -> AnyOutcome:
    return story.wait("order-1", "order-1", key="k")


def child_of_a_taken_id(story: Story) -> AnyOutcome:
    return story.child("order-1", "taken", key="k")


def child(story: Story) -> AnyOutcome:
    return story.child("order-1", "free", key="k")


def child_that_its_node_refuses(story: Story) -> AnyOutcome:
    return story.refusal("order-1", CHILD, "k")


def signal_that_its_node_refuses(story: Story) -> AnyOutcome:
    return story.refusal("order-1", SENT, "k")


class Case(NamedTuple):
    ask: Ask
    again: Ask  #: how it is asked for when it could be done
    kind: OperationKind
    reason: Reason


CASES = [
    Case(send, send, SENT, Reason.NOT_FOUND),
    Case(wait, wait, WAIT, Reason.NOT_FOUND),
    Case(circle, circle, WAIT, Reason.WAIT_CYCLE),
    Case(child_of_a_taken_id, child, CHILD, Reason.ALREADY_EXISTS),
    Case(child_that_its_node_refuses, child, CHILD, Reason.NOT_FOUND),
    Case(signal_that_its_node_refuses, send, SENT, Reason.NOT_FOUND),
]
refused_ones = pytest.mark.parametrize("case", CASES, ids=[case.ask.__name__ for case in CASES])


def begun(story: Story) -> None:
    story.running("taken")
    story.running("order-1")


@refused_ones
def test_a_refusal_is_recorded_with_its_reason_and_its_place(story: Story, case: Case) -> None:
    begun(story)

    refused = case.ask(story)

    assert isinstance(refused, Refused)
    record = story.operation("order-1", case.kind, "k")
    assert record.status is OperationStatus.REFUSED
    assert record.end_seq > record.seq
    assert record.failure is not None
    assert (record.failure.type, record.failure.message) == (refused.reason, refused.message)
    assert refused.reason == case.reason


@refused_ones
def test_a_replay_is_refused_what_could_be_done_by_now(story: Story, case: Case) -> None:
    begun(story)
    refused = case.ask(story)
    story.running("later")

    story.resumed("order-1")

    assert case.again(story) == refused
    assert story.operation("order-1", case.kind, "k").status is OperationStatus.REFUSED
    assert story["later"].inbox == story["later"].waiters == 0


@refused_ones
def test_a_retry_asks_for_it_again(story: Story, case: Case) -> None:
    begun(story)
    case.ask(story)
    story.running("later")

    story.retried("order-1")

    if case.ask is circle:
        assert isinstance(case.again(story), Refused)
    else:
        assert not isinstance(case.again(story), Refused)
        assert story.operation("order-1", case.kind, "k").status is not OperationStatus.REFUSED


@refused_ones
def test_an_execution_of_an_earlier_format_is_refused_without_a_record(story: Story, case: Case) -> None:
    story.of_format(EXACT_REPLAY - 1)
    begun(story)
    story.register(boot_id="upgraded")
    story.start("order-1")

    assert isinstance(case.ask(story), Refused)

    assert story.operations("order-1", case.kind) == []


def test_a_child_that_is_there_is_the_answer_where_its_node_would_refuse_it_now(story: Story) -> None:
    begun(story)
    story.child("order-1", key="k")
    story.retried("order-1")

    assert story.refusal("order-1", CHILD, "k") == Value(payload=b'"child-1"')


def test_a_child_that_ended_badly_and_that_no_node_serves_by_now_is_refused_to_the_retry(story: Story) -> None:
    begun(story)
    story.child("order-1", key="k")
    story.start("child-1")
    story.fail("child-1", non_retryable=True)
    story.retried("order-1")

    refused = story.refusal("order-1", CHILD, "k")

    assert isinstance(refused, Refused)
    story.resumed("order-1")
    assert story.child("order-1", "child-2", key="k") == refused


def test_a_refusal_under_the_key_of_another_input_is_no_answer(story: Story) -> None:
    begun(story)
    story.send("order-1", key="k", to="later")

    other = story.send("order-1", key="k", to="later", digest=b"other")

    assert isinstance(other, Refused)
    assert other.reason == Reason.NON_DETERMINISM


def test_inside_a_side_effect_its_next_attempt_asks_for_it_again(story: Story) -> None:
    begun(story)
    story.refusal("order-1", SENT, "side_effect:tell > k")
    story.fail_side_effect("order-1", key="tell")
    story.running("later")
    story.advance(1_000)

    request = SendSignalFromAttempt(key="side_effect:tell > k", name="packed", payload=b"1", digest=b"d", to="later")

    assert story.ask("order-1", request, side_effect_failures=1) == Value()
    assert story["later"].inbox == 1
