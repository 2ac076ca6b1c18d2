"""`ctx.map`: a child for each item, so many open at a time, read and enqueued as it goes. Sync and async alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempolite_sdk import AsyncHandlerContext, ExecutionFailed, HandlerContext, InvalidArgument
from tempolite_sdk.errors import ExecutionError
from tempolite_sdk.handlers import ChildHandle
from tempolite_sdk.operations import EnqueueChild, Facts, WaitForCompletion

ITEMS = 10_000


def square(_ctx: HandlerContext, number: int) -> int:
    return number * number


class Children:
    """The node, as far as children go: each ends when it is waited for."""

    def __init__(self, failing: frozenset[int] = frozenset()) -> None:
        self.failing = failing
        self.open: dict[str, int] = {}
        self.enqueued = 0
        self.most_open = 0
        self.cancelled = self.replaying = False

    def answer(self, operation: Any) -> Any:
        if isinstance(operation, EnqueueChild):
            [item] = operation.args
            self.enqueued += 1
            child: ChildHandle[Any] = ChildHandle(f"child-{self.enqueued}", f"square#{self.enqueued}", int)
            self.open[child.id] = item
            self.most_open = max(self.most_open, len(self.open))
            return child
        assert isinstance(operation, WaitForCompletion)
        assert isinstance(operation.target, ChildHandle)
        item = self.open.pop(operation.target.id)
        if item in self.failing:
            raise ExecutionFailed(operation.target.id)
        return item * item

    def perform(self, operation: Any) -> Any:
        return self.answer(operation)


class AsyncChildren(Children):
    async def perform(self, operation: Any) -> Any:
        await asyncio.sleep(0)
        return self.answer(operation)


Map = Callable[..., list[Any]]


@pytest.fixture(params=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Callable[[Children], Any]:
    """A context over these children, whose `map` returns when it is done."""
    facts = Facts(execution_id="e", attempt=1)

    def make(children: Children) -> Any:
        if request.param == "sync":
            return HandlerContext(children, facts)
        runtime = AsyncChildren(children.failing)
        runtime.__dict__ = children.__dict__
        context: AsyncHandlerContext[None] = AsyncHandlerContext(runtime, facts)

        class Waiting:
            def map(self, *args: Any, **kwargs: Any) -> list[Any]:
                return asyncio.run(context.map(*args, **kwargs))

            def options(self, **options: Any) -> Any:
                chosen = context.options(**options)
                waiting = Waiting()
                waiting.map = lambda *args, **kwargs: asyncio.run(chosen.map(*args, **kwargs))  # type: ignore[method-assign]
                return waiting

        return Waiting()

    return make


def test_results_are_in_the_order_of_the_items_and_no_more_are_open_than_may_be(
    made: Callable[[Children], Any],
) -> None:
    children = Children()
    ahead = []

    def items() -> Iterator[int]:
        for number in range(ITEMS):
            ahead.append(number + 1 - (children.enqueued - len(children.open)))
            yield number

    results = made(children).map(square, items())

    assert results == [number * number for number in range(ITEMS)]
    assert (children.enqueued, children.most_open, children.open) == (ITEMS, 20, {})
    assert max(ahead) <= 21  # it is not read ahead


def test_an_error_stops_it_at_its_place(made: Callable[[Children], Any]) -> None:
    children = Children(frozenset({7, 9}))

    with pytest.raises(ExecutionFailed) as failed:
        made(children).map(square, range(ITEMS), max_in_flight=5)

    assert failed.value.execution_id == "child-8"
    assert children.enqueued == 12
    assert list(children.open.values()) == [8, 9, 10, 11]


def test_errors_are_collected_in_the_place_of_results(made: Callable[[Children], Any]) -> None:
    results = made(Children(frozenset({1, 3}))).map(square, range(5), max_in_flight=2, on_error="collect")

    assert [each if isinstance(each, int) else type(each) for each in results] == [
        0,
        ExecutionFailed,
        4,
        ExecutionFailed,
        16,
    ]
    assert isinstance(results[1], ExecutionError)


def test_of_nothing_it_makes_nothing(made: Callable[[Children], Any]) -> None:
    assert made(Children()).map(square, []) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_in_flight": 0}, "max_in_flight must be a whole number of at least 1, not 0"),
        ({"max_in_flight": 1.5}, "not 1.5"),
        ({"max_in_flight": True}, "not True"),
        ({"on_error": "ignore"}, 'on_error must be "stop" or "collect", not \'ignore\''),
    ],
)
def test_what_makes_no_sense_is_refused(made: Callable[[Children], Any], options: dict[str, Any], told: str) -> None:
    children = Children()

    with pytest.raises(InvalidArgument, match=told):
        made(children).map(square, [1], **options)

    assert children.enqueued == 0


@pytest.mark.parametrize("option", ["id", "key"])
def test_options_of_one_child_are_none_of_many(made: Callable[[Children], Any], option: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{option} is of one child"):
        made(Children()).options(**{option: "x"}).map(square, [1])
