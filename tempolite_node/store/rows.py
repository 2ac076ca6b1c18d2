"""Rows of the store and values of the engine, one table each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import apsw
import msgspec
from msgspec import Struct

from tempolite_node.engine.model import EndedAttempt, Execution, NodeState, Operation, Options, Signal, Timer
from tempolite_node.store.statement import Statement

T = TypeVar("T", bound=Struct)


class Table(Generic[T]):
    """A table whose columns are the fields of a struct, by the names under which they are stored.

    Enums are texts, booleans 0 and 1, structs and collections JSON texts; everything else is as it is.
    """

    def __init__(self, name: str, struct: type[T], *, key: Sequence[str] = (), fixed: Sequence[str] = ()) -> None:
        """fixed: fields that never change once the row is there."""
        hints = get_type_hints(struct)
        fields = struct.__struct_fields__
        columns = struct.__struct_encode_fields__
        column_of = dict(zip(fields, columns, strict=True))
        changing_fields = [field for field in fields if field not in key and field not in fixed]
        changing = [column_of[field] for field in changing_fields]
        given = {column: f"given.column{number}" for number, column in enumerate([*changing, *key], start=1)}
        assignments = ", ".join(f"{column} = {given[column]}" for column in changing)
        same = " AND ".join(f"{name}.{column} = {given[column]}" for column in key)
        conflict = ", ".join(f"{column} = excluded.{column}" for column in changing)
        self.name = name
        self._struct = struct
        self._fields = fields
        self._decoders = [_decoder(hints[field]) for field in fields]
        self.select = f"SELECT {', '.join(columns)} FROM {name}"
        insert = f"INSERT INTO {name} ({', '.join(columns)}) VALUES {{rows}}"
        self._insert = Statement(insert, len(columns))
        self._upsert = Statement(f"{insert} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {conflict}", len(columns))
        self._update = Statement(
            f"UPDATE {name} SET {assignments} FROM (VALUES {{rows}}) AS given WHERE {same}",
            len(changing) + len(key),
            single=f"UPDATE {name} SET {_each_given(changing, ', ')} WHERE {_each_given(key, ' AND ')}",
        )
        self._inserted = _row_maker(hints, fields)
        self._updated = _row_maker(hints, [*changing_fields, *key])

    def value(self, row: Sequence[Any]) -> T:
        """From a row of `select`."""
        pairs = zip(self._fields, self._decoders, row, strict=True)
        return self._struct(**{field: decode(v) if decode and v is not None else v for field, decode, v in pairs})

    def insert(self, connection: apsw.Connection, values: Iterable[T]) -> None:
        self._insert.run(connection, list(map(self._inserted, values)))

    def upsert(self, connection: apsw.Connection, values: Iterable[T]) -> None:
        self._upsert.run(connection, list(map(self._inserted, values)))

    def update(self, connection: apsw.Connection, values: Iterable[T]) -> None:
        """Of rows that are there: everything but what is fixed."""
        self._update.run(connection, list(map(self._updated, values)))


def _each_given(columns: Sequence[str], separator: str) -> str:
    return separator.join(f"{column} = ?" for column in columns)


def _row_maker(hints: Mapping[str, Any], fields: Sequence[str]) -> Callable[[Struct], list[Any]]:
    """Reads the fields' values off a struct, in order: the path of every change, so in C as far as may be."""
    values_of = attrgetter(*fields)
    composites = [index for index, field in enumerate(fields) if _is_composite(hints[field])]

    def row(value: Struct) -> list[Any]:
        values = list(values_of(value))
        for index in composites:
            if values[index] is not None:
                values[index] = to_json(values[index])
        return values

    return row


_NAMES_MAX = 10  #: of errors; options with more are not kept in memory


def to_json(value: Any) -> str:
    if isinstance(value, Options) and len(value.retry.non_retryable_errors) <= _NAMES_MAX:
        return _options_json(value)
    return msgspec.json.encode(value).decode()


@lru_cache(maxsize=1024)
def _options_json(options: Options) -> str:
    """Most executions share the options of their handler."""
    return msgspec.json.encode(options).decode()


def _plain(hint: Any) -> Any:
    """The type itself, of an optional one."""
    if get_origin(hint) is UnionType:
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return hint


def _is_composite(hint: Any) -> bool:
    plain = _plain(hint)
    return get_origin(plain) in (tuple, dict) or (isinstance(plain, type) and issubclass(plain, Struct))


def _decoder(hint: Any) -> Callable[[Any], Any] | None:
    plain = _plain(hint)
    if _is_composite(plain):
        return msgspec.json.Decoder(plain).decode
    if not isinstance(plain, type):
        return None
    if issubclass(plain, Enum):
        return {member.value: member for member in plain}.__getitem__
    return bool if plain is bool else None


EXECUTIONS = Table(
    "executions",
    Execution,
    key=("row",),
    fixed=(
        "id",  # but for one that makes room for another: see StoreWriter.save
        "handler",
        "component",
        "created_ms",
        "arguments",
        "options",
        "parent_row",
        "parent_id",
        "request_id",
        "priority",
        "concurrency_key",
        "format",
        "run",
        "previous",
        "mailbox",
        "max_duration_ms",
    ),
)
OPERATIONS = Table("operations", Operation, key=("execution_row", "kind", "key"), fixed=("seq",))
ATTEMPTS = Table("attempts", EndedAttempt)
INBOX = Table("inbox", Signal, key=("execution_row", "seq"))
TIMERS = Table("timers", Timer, key=("execution_row", "name"))
NODES = Table("nodes", NodeState, key=("id",))
