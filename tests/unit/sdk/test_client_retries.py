"""How often, how long and with which pauses a call is repeated."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest

from tempolite_sdk.errors import NotFound, Unavailable
from tempolite_sdk.retries import INITIAL_PAUSE, MAXIMUM_PAUSE, POLL_GRACE, Tries


class Lost(grpc.RpcError):  # type: ignore[misc]
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "Socket closed"

    def trailing_metadata(self) -> tuple[Any, ...]:
        return ()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


def test_pauses_double_up_to_a_maximum() -> None:
    tries = Tries(1_000, jitter=longest)
    pauses = [tries.pause_after(Lost()) for _ in range(8)]
    assert pauses[:3] == [INITIAL_PAUSE, 2 * INITIAL_PAUSE, 4 * INITIAL_PAUSE]
    assert pauses[-1] == MAXIMUM_PAUSE


def test_jitter_is_full() -> None:
    drawn: list[tuple[float, float]] = []
    tries = Tries(1_000, jitter=lambda low, high: drawn.append((low, high)) or low)  # type: ignore[func-returns-value]
    tries.pause_after(Lost())
    assert drawn == [(0.0, INITIAL_PAUSE)]


def test_a_call_is_given_up_when_its_time_is_up() -> None:
    clock = Clock()
    tries = Tries(30, clock=clock, jitter=longest)
    assert tries.timeout == 30
    tries.pause_after(Lost())
    clock.now += 29.99
    with pytest.raises(Unavailable, match="given up after 30 s"):
        tries.pause_after(Lost())


def test_the_patience_with_a_long_poll_starts_at_its_first_failure() -> None:
    clock = Clock()
    tries = Tries(30, hold=20, clock=clock, jitter=longest)
    clock.now += 1_000
    tries.pause_after(Lost())
    assert tries.timeout == 20 + POLL_GRACE
    clock.now += 31
    with pytest.raises(Unavailable):
        tries.pause_after(Lost())


def test_a_poll_that_the_node_never_answers_counts_as_lost() -> None:
    assert Tries(30, hold=20).pause_after(Lost(grpc.StatusCode.DEADLINE_EXCEEDED)) >= 0


def test_a_stream_that_works_again_gets_its_whole_patience_back() -> None:
    clock = Clock()
    tries = Tries(30, hold=math.inf, clock=clock, jitter=longest)
    assert tries.timeout is None
    tries.pause_after(Lost())
    tries.succeeded()
    clock.now += 60
    assert tries.pause_after(Lost()) == INITIAL_PAUSE


def test_what_a_repeat_can_not_help_is_raised_at_once() -> None:
    with pytest.raises(NotFound):
        Tries(30).pause_after(Lost(grpc.StatusCode.NOT_FOUND))
