"""What is recorded of an error: itself, its root cause, and not more between than can be kept at each level above."""

from __future__ import annotations

import msgspec
import pytest

from tempolite_node.engine.model import Failure
from tempolite_node.worker_host.failures import failure_of, info_of
from tempolite_sdk.errors import ExecutionFailed


def chain(failure: Failure | None) -> list[Failure]:
    found = []
    while failure is not None:
        found.append(failure)
        failure = failure.cause
    return found


def raised(levels: int, message: str = "level {}") -> Exception:
    """Errors, each raised from the one before it; the root is number 1."""
    error: Exception | None = None
    for level in range(1, levels + 1):
        try:
            raise ValueError(message.format(level)) from error
        except ValueError as caught:
            error = caught
    assert error is not None
    return error


def failed_through(parents: int, message: str) -> Failure:
    """Of the last of executions each of which failed by the one that it had enqueued."""
    failure = failure_of(raised(1, message))
    for number in range(parents):
        try:
            raise ExecutionFailed(f"child-{number}", info_of(failure))
        except ExecutionFailed as error:
            failure = failure_of(error)
    return failure


def test_a_few_causes_are_kept_as_they_are() -> None:
    assert [each.message for each in chain(failure_of(raised(5)))] == [f"level {level}" for level in (5, 4, 3, 2, 1)]


def test_of_many_that_were_raised_from_each_other_the_root_is_kept_and_the_gap_is_told() -> None:
    kept = chain(failure_of(raised(300)))

    assert [each.message for each in kept[:3]] == ["level 300", "level 299", "level 298"]
    assert kept[-1].message == "level 1 (with 293 errors between, which are left out)"
    assert len(kept) + 293 == 300


def test_causes_that_go_round_in_a_circle_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    assert {each.message.split(" (")[0] for each in chain(failure_of(one))} == {"one", "other"}


def test_of_many_executions_that_failed_by_each_other_the_root_is_kept_and_the_gap_is_told_once() -> None:
    kept = chain(failed_through(300, "no such sku"))

    assert len(kept) == 10
    assert kept[-1].type == "ValueError"
    assert kept[-1].message == "no such sku (with 291 errors between, which are left out)"
    assert len(kept) + 291 == 301


@pytest.mark.parametrize("parents", [3, 30, 300])
def test_what_is_kept_does_not_grow_with_the_depth(parents: int) -> None:
    failure = failed_through(parents, "x" * 100_000)

    assert len(msgspec.json.encode(failure)) < 100_000
