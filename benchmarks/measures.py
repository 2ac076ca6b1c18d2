"""What is measured, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    name: str
    value: float
    unit: str
    beside: str = ""  #: the same figure as a part of a raw limit, or under other conditions, of the same run
    target: str = ""  #: what it is to reach
    met: bool | None = None


def percentile(values: Iterable[float], part: float) -> float:
    """The value below which that part of the values lies; part: 0 to 1."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}" if value < 10 else f"{value:,.1f}"
