"""Executions as they were last saved: those that were needed last, as many as their bytes allow."""

from __future__ import annotations

from collections import OrderedDict

from tempolite_node.engine import sizes
from tempolite_node.engine.model import Execution

_BYTES_MAX = 64 * 1024**2  #: of all of them
_COUNT_MAX = 20_000


class ExecutionCache:
    def __init__(self, *, bytes_max: int = _BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._by_id: OrderedDict[str, Execution] = OrderedDict()  #: the one that was needed last comes last
        self._by_row: dict[int, Execution] = {}
        self._sizes: dict[int, int] = {}  #: by row
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_row)

    def get(self, execution_id: str) -> Execution | None:
        return self._by_id.get(execution_id)

    def __contains__(self, execution_id: str) -> bool:
        return execution_id in self._by_id

    def at(self, row: int) -> Execution | None:
        return self._by_row.get(row)

    def put(self, execution: Execution) -> None:
        row, size = execution.row, sizes.of_execution(execution)
        self.bytes += size - self._sizes.get(row, 0)
        self._sizes[row] = size
        self._by_id[execution.id] = execution
        self._by_id.move_to_end(execution.id)
        self._by_row[row] = execution
        while self.bytes > self._bytes_max or len(self._by_id) > _COUNT_MAX:
            self._forget(next(iter(self._by_id.values())))

    def _forget(self, execution: Execution) -> None:
        del self._by_id[execution.id]
        del self._by_row[execution.row]
        self.bytes -= self._sizes.pop(execution.row)

    def forget(self, row: int) -> None:
        """It has another id by now."""
        if (execution := self._by_row.get(row)) is not None:
            self._forget(execution)
