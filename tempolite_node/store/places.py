"""The places of concurrency keys as the store knows them: their counts in memory, turns by their indexes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Mapping
from typing import TypeVar

import apsw

from tempolite_node.engine import places
from tempolite_node.engine.model import Component
from tempolite_node.engine.places import Key

_T = TypeVar("_T", bound=Hashable)

# As the partial indexes have it, word for word, or SQLite would not use them.
_WAITS = "status = 'queued' AND ready_at IS NULL"
_HAS_PLACE = "place IS NOT NULL"


class PlaceIndex:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._taken: Counter[Key] = Counter()
        self._members: Counter[int] = Counter()
        self._waiting: Counter[tuple[str, Component]] = Counter()
        sql = f"SELECT handler, concurrency_key, place, count(*) FROM executions WHERE {_HAS_PLACE} GROUP BY 1, 2, 3"
        for handler, key, place, members in connection.execute(sql):
            self._taken[handler, key] += 1
            self._members[place] = members
        sql = f"SELECT owner, component, count(*) FROM executions WHERE {_WAITS} GROUP BY 1, 2"
        for owner, component, count in connection.execute(sql):
            self._waiting[owner, Component(component)] = count

    @property
    def remembers_anything(self) -> bool:
        return bool(self._taken or self._members or self._waiting)

    def taken(self, key: Key) -> int:
        return self._taken[key]

    def members(self, place: int) -> int:
        return self._members[place]

    def waiting_of(self, owner: str, component: Component) -> int:
        return self._waiting[owner, component]

    def first_waiting(self, key: Key, besides: Container[int]) -> int | None:
        sql = f"""SELECT row FROM executions WHERE handler = ? AND concurrency_key = ? AND {_WAITS}
                  ORDER BY priority DESC, row"""
        return self._first(sql, key, besides)

    def last_not_started(self, key: Key, besides: Container[int]) -> int | None:
        sql = f"""SELECT row FROM executions WHERE handler = ? AND concurrency_key = ? AND {_HAS_PLACE}
                  AND attempt = 0 AND place = row ORDER BY priority, row DESC"""
        return self._first(sql, key, besides)

    def _first(self, sql: str, key: Key, besides: Container[int]) -> int | None:
        return next((row for (row,) in self._connection.execute(sql, key) if row not in besides), None)

    def unsettled_keys(self, handler: str) -> set[str]:
        sql = f"""SELECT concurrency_key FROM executions WHERE handler = :handler AND {_WAITS}
                  UNION SELECT concurrency_key FROM executions
                  WHERE handler = :handler AND {_HAS_PLACE} AND attempt = 0"""
        return {key for (key,) in self._connection.execute(sql, {"handler": handler})}

    def saved(self, work: places.Places) -> None:
        """To be called when the transaction is over."""
        _add(self._taken, work.taken_by)
        _add(self._members, work.members_by)
        _add(self._waiting, work.waiting_by)


def _add(counts: Counter[_T], changes: Mapping[_T, int]) -> None:
    """Nothing is kept of what is down to nothing: keys come and go without end."""
    for each, change in changes.items():
        counts[each] += change
        if not counts[each]:
            del counts[each]
