"""What becomes of asynchronous code that began in an earlier format, where the order of answers was not recorded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tempolite_node.engine.effects import Halted
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import Component, Execution, Status

from .story import Story, registration


def replayed(story: Story, tell: Callable[[Story], object], *, stepped: bool = True) -> Execution:
    """What an earlier version recorded of the execution, as this one finds it when its stack is to be made again."""
    story.of_format(EXACT_REPLAY - 1)
    story.running("order-1", component=Component.SAGA)
    tell(story)
    told = registration(at_ms=story.now_ms, boot_id="upgraded")
    story.do(replace(told, handlers=tuple(replace(handler, stepped=stepped) for handler in told.handlers)))
    story.start("order-1")
    return story["order-1"]


def one_after_the_other(story: Story) -> None:
    story.marker("order-1", b"1")
    story.sleep("order-1", 1_000, key="1")
    story.advance(1_000)
    story.complete_side_effect("order-1")
    story.step("order-1")
    story.receive("order-1", key="2")
    story.advance(5)
    story.signal("order-1")
    story.child("order-1")
    story.wait("order-1", "child-1", key="3")


def inside_a_side_effect(story: Story) -> None:
    story.sleep("order-1", 1_000, key="side_effect:quote > sleep#1")
    story.advance(1_000)
    story.complete_side_effect("order-1", started_ms=story.now_ms - 1_000)
    story.receive("order-1")


def in_two_attempts(story: Story) -> None:
    story.sleep("order-1", 1_000, key="1")
    story.send("order-1")
    story.retried("order-1")
    story.sleep("order-1", 1_000, key="1")
    story.advance(1_000)


def two_waits(story: Story) -> None:
    story.receive("order-1")
    story.sleep("order-1")


def two_waits_that_are_over(story: Story) -> None:
    two_waits(story)
    story.advance(1_000)
    story.signal("order-1")
    story.advance(60_000)


def a_side_effect_beside_a_wait(story: Story) -> None:
    story.sleep("order-1", 1_000)
    story.advance(500)
    story.complete_side_effect("order-1")
    story.advance(500)


def a_signal_sent_beside_a_wait(story: Story) -> None:
    story.receive("order-1")
    story.send("order-1")


def two_waits_inside_a_side_effect(story: Story) -> None:
    story.receive("order-1", key="side_effect:quote > 1")
    story.sleep("order-1", key="side_effect:quote > 2")


@pytest.mark.parametrize("tell", [one_after_the_other, inside_a_side_effect, in_two_attempts])
def test_code_that_had_one_operation_open_at_a_time_goes_on(story: Story, tell: Callable[[Story], None]) -> None:
    assert replayed(story, tell).status is Status.RUNNING


@pytest.mark.parametrize(
    "tell",
    [
        two_waits,
        two_waits_that_are_over,
        a_side_effect_beside_a_wait,
        a_signal_sent_beside_a_wait,
        two_waits_inside_a_side_effect,
    ],
)
def test_code_that_had_several_is_suspended_with_the_reason(story: Story, tell: Callable[[Story], None]) -> None:
    suspended = replayed(story, tell)

    assert suspended.status is Status.SUSPENDED
    assert suspended.failure is not None
    assert "an earlier version did not record" in suspended.failure.message
    assert len(story.effects_of(Halted)) == 1


def test_synchronous_code_goes_on(story: Story) -> None:
    assert replayed(story, two_waits, stepped=False).status is Status.RUNNING


def test_what_began_in_this_format_goes_on(story: Story) -> None:
    told = registration()
    story.do(replace(told, handlers=tuple(replace(handler, stepped=True) for handler in told.handlers)))
    story.running("order-1")
    two_waits(story)

    story.resumed("order-1")

    assert story["order-1"].status is Status.RUNNING


def test_a_new_attempt_goes_its_own_way(story: Story) -> None:
    def failed(story: Story) -> None:
        two_waits(story)
        story.fail("order-1")

    story.of_format(EXACT_REPLAY - 1)
    story.running("order-1")
    failed(story)
    told = registration(at_ms=story.now_ms, boot_id="upgraded")
    story.do(replace(told, handlers=tuple(replace(handler, stepped=True) for handler in told.handlers)))
    story.advance(1_000)

    story.start("order-1")

    assert story["order-1"].status is Status.RUNNING
