"""One execution, known by its id: what it is, its signals, its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from tempolite_sdk.client import convert
from tempolite_sdk.client.calls.call import Call, Conversation, Deadline, to_choice, to_consistency
from tempolite_sdk.client.cluster_info import Consistency
from tempolite_sdk.client.explanation import Explanation
from tempolite_sdk.client.info import ExecutionInfo, ExecutionStatus, OperationInfo, Resolution, SentSignal
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import (
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionError,
    ExecutionFailed,
    ExecutionTerminated,
    ExecutionTimedOut,
    FailureInfo,
    InvalidArgument,
)
from tempolite_sdk.ids import new_request_id
from tempolite_sdk.payload import decode
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.signals import Signal, to_send

T = TypeVar("T")


def get(id: str, consistency: Consistency | str) -> Call[ExecutionInfo | OperationInfo]:
    request = pb.GetExecutionRequest(id=id, consistency=to_consistency(consistency))
    return Call("ExecutionService/GetExecution", request, convert.execution_or_operation)


def info(id: str, consistency: Consistency | str) -> Call[ExecutionInfo]:
    request = pb.GetExecutionRequest(id=id, consistency=to_consistency(consistency))
    return Call("ExecutionService/GetExecution", request, lambda response: convert.execution(response.execution))


def tree(id: str, max_nodes: int | None, consistency: Consistency | str) -> Call[ExecutionTree]:
    request = pb.GetExecutionTreeRequest(id=id, max_nodes=max_nodes or 0, consistency=to_consistency(consistency))
    return Call("ExecutionService/GetExecutionTree", request, convert.tree_response)


def explain(id: str, consistency: Consistency | str) -> Call[Explanation]:
    request = pb.ExplainExecutionRequest(id=id, consistency=to_consistency(consistency))
    return Call(
        "ExecutionService/ExplainExecution", request, lambda response: convert.explanation(response.explanation)
    )


def send_signal(id: str, signal: Signal[Any] | str, payload: Any, request_id: str | None) -> Call[int]:
    name, encoded = to_send(signal, payload)
    request = pb.SendSignalRequest(
        execution_id=id,
        name=name,
        request_id=request_id or new_request_id(),
    )
    convert.fill_payload(request.payload, encoded)
    return Call("ExecutionService/SendSignal", request, lambda response: int(response.sequence))


def cancel(id: str, reason: str) -> Call[ExecutionStatus]:
    request = pb.CancelExecutionRequest(id=id, reason=reason, request_id=new_request_id())
    return Call("ExecutionService/CancelExecution", request, _status)


def terminate(id: str, reason: str) -> Call[ExecutionStatus]:
    request = pb.TerminateExecutionRequest(id=id, reason=reason, request_id=new_request_id())
    return Call("ExecutionService/TerminateExecution", request, _status)


def resume(id: str) -> Call[ExecutionStatus]:
    request = pb.ResumeExecutionRequest(id=id, request_id=new_request_id())
    return Call("ExecutionService/ResumeExecution", request, _status)


def delete(id: str) -> Call[bool]:
    request = pb.DeleteExecutionRequest(id=id, request_id=new_request_id())
    return Call("ExecutionService/DeleteExecution", request, lambda response: bool(response.existed))


def resolve_compensation(id: str, resolution: Resolution | str, reason: str) -> Call[ExecutionStatus]:
    request = pb.ResolveCompensationRequest(
        id=id,
        resolution=to_choice("resolution", "COMPENSATION_RESOLUTION", Resolution, resolution),
        reason=reason,
        request_id=new_request_id(),
    )
    return Call("ExecutionService/ResolveCompensation", request, _status)


def _status(response: Any) -> ExecutionStatus:
    return convert.execution_status(response.status)


# --- its result

_ENDINGS: Mapping[ExecutionStatus, type[ExecutionError]] = {
    ExecutionStatus.FAILED: ExecutionFailed,
    ExecutionStatus.CANCELLED: ExecutionCancelled,
    ExecutionStatus.TERMINATED: ExecutionTerminated,
    ExecutionStatus.TIMED_OUT: ExecutionTimedOut,
    ExecutionStatus.COMPENSATED: ExecutionCompensated,
}


class Ending(Struct, frozen=True):
    """How an execution ended."""

    id: str
    status: ExecutionStatus
    result: bytes | None
    failure: FailureInfo | None
    reason: str


def ending_of(id: str, outcome: pb.ExecutionOutcome | common_pb2.Execution) -> Ending:
    return Ending(
        id=id,
        status=convert.execution_status(outcome.status),
        result=outcome.result.data if outcome.HasField("result") else None,
        failure=convert.failure(outcome.failure) if outcome.HasField("failure") else None,
        reason=outcome.reason,
    )


def result(id: str, result_type: Any, timeout: Duration | None) -> Conversation[Any]:
    """Waits until the execution has ended: long polls, one after the other."""
    deadline = Deadline.after(timeout)
    while True:
        ended = yield from deadline.ask(_wait_execution(id, deadline))
        if ended is not None:
            return result_of(ended, result_type)
        if deadline.is_over:
            raise DeadlineExceeded(f"execution {id} has not ended after {deadline.timeout:g} s; it goes on")


def result_of(ended: Ending, result_type: Any) -> Any:
    """What the handler returned. Raises how the execution ended when it did not complete."""
    if ended.status is not ExecutionStatus.COMPLETED:
        raise _ENDINGS[ended.status](ended.id, ended.failure, ended.reason)
    return None if ended.result is None else decode(ended.result, result_type)


def _wait_execution(id: str, deadline: Deadline) -> Call[Ending | None]:
    hold = deadline.hold
    request = pb.WaitExecutionRequest(id=id, timeout=convert.to_duration("timeout", hold))
    return Call(
        "ExecutionService/WaitExecution",
        request,
        lambda response: ending_of(response.execution.id, response.execution) if response.closed else None,
        hold=hold,
        again=lambda: _wait_execution(id, deadline),
    )


# --- signals to clients


class SignalCursor(Generic[T]):
    """How far a stream of signals was read: where it goes on after the connection was lost."""

    def __init__(self, id: str, name: str, after: int, payload_type: Any) -> None:
        if not isinstance(after, int):
            raise InvalidArgument(
                f"after must be the sequence number of a signal, not {after!r}; a type goes into type="
            )
        self._id = id
        self._name = name
        self._after = after
        self._type = payload_type

    def call(self) -> Call[SentSignal[T]]:
        request = pb.ReceiveSignalsRequest(execution_id=self._id, name=self._name, after_sequence=self._after)
        return Call("ExecutionService/ReceiveSignals", request, self._read, hold=math.inf)

    def _read(self, response: pb.ReceiveSignalsResponse) -> SentSignal[T]:
        self._after = response.sequence
        payload: T = decode(response.payload.data or b"null", self._type)
        return SentSignal(
            name=response.name,
            payload=payload,
            sequence=response.sequence,
            send_time=convert.time(response, "send_time"),
        )
