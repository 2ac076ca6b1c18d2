"""Why a value is refused, and where in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any, NoReturn

from tempolite_sdk.errors import FieldViolation, InvalidArgument


class Different(Exception):
    """The place grows on the way out of the walk."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description
        self.place = ""

    def within(self, place: str) -> Different:
        self.place = place + self.place
        return self


def within(place: str, walk: Callable[..., None], *values: Any) -> None:
    try:
        walk(*values)
    except Different as different:
        raise different.within(place) from different.__cause__


def refusing(walk: Callable[..., None], *values: Any) -> None:
    try:
        walk(*values)
    except Different as different:
        place = different.place.removeprefix(".")
        told = f"{place}: {different.description}" if place else different.description
        raise InvalidArgument(told, (FieldViolation(place, different.description),)) from different.__cause__
    except RecursionError as error:
        raise InvalidArgument("can't be stored: it is nested too deeply to be compared") from error


def joined(place: str, within: str) -> str:
    """The place of something within a place."""
    return f"{place}{within}" if within.startswith("[") or not within else f"{place}.{within}"


def refuse_non_finite(value: float) -> NoReturn:
    told = f"{value!r} can't be stored: JSON has no NaN and no infinities, and it would come back as None"
    raise Different(f"{told}; no annotation or type= changes that")


def as_another(value: Any, read: Any) -> NoReturn:
    name = name_of(value)
    told = f"{with_article(name)} would come back as {kind_told(read)}"
    raise Different(f"{told}: an annotation or type={name} has to say what it is")


def left_out(value: Any) -> NoReturn:
    told = f"{kind_told(value)} would come back as None"
    raise Different(f"{told}: its class leaves it out of its JSON, and no annotation or type= changes that")


def another(value: Any) -> NoReturn:
    why = ""
    if isinstance(value, datetime | time) and (offset := value.utcoffset()) is not None and offset % _MINUTE:
        why = " (JSON's offsets have no seconds)"
    raise Different(f"this {name_of(value)} would come back as another one{why}: no annotation or type= changes that")


_MINUTE = timedelta(minutes=1)


def name_of(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def kind_told(value: Any) -> str:
    return with_article(name_of(value))


def with_article(name: str) -> str:
    return name if name == "None" else f"an {name}" if name[0].lower() in "aeiou" else f"a {name}"
