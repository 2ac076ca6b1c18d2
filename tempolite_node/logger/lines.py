"""How a line of the log looks: JSON for programs, text for people. The node and its worker hosts write them alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

#: Of a line. Longer ones are cut: some readers of logs take no more than that, and one line must not fill a queue.
LINE_BYTES_MAX = 64 * 1024
#: Of a line that is cut. Characters take a byte each, most often: the few that remain at last fit with ten.
_TEXT_MAX = (12_000, 1_000)  #: characters of an event, and of a traceback
_FIELDS_MAX = (50, 10)
_NAME_MAX, _VALUE_MAX = 50, 200  #: characters

#: What each line has of its own. A field that somebody else names so is written as "extra_…".
_OWN = ("timestamp", "level", "logger", "event", "exception")

_DIM, _PLAIN, _BOLD = "\x1b[2m", "\x1b[0m", "\x1b[1m"
_COLORS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}


class LineFormat(StrEnum):
    JSON = "json"  #: an object a line
    TEXT = "text"
    COLORED = "colored"  #: text for a terminal


def line_format(configured: str, *, terminal: bool) -> LineFormat:
    """configured: "auto" (text on a terminal, else JSON), "text" or "json"."""
    if configured == "json" or (configured == "auto" and not terminal):
        return LineFormat.JSON
    return LineFormat.COLORED if terminal else LineFormat.TEXT


class Line(NamedTuple):
    at_s: float  #: Unix seconds
    level: str
    logger: str
    event: str
    fields: Mapping[str, Any] = {}
    exception: str = ""  #: a traceback


def render(line: Line, format: LineFormat) -> bytes:
    """The line with its end, of at most LINE_BYTES_MAX bytes. Whatever is in it, this does not fail."""
    encode = _json if format is LineFormat.JSON else _colored if format is LineFormat.COLORED else _text
    if _size(line) <= LINE_BYTES_MAX and len(encoded := encode(line)) <= LINE_BYTES_MAX:
        return encoded
    for text_max, fields_max in zip(_TEXT_MAX, _FIELDS_MAX, strict=True):
        if len(encoded := encode(_cut(line, text_max, fields_max))) <= LINE_BYTES_MAX:
            break
    return encoded


def _size(line: Line) -> int:
    """Characters of its texts: a line that is surely too long is not made before it is cut."""
    fields = sum(len(value) for value in line.fields.values() if isinstance(value, str))
    return len(line.event) + len(line.exception) + fields


# --- JSON


def _json(line: Line) -> bytes:
    whole: dict[str, Any] = {
        "timestamp": _timestamp(line.at_s),
        "level": line.level,
        "logger": line.logger,
        "event": line.event,
    }
    for name, value in line.fields.items():
        whole[f"extra_{name}" if name in _OWN else name] = value
    if line.exception:
        whole["exception"] = line.exception
    try:
        return _encoder.encode(whole) + b"\n"
    except Exception:  # a value that JSON can't carry, or half a character
        return _encoder.encode({_sound(name): _plain(value) for name, value in whole.items()}) + b"\n"


_encoder = msgspec.json.Encoder(enc_hook=lambda value: _shown(value))


def _plain(value: Any) -> Any:
    """The value, if JSON can carry it, else what it shows."""
    try:
        encoded = _encoder.encode(value)
    except Exception:
        return _shown(value)
    return msgspec.Raw(encoded)


# --- text


def _text(line: Line) -> bytes:
    fields = "".join(f" {name}={_value(value)}" for name, value in line.fields.items())
    head = f"{_timestamp(line.at_s)} {line.level:8} [{_printable(line.logger)}] {_printable(line.event)}"
    return (head + (f" {fields}" if fields else "") + _traceback(line)).encode("utf-8", "backslashreplace") + b"\n"


def _colored(line: Line) -> bytes:
    fields = "".join(f" {_DIM}{name}={_PLAIN}{_value(value)}" for name, value in line.fields.items())
    level = f"{_COLORS.get(line.level, '')}{line.level:8}{_PLAIN}"
    head = f"{_DIM}{_timestamp(line.at_s)}{_PLAIN} {level} {_DIM}[{_printable(line.logger)}]{_PLAIN} "
    event = f"{_BOLD}{_printable(line.event)}{_PLAIN}"
    whole = head + event + (f" {fields}" if fields else "") + _traceback(line)
    return whole.encode("utf-8", "backslashreplace") + b"\n"


def _traceback(line: Line) -> str:
    return f"\n{_printable(line.exception)}" if line.exception else ""


def _value(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and " " not in value:
        return value
    return _shown(value) if not isinstance(value, str) else repr(value)


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor, or change its colours."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else repr(each)[1:-1] for each in text)


# --- both


def _shown(value: Any) -> str:
    try:
        return _sound(repr(value))
    except Exception:  # user code may raise anything
        return f"<{type(value).__name__} that can't be shown>"


def _sound(text: str) -> str:
    """Without halves of characters, which no encoding takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _cut(line: Line, text_max: int, fields_max: int) -> Line:
    """A short one of it. Of a traceback the end counts: it names the error."""
    fields = {name[:_NAME_MAX]: _cut_value(value) for name, value in list(line.fields.items())[:fields_max]}
    exception = line.exception if len(line.exception) <= text_max else f"[cut] … {line.exception[-text_max:]}"
    return Line(line.at_s, line.level, _cut_text(line.logger, 200), _cut_text(line.event, text_max), fields, exception)


def _cut_value(value: Any) -> Any:
    shown = value if isinstance(value, str) else _shown(value)
    return value if len(shown) <= _VALUE_MAX else _cut_text(shown, _VALUE_MAX)


def _cut_text(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} … [cut: {len(text):,} characters]"


def _timestamp(at_s: float) -> str:
    second, micros = divmod(round(at_s * 1_000_000), 1_000_000)
    return f"{_second(second)}.{micros:06}Z"


@lru_cache(maxsize=4)
def _second(at_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def is_terminal() -> bool:
    """Whether the log goes to one."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is no standard error, or it is closed
        return False
