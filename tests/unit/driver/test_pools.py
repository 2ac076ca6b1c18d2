"""The parts of a pool: the window on its stored queue, its rate of starts, its slots."""

from __future__ import annotations

import pytest
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st

from tempolite_node.driver.pools import Order, Pool, RateLimit, ReadyQueue

profile = settings(derandomize=True, database=None, deadline=None, max_examples=200)


def order(number: int) -> Order:
    return (True, 0, number)


# --- the window


def test_the_window_keeps_the_front_of_a_queue_that_is_larger() -> None:
    queue = ReadyQueue(window_max=3)
    for number in range(10, 0, -1):
        queue.push(order(number), f"e{number}")

    assert [queue.pop() for _ in range(3)] == ["e1", "e2", "e3"]


def test_the_window_is_filled_again_when_it_has_run_out_and_the_store_has_more() -> None:
    queue = ReadyQueue(window_max=2)
    for number in range(1, 6):
        queue.push(order(number), f"e{number}")
    while queue.others:
        queue.pop()
    assert queue.wants_refill

    queue.refill([(order(5), "e5")])

    assert not queue.wants_refill
    assert queue.pop() == "e5"
    assert not queue.wants_refill


@profile
@given_any(st.lists(st.one_of(st.integers(0, 1_000), st.none()), max_size=200), st.integers(1, 5))
def test_whatever_comes_and_goes_the_first_of_the_whole_queue_is_served(steps: list[int | None], window: int) -> None:
    queue = ReadyQueue(window_max=window)
    stored: dict[Order, str] = {}
    for row, step in enumerate(steps):
        if step is not None:
            came = (step % 2 == 0, 0, step, row)
            stored[came] = f"e{row}"
            queue.push(came, f"e{row}")
        elif stored:
            if queue.wants_refill:
                queue.refill(sorted(stored.items())[:window])
            first = min(stored)
            assert queue.pop() == stored.pop(first)


# --- the rate


def test_without_a_limit_everything_may_start() -> None:
    assert [RateLimit(0.0, 0.0).take(0.0) for _ in range(1_000)] == [0.0] * 1_000


def test_one_seconds_worth_may_start_at_once_and_the_next_must_wait() -> None:
    rate = RateLimit(2.0, 0.0)

    assert [rate.take(0.0), rate.take(0.0)] == [0.0, 0.0]
    assert rate.take(0.0) == pytest.approx(0.5)
    assert rate.take(0.25) == pytest.approx(0.25)
    assert rate.take(0.5) == 0.0


def test_a_rate_below_one_lets_one_start_at_a_time() -> None:
    rate = RateLimit(0.1, 0.0)

    assert rate.take(0.0) == 0.0
    assert rate.take(0.0) == pytest.approx(10.0)
    assert rate.take(10.0) == 0.0


def test_a_start_that_did_not_take_place_is_given_back() -> None:
    rate = RateLimit(1.0, 0.0)
    rate.take(0.0)

    rate.give_back()

    assert rate.take(0.0) == 0.0
    assert rate.take(0.0) > 0


def test_a_clock_that_is_set_back_neither_adds_nor_takes_starts() -> None:
    rate = RateLimit(1.0, 100.0)
    rate.take(100.0)

    assert rate.take(50.0) == pytest.approx(1.0)
    assert rate.take(51.0) == 0.0


@profile
@given_any(st.sampled_from([0.1, 0.5, 1.0, 3.0, 50.0]), st.lists(st.floats(0, 5), max_size=60))
def test_no_more_starts_than_the_rate_and_one_seconds_worth_at_any_time(rate: float, pauses: list[float]) -> None:
    limit = RateLimit(rate, 0.0)
    now_s, started = 0.0, 0
    for pause_s in pauses:
        now_s += pause_s
        while limit.take(now_s) == 0.0:
            started += 1
        assert started <= max(1.0, rate) + rate * now_s + 1e-6


# --- slots


def test_a_slot_can_not_be_given_back_twice() -> None:
    pool: Pool[str] = Pool(1, 0.0, 0.0)
    pool.take()
    assert not pool.free
    pool.release()
    assert pool.free

    with pytest.raises(AssertionError, match="released twice"):
        pool.release()


def test_a_pool_that_was_made_smaller_has_no_free_slot_until_enough_are_given_back() -> None:
    pool: Pool[str] = Pool(3, 0.0, 0.0)
    for _ in range(3):
        pool.take()
    pool.workers = 1

    free = []
    for _ in range(3):
        free.append(pool.free)
        pool.release()

    assert free == [False, False, False]
    assert pool.free
