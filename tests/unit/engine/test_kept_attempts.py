"""Of the attempts that failed, the first and the last are kept, and a count of the rest."""

from __future__ import annotations

import pytest

from tempolite_node.engine.model import EndedAttempt, OperationKind, Options, RetryPolicy

from .story import Story

FOR_EVER = RetryPolicy(maximum_attempts=0, initial_interval_ms=1, backoff_coefficient=1, jitter=0.0)


def told(attempts: list[EndedAttempt]) -> list[tuple[int, int]]:
    return [(attempt.number, attempt.left_out) for attempt in attempts]


def test_of_an_executions_attempts_the_first_and_the_last_are_kept(story: Story) -> None:
    story.running("order-1", options=Options(retry=FOR_EVER))
    for _ in range(200):
        story.retried("order-1")

    kept = told(story.attempts("order-1"))

    assert kept == [*((n, 0) for n in range(1, 11)), (161, 150), *((n, 0) for n in range(162, 201))]


@pytest.mark.parametrize("generations", [1, 3])
def test_of_an_operations_attempts_too_whatever_else_failed(story: Story, generations: int) -> None:
    """Their numbers begin anew when the execution is retried."""
    story.running("order-1", options=Options(retry=FOR_EVER))
    for _ in range(generations):
        for _ in range(60):
            story.fail_side_effect("order-1", "quote", retry=FOR_EVER)
            story.advance(1)
        story.fail_side_effect("order-1", "tax", retry=FOR_EVER)
        story.retried("order-1")

    attempts = story.attempts("order-1")

    of_quote = [a for a in attempts if (a.kind, a.key) == (OperationKind.SIDE_EFFECT, "quote")]
    assert len(of_quote) == 50
    assert sum(a.left_out for a in of_quote) == 60 * generations - 50
    assert of_quote[10].left_out == 60 * generations - 50
    assert len([a for a in attempts if a.key == "tax"]) == generations


def test_as_many_as_are_kept_leave_none_out(story: Story) -> None:
    story.running("order-1", options=Options(retry=FOR_EVER))
    for _ in range(50):
        story.retried("order-1")

    assert told(story.attempts("order-1")) == [(number, 0) for number in range(1, 51)]


def test_in_an_earlier_format_all_are_kept(story: Story) -> None:
    """The stores of all nodes are the same."""
    story.of_format(2)
    story.running("order-1", options=Options(retry=FOR_EVER))
    for _ in range(60):
        story.retried("order-1")

    assert len(story.attempts("order-1")) == 60
