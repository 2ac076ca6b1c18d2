"""Values of user code as JSON, by their annotations: arguments, results, signals, the data of steps.

Takes what msgspec does (dataclasses, structs, TypedDict, Enum, datetime, UUID, Decimal, bytes and the containers of
them) and pydantic models. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from tempolite_sdk.errors import FieldViolation, InvalidArgument

# --- single values


def encode(value: Any) -> bytes:
    """UTF-8 JSON. InvalidArgument: the value, or one inside it, has no JSON form."""
    return _encoded(encoder, value)


def digest(*values: Any) -> bytes:
    """16 bytes that are equal for equal values, whatever the order of their sets and mappings."""
    return blake2b(_encoded(_ordered_encoder, values), digest_size=16).digest()


def decode(data: bytes, type: Any = Any) -> Any:
    """The value, as the type has it. InvalidArgument naming the place that does not fit."""
    try:
        return decoder(type).decode(data)
    except msgspec.DecodeError as error:  # ValidationError is one
        found = violation_of(error)
        told = f"{found.field}: {found.description}" if found.field else found.description
        raise InvalidArgument(str(error) if error.__cause__ is None else told, (found,)) from error
    except RecursionError as error:
        raise InvalidArgument("can't be read: it is nested too deep") from error
    except InvalidArgument:
        raise  # of the type
    except Exception as error:  # of the code of a class: a validator may raise anything
        found = FieldViolation("", f"can't be read: {error_told(error)}")
        raise InvalidArgument(found.description, (found,)) from error


def error_told(error: Exception) -> str:
    """In a line: an error of user code."""
    return f"{type(error).__name__}: {error}"


def _encoded(by: msgspec.json.Encoder, value: Any) -> bytes:
    try:
        return by.encode(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgument(f"can't be stored: {error}") from error
    except RecursionError as error:  # which each version of Python says in its own words
        raise InvalidArgument("can't be stored: it is nested too deep, or contains itself") from error
    except Exception as error:  # of the value's own code
        raise InvalidArgument(f"can't be stored: {error_told(error)}") from error


def _to_json(value: Any) -> Any:
    """For what msgspec does not know: pydantic models."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} has no JSON form; make it a dataclass")


def _from_json(type: Any, value: Any) -> Any:
    if hasattr(type, "model_validate"):
        return type.model_validate(value)
    raise TypeError(f"{type!r} can't be read from JSON; make it a dataclass")


encoder = msgspec.json.Encoder(enc_hook=_to_json)
_ordered_encoder = msgspec.json.Encoder(enc_hook=_to_json, order="deterministic")


@lru_cache(maxsize=1_024)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type, dec_hook=_from_json)


def decoder(type: Any) -> msgspec.json.Decoder[Any]:
    """Raises InvalidArgument for a type that no JSON can be read into."""
    try:
        return _decoder(type)
    except TypeError as error:
        raise InvalidArgument(f"{type!r} can't be read from JSON: {error}") from error


def unreadable_in(type: Any) -> Any | None:
    """A class that values of the type are made of, and that no JSON can be read into; None: there is none."""
    return _unreadable(msgspec.inspect.type_info(type), frozenset())


def _unreadable(info: msgspec.inspect.Type, within: frozenset[Any]) -> Any | None:
    parts: Sequence[msgspec.inspect.Type]
    match info:
        case msgspec.inspect.CustomType():
            return None if hasattr(info.cls, "model_validate") else info.cls
        case msgspec.inspect.UnionType():
            unreadable = [_unreadable(each, within) for each in info.types]
            return None if None in unreadable else unreadable[0]
        case msgspec.inspect.CollectionType():
            parts = [info.item_type]
        case msgspec.inspect.TupleType():
            parts = info.item_types
        case msgspec.inspect.DictType():
            parts = [info.key_type, info.value_type]
        case (
            msgspec.inspect.StructType()
            | msgspec.inspect.DataclassType()
            | msgspec.inspect.TypedDictType()
            | msgspec.inspect.NamedTupleType()
        ):
            if info.cls in within:
                return None  # it holds itself: the rest of it is looked at where it was met first
            parts = [field.type for field in info.fields if field.required]
            within |= {info.cls}
        case _:
            return None
    return next((found for part in parts if (found := _unreadable(part, within)) is not None), None)


_PLACE = re.compile(r"^(?P<description>.*?) - at `(?:key in )?\$(?P<path>[^`]*)`$", re.DOTALL)


def violation_of(error: msgspec.DecodeError, within: str = "") -> FieldViolation:
    """What is wrong with the data, and where.

    within: the field that was decoded.
    """
    found = violation(str(error), within)
    if error.__cause__ is None:
        return found
    return FieldViolation(found.field, told_by_model(error.__cause__) or found.description)


def told_by_model(error: BaseException) -> str:
    """What a model of pydantic finds wrong, in a line and without what was given; "" for other errors."""
    told: Callable[[], Any] | None = getattr(error, "errors", None)
    if told is None:
        return ""
    each_told = [(".".join(map(str, each["loc"])), each["msg"]) for each in told()]
    return "; ".join(f"{place}: {message}" if place else message for place, message in each_told)


def violation(message: str, within: str = "") -> FieldViolation:
    """What msgspec says with "Expected `int`, got `str` - at `$.quantity`"; within: the field that was decoded."""
    match = _PLACE.match(message)
    if match is None:
        return FieldViolation(within, message)
    return FieldViolation((within + match["path"]).lstrip("."), match["description"])


# --- the data of steps and side effects


def encode_fields(value: Any) -> bytes:
    """The fields of a step or side effect as a JSON object. InvalidArgument: it is no dataclass, nor anything alike."""
    if field_names(type(value)) is not None:
        return encode(value)
    if getattr(value, "__dict__", None) or _has_slots(type(value)):
        raise InvalidArgument(f"{type(value).__qualname__} holds data: make it a dataclass, so that it can be stored")
    return b"{}"


def decode_fields(data: bytes, type: type[Any]) -> Any:
    """A new instance with the fields that `encode_fields` wrote."""
    return type() if field_names(type) is None else decode(data, type)


def restore_fields(value: Any, data: bytes) -> None:
    """Puts recorded fields into an instance that is there."""
    names = field_names(type(value))
    if names is None:
        return
    recorded = decode(data, type(value))
    for name in names:
        object.__setattr__(value, name, getattr(recorded, name))


def _has_slots(type: type[Any]) -> bool:
    return any(getattr(base, "__slots__", ()) for base in type.__mro__)


def _look_up_field_names(type: Any) -> Sequence[str] | None:
    if dataclasses.is_dataclass(type):
        return [field.name for field in dataclasses.fields(type)]
    names: Any = getattr(type, "__struct_fields__", None)
    return names if names is not None else getattr(type, "model_fields", None)


#: Of a dataclass or something alike; None: it is neither.
field_names: Callable[[Any], Sequence[str] | None] = lru_cache(maxsize=1_024)(_look_up_field_names)
