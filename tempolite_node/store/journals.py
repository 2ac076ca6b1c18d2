"""Journals of the executions that worker hosts hold, whole and in memory: what their attempts record meets no query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tempolite_node.engine import sizes
from tempolite_node.engine.model import Operation, OperationKind

Place = tuple[OperationKind, str]

_JOURNAL_MAX = 1_000  #: operations; a longer journal is read from the store
_JOURNAL_BYTES_MAX = 1024**2  #: of one, likewise
_BYTES_MAX = 64 * 1024**2  #: of all journals; beyond it they are forgotten, and read again when they are needed


class Journals:
    """A journal is here whole or not at all."""

    def __init__(self, *, bytes_max: int = _BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.by_row: dict[int, dict[Place, Operation]] = {}  #: to read
        self._sizes: dict[int, int] = {}
        self.bytes = 0

    def open(self, row: int, operations: Sequence[Operation] = ()) -> None:
        """From here on the journal is known: these are all of its operations."""
        self.close(row)
        self.by_row[row] = {}
        self._sizes[row] = 0
        if operations:
            self.update(row, {(operation.kind, operation.key): operation for operation in operations})

    def close(self, row: int) -> None:
        if self.by_row.pop(row, None) is not None:
            self.bytes -= self._sizes.pop(row)

    def update(self, row: int, changed: Mapping[Place, Operation]) -> None:
        """What was saved."""
        journal = self.by_row.get(row)
        if journal is None:
            return
        growth = 0
        for place, operation in changed.items():
            growth += sizes.of_operation(operation)
            if (former := journal.get(place)) is not None:
                growth -= sizes.of_operation(former)
        journal.update(changed)
        self.bytes += growth
        self._sizes[row] += growth
        if len(journal) > _JOURNAL_MAX or self._sizes[row] > _JOURNAL_BYTES_MAX:
            self.close(row)
        if self.bytes > self._bytes_max:
            self.by_row.clear()
            self._sizes.clear()
            self.bytes = 0
