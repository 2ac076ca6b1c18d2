"""The clock by which things are due, when somebody sets that of the machine."""

from __future__ import annotations

import pytest

from tempolite_node.clock import SteadyClock

HOUR_MS = 3_600_000


class Machine:
    def __init__(self) -> None:
        self.wall_ms, self.monotonic_s = 1_000_000_000, 50.0
        self.clock = SteadyClock(lambda: self.wall_ms, lambda: self.monotonic_s)
        self.began_ms = self.clock()

    def pass_ms(self, milliseconds: int, *, asked_each_ms: int = 10_000) -> int:
        for _ in range(0, milliseconds, asked_each_ms):
            self.wall_ms += asked_each_ms
            self.monotonic_s += asked_each_ms / 1_000
            self.clock()
        return self.clock()

    def set_by(self, milliseconds: int) -> None:
        self.wall_ms += milliseconds


def test_it_is_the_wall_clock() -> None:
    machine = Machine()

    assert machine.began_ms == machine.wall_ms
    assert machine.pass_ms(HOUR_MS) == machine.wall_ms


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS])
def test_a_clock_that_is_set_moves_it_by_a_tenth_of_the_time_until_it_is_there(by_ms: int) -> None:
    machine = Machine()

    machine.set_by(by_ms)

    assert machine.clock() == machine.began_ms
    minute = machine.pass_ms(60_000) - machine.began_ms
    assert minute == 66_000 if by_ms > 0 else minute == 54_000
    assert machine.pass_ms(10 * HOUR_MS) == machine.wall_ms


def test_a_clock_that_is_set_to_and_fro_leaves_it_where_it_is() -> None:
    machine = Machine()

    machine.set_by(HOUR_MS)
    machine.clock()
    machine.set_by(-HOUR_MS)

    assert machine.clock() == machine.wall_ms == machine.began_ms


def test_what_a_clock_is_corrected_by_a_little_at_a_time_it_follows_at_once() -> None:
    machine = Machine()

    machine.set_by(300)

    assert machine.clock() == machine.wall_ms


def test_another_process_goes_by_it() -> None:
    machine = Machine()
    machine.set_by(HOUR_MS)
    host = SteadyClock(lambda: machine.wall_ms, lambda: machine.monotonic_s)

    host.start(machine.clock.ahead_ms)

    assert host() == machine.clock() == machine.began_ms
