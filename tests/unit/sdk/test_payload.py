"""Values and their JSON."""

from __future__ import annotations

from typing import Any

import pytest

from tempolite_sdk import payload
from tempolite_sdk.errors import InvalidArgument

LEVELS = 1_000_000  #: more than any version of Python goes down


def test_a_value_that_contains_itself_is_refused_and_says_so() -> None:
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidArgument, match="can't be stored: it is nested too deep, or contains itself"):
        payload.encode(endless)


def test_json_that_is_nested_too_deep_is_refused_and_says_so() -> None:
    with pytest.raises(InvalidArgument, match="can't be read: it is nested too deep"):
        payload.decode(b"[" * LEVELS + b"]" * LEVELS)
