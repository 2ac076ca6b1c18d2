"""Field types of the config: each number has a range, and says in its error why.

A value from the file is parsed as text with its unit; one given by Python code is already in the unit of the field.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import core_schema

from tempolite_node.config.units import format_duration_ms, format_size, parse_duration_ms, parse_size

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most that a number of the config may be, both included; part of its annotation."""

    minimum: float
    maximum: float
    why: str
    parse: Callable[[object], Any]
    show: Callable[[Any], str]  #: a number as people write it

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_before_validator_function(self._within, handler(source))

    def _within(self, value: object, info: ValidationInfo) -> Any:
        parsed = self.parse(value) if isinstance(info.context, Path) else value
        if isinstance(parsed, int | float) and parsed < self.minimum:
            raise ValueError(f"must be at least {self.show(self.minimum)} ({self.why})")
        if isinstance(parsed, int | float) and not parsed <= self.maximum:
            raise ValueError(f"must be at most {self.show(self.maximum)} ({self.why})")
        return parsed


def duration(minimum: str, maximum: str, why: str) -> Bounds:
    """Milliseconds, from "30s" and the like."""
    return Bounds(
        parse_duration_ms(minimum), parse_duration_ms(maximum), why, parse=parse_duration_ms, show=format_duration_ms
    )


def size(minimum: str, maximum: str, why: str) -> Bounds:
    """Bytes, from "2MiB" and the like."""
    return Bounds(parse_size(minimum), parse_size(maximum), why, parse=parse_size, show=format_size)


def whole(minimum: int, maximum: int, why: str) -> Bounds:
    return Bounds(minimum, maximum, why, parse=_parse_whole, show=lambda number: f"{number:,}")


def number(minimum: float, maximum: float, why: str) -> Bounds:
    return Bounds(minimum, maximum, why, parse=_parse_number, show=lambda number: f"{number:,.12g}")


def _parse_whole(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,18}", value):
        return int(value)  # from an environment reference
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic reports only ValueErrors
    return value


def _parse_number(value: object) -> float:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d+)?", value):
        return float(value)  # from an environment reference
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")  # noqa: TRY004
    return value


def text(pattern: str, says: str) -> AfterValidator:
    """Text that matches the pattern as a whole; `says` describes it."""
    compiled = re.compile(pattern)

    def validate(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"must be {says}")
        return value

    return AfterValidator(validate)


def _not_empty(entries: tuple[T, ...]) -> tuple[T, ...]:
    if not entries:
        raise ValueError("needs at least one entry")
    return entries


#: After the entries themselves: pydantic's min_length would not count those that are wrong.
AT_LEAST_ONE = AfterValidator(_not_empty)


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Relative paths start at the config file's directory, never at wherever the daemon was started."""
    if not isinstance(info.context, Path):
        return path
    return Path(os.path.normpath(info.context.parent.absolute() / path.expanduser()))


FilePath = Annotated[Path, AfterValidator(_resolve)]
