"""Classes with fields: dataclasses, structs, models of pydantic, classes of attrs; and what is in a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tempolite_sdk.payload import field_names


def _look_up_fields(cls: Any) -> tuple[str, ...] | None:
    names = field_names(cls)
    if names is None and (attributes := getattr(cls, "__attrs_attrs__", None)) is not None:
        return tuple(attribute.name for attribute in attributes)
    return None if names is None else tuple(names)


#: Of a dataclass, a struct, a pydantic model, or a class of attrs; None: it is none of them.
fields_of: Callable[[Any], tuple[str, ...] | None] = lru_cache(maxsize=1_024)(_look_up_fields)


def _look_up_encoded_names(cls: Any) -> Mapping[str, str | None] | None:
    if (encoded := getattr(cls, "__struct_encode_fields__", None)) is not None:
        return {cls.__struct_config__.tag_field: None, **dict(zip(encoded, cls.__struct_fields__, strict=True))}
    if dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        return {name: name for name in fields_of(cls) or ()}
    return None


#: Names of the fields by those in JSON, None for a struct's tag; None: only the class's own code knows its JSON.
encoded_names: Callable[[Any], Mapping[str, str | None] | None] = lru_cache(maxsize=1_024)(_look_up_encoded_names)


_ABSENT = object()


def field_of(value: Any, name: str) -> Any:
    return getattr(value, name, _ABSENT)


def under(key: Any) -> str:
    return f".{key}" if isinstance(key, str) else f"[{key!r}]"


def parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(under(key), each) for key, each in value.items()]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{place}]", each) for place, each in enumerate(value)]
    return [(f".{name}", field_of(value, name)) for name in fields_of(type(value)) or ()]
