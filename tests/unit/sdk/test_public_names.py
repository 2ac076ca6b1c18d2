"""What every public name has: a word on what it is, and one on each thing that it can do."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import tempolite_sdk


def public_members(owner: type[Any]) -> Iterator[tuple[str, Any]]:
    """Methods and properties, inherited ones too, as far as they are the SDK's own."""
    for base in owner.__mro__:
        if not base.__module__.startswith("tempolite_sdk"):
            continue
        for name, member in vars(base).items():
            is_one = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
            if is_one and not name.startswith("_"):
                yield f"{base.__name__}.{name}", member


def has_docstring(thing: Any) -> bool:
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    # A dataclass without one gets its signature.
    generated = inspect.isclass(thing) and text is not None and text.startswith(f"{thing.__name__}(")
    return bool(text) and not generated


@pytest.mark.parametrize("name", tempolite_sdk.__all__)
def test_every_public_name_and_each_of_its_members_says_what_it_is(name: str) -> None:
    thing = getattr(tempolite_sdk, name)

    assert has_docstring(thing), name
    assert [member for member, value in public_members(thing) if not has_docstring(value)] == []
