"""The history of an execution: what happened to it and in it, in order, page by page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tempolite_node.engine.model import OperationKind, Options, RetryPolicy, Status
from tempolite_node.views import EventKind, EventPlace, ExecutionEvent
from tempolite_sdk import AsyncHandlerContext
from tests.kit.node import Node
from tests.kit.node import node as started
from tests.unit.store.conftest import plan

failures = [0]


async def listen(ctx: AsyncHandlerContext) -> str:
    if failures[0]:
        failures[0] -= 1
        raise ValueError("not yet")
    await ctx.side_effect("quote", str)
    word = await ctx.receive_signal("word", str)
    await ctx.sleep(60)
    return word


@pytest.fixture
def node() -> Iterator[Node]:
    with started({"listen": listen}) as one:
        yield one


def history(
    node: Node, after: EventPlace | None = None, limit: int = 1_000, bytes_max: int = 1 << 20
) -> list[ExecutionEvent]:
    return node.queries.events(node.execution("order-1"), after, limit, bytes_max=bytes_max)


def told(events: list[ExecutionEvent]) -> list[tuple[EventKind, OperationKind | None]]:
    return [(each.kind, each.operation.kind if each.operation else None) for each in events]


def run_to_its_end(node: Node) -> None:
    failures[0] = 1
    retry = RetryPolicy(maximum_attempts=3, initial_interval_ms=1_000, jitter=0.0)
    node.enqueue("listen", id="order-1", options=Options(retry=retry))
    node.settle()
    node.advance_to(node.now_ms + 1_000)
    node.settle()
    node.now_ms += 500
    node.signal("order-1", "word", "x" * 100)
    node.settle()
    node.advance_to(node.now_ms + 60_000)
    node.settle()
    assert node.execution("order-1").status is Status.COMPLETED


WHOLE = [
    (EventKind.ENQUEUED, None),
    (EventKind.STARTED, None),
    (EventKind.ATTEMPT_ENDED, None),
    (EventKind.OPERATION_ENDED, OperationKind.SIDE_EFFECT),
    (EventKind.OPERATION_BEGUN, OperationKind.SIGNAL),
    (EventKind.SIGNAL_RECEIVED, None),
    (EventKind.OPERATION_ENDED, OperationKind.SIGNAL),
    (EventKind.OPERATION_BEGUN, OperationKind.TIMER),
    (EventKind.OPERATION_ENDED, OperationKind.TIMER),
    (EventKind.ENDED, None),
]


def test_the_history_is_told_from_what_is_stored_in_order(node: Node) -> None:
    run_to_its_end(node)

    found = history(node)

    assert told(found) == WHOLE
    assert [each.place for each in found] == sorted(each.place for each in found)
    assert found[2].attempt is not None
    assert found[2].attempt.failure.message == "not yet"
    assert found[5].signal is not None
    assert found[6].operation is not None
    assert found[6].operation.signal_seq == found[5].signal.seq


@pytest.mark.parametrize("page", [1, 2, 3, 7])
def test_pages_miss_nothing_and_repeat_nothing(node: Node, page: int) -> None:
    run_to_its_end(node)
    listed: list[ExecutionEvent] = []
    while found := history(node, listed[-1].place if listed else None, page):
        listed += found

    assert told(listed) == WHOLE


def test_what_comes_while_pages_are_read_is_at_their_end(node: Node) -> None:
    node.enqueue("listen", id="order-1")
    node.settle()
    first = history(node)
    node.now_ms += 500
    node.cancel("order-1", "no longer wanted")
    node.settle()

    then = history(node, first[-1].place)

    assert told(first) == [WHOLE[0], WHOLE[1], WHOLE[3], WHOLE[4]]
    assert told(then) == [
        (EventKind.CANCEL_REQUESTED, None),
        (EventKind.ATTEMPT_ENDED, None),
        (EventKind.OPERATION_ENDED, OperationKind.SIGNAL),
        (EventKind.ENDED, None),
    ]


def test_a_page_ends_with_the_first_event_that_does_not_fit_beside_another(node: Node) -> None:
    run_to_its_end(node)

    found = history(node, bytes_max=50)

    assert told(found) == WHOLE[: len(found)]
    assert found[-1].payload_bytes > 50


def test_the_history_is_found_by_the_keys_of_the_execution_alone(node: Node) -> None:
    run_to_its_end(node)
    steps = plan(node._connection, lambda: history(node))

    assert not [step for step in steps if step.startswith("SCAN ") and "executions" in step]
