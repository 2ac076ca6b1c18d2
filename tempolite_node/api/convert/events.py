"""Events of executions to messages."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.api.convert import responses
from tempolite_node.engine.model import Execution, OperationKind, OperationStatus, operation_id
from tempolite_node.views import EventKind, ExecutionEvent
from tempolite_sdk.pb.tempolite.v1 import event_pb2 as pb


def event(source: ExecutionEvent, of: Execution) -> pb.ExecutionEvent:
    message = pb.ExecutionEvent(
        kind=f"EXECUTION_EVENT_KIND_{source.kind.name}", time=responses.time_message(source.place.at_ms)
    )
    operation, attempt, signal = source.operation, source.attempt, source.signal
    if operation is not None and source.kind is EventKind.OPERATION_BEGUN:
        begun = replace(
            operation, status=_begun(operation.kind), result=None, failure=None, closed_ms=None, due_ms=None
        )
        message.operation.CopyFrom(responses.operation(begun, of))
    elif operation is not None:
        message.operation.CopyFrom(responses.operation(operation, of))
        message.signal_sequence = operation.signal_seq or 0
    if attempt is not None:
        message.attempt.CopyFrom(responses.attempt_message(attempt))
        if attempt.kind is not None:
            message.operation_id = operation_id(of.id, of.run, attempt.kind, attempt.key)
    if signal is not None:
        message.signal.CopyFrom(responses.signal_message(signal))
    match source.kind:
        case EventKind.CANCEL_REQUESTED:
            message.reason = of.reason
        case EventKind.ENDED:
            responses.fill_end(message, of)
        case _:
            pass
    return message


def _begun(kind: OperationKind) -> OperationStatus:
    return OperationStatus.RUNNING if kind is OperationKind.STEP else OperationStatus.PENDING
