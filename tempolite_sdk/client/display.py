"""How infos read: in one line in a console and in a log, as a table in a notebook."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from html import escape
from typing import Any, ClassVar

from tempolite_sdk.errors import FailureInfo

_TEXT_MAX = 80  #: characters of one value in a line
_CELL_MAX = 2_000  #: characters of one value in a table
_NAMES_MAX = 5  #: of the infos that another one holds


class Displayed:
    """Base of dataclasses that show the fields that differ from their defaults."""

    __slots__ = ()

    #: Fields of the one-line form, first the one that identifies it; empty: all.
    _in_line: ClassVar[Sequence[str]] = ()

    def __repr__(self) -> str:
        shown = [f"{name}={in_line(value)}" for name, value in _fields_set(self, self._in_line)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """For notebooks."""
        rows = "".join(f"<tr><th>{name}</th><td>{_cell(value)}</td></tr>" for name, value in _fields_set(self, ()))
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"


def in_line(value: Any) -> str:
    """A value as text of at most 80 characters, without a line break."""
    match value:
        case StrEnum():
            text = repr(value.value)
        case datetime():
            text = value.isoformat(" ", "seconds")
        case tuple() if value and isinstance(value[0], Displayed):
            more = ", …" if len(value) > _NAMES_MAX else ""
            text = f"({', '.join(_name_of(each) for each in value[:_NAMES_MAX])}{more})"
        case _:
            text = " ".join(repr(value).split())
    return shortened(text, _TEXT_MAX)


def shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _fields_set(shown: Displayed, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Names and values in the order of the names, or of the class, without those that have their default."""
    fields = {field.name: field for field in dataclasses.fields(shown)}  # type: ignore[arg-type]
    for name in names or fields:
        value, field = getattr(shown, name), fields[name]
        is_default = value == field.default if field.default_factory is dataclasses.MISSING else not value
        if not is_default and value is not None:
            yield name, value


def _name_of(info: Displayed) -> str:
    name = (info._in_line or [dataclasses.fields(info)[0].name])[0]  # type: ignore[arg-type]
    return in_line(getattr(info, name))


def _cell(value: Any) -> str:
    match value:
        case Displayed():
            return value._repr_html_()
        case tuple() if value and isinstance(value[0], Displayed):
            return "".join(each._repr_html_() for each in value)
        case FailureInfo():
            text = escape(shortened(str(value), _CELL_MAX))
            if not value.traceback:
                return text
            return f"{text}<details><summary>traceback</summary><pre>{escape(value.traceback)}</pre></details>"
        case StrEnum() | str() | datetime():
            return escape(shortened(str(value), _CELL_MAX))
        case _:
            return f"<code>{escape(shortened(repr(value), _CELL_MAX))}</code>"
