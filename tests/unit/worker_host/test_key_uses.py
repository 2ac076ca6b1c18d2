"""A key of side effects belongs to one side effect, with what it captured, as long as its run lasts."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import pytest

from tempolite_node.worker_host.key_uses import KeyUses
from tempolite_sdk.errors import ContextMisuse


@dataclass
class Order:
    sku: str

    def price(self) -> int:
        return len(self.sku)


class Array:
    """As those of numpy are: `==` gives an array of the answers, which has no truth value."""

    def __init__(self, *elements: Any) -> None:
        self.elements = elements
        self.shape = (len(elements),)

    def __eq__(self, other: object) -> Any:
        assert isinstance(other, Array)
        return Array(*(mine == theirs for mine, theirs in zip(self.elements, other.elements, strict=False)))

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def all(self) -> bool:
        return all(self.elements)

    __hash__ = None  # type: ignore[assignment]


class Incomparable:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("can't be compared")

    __hash__ = None  # type: ignore[assignment]


def one() -> int:
    return 1


def other() -> int:
    return 1


def capturing(value: Any) -> Callable[[], Any]:
    return lambda: value


def by_default(value: Any) -> Callable[[], Any]:
    return lambda given=value: given


def by_keyword(value: Any) -> Callable[[], Any]:
    def run(*, given: Any = value) -> Any:
        return given

    return run


def nested(value: Any) -> Callable[[], Any]:
    def inner() -> Any:
        return value

    return lambda: inner()


def logged(function: Callable[[], Any]) -> Callable[[], Any]:
    @wraps(function)
    def run() -> Any:
        return function()

    return run


def given(value: Any) -> Any:
    return value


MAKERS = [capturing, by_default, by_keyword, nested, lambda value: partial(given, value)]
same = Incomparable()


def met(*effects: Any, digests: tuple[bytes, ...] = (b"", b"")) -> None:
    uses = KeyUses()
    for effect, digest in zip(effects, digests, strict=True):
        uses.meet("k", effect, digest)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("first", "second"),
    [(0, 1), ("a", "b"), (Order("tea"), Order("milk")), (Array(1, 2), Array(1, 3)), (Array(1), Array(1, 1)),
     (Incomparable(), Incomparable()), ([Array(1)], [Array(2)]), (float("nan"), float("nan"))],
)  # fmt: skip
def test_a_key_used_for_other_captured_values_is_refused(make: Any, first: Any, second: Any) -> None:
    with pytest.raises(ContextMisuse, match="the key 'k' was used in this run for another side effect"):
        met(make(first), make(second))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("first", "second"),
    [(1, 1), (Order("tea"), Order("tea")), (Array(1, 2), Array(1, 2)), ([Array(1)], [Array(1)]),
     ({"a": Array(1)}, {"a": Array(1)}), (same, same)],
)  # fmt: skip
def test_a_key_may_be_used_again_for_what_is_the_same_or_equal(make: Any, first: Any, second: Any) -> None:
    met(make(first), make(second))


def test_another_function_is_refused_and_the_same_one_is_not() -> None:
    met(one, one)
    met(Order("tea").price, Order("tea").price)
    met(logged(one), logged(one))
    for first, second in [
        (one, other),
        (one, lambda: 1),
        (Order("tea").price, Order("milk").price),
        (logged(one), logged(other)),
        (partial(given, 1), partial(other, 1)),
        (partial(given, value=1), partial(given, value=2)),
        (int, str),
    ]:
        with pytest.raises(ContextMisuse):
            met(first, second)


def test_the_message_says_what_differs_and_the_two_ways_out() -> None:
    with pytest.raises(ContextMisuse) as refused:
        met(by_default(0), by_default(1))

    assert str(refused.value) == (
        "the key 'k' was used in this run for another side effect: given was 0, and is 1 now. It would get the value "
        'that was recorded first. Give each a key of its own (f"k-{item}"), or run it once, keep the value in a '
        "variable and use that"
    )


def test_a_side_effect_with_fields_is_told_by_them() -> None:
    met(Order("tea"), Order("tea"), digests=(b"1", b"1"))
    with pytest.raises(ContextMisuse, match="its fields had other values"):
        met(Order("tea"), Order("milk"), digests=(b"1", b"2"))


def test_a_variable_that_is_bound_anew_between_two_uses_is_another_value() -> None:
    uses = KeyUses()
    number = 0

    def run() -> int:
        return number

    uses.meet("k", run, b"")
    number = 1

    with pytest.raises(ContextMisuse, match="number was 0, and is 1 now"):
        uses.meet("k", run, b"")


def test_a_variable_that_the_function_itself_binds_is_none() -> None:
    """It changes when the function runs, and does not when it is answered from the journal."""
    uses = KeyUses()
    runs = 0

    def run() -> int:
        nonlocal runs
        runs += 1
        return runs

    uses.meet("k", run, b"")
    run()

    uses.meet("k", run, b"")


def test_a_variable_that_is_not_bound_yet_is_no_error() -> None:
    uses = KeyUses()

    def run() -> Any:
        return later

    uses.meet("k", run, b"")
    later = 1

    with pytest.raises(ContextMisuse, match="later was unbound, and is 1 now"):
        uses.meet("k", run, b"")


def test_what_many_keys_captured_is_not_all_kept_alive() -> None:
    """A loop over all batches of a table holds the last ones."""

    class Batch(list[int]):
        pass

    uses = KeyUses()
    batches = []
    for number in range(1_000):
        batch = Batch(range(1_000))
        batches.append(weakref.ref(batch))
        uses.meet(f"batch-{number}", capturing(batch), b"")
    del batch
    gc.collect()

    assert sum(batch() is not None for batch in batches) <= 64
    with pytest.raises(ContextMisuse):  # of code, every key is known
        uses.meet("batch-0", one, b"")
    with pytest.raises(ContextMisuse):
        uses.meet("batch-999", capturing([]), b"")
