"""What a type alone tells of the values that are read as it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple, get_origin

from msgspec import Struct, inspect

from tempolite_sdk.values.validators import constraints_of, has_constraints, has_validator, validate


class Shape(NamedTuple):
    """What a type alone tells."""

    untyped: bool = False  #: nothing: its values are read as plain JSON
    declared: bool = False  #: in each place it says what is read
    exact: bool = False  #: and so plainly that what is equal is the same
    validate: Callable[[Any], None] | None = None  #: what msgspec does not check; raises Different


def shape_of(type: Any) -> Shape:
    try:
        return _shape_of(type)
    except TypeError:  # it can't be hashed
        return _look_at(type)


def _look_at(type: Any) -> Shape:
    if type is Any or type is object:
        return Shape(untyped=True)
    try:
        info = inspect.type_info(type)
    except Exception:  # it can't be read at all, or by its own validation alone: reading it tells
        return Shape()
    validators = [each for each in (_validator(info), constraints_of(type)) if each is not None]
    return Shape(declared=_is_declared(info, set()), exact=_is_exact(info, set()), validate=_all(validators))


def constrained_type(annotated: Any, bare: Any) -> Any:
    """An annotation with its constraints, or without all that `Annotated` adds when there are none."""
    if annotated == bare:
        return bare
    try:
        constrained = has_constraints(annotated) or inspect.type_info(annotated) != inspect.type_info(bare)
    except Exception:  # it can't be read, or only by its own validation
        return bare
    return annotated if constrained else bare


def _validator(info: Any) -> Callable[[Any], None] | None:
    return validate if _is_validated(info, set()) else None


def _all(validators: list[Callable[[Any], None]]) -> Callable[[Any], None] | None:
    if len(validators) < 2:
        return validators[0] if validators else None

    def ask_each(read: Any) -> None:
        for each in validators:
            each(read)

    return ask_each


_shape_of = lru_cache(maxsize=4_096)(_look_at)

_EXACT = (
    inspect.NoneType,
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateType,
    inspect.DateTimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.DecimalType,
    inspect.EnumType,
    inspect.LiteralType,
)


def _is_exact(info: Any, seen: set[Any]) -> bool:
    """Of containers, and of classes that compare all of their fields: what is equal has the same types all through."""
    if isinstance(info, inspect.DataclassType | inspect.StructType | inspect.TypedDictType):
        if info.cls in seen:
            return True
        seen.add(info.cls)
        if not _compares_fields(_class_of(info)):
            return False
    elif not isinstance(info, (*_EXACT, *_HOLDING, inspect.Metadata)):
        return False
    return all(_is_exact(each, seen) for each in _held_by(info))


def _class_of(info: Any) -> Any:
    """The class itself, also where the type says what a generic one is of, as `Page[int]` does."""
    return get_origin(info.cls) or info.cls


def _compares_fields(cls: Any) -> bool:
    if isinstance(cls, type) and issubclass(cls, Struct):
        return cls.__struct_config__.eq and cls.__eq__ is Struct.__eq__
    if not dataclasses.is_dataclass(cls):
        return issubclass(cls, dict)  # a TypedDict
    made = getattr(vars(cls).get("__eq__"), "__code__", None)
    by_dataclasses = made is not None and made.co_filename == "<string>"
    return by_dataclasses and all(field.compare for field in dataclasses.fields(cls))


_HOLDING = (
    inspect.ListType,
    inspect.VarTupleType,
    inspect.SetType,
    inspect.FrozenSetType,
    inspect.TupleType,
    inspect.DictType,
    inspect.UnionType,
)


def _held_by(info: Any) -> Iterable[Any]:
    """Types of what a container holds, of the fields of a class, of the members of a union."""
    match info:
        case inspect.Metadata():
            return (info.type,)
        case inspect.DictType():
            return (info.key_type, info.value_type)
        case inspect.TupleType():
            return info.item_types
        case inspect.UnionType():
            return info.types
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
            return [field.type for field in info.fields]
        case _:
            item = getattr(info, "item_type", None)
            return () if item is None else (item,)


_CLASSES = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)


def _is_declared(info: Any, seen: set[Any]) -> bool:
    if isinstance(info, _CLASSES):
        if info.cls in seen:
            return True
        seen.add(info.cls)
    known = isinstance(info, (*_EXACT, *_HOLDING, *_CLASSES, inspect.TimeType, inspect.Metadata))
    return known and all(_is_declared(each, seen) for each in _held_by(info))


def _is_validated(info: Any, seen: set[Any]) -> bool:
    if isinstance(info, _CLASSES):
        if info.cls in seen:
            return False
        seen.add(info.cls)
        if has_validator(_class_of(info)):
            return True
    return any(_is_validated(each, seen) for each in _held_by(info))
