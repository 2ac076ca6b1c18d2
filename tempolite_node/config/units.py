"""Durations and sizes as people write them."""

from __future__ import annotations

import re

_DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")

_SIZE_UNITS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "kB": 1000, "MB": 1000**2, "GB": 1000**3}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(|B|KiB|MiB|GiB|kB|MB|GB)")


def parse_duration_ms(value: object) -> int:
    """Milliseconds of "500ms", "30s", "15m", "1h30m", "2d", or of a plain number of seconds. ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value < 1e12:
            raise ValueError("must be a duration of at least 0, e.g. 30s")
        return round(value * 1_000)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return round(float(text) * 1_000)
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a duration, e.g. 500ms, 30s, 15m, 1h30m, 2d")
    return round(sum(float(number) * _DURATION_UNITS_MS[unit] for number, unit in _DURATION_PART.findall(text)))


def format_duration_ms(milliseconds: int) -> str:
    """The shortest text that parse_duration_ms takes for it."""
    if milliseconds == 0:
        return "0s"
    text = ""
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, _DURATION_UNITS_MS[unit])
        text += f"{count}{unit}" if count else ""
    return text


def parse_size(value: object) -> int:
    """Bytes of "2MiB", "64KiB", "1.5GB", or of a plain whole number. ValueError otherwise."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a size, e.g. 512KiB, 2MiB")
    return round(float(match[1]) * _SIZE_UNITS[match[2]])


def format_size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZE_UNITS[unit] == 0:
            return f"{size // _SIZE_UNITS[unit]}{unit}"
    return f"{size}B"
