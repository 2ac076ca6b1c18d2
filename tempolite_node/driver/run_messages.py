"""What a worker host is told to run: an attempt, with all that it needs to know and the journal to replay."""

from __future__ import annotations

from typing import Any, Protocol

from msgspec.structs import replace

from tempolite_node.engine import limits, sizes
from tempolite_node.engine.answers import recorded_answer
from tempolite_node.engine.effects import Refused
from tempolite_node.engine.model import (
    MAX_JOURNAL_BYTES,
    MAX_OPERATIONS,
    Execution,
    Operation,
    OperationKind,
    OperationStatus,
)
from tempolite_node.protocol import messages

PIECE_BYTES = 512 * 1024  #: about; what is more travels in several

Place = tuple[OperationKind, str]  #: of an operation in its journal

_ANSWERED = (OperationStatus.COMPLETED, OperationStatus.FAILED)

#: Of waits that were given up, and side effects that were cancelled.
_LEFT = (OperationStatus.GIVEN_UP, OperationStatus.FAILED)


class Source(Protocol):
    """What is stored."""

    def execution_at(self, row: int) -> Execution | None: ...
    def operation(self, row: int, kind: OperationKind, key: str) -> Operation | None: ...
    def operations(self, row: int, bytes_max: int) -> list[Operation] | None: ...
    def operations_after(self, row: int, last: Place | None, bytes_max: int) -> list[Operation]: ...


Records = tuple[messages.Record, ...]


def run(execution: Execution, journal: Records | None, *, isolated: bool) -> messages.RunHandler:
    """Of the handler. journal: None: it follows in parts."""
    message = messages.RunHandler(
        execution_id=execution.id,
        epoch=execution.epoch,
        handler=execution.handler,
        arguments=execution.arguments,
        attempt=execution.attempt,
        generation=execution.generation,
        journal=journal or (),
        more=journal is None,
        parent_id=execution.parent_id,
        deadline_ms=execution.deadline_ms,
        heartbeat=execution.heartbeat,
        started_ms=execution.started_ms or 0,
        isolated=isolated,
        format=execution.format,
    )
    # What few have is set by itself: with more than 15 arguments by name, Python makes a mapping of them first.
    options = execution.options
    more: dict[str, Any] = {}
    if execution.cancel_requested:
        more = {
            "cancel_requested": True,
            "cancel_delivered": execution.cancel_delivered,
            "cancel_reason": execution.reason,
            "cancel_seq": execution.cancel_seq,
            "cancelled_ms": execution.cancelled_ms or 0,
        }
    if execution.run > 1:
        more["run"] = execution.run
    if options.max_operations != MAX_OPERATIONS or options.max_journal_bytes != MAX_JOURNAL_BYTES:
        more["roomy"] = limits.roomy(options)
    return replace(message, **more) if more else message


def run_compensation(
    source: Source, execution: Execution, key: str, journal: Records | None, *, isolated: bool
) -> messages.RunCompensation:
    """Of the step with the key. journal: None: it follows in parts."""
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
        journal=journal or (),
        more=journal is None,
        isolated=isolated,
        format=execution.format,
        run=execution.run,
    )


def journal(source: Source, execution: Execution) -> tuple[Records | None, int]:
    """The whole journal and its bytes, or None: it is more than a piece."""
    if execution.epoch == 1 and not execution.cancel_requested:
        return (), 0  # nobody ran it before
    operations = source.operations(execution.row, PIECE_BYTES)
    if operations is None:
        return None, 0
    records: list[messages.Record] = []
    size = 0
    for operation in operations:
        records.append(record(source, operation))
        size += bytes_of(records[-1])
        if size > PIECE_BYTES and len(records) > 1:
            return None, 0  # what it waited for had results of their own
    return tuple(records), size


def bytes_of(record: messages.Record) -> int:
    return len(record.key) + len(record.input or b"") + len(record.result or b"") + sizes.of_failure(record.failure)


def record(source: Source, operation: Operation) -> messages.Record:
    result, failure, ended, refusal = operation.result, operation.failure, None, None
    if operation.kind is OperationKind.WAIT and operation.status in _ANSWERED and operation.target_row is not None:
        # What an execution ended with is kept once, with the execution, unless that may be deleted before this one.
        target = recorded_answer(operation) or source.execution_at(operation.target_row)
        if target is not None:
            result, failure, ended = target.result, target.failure, target.status
    if operation.status is OperationStatus.REFUSED and failure is not None:
        refusal, failure = Refused(reason=failure.type, message=failure.message), None
    told = messages.Record(
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
        in_backoff=operation.status is OperationStatus.RETRYING and operation.due_ms is not None,
        end_seq=operation.end_seq,
        closed_ms=operation.closed_ms or 0,
        due_ms=operation.due_ms or 0,
    )
    if refusal is not None:
        told = replace(told, refusal=refusal)
    if operation.status in _LEFT:
        told = replace(told, lasted_ms=(operation.closed_ms or 0) - operation.started_ms)
    return told
