"""How a handler tells what function it is."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tempolite_sdk import HandlerContext
from tempolite_sdk.signatures import is_function, signature_of

PROGRAM = """
from tempolite_sdk import HandlerContext
from tempolite_sdk.signatures import signature_of

def fulfil(ctx: HandlerContext) -> None: ...

print(signature_of(fulfil).function)
"""


def fulfil(ctx: HandlerContext) -> None: ...


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
