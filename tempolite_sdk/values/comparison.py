"""A value beside what was read of its JSON."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

from tempolite_sdk.values.fields import encoded_names, field_of, fields_of, under
from tempolite_sdk.values.plain import ATOMS, PLAIN, STR, find_non_finite, is_plain
from tempolite_sdk.values.refusals import (
    Different,
    another,
    as_another,
    kind_told,
    left_out,
    name_of,
    refuse_non_finite,
    within,
)


class ContainerChange(NamedTuple):
    """A container that comes back as another one with equal content, which is enough."""

    written: str  #: name of its type
    read: str


class Comparison:
    """Through a value and what was read of its JSON, side by side."""

    def __init__(self, *, declared: bool) -> None:
        self._declared = declared  #: the type says in each place what is read
        self.change: ContainerChange | None = None

    def compare(self, value: Any, read: Any) -> None:
        if value is read:
            return
        kind = type(value)
        if kind is not type(read):
            self._compare_kinds(value, read)
        elif kind in ATOMS:
            if value != read:
                another(value)
        elif kind is list or kind is tuple:
            self._compare_sequences(value, read)
        elif kind is dict:
            self._compare_dicts(value, read)
        elif (names := fields_of(kind)) is not None:
            self._compare_fields(value, read, names)
        elif isinstance(value, list | tuple):
            self._compare_sequences(value, read)
        elif isinstance(value, dict):
            self._compare_dicts(value, read)
        elif isinstance(value, set | frozenset):
            self._compare_sets(value, read)
        elif not _same(value, read):
            another(value)

    def _compare_sequences(self, value: Any, read: Any) -> None:
        if len(value) != len(read):
            raise Different(f"{kind_told(value)} of {len(value)} would come back with {len(read)}")
        if set(map(type, value)) <= ATOMS and type(value) is type(read) and value == read:
            return
        for place, (each, each_read) in enumerate(zip(value, read, strict=True)):
            try:
                self.compare(each, each_read)
            except Different as different:
                raise different.within(f"[{place}]") from different.__cause__

    def _compare_dicts(self, value: Any, read: Any) -> None:
        if len(value) > len(read):
            known = set(map(str, read))
            lost = ", ".join(repr(key) for key in value if str(key) not in known) or "some of its keys"
            raise Different(
                f"{kind_told(value)} would come back without {lost}: the annotation or type= has no such key"
            )
        read_keys = None if STR.issuperset(map(type, value)) else {key: key for key in read}
        for key, each in value.items():
            if key not in read:
                told = f"the key {key!r} would come back as another one"
                raise Different(f"{told}: an annotation or type= has to say what it is")
            try:
                if read_keys is not None:
                    self.compare(key, read_keys[key])
                self.compare(each, read[key])
            except Different as different:
                raise different.within(under(key)) from different.__cause__

    def _compare_sets(self, value: Any, read: Any) -> None:
        if len(value) != len(read):
            raise Different(f"{kind_told(value)} of {len(value)} would come back with {len(read)}")
        by_value = {each: each for each in read}
        for each in value:
            self._compare_member(each, by_value)

    def _compare_member(self, each: Any, by_value: Mapping[Any, Any]) -> None:
        if not isinstance(each, Hashable) or each not in by_value:
            told = f"{kind_told(each)} in it would come back as another one"
            raise Different(f"{told}: an annotation or type={name_of(each)} has to say what it is")
        self.compare(each, by_value[each])

    def _compare_fields(self, value: Any, read: Any, names: Iterable[str]) -> None:
        for name in names:
            try:
                self.compare(field_of(value, name), field_of(read, name))
            except Different as different:
                raise different.within(f".{name}") from different.__cause__
        extra = getattr(value, "__pydantic_extra__", None)
        if extra:
            self._compare_dicts(extra, getattr(read, "__pydantic_extra__", None) or {})

    # --- what comes back as another type

    def _compare_kinds(self, value: Any, read: Any) -> None:
        if type(value) is float and not math.isfinite(value):
            refuse_non_finite(value)
        if isinstance(value, Enum):
            if not (self._declared and isinstance(value, type(read)) and value == read):
                as_another(value, read)
        elif type(value) in ATOMS or type(value) is float:
            self._compare_plain(value, read)
        elif isinstance(value, list | tuple):
            self._compare_other_sequences(value, read)
        elif isinstance(value, dict):
            self._compare_dict_with(value, read)
        elif isinstance(value, set | frozenset):
            self._compare_set_with(value, read)
        elif isinstance(value, bytearray | memoryview) and isinstance(read, bytes | bytearray):
            if value != read:
                another(value)
            self._note(value, read)
        elif isinstance(value, type(read)) and (names := fields_of(type(value))) is not None:
            self._compare_with_base(value, read, names)
        else:
            as_another(value, read)

    def _compare_plain(self, value: Any, read: Any) -> None:
        """It is JSON as it is: where the type says more, as datetime does of a text, that is what was asked for."""
        if read is None:
            left_out(value)
        if type(read) in PLAIN and value != read:
            as_another(value, read)

    def _compare_other_sequences(self, value: Any, read: Any) -> None:
        if hasattr(value, "_fields") and not self._declared:
            as_another(value, read)  # its elements had names
        if isinstance(read, list | tuple):
            self._compare_sequences(value, read)
            self._note(value, read)
        elif isinstance(read, set | frozenset) and (type(value) is list or self._declared):
            self._compare_with_set(value, read)
        elif (names := fields_of(type(read))) is not None and type(value) is list and len(names) == len(value):
            for name, each in zip(names, value, strict=True):  # a struct whose JSON is an array
                within(f".{name}", self.compare, each, field_of(read, name))
        else:
            as_another(value, read)

    def _compare_with_set(self, value: Any, read: Any) -> None:
        find_non_finite(value)
        if self._declared:
            return
        by_value = {each: each for each in read}
        for place, each in enumerate(value):
            if not is_plain(each):
                within(f"[{place}]", self._compare_member, each, by_value)

    def _compare_dict_with(self, value: Any, read: Any) -> None:
        if isinstance(read, dict):
            self._compare_dicts(value, read)
            self._note(value, read)
        elif type(value) is not dict:
            as_another(value, read)
        elif (names := encoded_names(type(read))) is None:
            find_non_finite(value)  # of a model, which makes of it what it likes
        else:
            for key, each in value.items():
                if key not in names:
                    raise Different(f"{kind_told(read)} has no field {key!r}: it would be lost, whatever type= says")
                if (name := names[key]) is not None:
                    within(f".{key}", self.compare, each, field_of(read, name))

    def _compare_set_with(self, value: Any, read: Any) -> None:
        if isinstance(read, set | frozenset):
            self._compare_sets(value, read)
        elif self._declared and isinstance(read, list | tuple):
            self._compare_sequences(list(value), list(read))  # in the order in which it was written
        else:
            as_another(value, read)
        self._note(value, read)

    def _compare_with_base(self, value: Any, read: Any, names: Iterable[str]) -> None:
        """A subclass where its base was said: enough when the base has all of its fields."""
        kept = fields_of(type(read)) or ()
        lost = [name for name in names if name not in kept]
        if lost:
            told = f"{kind_told(value)} would come back as {kind_told(read)} without {', '.join(lost)}"
            raise Different(f"{told}: the annotation or type= has to say {name_of(value)}")
        self._compare_fields(value, read, kept)

    def _note(self, value: Any, read: Any) -> None:
        if self.change is None:
            self.change = ContainerChange(name_of(value), name_of(read))


def _same(value: Any, read: Any) -> bool:
    """Of two values of one type."""
    match value:
        case float():
            return bool(value == read or (math.isnan(value) and math.isnan(read)))
        case datetime():
            # Not `==`: it says no of an hour that the clocks show twice, when only one has the zone that says so.
            return bool(
                value.replace(tzinfo=None) == read.replace(tzinfo=None) and value.utcoffset() == read.utcoffset()
            )
        case time():
            both = (value.tzinfo is None) == (read.tzinfo is None) and value.utcoffset() == read.utcoffset()
            return both and value.replace(tzinfo=None) == read.replace(tzinfo=None)
        case Decimal():
            return bool(value.as_tuple() == read.as_tuple())  # 1.0 is not 1.00, and NaN is NaN
        case _:
            return equal(value, read)


def equal(value: Any, read: Any) -> bool:
    try:
        return (value == read) is True
    except Exception:  # of user code
        return False
