"""Journals of the executions that worker hosts hold, whole and in memory: what their attempts record meets no query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tempolite_node.engine.model import Operation, OperationKind

Place = tuple[OperationKind, str]

_JOURNAL_MAX = 1_000  #: operations; a longer journal is read from the store
_OPERATIONS_MAX = 100_000  #: of all journals; beyond it they are forgotten, and read again when they are needed
_VALUE_BYTES_MAX = 4_096  #: of an operation's input and result


class Journals:
    """A journal is here whole or not at all."""

    def __init__(self) -> None:
        self._journals: dict[int, dict[Place, Operation]] = {}
        self._count = 0

    def get(self, row: int) -> Mapping[Place, Operation] | None:
        return self._journals.get(row)

    def open(self, row: int, operations: Sequence[Operation] = ()) -> None:
        """From here on the journal is known: these are all of its operations."""
        self.close(row)
        self._journals[row] = {}
        if operations:
            self.update(row, {(operation.kind, operation.key): operation for operation in operations})

    def close(self, row: int) -> None:
        journal = self._journals.pop(row, None)
        if journal:
            self._count -= len(journal)

    def update(self, row: int, changed: Mapping[Place, Operation]) -> None:
        """What was saved."""
        journal = self._journals.get(row)
        if journal is None:
            return
        before = len(journal)
        journal.update(changed)
        self._count += len(journal) - before
        if len(journal) > _JOURNAL_MAX or any(_is_large(operation) for operation in changed.values()):
            self.close(row)
        if self._count > _OPERATIONS_MAX:
            self._journals.clear()
            self._count = 0


def _is_large(operation: Operation) -> bool:
    return len(operation.result or b"") + len(operation.input or b"") > _VALUE_BYTES_MAX
