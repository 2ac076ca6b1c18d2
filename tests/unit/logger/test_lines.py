"""How a line looks, whatever somebody logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tempolite_node.logger.lines import LINE_BYTES_MAX, Line, LineFormat, line_format, render


def line(event: str = "an execution failed", exception: str = "", **fields: Any) -> Line:
    return Line(1_700_000_000.25, "info", "shop", event, fields, exception)


def as_json(line: Line) -> dict[str, Any]:
    encoded = render(line, LineFormat.JSON)
    assert encoded.count(b"\n") == 1
    assert encoded.endswith(b"\n")
    made: dict[str, Any] = json.loads(encoded)
    return made


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclass
class Order:
    sku: str


# --- formats


@pytest.mark.parametrize(
    ("configured", "terminal", "format"),
    [
        ("auto", True, LineFormat.COLORED),
        ("auto", False, LineFormat.JSON),
        ("text", True, LineFormat.COLORED),
        ("text", False, LineFormat.TEXT),
        ("json", True, LineFormat.JSON),
        ("json", False, LineFormat.JSON),
    ],
)
def test_people_read_text_and_programs_json(configured: str, terminal: bool, format: LineFormat) -> None:
    assert line_format(configured, terminal=terminal) is format


def test_a_line_of_json_has_its_time_its_level_its_logger_its_event_and_its_fields() -> None:
    assert as_json(line(execution_id="e1", order=Order("x"), at=datetime(2026, 1, 2, tzinfo=UTC))) == {
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "level": "info",
        "logger": "shop",
        "event": "an execution failed",
        "execution_id": "e1",
        "order": {"sku": "x"},
        "at": "2026-01-02T00:00:00Z",
    }


def test_a_line_of_text_has_the_same() -> None:
    text = render(line(execution_id="e1", error="no such order", exception="Traceback:\n  …"), LineFormat.TEXT).decode()

    first, *rest = text.splitlines()
    assert first.split() == [
        *("2023-11-14T22:13:20.250000Z", "info", "[shop]", "an", "execution", "failed"),
        *("execution_id=e1", "error='no", "such", "order'"),
    ]
    assert rest == ["Traceback:", "  …"]


def test_a_terminal_gets_colours_and_nobody_else() -> None:
    assert b"\x1b[" in render(line(), LineFormat.COLORED)
    assert b"\x1b[" not in render(line(), LineFormat.TEXT)


# --- whatever is logged


def test_a_field_named_like_one_of_the_lines_own_is_kept_beside_it() -> None:
    made = as_json(line(event="packed", timestamp="mine", level=3))

    assert (made["level"], made["extra_timestamp"], made["extra_level"]) == ("info", "mine", 3)


@pytest.mark.parametrize("format", LineFormat)
@pytest.mark.parametrize(
    "value",
    [Unshowable(), object(), "half \ud800", {1, 2}, float("nan"), 2**70, {("a", 1): "b"}, b"\xff", None, [object()]],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_can_not_be_encoded_costs_neither_the_line_nor_its_other_fields(
    format: LineFormat, value: Any
) -> None:
    encoded = render(line("half \ud800", before=1, value=value, after=2), format)

    assert encoded.decode().count("\n") == 1
    if format is LineFormat.JSON:
        made = json.loads(encoded)
        assert (made["before"], made["after"], "value" in made) == (1, 2, True)


def test_a_value_that_contains_itself_is_shown() -> None:
    loop: list[Any] = []
    loop.append(loop)

    assert as_json(line(loop=loop, after=2))["after"] == 2


def test_text_can_not_move_the_cursor_of_a_terminal() -> None:
    text = render(line("packed\x1b[2J", note="\x1b]0;x\x07", exception="\x1b[1A"), LineFormat.TEXT)

    assert b"\x1b" not in text
    assert b"\x07" not in text


@pytest.mark.parametrize("format", LineFormat)
@pytest.mark.parametrize("text", ["x" * 70_000, "\x00" * 70_000, "😀" * 70_000], ids=["plain", "control", "wide"])
def test_a_long_line_is_cut_and_the_end_of_its_traceback_is_kept(format: LineFormat, text: str) -> None:
    fields = {f"field {number} {text}": text for number in range(60)}
    encoded = render(Line(0.0, "error", text, text, fields, f"{text}ValueError: 7"), format)

    assert len(encoded) <= LINE_BYTES_MAX
    assert b"ValueError: 7" in encoded
    assert b"[cut: 70,000 characters]" in encoded
