"""The places of concurrency keys: what is stored of them, with what a unit of work has changed. See `concurrency`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from heapq import heappop, heappush
from typing import Protocol

from tempolite_node.engine.model import Component, Execution

Key = tuple[str, str]  #: a handler, and one of its concurrency keys


class StoredPlaces(Protocol):
    """What is on disk, as of the last commit."""

    def taken(self, key: Key) -> int: ...
    def members(self, place: int) -> int: ...
    def waiting_of(self, owner: str, component: Component) -> int: ...

    def first_waiting(self, key: Key, besides: Container[int]) -> int | None:
        """Row of the first that waits for a place. besides: rows that don't count."""
        ...

    def last_not_started(self, key: Key, besides: Container[int]) -> int | None:
        """Row of the last that was given a place and has not started. besides: rows that don't count."""
        ...

    def unsettled_keys(self, handler: str) -> set[str]:
        """With executions that wait for a place, or were given one and have not started."""
        ...


class Places:
    def __init__(
        self,
        stored: StoredPlaces,
        executions: Mapping[int, Execution],
        stored_execution_at: Callable[[int], Execution | None],
    ) -> None:
        """executions: that the unit of work has changed, by row."""
        self._stored = stored
        self._executions = executions
        self._stored_execution_at = stored_execution_at
        self.taken_by: defaultdict[Key, int] = defaultdict(int)  #: changes of how many places are taken
        self.members_by: defaultdict[int, int] = defaultdict(int)  #: changes of how many executions share a place
        self.waiting_by: defaultdict[tuple[str, Component], int] = defaultdict(int)  #: changes of how many wait
        # Heaps of turns: of those that waited at some moment, and, the other way round, of those given a place.
        self._waiting: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
        self._given: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)

    def follow(self, before: Execution | None, now: Execution) -> None:
        """Notes what an execution with a key has become."""
        was_given = None if before is None else before.place
        if was_given != now.place:
            self._leave(key_of(now), was_given)
            self._join(key_of(now), now.place)
        if before is not None and before.waits_for_place:
            self.waiting_by[before.owner, before.component] -= 1
        if now.waits_for_place:
            self.waiting_by[now.owner, now.component] += 1
            heappush(self._waiting[key_of(now)], now.key_order)
        elif not_started(now):
            heappush(self._given[key_of(now)], _reversed(now.key_order))

    def _leave(self, key: Key, place: int | None) -> None:
        if place is not None:
            self.members_by[place] -= 1
            self.taken_by[key] -= self.members(place) == 0

    def _join(self, key: Key, place: int | None) -> None:
        if place is not None:
            self.taken_by[key] += self.members(place) == 0
            self.members_by[place] += 1

    def taken(self, key: Key) -> int:
        """Places that are not free."""
        return self._stored.taken(key) + self.taken_by[key]

    def members(self, place: int) -> int:
        """Executions that share a place."""
        return self._stored.members(place) + self.members_by[place]

    def waiting_of(self, owner: str, component: Component) -> int:
        """Executions of a node that wait for a place."""
        return self._stored.waiting_of(owner, component) + self.waiting_by[owner, component]

    def first_waiting(self, key: Key) -> Execution | None:
        """Whose turn it is."""
        turns = self._waiting.get(key)
        while turns and not self._executions[turns[0][1]].waits_for_place:
            heappop(turns)
        rows = [turns[0][1] if turns else None, self._stored.first_waiting(key, self._executions)]
        return min(self._executions_at(rows), key=lambda execution: execution.key_order, default=None)

    def last_not_started(self, key: Key) -> Execution | None:
        """Who gives its place back first, of those that were given one and have not started."""
        turns = self._given.get(key)
        while turns and not not_started(self._executions[-turns[0][1]]):
            heappop(turns)
        rows = [-turns[0][1] if turns else None, self._stored.last_not_started(key, self._executions)]
        return max(self._executions_at(rows), key=lambda execution: execution.key_order, default=None)

    def _executions_at(self, rows: Iterable[int | None]) -> list[Execution]:
        found = (self._executions.get(row) or self._stored_execution_at(row) for row in rows if row is not None)
        return [execution for execution in found if execution is not None]

    def unsettled_keys(self, handler: str) -> list[str]:
        """Those with executions that may have to get a place, or to give one back; some more may be among them."""
        changed = {key for name, key in (*self._waiting, *self._given) if name == handler}
        return sorted(changed | self._stored.unsettled_keys(handler))


def key_of(execution: Execution) -> Key:
    assert execution.concurrency_key is not None, f"{execution.id} has no concurrency key"
    return execution.handler, execution.concurrency_key


def not_started(execution: Execution) -> bool:
    """Whether it was given a place of its own, and has not begun: it may still have to give it back."""
    return execution.place == execution.row and execution.attempt == 0


def _reversed(turn: tuple[int, int]) -> tuple[int, int]:
    return (-turn[0], -turn[1])
