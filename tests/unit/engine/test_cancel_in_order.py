"""The cancel of an execution whose code takes it in its place among the answers: nothing that waits is interrupted."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tempolite_node.engine.commands import UnwindAttempt
from tempolite_node.engine.effects import RequestCancel, Wake
from tempolite_node.engine.formats import EXACT_REPLAY, handlers_in
from tempolite_node.engine.model import OperationKind, OperationStatus, Status

from .story import Story, registration

WAITS = ((OperationKind.SIGNAL, "approve#1"),)


@pytest.fixture
def stepped(story: Story) -> Story:
    told = registration()
    story.do(replace(told, handlers=tuple(replace(handler, stepped=True) for handler in told.handlers)))
    story.running("order-1")
    story.receive("order-1")
    return story


def test_it_is_told_its_place_and_no_wait_ends(stepped: Story) -> None:
    stepped.cancel("order-1")

    [told] = stepped.effects_of(RequestCancel)
    assert told.cancel_seq == stepped["order-1"].cancel_seq
    assert stepped.effects_of(Wake) == []
    assert stepped.operation("order-1", OperationKind.SIGNAL, "approve#1").status is OperationStatus.PENDING


def test_a_wait_that_is_begun_after_it_is_not_interrupted(stepped: Story) -> None:
    stepped.cancel("order-1")

    assert stepped.sleep("order-1") is None


def test_the_execution_is_cancelled_when_its_code_ends_by_it(stepped: Story) -> None:
    stepped.cancel("order-1")

    stepped.fail("order-1", "Cancelled", cancelled=True)

    assert stepped["order-1"].status is Status.CANCELLED


def test_one_whose_stack_is_gone_is_queued_to_meet_it(stepped: Story) -> None:
    stepped.ask("order-1", UnwindAttempt(waits=WAITS))

    stepped.cancel("order-1")

    assert (stepped["order-1"].status, stepped["order-1"].resumes) == (Status.QUEUED, True)


@pytest.mark.parametrize("released", [False, True])
def test_one_that_is_unwound_goes_on_at_once_unless_it_has_met_it(stepped: Story, *, released: bool) -> None:
    stepped.cancel("order-1")

    stepped.ask("order-1", UnwindAttempt(waits=WAITS, cancels=int(released)))

    assert stepped["order-1"].status is (Status.WAITING if released else Status.QUEUED)


def test_one_whose_code_never_ran_is_cancelled_at_once(stepped: Story) -> None:
    stepped.enqueue("order-2")

    stepped.cancel("order-2")

    assert stepped["order-2"].status is Status.CANCELLED


def test_an_execution_of_an_earlier_format_is_interrupted_in_its_wait(story: Story) -> None:
    story.of_format(EXACT_REPLAY - 1)
    story.running("order-1")
    told = registration(boot_id="upgraded")
    story.do(replace(told, handlers=tuple(replace(handler, stepped=True) for handler in told.handlers)))
    story.start("order-1")
    story.receive("order-1")

    story.cancel("order-1")

    assert len(story.effects_of(Wake)) == 1


def test_a_node_does_not_tell_of_it_before_the_others_know_the_format() -> None:
    [handler] = [replace(each, stepped=True) for each in registration(handlers=("fulfil",)).handlers]

    assert handlers_in(EXACT_REPLAY, [handler]) == (handler,)
    assert [each.stepped for each in handlers_in(EXACT_REPLAY - 1, [handler])] == [False]


def test_cancelled_again_it_has_another_place_each_time(stepped: Story) -> None:
    told = []
    for _ in range(3):
        stepped.cancel("order-1")
        told += [(effect.cancel_seq, effect.reason) for effect in stepped.effects_of(RequestCancel)]

    places = [stepped.operation("order-1", OperationKind.MARKER, f"cancel@again#{number}") for number in (2, 3)]
    assert [seq for seq, _ in told] == [stepped["order-1"].cancel_seq, *(place.end_seq for place in places)]
    assert sorted(told) == told
    assert len({reason for _, reason in told}) == 1


def test_one_whose_stack_is_gone_is_queued_to_meet_it_again(stepped: Story) -> None:
    stepped.cancel("order-1")
    stepped.ask("order-1", UnwindAttempt(waits=WAITS, cancels=1))

    stepped.cancel("order-1")

    assert (stepped["order-1"].status, stepped["order-1"].resumes) == (Status.QUEUED, True)


@pytest.mark.parametrize("released", [1, 2])
def test_one_that_is_unwound_goes_on_at_once_unless_it_has_met_all(stepped: Story, released: int) -> None:
    stepped.cancel("order-1")
    stepped.cancel("order-1")

    stepped.ask("order-1", UnwindAttempt(waits=WAITS, cancels=released))

    assert stepped["order-1"].status is (Status.WAITING if released == 2 else Status.QUEUED)
