"""Which waiting stacks are given up, and how often."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tempolite_node.worker_host.parking import Parking
from tempolite_sdk import AsyncHandlerContext, HandlerContext, RetryPolicy

from .hosted import HostedNode, hosted


class Stack:
    def __init__(self) -> None:
        self.unwound: list[int] = []

    def unwind(self, call: int) -> None:
        self.unwound.append(call)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_beyond_the_maximum_the_stack_that_has_waited_longest_is_unwound() -> None:
    parking = Parking(parked_max=2, ttl_s=60, clock=Clock())
    first, second, third = Stack(), Stack(), Stack()

    for stack in (first, second, third):
        parking.add(stack, 1)

    assert ([first.unwound, second.unwound, third.unwound], len(parking)) == ([[1], [], []], 2)


def test_a_stack_with_many_waits_is_one() -> None:
    parking = Parking(parked_max=2, ttl_s=60, clock=Clock())
    other, wide = Stack(), Stack()
    parking.add(other, 1)

    for call in range(8_000):
        parking.add(wide, call)

    assert (other.unwound, wide.unwound, len(parking)) == ([], [], 2)


def test_a_stack_whose_waits_come_and_go_is_in_use() -> None:
    clock = Clock()
    parking = Parking(parked_max=9, ttl_s=60, clock=clock)
    busy, idle = Stack(), Stack()
    for call in (1, 2):
        parking.add(busy, call)
    parking.add(idle, 1)
    clock.now_s = 50
    parking.remove(busy, 1)

    clock.now_s = 60

    assert parking.unwind_expired() == 50
    assert (busy.unwound, idle.unwound) == ([], [1])


def test_a_stack_whose_waits_are_over_is_none() -> None:
    parking = Parking(parked_max=0, ttl_s=60, clock=Clock())
    stack = Stack()
    parking.keep(stack, (1, 2))
    for call in (2, 1, 7):
        parking.remove(stack, call)

    assert (len(parking), stack.unwound, parking.unwind_expired()) == (0, [], None)


def test_a_stack_of_which_something_runs_is_kept_for_later_and_a_drain_unwinds_it() -> None:
    parking = Parking(parked_max=0, ttl_s=60, clock=Clock())
    stack = Stack()
    parking.add(stack, 1)
    parking.keep(stack, (1,))
    assert (stack.unwound, len(parking)) == ([1], 1)

    parking.drain()

    assert (stack.unwound, len(parking)) == ([1, 1], 0)


@pytest.fixture
def node() -> Iterator[HostedNode]:
    with hosted(workers=1) as node:
        yield node


def test_a_body_is_unwound_no_more_often_than_its_waits_need(node: HostedNode) -> None:
    begun: Counter[str] = Counter()
    failed: Counter[str] = Counter()

    def flaky(name: str) -> int:
        failed[name] += 1
        if failed[name] < 4:
            raise ValueError("not yet")
        return 7

    def body(ctx: HandlerContext) -> int:
        begun[ctx.execution_id] += 1
        ctx.side_effect("first", lambda: 1)
        policy = RetryPolicy(maximum_attempts=9, initial_interval=2, backoff_coefficient=1, jitter=0)
        value = ctx.side_effect("flaky", lambda: flaky(ctx.execution_id), retry=policy)
        ctx.sleep(0.1)
        return value

    names = [f"x{number}" for number in range(6)]
    node.parked_max = 0
    node.serve(body, asynchronous=False)
    for name in names:
        node.enqueue(name)
    for _ in range(4):
        node.until(lambda: not any(each.attached for each in node.all_executions()))
        node.advance(2_000)

    assert [node.result(name) for name in names] == [7] * 6
    # Three backoffs and a sleep, each of which unwinds it once, and once more while it waits for its slot.
    assert max(begun.values()) <= 9


def test_a_handler_with_many_waits_begins_once(node: HostedNode) -> None:
    async def body(ctx: AsyncHandlerContext) -> list[Any]:
        return await asyncio.gather(*(ctx.receive_signal(f"s{number}") for number in range(50)))

    node.parked_max = 1
    node.serve(body, asynchronous=True)
    node.enqueue()
    node.until(lambda: node.execution().pending == 50)
    for number in range(50):
        node.signal(f"s{number}", number)

    assert node.result() == list(range(50))
    assert node.begun == 1
