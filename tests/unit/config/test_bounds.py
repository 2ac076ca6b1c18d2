"""The bounds of the config: written down as they are, and admitted at both ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.settings import ENTRY, Setting, settings

DOCUMENT = Path(__file__).parents[3] / "docs/configuration.md"

#: Settings that a table tells of once for several places: the pools and what a handler takes from them, and retries.
_SHARED = {"pools", "retry", "side_effect", "compensation", "handler", "saga", "nodes"}


def rows() -> Iterator[tuple[str, str, str]]:
    """Each row of a table: the section that it is in, the key, and the rest."""
    section = ""
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| `"):
            keys, rest = line.removeprefix("| ").split(" | ", 1)
            for key in re.findall(r"`([^`]+)`", keys):
                yield section, key, rest


def documented(setting: Setting) -> set[str]:
    """The ranges that the tables tell of it; "": in a row without one."""
    own = [step for step in setting.path if step != ENTRY]
    key = ".".join(step for step in own[1:] if step not in _SHARED)
    found = {
        (section, range_of(rest)) for section, name, rest in rows() if name == key and section in (own[0], "pools")
    }
    # What a section says itself goes before what it shares with the pools.
    return {text for section, text in found if section == own[0]} - {""} or {text for _, text in found} - {""}


def range_of(rest: str) -> str:
    match = re.search(r"(-?[\d,.]+\w*) to (-?[\d,.]+\w*)", rest)
    return match[0] if match else ""


@pytest.mark.parametrize("setting", list(settings()), ids=str)
def test_the_documented_range_is_the_one_that_holds(setting: Setting) -> None:
    bounds = setting.bounds

    assert documented(setting) == {f"{bounds.show(bounds.minimum)} to {bounds.show(bounds.maximum)}"}
