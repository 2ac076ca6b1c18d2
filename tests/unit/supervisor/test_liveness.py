"""For which time a worker host can be blamed when it says nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tempolite_node.driver.inputs import Inputs, RunInDriver
from tempolite_node.supervisor.liveness import HostLiveness


@pytest.fixture
def inputs() -> Iterator[Inputs]:
    made = Inputs()
    yield made
    made.close()


def look(inputs: Inputs) -> None:
    """What the driver's thread does between two rounds."""
    inputs.take(1, lambda: 0.0)


def test_the_time_in_which_the_driver_looked_counts(inputs: Inputs) -> None:
    listening = HostLiveness(inputs, 100.0, most_s=4.0)

    look(inputs)

    assert listening.since(102.0) == 2.0


def test_a_driver_that_sleeps_until_something_comes_listens(inputs: Inputs) -> None:
    looking = threading.Thread(target=inputs.take, args=(1, lambda: None))
    looking.start()
    while not inputs.sleeps:
        pass
    listening = HostLiveness(inputs, 100.0, most_s=4.0)

    counted = listening.since(102.0)

    inputs.put(RunInDriver(lambda: None))
    looking.join()
    assert counted == 2.0


def test_nobody_is_blamed_for_a_round_that_takes_long(inputs: Inputs) -> None:
    look(inputs)
    listening = HostLiveness(inputs, 100.0, most_s=4.0)

    # given a driver that has not looked again by the next ping
    assert listening.since(102.0) == 0.0

    # then what passes once it looks again counts, and not what passed before
    look(inputs)
    assert listening.since(104.0) == 2.0


def test_nobody_is_blamed_for_a_loop_that_was_held_up(inputs: Inputs) -> None:
    listening = HostLiveness(inputs, 100.0, most_s=4.0)

    look(inputs)

    assert listening.since(160.0) == 4.0
