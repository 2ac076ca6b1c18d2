"""The journal of an execution, as its attempt meets it again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec.structs import replace

from tempolite_node.engine.model import CANCEL_MARKER, OperationKind, OperationStatus, record_generation, record_holds
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.scopes import Scope, keys_again, scope_prefix


class Replay(Protocol):
    @property
    def replaying(self) -> bool: ...


class Journal:
    def __init__(self, records: Iterable[Record], generation: int) -> None:
        """generation: of the execution; see `model.record_generation`."""
        self._generation = generation
        self._records = {(record.kind, record.key): record for record in records}
        self.run: Replay | None = None  #: of code on a loop of its own, which knows itself where its replay ends
        self._own: set[tuple[OperationKind, str]] = set()  #: recorded by this attempt
        self._cancelled_at = next((key for kind, key in self._records if _is_cancel(kind, key)), None)
        #: By scope, records that replay has not met there. A scope is left out as soon as its code does something new.
        self._unmet = _by_scope(self._records)

    def replays_in(self, scope: Scope) -> bool:
        """Whether the code of the scope does again what it did in an earlier attempt."""
        if self.run is not None and scope.parent is None:
            return self.run.replaying
        return bool(self._unmet.get(scope.prefix))

    def generation_in(self, scope: Scope) -> int:
        return record_generation(self._generation, scope.side_effect_failures)

    def find(self, scope: Scope, kind: OperationKind, key: str) -> Record | None:
        """What is recorded there and still holds: what failed in an earlier generation is done again."""
        record = self._records.get((kind, key))
        if record is None:
            if self._unmet and self._cancelled_at != f"{CANCEL_MARKER}{kind}:{key}":
                self._unmet.pop(scope.prefix, None)
            return None
        if self._unmet and (unmet := self._unmet.get(scope.prefix)) is not None:
            unmet.discard((kind, key))
        if not record_holds(record.status, record.generation, self.generation_in(scope)):
            self._unmet.pop(scope.prefix, None)  # it may end otherwise this time
            return None
        return record

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

    def note_end(self, kind: OperationKind, key: str, end_seq: int, closed_ms: int) -> None:
        """Of what this attempt has recorded: its place in the order of answers."""
        if (kind, key) in self._own:
            self._records[kind, key] = replace(self._records[kind, key], end_seq=end_seq, closed_ms=closed_ms)

    @property
    def last_end(self) -> int:
        """The latest place of what the code itself, outside of any operation, was answered."""
        return max((each.end_seq for (_, key), each in self._records.items() if not scope_prefix(key)), default=0)

    def is_own(self, record: Record) -> bool:
        return (record.kind, record.key) in self._own

    @property
    def has_cancel(self) -> bool:
        """Whether replay is yet to come to the operation at which the cancel was raised."""
        return self._cancelled_at is not None

    def take_cancel(self, place: str) -> bool:
        """Whether the cancel was raised at this operation; true once.

        place: "<kind>:<key>".
        """
        if self._cancelled_at != CANCEL_MARKER + place:
            return False
        self._cancelled_at = None
        return True


def _is_cancel(kind: OperationKind, key: str) -> bool:
    return kind is OperationKind.MARKER and key.startswith(CANCEL_MARKER)


def _by_scope(places: Iterable[tuple[OperationKind, str]]) -> dict[str, set[tuple[OperationKind, str]]]:
    """By the prefix of their scope. Those inside a recorded operation are never met, and nobody asks for them."""
    by_scope: dict[str, set[tuple[OperationKind, str]]] = {}
    for kind, key in places:
        if kind is not OperationKind.COMPENSATION and not _is_cancel(kind, key):
            by_scope.setdefault(scope_prefix(key), set()).add((kind, key))
    return by_scope
