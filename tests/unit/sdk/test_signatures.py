"""How a handler may be called, by its function, and what function it is: said in the words of the node."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from tempolite_sdk import HandlerContext, InvalidArgument
from tempolite_sdk.payload import encode
from tempolite_sdk.signatures import is_function, signature_of


def fulfil(_ctx: HandlerContext, order: str, *, express: bool = False) -> str:
    return f"{order} {express}"


def relay(_ctx: HandlerContext, **options: int) -> None: ...


def test_an_argument_that_is_unknown_is_named_with_the_nearest_one() -> None:
    signature = signature_of(fulfil)

    with pytest.raises(InvalidArgument) as refused:
        signature.named_arguments(["o-1"], {"expres": True, "colour": "red"})

    assert str(refused.value) == (
        "fulfil: expres is no argument of fulfil; did you mean express?; colour is no argument of fulfil"
    )
    assert [violation.field for violation in refused.value.violations] == ["expres", "colour"]


def test_the_node_says_the_same_of_arguments_by_name() -> None:
    signature = signature_of(fulfil)
    with pytest.raises(InvalidArgument) as refused:
        signature.named_arguments(["o-1"], {"expres": True})

    assert signature.violations(encode({"order": "o-1", "expres": True})) == refused.value.violations


def test_any_name_will_do_where_the_handler_takes_any() -> None:
    assert signature_of(relay).named_arguments([], {"expres": 1}) == {"expres": 1}


def collect(_ctx: HandlerContext, first: int, /, *others: int, **options: int) -> None: ...


@pytest.mark.parametrize("name", ["first", "others"])
def test_an_option_that_has_the_name_of_another_argument_does_not_take_its_place(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"collect: {name}: is the name of an argument of collect that goes by"):
        signature_of(collect).named_arguments([1, 2], {name: 3})

    assert signature_of(collect).named_arguments([1, 2], {"more": 3}) == {"first": 1, "others": (2,), "more": 3}


class Quantity(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def is_known(cls, number: int) -> int:
        return {1: 1, 2: 2}[number]  # KeyError


def order_some(_ctx: HandlerContext, quantity: Quantity, *more: Quantity) -> None: ...


def test_what_the_validator_of_a_model_raises_is_told_of_its_argument() -> None:
    """Whatever it is: the check of arguments goes on, at the caller and in a worker host."""
    signature = signature_of(order_some)
    found = signature.violations(encode({"quantity": {"number": 1}, "more": [{"number": 2}, {"number": 3}]}))
    with pytest.raises(InvalidArgument, match="order_some: quantity: can't be read: KeyError: 4"):
        signature.encode_arguments({"quantity": {"number": 4}})

    assert [(each.field, each.description) for each in found] == [("more[1]", "can't be read: KeyError: 3")]


# --- types that no payload can carry


@dataclass
class Link:
    name: str
    over: socket.socket
    next: Link | None = None


@dataclass
class Named:
    name: str
    over: socket.socket | None = None
    lent: socket.socket = field(default_factory=socket.socket)


class Model(BaseModel):
    name: str


@pytest.mark.parametrize("type", [socket.socket, list[socket.socket], dict[str, Link], tuple[int, Link], object])
def test_an_argument_of_a_type_that_no_payload_can_carry_is_a_mistake(type: Any) -> None:
    def handler(_ctx: HandlerContext, argument: Any) -> None: ...

    handler.__annotations__["argument"] = type

    with pytest.raises(InvalidArgument, match=r"handler: argument: a .* can't be read from JSON"):
        signature_of(handler).check()


@pytest.mark.parametrize("type", [Any, int, Named, list[Named], Model, dict[str, Model], socket.socket | None])
def test_what_a_payload_can_carry_is_none(type: Any) -> None:
    def handler(_ctx: HandlerContext, argument: Any, left_out: Any = None) -> None: ...

    handler.__annotations__ |= {"argument": type, "left_out": socket.socket}

    signature_of(handler).check()


# --- which function it is


PROGRAM = """
from tempolite_sdk import HandlerContext
from tempolite_sdk.signatures import signature_of

def fulfil(ctx: HandlerContext) -> None: ...

print(signature_of(fulfil).function)
"""


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with a package in which a module is a program too."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "orders.py").write_text(PROGRAM)
    return tmp_path


def told(shop: Path, *arguments: str, given: str | None = None) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=shop, input=given, check=True, capture_output=True, text=True).stdout.strip()


def test_a_function_tells_its_module_and_its_qualified_name() -> None:
    assert signature_of(fulfil).function == f"{__name__}:fulfil"


def test_a_decorated_function_is_the_one_that_it_wraps() -> None:
    assert signature_of(logged(fulfil)).function == f"{__name__}:fulfil"


def test_a_module_that_is_run_by_its_name_tells_it(shop: Path) -> None:
    assert told(shop, "-m", "shop.orders") == "shop.orders:fulfil"


def test_of_a_module_that_is_run_as_a_file_the_last_part_of_the_name_is_known(shop: Path) -> None:
    function = told(shop, "shop/orders.py")

    assert function == ".orders:fulfil"
    assert is_function(function, "shop.orders:fulfil")
    assert is_function(function, "orders:fulfil")
    assert not is_function(function, "reorders:fulfil")
    assert not is_function(function, "orders.old:fulfil")


def test_what_is_typed_into_an_interpreter_has_its_name_alone(shop: Path) -> None:
    assert told(shop, "-c", PROGRAM) == ""
