"""Records of what an execution has seen: a value, a cancel, an operator's resolution."""

from __future__ import annotations

from tempolite_node.engine.model import Execution, Operation, OperationKind, OperationStatus
from tempolite_node.engine.work import Work


def put_marker(work: Work, execution: Execution, key: str, value: bytes, generation: int, *, at_ms: int) -> Operation:
    """There must be none under the key."""
    return work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.MARKER,
            key=key,
            seq=work.next_row(),
            status=OperationStatus.COMPLETED,
            generation=generation,
            result=value,
            started_ms=at_ms,
            closed_ms=at_ms,
        ),
        before=None,
    )
