from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecutionEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTION_EVENT_KIND_UNSPECIFIED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_ENQUEUED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_STARTED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_SIGNAL_RECEIVED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_CANCEL_REQUESTED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_ATTEMPT_ENDED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_OPERATION_BEGUN: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_OPERATION_ENDED: _ClassVar[ExecutionEventKind]
    EXECUTION_EVENT_KIND_ENDED: _ClassVar[ExecutionEventKind]
EXECUTION_EVENT_KIND_UNSPECIFIED: ExecutionEventKind
EXECUTION_EVENT_KIND_ENQUEUED: ExecutionEventKind
EXECUTION_EVENT_KIND_STARTED: ExecutionEventKind
EXECUTION_EVENT_KIND_SIGNAL_RECEIVED: ExecutionEventKind
EXECUTION_EVENT_KIND_CANCEL_REQUESTED: ExecutionEventKind
EXECUTION_EVENT_KIND_ATTEMPT_ENDED: ExecutionEventKind
EXECUTION_EVENT_KIND_OPERATION_BEGUN: ExecutionEventKind
EXECUTION_EVENT_KIND_OPERATION_ENDED: ExecutionEventKind
EXECUTION_EVENT_KIND_ENDED: ExecutionEventKind

class ExecutionEvent(_message.Message):
    __slots__ = ("kind", "time", "operation", "operation_id", "attempt", "signal", "signal_sequence", "status", "result", "failure", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: ExecutionEventKind
    time: _timestamp_pb2.Timestamp
    operation: _common_pb2.Operation
    operation_id: str
    attempt: _common_pb2.Attempt
    signal: _common_pb2.UnconsumedSignal
    signal_sequence: int
    status: _common_pb2.ExecutionStatus
    result: _common_pb2.Payload
    failure: _common_pb2.Failure
    reason: str
    def __init__(self, kind: _Optional[_Union[ExecutionEventKind, str]] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., operation: _Optional[_Union[_common_pb2.Operation, _Mapping]] = ..., operation_id: _Optional[str] = ..., attempt: _Optional[_Union[_common_pb2.Attempt, _Mapping]] = ..., signal: _Optional[_Union[_common_pb2.UnconsumedSignal, _Mapping]] = ..., signal_sequence: _Optional[int] = ..., status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ..., result: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...
