"""Moments of timers."""

from __future__ import annotations

#: The end of the year 9999. A delay comes from user code, and may be more than a timer, or a column, can hold.
LATEST_MS = 253_402_300_799_999


def later(at_ms: int, delay_ms: int) -> int:
    """The moment after a delay, or the latest there is."""
    return min(at_ms + delay_ms, LATEST_MS)
