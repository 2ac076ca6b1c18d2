"""Durations as callers give them: a timedelta, or a number of seconds."""

from __future__ import annotations

import math
from datetime import timedelta

from tempolite_sdk.errors import InvalidArgument

Duration = timedelta | float  #: a number counts seconds


def seconds_of(field: str, duration: Duration) -> float:
    """Seconds, from either form. InvalidArgument unless finite and at least 0."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise InvalidArgument(f"{field} must be at least 0 seconds and finite, not {duration}")
    return seconds


def milliseconds_of(field: str, duration: Duration | None) -> int | None:
    """Whole milliseconds, a part of one counting as one. InvalidArgument beyond ten years, a mistake in the unit."""
    if duration is None:
        return None
    seconds = seconds_of(field, duration)
    if seconds > _MAX_S:
        raise InvalidArgument(f"{field} must be at most ten years, not {duration}")
    return math.ceil(seconds * 1_000)


_MAX_S = 3650 * 86_400
