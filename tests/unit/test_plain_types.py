"""What the core checks of arguments by itself: just what the handler's own types would say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import pytest

from tempolite_node.protocol import plain_types
from tempolite_sdk import HandlerContext
from tempolite_sdk.signatures import signature_of


@dataclass
class Order:
    quantity: int


def handler(
    _ctx: HandlerContext,
    number: int,
    text: str | None,
    prices: dict[str, list[float]],
    *rest: bool,
    anything: Any = None,
    maybe: Optional[list[int]] = None,  # noqa: UP045
    **others: str,
) -> None: ...


def of_its_own_type(_ctx: HandlerContext, order: Order) -> None: ...


def of_lists_of_them(_ctx: HandlerContext, orders: list[Order] | None) -> None: ...


@pytest.mark.parametrize(
    "arguments",
    [
        b"[]",
        b'[1, null, {"a": [1, 2.5]}, true, false]',
        b'[1, 2, {"a": [1, "x"]}, 1]',
        b'{"number": "1", "text": "x", "prices": {}, "rest": [true, null], "more": 7}',
        b'{"number": 1, "text": "x", "prices": [], "anything": {"a": 1}, "maybe": ["x"], "more": "7"}',
        b'{"number": 1.5, "text": null, "prices": {"a": null}, "rest": 1}',
        b"7",
        b"[1,",
    ],
)
def test_a_description_finds_the_violations_that_the_handlers_signature_finds(arguments: bytes) -> None:
    own = signature_of(handler)
    parameters = plain_types.described(own)
    assert parameters is not None
    described = plain_types.signature(own.name, parameters)
    assert described.violations(arguments) == own.violations(arguments) == own.decode_arguments(arguments)[2]


@pytest.mark.parametrize("function", [of_its_own_type, of_lists_of_them])
def test_types_of_user_code_are_not_described(function: Any) -> None:
    assert plain_types.described(signature_of(function)) is None
