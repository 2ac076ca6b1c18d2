from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Component(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPONENT_UNSPECIFIED: _ClassVar[Component]
    COMPONENT_HANDLER: _ClassVar[Component]
    COMPONENT_SAGA: _ClassVar[Component]
    COMPONENT_COMPENSATION: _ClassVar[Component]
    COMPONENT_SIDE_EFFECT: _ClassVar[Component]

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONSISTENCY_UNSPECIFIED: _ClassVar[Consistency]
    CONSISTENCY_LINEARIZABLE: _ClassVar[Consistency]
    CONSISTENCY_STALE: _ClassVar[Consistency]

class ExecutionStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXECUTION_STATUS_UNSPECIFIED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_SCHEDULED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_QUEUED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_RUNNING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_WAITING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_COMPENSATING: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_STUCK: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_SUSPENDED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_COMPLETED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_FAILED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_CANCELLED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_TERMINATED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_TIMED_OUT: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_COMPENSATED: _ClassVar[ExecutionStatus]
    EXECUTION_STATUS_CONTINUED_AS_NEW: _ClassVar[ExecutionStatus]

class OperationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_KIND_UNSPECIFIED: _ClassVar[OperationKind]
    OPERATION_KIND_SIDE_EFFECT: _ClassVar[OperationKind]
    OPERATION_KIND_STEP: _ClassVar[OperationKind]
    OPERATION_KIND_COMPENSATION: _ClassVar[OperationKind]
    OPERATION_KIND_CHILD: _ClassVar[OperationKind]
    OPERATION_KIND_WAIT: _ClassVar[OperationKind]
    OPERATION_KIND_SIGNAL: _ClassVar[OperationKind]
    OPERATION_KIND_SIGNAL_SENT: _ClassVar[OperationKind]
    OPERATION_KIND_TIMER: _ClassVar[OperationKind]
    OPERATION_KIND_MARKER: _ClassVar[OperationKind]
    OPERATION_KIND_CANCEL: _ClassVar[OperationKind]

class OperationStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATUS_UNSPECIFIED: _ClassVar[OperationStatus]
    OPERATION_STATUS_PENDING: _ClassVar[OperationStatus]
    OPERATION_STATUS_RUNNING: _ClassVar[OperationStatus]
    OPERATION_STATUS_RETRYING: _ClassVar[OperationStatus]
    OPERATION_STATUS_COMPLETED: _ClassVar[OperationStatus]
    OPERATION_STATUS_FAILED: _ClassVar[OperationStatus]
    OPERATION_STATUS_TIMED_OUT: _ClassVar[OperationStatus]
    OPERATION_STATUS_CANCELLED: _ClassVar[OperationStatus]
    OPERATION_STATUS_SKIPPED: _ClassVar[OperationStatus]
    OPERATION_STATUS_REFUSED: _ClassVar[OperationStatus]
    OPERATION_STATUS_GIVEN_UP: _ClassVar[OperationStatus]

class RetryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETRY_STATE_UNSPECIFIED: _ClassVar[RetryState]
    RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED: _ClassVar[RetryState]
    RETRY_STATE_NON_RETRYABLE_FAILURE: _ClassVar[RetryState]
    RETRY_STATE_TIMEOUT: _ClassVar[RetryState]
    RETRY_STATE_CANCEL_REQUESTED: _ClassVar[RetryState]
    RETRY_STATE_CRASHED_TOO_OFTEN: _ClassVar[RetryState]
COMPONENT_UNSPECIFIED: Component
COMPONENT_HANDLER: Component
COMPONENT_SAGA: Component
COMPONENT_COMPENSATION: Component
COMPONENT_SIDE_EFFECT: Component
CONSISTENCY_UNSPECIFIED: Consistency
CONSISTENCY_LINEARIZABLE: Consistency
CONSISTENCY_STALE: Consistency
EXECUTION_STATUS_UNSPECIFIED: ExecutionStatus
EXECUTION_STATUS_SCHEDULED: ExecutionStatus
EXECUTION_STATUS_QUEUED: ExecutionStatus
EXECUTION_STATUS_RUNNING: ExecutionStatus
EXECUTION_STATUS_WAITING: ExecutionStatus
EXECUTION_STATUS_COMPENSATING: ExecutionStatus
EXECUTION_STATUS_STUCK: ExecutionStatus
EXECUTION_STATUS_SUSPENDED: ExecutionStatus
EXECUTION_STATUS_COMPLETED: ExecutionStatus
EXECUTION_STATUS_FAILED: ExecutionStatus
EXECUTION_STATUS_CANCELLED: ExecutionStatus
EXECUTION_STATUS_TERMINATED: ExecutionStatus
EXECUTION_STATUS_TIMED_OUT: ExecutionStatus
EXECUTION_STATUS_COMPENSATED: ExecutionStatus
EXECUTION_STATUS_CONTINUED_AS_NEW: ExecutionStatus
OPERATION_KIND_UNSPECIFIED: OperationKind
OPERATION_KIND_SIDE_EFFECT: OperationKind
OPERATION_KIND_STEP: OperationKind
OPERATION_KIND_COMPENSATION: OperationKind
OPERATION_KIND_CHILD: OperationKind
OPERATION_KIND_WAIT: OperationKind
OPERATION_KIND_SIGNAL: OperationKind
OPERATION_KIND_SIGNAL_SENT: OperationKind
OPERATION_KIND_TIMER: OperationKind
OPERATION_KIND_MARKER: OperationKind
OPERATION_KIND_CANCEL: OperationKind
OPERATION_STATUS_UNSPECIFIED: OperationStatus
OPERATION_STATUS_PENDING: OperationStatus
OPERATION_STATUS_RUNNING: OperationStatus
OPERATION_STATUS_RETRYING: OperationStatus
OPERATION_STATUS_COMPLETED: OperationStatus
OPERATION_STATUS_FAILED: OperationStatus
OPERATION_STATUS_TIMED_OUT: OperationStatus
OPERATION_STATUS_CANCELLED: OperationStatus
OPERATION_STATUS_SKIPPED: OperationStatus
OPERATION_STATUS_REFUSED: OperationStatus
OPERATION_STATUS_GIVEN_UP: OperationStatus
RETRY_STATE_UNSPECIFIED: RetryState
RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED: RetryState
RETRY_STATE_NON_RETRYABLE_FAILURE: RetryState
RETRY_STATE_TIMEOUT: RetryState
RETRY_STATE_CANCEL_REQUESTED: RetryState
RETRY_STATE_CRASHED_TOO_OFTEN: RetryState

class Payload(_message.Message):
    __slots__ = ("encoding", "data")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    encoding: str
    data: bytes
    def __init__(self, encoding: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("type", "message", "traceback", "non_retryable", "cause", "bases")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    NON_RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    BASES_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    non_retryable: bool
    cause: Failure
    bases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., non_retryable: bool = ..., cause: _Optional[_Union[Failure, _Mapping]] = ..., bases: _Optional[_Iterable[str]] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("maximum_attempts", "initial_interval", "backoff_coefficient", "maximum_interval", "jitter", "non_retryable_errors", "retry_spent")
    MAXIMUM_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_COEFFICIENT_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    NON_RETRYABLE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    RETRY_SPENT_FIELD_NUMBER: _ClassVar[int]
    maximum_attempts: int
    initial_interval: _duration_pb2.Duration
    backoff_coefficient: float
    maximum_interval: _duration_pb2.Duration
    jitter: float
    non_retryable_errors: _containers.RepeatedScalarFieldContainer[str]
    retry_spent: bool
    def __init__(self, maximum_attempts: _Optional[int] = ..., initial_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., backoff_coefficient: _Optional[float] = ..., maximum_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ..., non_retryable_errors: _Optional[_Iterable[str]] = ..., retry_spent: bool = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "failure", "start_time", "end_time", "left_out")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    number: int
    failure: Failure
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    left_out: int
    def __init__(self, number: _Optional[int] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., left_out: _Optional[int] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("id", "handler", "component", "status", "parent_id", "node_id", "epoch", "attempt", "crashes", "priority", "arguments", "result", "failure", "retry_state", "create_time", "start_time", "close_time", "next_attempt_time", "deadline", "cancel_requested", "reason", "unconsumed_signals", "waiting_for", "heartbeat_details", "retry_policy", "attempts", "waits_for_node", "concurrency_key", "waits_for_key", "unconsumed", "node_deaths", "journal_delete_time", "run")
    ID_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CRASHES_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETRY_STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    UNCONSUMED_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_DETAILS_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_NODE_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_KEY_FIELD_NUMBER: _ClassVar[int]
    UNCONSUMED_FIELD_NUMBER: _ClassVar[int]
    NODE_DEATHS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_DELETE_TIME_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    id: str
    handler: str
    component: Component
    status: ExecutionStatus
    parent_id: str
    node_id: str
    epoch: int
    attempt: int
    crashes: int
    priority: int
    arguments: Payload
    result: Payload
    failure: Failure
    retry_state: RetryState
    create_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    close_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    deadline: _timestamp_pb2.Timestamp
    cancel_requested: bool
    reason: str
    unconsumed_signals: int
    waiting_for: _containers.RepeatedScalarFieldContainer[str]
    heartbeat_details: Payload
    retry_policy: RetryPolicy
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    waits_for_node: str
    concurrency_key: str
    waits_for_key: str
    unconsumed: _containers.RepeatedCompositeFieldContainer[UnconsumedSignal]
    node_deaths: int
    journal_delete_time: _timestamp_pb2.Timestamp
    run: int
    def __init__(self, id: _Optional[str] = ..., handler: _Optional[str] = ..., component: _Optional[_Union[Component, str]] = ..., status: _Optional[_Union[ExecutionStatus, str]] = ..., parent_id: _Optional[str] = ..., node_id: _Optional[str] = ..., epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., crashes: _Optional[int] = ..., priority: _Optional[int] = ..., arguments: _Optional[_Union[Payload, _Mapping]] = ..., result: _Optional[_Union[Payload, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., retry_state: _Optional[_Union[RetryState, str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., close_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., cancel_requested: bool = ..., reason: _Optional[str] = ..., unconsumed_signals: _Optional[int] = ..., waiting_for: _Optional[_Iterable[str]] = ..., heartbeat_details: _Optional[_Union[Payload, _Mapping]] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., waits_for_node: _Optional[str] = ..., concurrency_key: _Optional[str] = ..., waits_for_key: _Optional[str] = ..., unconsumed: _Optional[_Iterable[_Union[UnconsumedSignal, _Mapping]]] = ..., node_deaths: _Optional[int] = ..., journal_delete_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., run: _Optional[int] = ...) -> None: ...

class UnconsumedSignal(_message.Message):
    __slots__ = ("sequence", "name", "payload", "sender", "send_time", "set_aside")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    name: str
    payload: Payload
    sender: str
    send_time: _timestamp_pb2.Timestamp
    set_aside: str
    def __init__(self, sequence: _Optional[int] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., sender: _Optional[str] = ..., send_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., set_aside: _Optional[str] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("id", "execution_id", "kind", "key", "status", "target", "attempt", "input", "result", "failure", "start_time", "close_time", "next_attempt_time", "attempts")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    CLOSE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    execution_id: str
    kind: OperationKind
    key: str
    status: OperationStatus
    target: str
    attempt: int
    input: Payload
    result: Payload
    failure: Failure
    start_time: _timestamp_pb2.Timestamp
    close_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, id: _Optional[str] = ..., execution_id: _Optional[str] = ..., kind: _Optional[_Union[OperationKind, str]] = ..., key: _Optional[str] = ..., status: _Optional[_Union[OperationStatus, str]] = ..., target: _Optional[str] = ..., attempt: _Optional[int] = ..., input: _Optional[_Union[Payload, _Mapping]] = ..., result: _Optional[_Union[Payload, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., close_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...
