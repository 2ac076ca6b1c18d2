"""Leased slots in a worker host: taken, told of when they last, and returned when nobody takes them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tempolite_node.worker_host.leased_slots import LOOK_S, LeasedSlots
from tempolite_node.worker_host.scopes import Scope


@dataclass(eq=False)
class Attempt:
    announced: list[str] = field(default_factory=list)

    def announce(self, key: str, scope: Scope) -> None:  # noqa: ARG002
        self.announced.append(key)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


SCOPE = Scope()


def leased(slots: int) -> tuple[LeasedSlots, list[int], Clock]:
    """Slots, those that were given back, and the clock. Looked at once."""
    given_back: list[int] = []
    clock = Clock()
    leased_slots = LeasedSlots(given_back.append, clock)
    leased_slots.leased(slots)
    look(leased_slots, clock)
    return leased_slots, given_back, clock


def look(slots: LeasedSlots, clock: Clock) -> None:
    clock.now_s += 2 * LOOK_S
    slots.look()


def test_as_many_may_run_as_were_leased() -> None:
    slots, _, _ = leased(1)

    assert slots.take(Attempt(), "a", SCOPE)
    assert not slots.take(Attempt(), "b", SCOPE)


def test_what_lasts_is_announced_once_and_ends_as_any_other() -> None:
    slots, _, clock = leased(1)
    attempt = Attempt()
    slots.take(attempt, "a", SCOPE)
    look(slots, clock)
    look(slots, clock)
    look(slots, clock)

    assert attempt.announced == ["a"]
    assert not slots.ends(attempt, "a")


def test_what_is_short_is_not_announced() -> None:
    slots, given_back, clock = leased(1)
    attempt = Attempt()
    slots.take(attempt, "a", SCOPE)
    look(slots, clock)

    assert slots.ends(attempt, "a")
    look(slots, clock)
    assert (attempt.announced, given_back) == ([], [])  # its slot went back with the word of its end


def test_what_nobody_takes_is_given_back() -> None:
    slots, given_back, clock = leased(3)
    slots.take(Attempt(), "a", SCOPE)

    look(slots, clock)

    assert given_back == [2]
    assert not slots.take(Attempt(), "b", SCOPE)


def test_an_attempt_that_is_over_leaves_its_slot_to_others() -> None:
    slots, _, _ = leased(1)
    attempt = Attempt()
    slots.take(attempt, "a", SCOPE)

    slots.keep(attempt, "a")

    assert slots.take(Attempt(), "b", SCOPE)


def test_what_asks_for_something_is_announced_with_all_that_its_attempt_began() -> None:
    slots, _, _ = leased(3)
    attempt, other = Attempt(), Attempt()
    for place in ((attempt, "a"), (other, "b"), (attempt, "a > c")):
        slots.take(*place, SCOPE)

    slots.announce(attempt)

    assert (attempt.announced, other.announced) == (["a", "a > c"], [])


def test_nothing_is_to_be_looked_at_while_nothing_is_leased() -> None:
    slots, _, clock = leased(0)

    assert slots.look() is None
    slots.leased(1)
    assert slots.look() == LOOK_S
    look(slots, clock)
    look(slots, clock)
    assert slots.look() is None


def test_the_word_that_one_runs_is_out_before_that_of_its_end() -> None:
    slots, _, _ = leased(1)
    words: list[str] = []

    class Told(Attempt):
        def announce(self, key: str, scope: Scope) -> None:  # noqa: ARG002
            ending.start()
            ending.join(0.1)  # the time to be too early
            words.append("it runs")

    attempt = Told()
    ending = threading.Thread(target=lambda: words.append(f"it ends, leased: {slots.ends(attempt, 'a')}"))
    slots.take(attempt, "a", SCOPE)
    slots.announce(attempt)
    ending.join(10)

    assert words == ["it runs", "it ends, leased: False"]


def test_threads_never_run_more_than_was_leased_and_none_is_lost() -> None:
    slots, given_back, clock = leased(3)
    running: list[str] = []
    most = 0

    def work(thread: int) -> None:
        nonlocal most
        attempt = Attempt()
        for number in range(2_000):
            key = f"{thread}/{number}"
            if slots.take(attempt, key, SCOPE):
                running.append(key)
                most = max(most, len(running))
                running.remove(key)
                slots.keep(attempt, key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    look(slots, clock)
    look(slots, clock)

    assert 1 <= most <= 3
    assert sum(given_back) == 3


@contextmanager
def in_each_collection(act: object) -> Iterator[None]:
    """Python code that may run wherever an object is made: the collector calls it, and then other threads go on."""
    called = []

    def collects(phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            called.append(act())  # type: ignore[operator]

    before = gc.get_threshold()
    pairs = [(number, number) for number in range(3_000)]  # those that Python keeps to use again
    gc.callbacks.append(collects)
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(collects)
    assert called
    assert pairs


def test_side_effects_begin_and_end_while_those_that_last_are_announced() -> None:
    # given many that run, some of which last
    slots, _, clock = leased(200)
    attempt = Attempt()
    for number in range(50):
        slots.take(attempt, f"lasts-{number}", SCOPE)
    look(slots, clock)
    numbers = iter(range(100_000))

    def another_begins() -> None:
        slots._running[attempt, f"new-{next(numbers)}"] = (SCOPE, slots._looks)

    # when others begin wherever the looking thread may be interrupted
    clock.now_s += 2 * LOOK_S
    with in_each_collection(another_begins):
        slots.look()

    # then all that last were announced
    assert [key for key in attempt.announced if key.startswith("lasts")] == [f"lasts-{number}" for number in range(50)]
