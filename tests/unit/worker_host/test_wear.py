"""A worker host asks for its successor when it has run long enough: once, and with the reason."""

from __future__ import annotations

from tempolite_node.protocol.messages import RecycleAfter, WornOut
from tempolite_node.system import resident_bytes
from tempolite_node.worker_host.wear import Wear


class Host:
    def __init__(self, limits: RecycleAfter) -> None:
        self.told: list[WornOut] = []
        self.now_s = 100.0
        self.memory = 1_000
        self.wear = Wear(limits, self.told.append, clock=lambda: self.now_s, memory=lambda: self.memory)


def test_after_so_many_attempts() -> None:
    host = Host(RecycleAfter(attempts=3))
    for _ in range(2):
        host.wear.attempt_ended()
    assert host.told == []

    for _ in range(5):
        host.wear.attempt_ended()

    assert host.told == [WornOut(reason="it has run 3 attempts")]


def test_at_its_age_though_no_attempt_ends() -> None:
    host = Host(RecycleAfter(age_ms=60_000))
    host.wear.look()
    assert host.told == []

    host.now_s += 60
    host.wear.look()

    assert host.told == [WornOut(reason="it has run for 60 s")]


def test_with_so_much_memory() -> None:
    host = Host(RecycleAfter(memory=2_000, attempts=1_000))
    host.wear.attempt_ended()
    assert host.told == []

    host.memory = 2_500
    host.wear.attempt_ended()

    assert host.told == [WornOut(reason="it takes 2,500 bytes of memory", full=True)]
    host.memory = 3_000
    host.wear.attempt_ended()
    assert len(host.told) == 1


def test_one_that_has_run_long_enough_may_be_full_after_that() -> None:
    host = Host(RecycleAfter(memory=2_000, attempts=1))
    host.wear.attempt_ended()
    host.memory = 2_500
    for _ in range(3):
        host.wear.attempt_ended()

    assert [worn.full for worn in host.told] == [False, True]


def test_memory_is_that_of_this_process_now() -> None:
    assert resident_bytes() > 1_000_000
