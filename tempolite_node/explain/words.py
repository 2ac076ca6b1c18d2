"""How an explanation tells times and lists."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def duration(length_ms: int) -> str:
    """In its largest unit: "2 h", "350 ms"."""
    for unit_ms, unit in _UNITS:
        if length_ms >= unit_ms:
            return f"{length_ms // unit_ms} {unit}"
    return f"{max(0, length_ms)} ms"


def since(since_ms: int | None, now_ms: int) -> str:
    """ " since 2 h"; "" if it is not known."""
    return "" if since_ms is None else f" since {duration(now_ms - since_ms)}"


def due(due_ms: int, now_ms: int) -> str:
    return f"in {duration(due_ms - now_ms)}" if due_ms > now_ms else "now"


def names(shown: Sequence[str], more: bool = False) -> str:
    return ", ".join(shown) + (" and others" if more else "")


def count(number: int, what: str, *, most: int | None = None) -> str:
    """ "1 signal", "2 signals"; "10,000 signals or more" where the count stops at `most`."""
    told = f"{number:,} {what}{'' if number == 1 else 's'}"
    return f"{told} or more" if most is not None and number >= most else told
