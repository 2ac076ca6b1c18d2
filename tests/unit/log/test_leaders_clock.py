"""What a node believes of the leader's clock, by entries that were on their way for a while."""

from __future__ import annotations

from collections.abc import Iterable

from tempolite_node.log.replicated import LeadersClock

MINUTE_MS = 60_000


def heard(clock: LeadersClock, shown: Iterable[tuple[float, int]], leader: str = "a") -> int:
    """shown: when, in seconds, and how far ahead an entry showed the leader to be then. Returns what is believed."""
    for now_s, ahead_ms in shown:
        clock.on_message(leader, ahead_ms, now_s)
    return clock.offset_ms


def test_the_entry_that_was_the_quickest_is_believed() -> None:
    assert heard(LeadersClock(), [(1, 4_990), (2, 4_998), (3, 4_900), (4, 4_995)]) == 4_998


def test_what_comes_late_since_this_node_stood_still_is_no_news_of_the_clock() -> None:
    clock = LeadersClock()
    heard(clock, [(0, -2)])

    backlog = [(600 + second / 100, -(600 - second) * 1_000) for second in range(600)]

    assert heard(clock, backlog) == -2
    assert heard(clock, [(607, -5), (667, -4)]) == -4, "and what comes on time is"


def test_a_clock_that_is_set_back_is_followed_after_a_minute() -> None:
    clock = LeadersClock()
    heard(clock, [(0, -2)])

    assert heard(clock, [(second, -5 * MINUTE_MS - 3) for second in range(1, 61)]) == -2
    assert heard(clock, [(61, -5 * MINUTE_MS - 4)]) == -5 * MINUTE_MS - 3


def test_a_clock_that_is_set_forward_is_followed_at_once() -> None:
    assert heard(LeadersClock(), [(0, -2), (1, 5 * MINUTE_MS)]) == 5 * MINUTE_MS


def test_a_clock_that_runs_slower_is_followed() -> None:
    drifting = [(float(second), -second // 10) for second in range(3_600)]

    assert heard(LeadersClock(), drifting) <= -(3_600 - 70) // 10


def test_another_leader_has_another_clock() -> None:
    clock = LeadersClock()
    heard(clock, [(0, 5 * MINUTE_MS)])

    assert heard(clock, [(1, -5 * MINUTE_MS)], leader="b") == -5 * MINUTE_MS
