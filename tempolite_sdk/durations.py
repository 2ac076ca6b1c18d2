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
    """Whole milliseconds, a part of one counting as one."""
    return None if duration is None else math.ceil(seconds_of(field, duration) * 1_000)
