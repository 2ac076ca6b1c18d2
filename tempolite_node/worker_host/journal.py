"""The journal of an execution, as its attempt meets it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Protocol

from tempolite_node.engine.model import (
    CANCEL_MARKER,
    READ_MARKER,
    OperationKind,
    OperationStatus,
    cancel_again,
    record_generation,
    record_holds,
)
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.scopes import Scope, keys_again, local_key, scope_prefix

_HELD_MAX = 1_000  #: lines of one scope


class Replay(Protocol):
    delivered_seq: int  #: place and time of the answer that was released last
    delivered_ms: int

    @property
    def replaying(self) -> bool: ...


class Journal:
    def __init__(self, records: Iterable[Record], generation: int) -> None:
        """generation: of the execution; see `model.record_generation`."""
        self._generation = generation
        self._records = {(record.kind, record.key): record for record in records}
        self.run: Replay | None = None  #: of code on a loop of its own, which knows itself where its replay ends
        self.begins = False  #: what is looked for is begun, and may have ended after what its code did next
        self._own: set[tuple[OperationKind, str]] = set()  #: recorded by this attempt
        self._cancelled_at = {key for kind, key in self._records if _is_cancel(kind, key)}
        #: By scope, records that replay has not met there. A scope is left out as soon as its code does something new.
        self._unmet = _by_scope(self._records)
        self._held: dict[str, deque[Callable[[], None]]] = {}  #: by scope, what a retry has said since its last record

    def generation_in(self, scope: Scope) -> int:
        return record_generation(self._generation, scope.side_effect_failures)

    def find(self, scope: Scope, kind: OperationKind, key: str) -> Record | None:
        """What is recorded there and still holds: what failed in an earlier generation is done again."""
        record = self._records.get((kind, key))
        if record is None:
            if self._unmet and not self.begins and f"{CANCEL_MARKER}{kind}:{key}" not in self._cancelled_at:
                self.goes_on_anew(scope)
            return None
        self._held.pop(scope.prefix, None)  # it came here before, and said the same
        if self._unmet and (unmet := self._unmet.get(scope.prefix)) is not None:
            unmet.discard((kind, key))
        if not record_holds(record.status, record.generation, self.generation_in(scope)):
            if not self.begins:
                self._unmet.pop(scope.prefix, None)  # it may end otherwise this time
            return None
        return record

    def goes_on_anew(self, scope: Scope) -> None:
        """The code of the scope does what it has not done before."""
        if self._unmet:
            self._unmet.pop(scope.prefix, None)
            self._say_held(scope.prefix)

    def goes_again_in(self, scope: Scope) -> bool:
        """Whether the code of the scope has not come yet to all that it recorded in this attempt itself.

        A retry is another attempt, which may go another way: see `holds_back`.
        """
        if self.run is not None and scope.parent is None:
            return self.run.replaying
        if not self._unmet or not (unmet := self._unmet.get(scope.prefix)):
            return False
        generation = self.generation_in(scope)
        return any(self._records[place].generation >= generation for place in unmet)

    def has_more_in(self, scope: Scope) -> bool:
        """Whether code of the scope, or inside of it, has yet to come to what it recorded in this attempt."""
        generation = self.generation_in(scope)
        return any(
            self._records[place].generation >= generation
            for prefix, unmet in self._unmet.items()
            if prefix.startswith(scope.prefix)
            for place in unmet
        )

    def holds_back(self, scope: Scope, say: Callable[[], None]) -> bool:
        """Keeps what the code of a retry says while it is not known whether it goes the way of the attempt before it.

        False: it is known. `say` is called if it turns out to go another way.
        """
        of_own_loop = self.run is not None and scope.parent is None
        if of_own_loop or not self._unmet or not self._unmet.get(scope.prefix):
            return False
        held = self._held.setdefault(scope.prefix, deque(maxlen=_HELD_MAX))
        held.append(say)
        return True

    def say_held(self) -> None:
        """The attempt has ended, before it did all that was done before: another way."""
        for prefix in list(self._held):
            self._say_held(prefix)

    def _say_held(self, prefix: str) -> None:
        for say in self._held.pop(prefix, ()):
            say()

    def marker(self, key: str) -> bytes | None:
        """What is recorded there that the code has read of its context."""
        record = self._records.get((OperationKind.MARKER, key))
        return None if record is None else record.result

    def cancels_again(self) -> Iterator[Record]:
        """Places of the cancels of the execution after the first, of code that takes them in their order."""
        if self._cancelled_at:
            for number in count(2):
                place = self._records.get((OperationKind.MARKER, cancel_again(number)))
                if place is None:
                    return
                yield place

    def add(self, record: Record) -> None:
        """What this attempt has recorded, for its later calls of the same key."""
        self._records[record.kind, record.key] = record
        self._own.add((record.kind, record.key))

    def completed_again(self, scope: Scope, key: str) -> str | None:
        """Of a side effect that was cancelled in an earlier generation, the key under which it completed after all."""
        record = self._records.get((OperationKind.SIDE_EFFECT, key))
        if record is None or record_holds(record.status, record.generation, self.generation_in(scope)):
            return None
        for again in keys_again(key):
            record = self._records.get((OperationKind.SIDE_EFFECT, again))
            if record is None:
                return None
            if record.status is OperationStatus.COMPLETED:
                return again
        return None

    @property
    def last_end(self) -> int:
        """The latest place of what the code itself, outside of any operation, was answered."""
        return max((each.end_seq for (_, key), each in self._records.items() if not scope_prefix(key)), default=0)

    def is_own(self, record: Record) -> bool:
        return (record.kind, record.key) in self._own

    @property
    def has_cancel(self) -> bool:
        """Whether replay is yet to come to an operation at which a cancel was raised."""
        return bool(self._cancelled_at)

    def take_cancel(self, place: str) -> bool:
        """Whether a cancel was raised at this operation; true once.

        place: "<kind>:<key>".
        """
        if CANCEL_MARKER + place not in self._cancelled_at:
            return False
        self._cancelled_at.discard(CANCEL_MARKER + place)
        return True


def _is_cancel(kind: OperationKind, key: str) -> bool:
    return kind is OperationKind.MARKER and key.startswith(CANCEL_MARKER)


def _is_met_elsewhere(kind: OperationKind, key: str) -> bool:
    """What no operation asks for: the place of the cancel, and what was read of the context."""
    return _is_cancel(kind, key) or (kind is OperationKind.MARKER and local_key(key).startswith(READ_MARKER))


def _by_scope(places: Iterable[tuple[OperationKind, str]]) -> dict[str, set[tuple[OperationKind, str]]]:
    """By the prefix of their scope. Those inside a recorded operation are never met, and nobody asks for them."""
    by_scope: dict[str, set[tuple[OperationKind, str]]] = {}
    for kind, key in places:
        if kind is not OperationKind.COMPENSATION and not _is_met_elsewhere(kind, key):
            by_scope.setdefault(scope_prefix(key), set()).add((kind, key))
    return by_scope
