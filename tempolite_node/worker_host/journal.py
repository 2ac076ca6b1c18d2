"""The journal of an execution, as its attempt meets it again."""

from __future__ import annotations

from collections.abc import Iterable

from tempolite_node.engine.model import CANCEL_MARKER, KEY_SEPARATOR, OperationKind, record_generation, record_holds
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.scopes import Scope


class Journal:
    def __init__(self, records: Iterable[Record], generation: int) -> None:
        """generation: of the execution; see `model.record_generation`."""
        self._generation = generation
        self._records = {(record.kind, record.key): record for record in records}
        self._own: set[tuple[OperationKind, str]] = set()  #: recorded by this attempt
        self._cancelled_at = next((key for kind, key in self._records if _is_cancel(kind, key)), None)
        #: Records that replay has not met. Those inside a recorded operation it never meets.
        self._unmet = {place for place in self._records if _is_met_by_replay(*place)}
        self._live = not self._unmet

    @property
    def replaying(self) -> bool:
        """Whether the code does again what it did in an earlier attempt."""
        return not self._live and bool(self._unmet)

    def generation_in(self, scope: Scope) -> int:
        return record_generation(self._generation, scope.side_effect_failures)

    def find(self, scope: Scope, kind: OperationKind, key: str) -> Record | None:
        """What is recorded there and still holds: what failed in an earlier generation is done again."""
        record = self._records.get((kind, key))
        if record is None:
            self._live = True
            return None
        self._unmet.discard((kind, key))
        return record if record_holds(record.status, record.generation, self.generation_in(scope)) else None

    def add(self, record: Record) -> None:
        """What this attempt has recorded, for its later calls of the same key."""
        self._records[record.kind, record.key] = record
        self._own.add((record.kind, record.key))

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


def _is_met_by_replay(kind: OperationKind, key: str) -> bool:
    return kind is not OperationKind.COMPENSATION and KEY_SEPARATOR not in key and not _is_cancel(kind, key)
