"""What a worker host is told to run: an attempt, with all that it needs to know and the journal to replay."""

from __future__ import annotations

from typing import Protocol

from tempolite_node.engine.model import Execution, Operation, OperationKind, OperationStatus
from tempolite_node.protocol import messages

_ANSWERED = (OperationStatus.COMPLETED, OperationStatus.FAILED)


class Source(Protocol):
    """What is stored."""

    def execution_at(self, row: int) -> Execution | None: ...
    def operation(self, row: int, kind: OperationKind, key: str) -> Operation | None: ...
    def operations(self, row: int) -> list[Operation]: ...


def run(source: Source, execution: Execution, *, isolated: bool) -> messages.RunHandler:
    """Of the handler."""
    return messages.RunHandler(
        execution_id=execution.id,
        epoch=execution.epoch,
        handler=execution.handler,
        arguments=execution.arguments,
        attempt=execution.attempt,
        generation=execution.generation,
        journal=_journal(source, execution),
        parent_id=execution.parent_id,
        deadline_ms=execution.deadline_ms,
        cancel_requested=execution.cancel_requested,
        cancel_delivered=execution.cancel_delivered,
        cancel_reason=execution.reason,
        heartbeat=execution.heartbeat,
        isolated=isolated,
        format=execution.format,
        run=execution.run,
    )


def run_compensation(source: Source, execution: Execution, key: str, *, isolated: bool) -> messages.RunCompensation:
    """Of the step with the key."""
    operation = source.operation(execution.row, OperationKind.COMPENSATION, key)
    assert operation is not None, f"{execution.id}: compensation {key} was started and is not stored"
    return messages.RunCompensation(
        execution_id=execution.id,
        epoch=execution.epoch,
        handler=execution.handler,
        key=key,
        target=operation.target,
        data=operation.input or b"{}",
        attempt=operation.attempt,
        generation=execution.generation,
        journal=_journal(source, execution),
        isolated=isolated,
        format=execution.format,
        run=execution.run,
    )


def _journal(source: Source, execution: Execution) -> tuple[messages.Record, ...]:
    if execution.epoch == 1:
        return ()  # nobody ran it before
    return tuple(_record(source, operation) for operation in source.operations(execution.row))


def _record(source: Source, operation: Operation) -> messages.Record:
    result, failure, ended = operation.result, operation.failure, None
    if operation.kind is OperationKind.WAIT and operation.status in _ANSWERED and operation.target_row is not None:
        # What an execution ended with is kept once, with the execution.
        target = source.execution_at(operation.target_row)
        if target is not None:
            result, failure, ended = target.result, target.failure, target.status
    return messages.Record(
        kind=operation.kind,
        key=operation.key,
        status=operation.status,
        target=operation.target,
        digest=operation.digest,
        generation=operation.generation,
        attempt=operation.attempt,
        input=operation.input,
        result=result,
        failure=failure,
        ended=ended,
    )
