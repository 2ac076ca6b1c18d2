"""What is known of functions that run as side effects, each kind looked at again and again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import pytest

from tempolite_node.worker_host.function_info import info_of


def price() -> int:
    return 1


def name(_ctx: Any) -> str:
    return "tea"


async def rate() -> float:
    return 1.5


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any) -> Any:
        return function(*args)

    return run


def returning(type: Any) -> Callable[[], Any]:
    def run() -> Any:
        return None

    run.__annotations__["return"] = type
    return run


class Order:
    def price(self) -> int:
        return 1

    def name(self, _ctx: Any) -> str:
        return "tea"

    logged_name = logged(name)


@pytest.mark.parametrize("checks_values", [True, False])
def test_functions_of_one_code_may_differ_in_all_but_their_code(checks_values: bool) -> None:
    def told(run: Callable[..., Any]) -> tuple[Any, ...]:
        info = info_of(run, checks_values=checks_values)
        return info.result_type, info.takes_context, info.asynchronous

    for _ in range(2):
        assert told(price) == (int, False, False)
        assert told(name) == (str, True, False)
        assert told(rate) == (float, False, True)
        assert told(logged(price)) == (int, False, False)
        assert told(logged(name)) == (str, True, False)
        assert told(returning(int)) == (int, False, False)
        assert told(returning(list[int])) == (list[int], False, False)
        assert told(Order().price) == (int, False, False)
        assert told(Order.price) == (int, True, False)
        assert told(Order().name) == (str, True, False)
        assert told(Order().logged_name) == (str, True, False)
        assert told(lambda: 1) == (Any, False, False)


def test_of_a_partial_the_type_is_its_functions_where_values_are_checked() -> None:
    assert info_of(partial(price), checks_values=True).result_type is int
    assert info_of(partial(price), checks_values=False).result_type is Any


def test_what_captures_nothing_is_told_by_its_code_alone() -> None:
    number = 1

    assert not info_of(price, checks_values=True).may_capture
    for run in (lambda: number, lambda number=1: number, lambda *, number=1: number, Order().price, partial(price)):
        assert info_of(run, checks_values=True).may_capture


def test_a_function_is_looked_at_once_even_if_it_is_made_again_at_each_call() -> None:
    def capturing(number: int) -> Callable[[], int]:
        return lambda: number

    wrapper = logged(price)

    for first, second in [
        (price, price),
        (capturing(1), capturing(2)),
        (Order().price, Order().price),
        (wrapper, wrapper),
    ]:
        assert info_of(first, checks_values=True) is info_of(second, checks_values=True)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before Python 3.14 such a function can't be made")
def test_an_annotation_for_the_type_checker_alone_tells_nothing_and_hurts_nobody() -> None:
    names: dict[str, Any] = {}
    exec("def price(ctx: Unknown) -> Unknown:\n    return 1", names)

    info = info_of(names["price"], checks_values=True)

    assert (info.takes_context, info.result_type) == (True, Any)
