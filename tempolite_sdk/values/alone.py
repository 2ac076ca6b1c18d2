"""A value whose reader says the type: what would come back different whatever is said."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from tempolite_sdk.errors import InvalidArgument
from tempolite_sdk.payload import decode, encode
from tempolite_sdk.values.comparison import Comparison
from tempolite_sdk.values.fields import field_of, fields_of, under
from tempolite_sdk.values.plain import ATOMS, STR, find_non_finite
from tempolite_sdk.values.refusals import Different, kind_told, refuse_non_finite, within
from tempolite_sdk.values.validators import validate

_COME_BACK = (bytes, bytearray, memoryview, UUID, Decimal, timedelta)  #: each by its own type


def check_alone(value: Any) -> None:
    """What comes back as it is when its reader says the right type."""
    kind = type(value)
    if kind in ATOMS:
        return
    if kind is float:
        if not isfinite(value):
            refuse_non_finite(value)
    elif isinstance(value, dict):
        for key, each in value.items():
            if type(key) is not str:
                within(f"[{key!r}]", check_alone, key)
            within(under(key), check_alone, each)
        if not STR.issuperset(map(type, value)) and len(decode(encode(value), dict[str, Any])) != len(value):
            raise Different("two of its keys would come back as one: they have the same text")
    elif isinstance(value, list | tuple | set | frozenset):
        for place, each in enumerate(value):
            within(f"[{place}]", check_alone, each)
    elif isinstance(value, _COME_BACK) or (isinstance(value, date) and not isinstance(value, datetime)):
        return
    elif getattr(kind, "__parameters__", ()) and (names := fields_of(kind)) is not None:
        for name in names:  # what it is of is for its reader to say
            within(f".{name}", check_alone, field_of(value, name))
    else:
        _check_by_own_type(value)


def _check_by_own_type(value: Any) -> None:
    try:
        read = decode(encode(value), type(value))
    except InvalidArgument as error:
        find_non_finite(value)
        raise Different(f"{kind_told(value)} can't be read from its own JSON, whatever type= says: {error}") from error
    Comparison(declared=False).compare(value, read)
    validate(read)
