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
        self.by_id: OrderedDict[str, Execution] = OrderedDict()  #: to read; the one that was needed last comes last
        self.by_row: dict[int, Execution] = {}  #: to read
        self._sizes: dict[int, int] = {}  #: by row
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.by_row)

    def put(self, execution: Execution) -> None:
        row, size = execution.row, sizes.of_execution(execution)
        self.bytes += size - self._sizes.get(row, 0)
        self._sizes[row] = size
        self.by_id[execution.id] = execution
        self.by_id.move_to_end(execution.id)
        self.by_row[row] = execution
        while self.bytes > self._bytes_max or len(self.by_id) > _COUNT_MAX:
            self._forget(next(iter(self.by_id.values())))

    def _forget(self, execution: Execution) -> None:
        del self.by_id[execution.id]
        del self.by_row[execution.row]
        self.bytes -= self._sizes.pop(execution.row)

    def forget(self, row: int) -> None:
        """It has another id by now, or is gone."""
        if (execution := self.by_row.get(row)) is not None:
            self._forget(execution)
