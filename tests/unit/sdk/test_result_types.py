"""Which type the result of a side effect is read as, by annotations."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial, wraps
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest

from tempolite_sdk.handlers import annotated_result_type_of, result_type_of

T = TypeVar("T")


def price(sku: str) -> Decimal:
    return Decimal(len(sku))


def found(sku: str) -> UUID:
    return UUID(int=len(sku))


def logged(function: Callable[..., T]) -> Callable[..., T]:
    @wraps(function)
    def run(*args: Any) -> T:
        return function(*args)

    return run


class Fetch:
    def __call__(self) -> Decimal:
        return Decimal(1)

    def again(self) -> Decimal:
        return Decimal(2)


@pytest.mark.parametrize(
    ("function", "type"),
    [
        (price, Decimal),
        (partial(price, "tea"), Decimal),
        (partial(partial(price), "tea"), Decimal),
        (logged(price), Decimal),
        (logged(found), UUID),
        (Fetch(), Decimal),
        (Fetch().again, Decimal),
        (Decimal, Decimal),
        (lambda: 1, Any),
        (uuid4, Any),
        (len, Any),
    ],
)
def test_the_type_of_a_result_is_that_of_the_function_behind_it(function: Any, type: Any) -> None:
    assert result_type_of(function) == type


def test_executions_from_before_have_none_of_a_partial() -> None:
    assert annotated_result_type_of(partial(price, "tea")) is Any
    assert annotated_result_type_of(price) is Decimal
