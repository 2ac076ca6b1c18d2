"""Names, as errors tell them: those that there are, and the one that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_SHOWN_MAX = 10


def listed(names: Collection[str]) -> str:
    """The first of them in alphabetical order, and how many others there are."""
    shown = ", ".join(sorted(names)[:_SHOWN_MAX])
    return shown if len(names) <= _SHOWN_MAX else f"{shown} and {len(names) - _SHOWN_MAX} others"


def did_you_mean(name: str, names: Collection[str]) -> str:
    """The nearest of the names, as the end of a sentence; "": none is near."""
    meant = near(name, names)
    return f"; did you mean {meant}?" if meant else ""


def near(name: str, names: Collection[str]) -> str:
    """The nearest of the names; "": none is near."""
    return next(iter(difflib.get_close_matches(name, names, 1)), "")
