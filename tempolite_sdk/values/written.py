"""Values as JSON, refused where they would come back different."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NoReturn

import msgspec

from tempolite_sdk.errors import FieldViolation, InvalidArgument
from tempolite_sdk.payload import decode, decode_fields, decoder, encode, encode_fields, encoder, field_names
from tempolite_sdk.values.alone import check_alone
from tempolite_sdk.values.comparison import Comparison, ContainerChange, equal
from tempolite_sdk.values.fields import encoded_names, field_of, parts
from tempolite_sdk.values.plain import ATOMS, find_non_finite, is_plain
from tempolite_sdk.values.refusals import Different, kind_told, refusing, with_article, within
from tempolite_sdk.values.shapes import Shape, shape_of

logger = logging.getLogger("tempolite.values")


#: JSON, what is read of it (an object of its own), and the container that has changed on the way. A plain tuple: one is
#: made for each side effect.
Written = tuple[bytes, Any, ContainerChange | None]


def encode_as(type: Any, value: Any) -> Written:
    """JSON of a value that is read as the type. InvalidArgument names the place that would come back different."""
    try:
        read_json, shape = _reader(type)
        data = encoder.encode(value)
        read = read_json(data)
    except Exception:  # of user code, too
        return _encode_as(type, value)
    if is_same_atom(shape, value, read) or (shape.untyped and is_plain(value)):
        return data, read, None
    return data, read, check(shape, value, read)


def is_same_atom(shape: Shape, value: Any, read: Any) -> bool:
    """Whether a look at the types tells that what was read is the value, as it does of most."""
    kind = type(value)
    return kind in ATOMS and kind is type(read) and shape.validate is None


@lru_cache(maxsize=4_096)
def _reader(type: Any) -> tuple[Callable[[bytes], Any], Shape]:
    return decoder(type).decode, shape_of(type)


def _encode_as(type: Any, value: Any) -> Written:
    """The same, and says what is wrong."""
    data = encode_or_locate(value)
    try:
        read = decode(data, type)
    except InvalidArgument as error:
        raise _unreadable(value, error) from error
    return data, read, check(shape_of(type), value, read)


def encode_for_reader(value: Any) -> bytes:
    """JSON of a value whose reader says the type, as that of a signal does.

    InvalidArgument names the place that would come back different whatever type is said.
    """
    data = encode_or_locate(value)
    if not is_plain(value):
        refusing(check_alone, value)
    return data


def encode_fields_as_they_are(value: Any) -> tuple[bytes, ContainerChange | None]:
    """The fields of a step as a JSON object. InvalidArgument names the one that would come back different."""
    try:
        data = encode_fields(value)
    except InvalidArgument as error:
        refusing(_locate, value, error)
        raise
    type_of_value = type(value)
    if field_names(type_of_value) is None:
        return data, None
    try:
        read = decode_fields(data, type_of_value)
    except InvalidArgument as error:
        raise _unreadable(value, error) from error
    return data, check(shape_of(type_of_value), value, read)


def salvaged_fields(value: Any, before: bytes) -> bytes:
    """The fields that can be stored and read again, over those that were encoded before. Raises nothing."""
    salvaged = before
    encoded_as = {name: key for key, name in (encoded_names(type(value)) or {}).items()}
    for name in field_names(type(value)) or ():
        try:
            fields = {**decode(salvaged, dict[str, msgspec.Raw]), encoded_as.get(name, name): field_of(value, name)}
            candidate = encode(fields)
            decode(candidate, type(value))
        except Exception:  # of the code of their classes, too
            continue
        salvaged = candidate
    return salvaged


def validate(shape: Shape, read: Any) -> None:
    """Asks what only pydantic can check. InvalidArgument names the place."""
    if shape.validate is not None:
        refusing(shape.validate, read)


def encode_or_locate(value: Any) -> bytes:
    """InvalidArgument names the place that has no JSON form."""
    try:
        return encode(value)
    except InvalidArgument as error:
        if not isinstance(error.__cause__, RecursionError):
            refusing(_locate, value, error)
        raise


def _locate(value: Any, error: InvalidArgument) -> NoReturn:
    for place, each in parts(value):
        try:
            encode(each)
        except InvalidArgument as of_part:
            within(place, _locate, each, of_part)
    raise Different(str(error)) from error


def check(shape: Shape, value: Any, read: Any) -> ContainerChange | None:
    """InvalidArgument names the place where what was read is not the value.

    read: what was read of the value's JSON, as the type of that shape.
    """
    if shape.validate is not None:
        refusing(shape.validate, read)
    if shape.untyped and is_plain(value):
        return None
    if shape.exact and type(value) is type(read) and equal(value, read):
        return None
    comparison = Comparison(declared=shape.declared)
    refusing(comparison.compare, value, read)
    return comparison.change


def _unreadable(value: Any, error: InvalidArgument) -> InvalidArgument:
    """Why the JSON of a value can't be read as its type."""
    if is_plain(value):
        return error
    try:
        refusing(find_non_finite, value)
    except InvalidArgument as refused:
        return refused
    why = f"; the JSON of {kind_told(value)} is not what its annotation or type= says"
    violations = tuple(FieldViolation(each.field, each.description + why) for each in error.violations)
    told = "; ".join(f"{each.field}: {each.description}" if each.field else each.description for each in violations)
    return InvalidArgument(told or f"{error}{why}", violations)


def tell_once(what: str, change: ContainerChange | None) -> None:
    """Logs that a container changes, the first time that this is seen of `what`."""
    if change is None or (what, change) in _told:
        return
    if len(_told) >= 10_000:
        _told.clear()
    _told.add((what, change))
    logger.warning(
        "%s: %s comes back as %s with equal content (told once)",
        what,
        with_article(change.written),
        with_article(change.read),
    )


_told: set[tuple[str, ContainerChange]] = set()
