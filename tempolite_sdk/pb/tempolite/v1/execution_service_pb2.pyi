from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as _common_pb2
from tempolite_sdk.pb.tempolite.v1 import event_pb2 as _event_pb2
from tempolite_sdk.pb.tempolite.v1 import explanation_pb2 as _explanation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdReusePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ID_REUSE_POLICY_UNSPECIFIED: _ClassVar[IdReusePolicy]
    ID_REUSE_POLICY_REJECT_DUPLICATE: _ClassVar[IdReusePolicy]
    ID_REUSE_POLICY_ALLOW_DUPLICATE: _ClassVar[IdReusePolicy]
    ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY: _ClassVar[IdReusePolicy]

class IdConflictPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ID_CONFLICT_POLICY_UNSPECIFIED: _ClassVar[IdConflictPolicy]
    ID_CONFLICT_POLICY_FAIL: _ClassVar[IdConflictPolicy]
    ID_CONFLICT_POLICY_USE_EXISTING: _ClassVar[IdConflictPolicy]
    ID_CONFLICT_POLICY_TERMINATE_EXISTING: _ClassVar[IdConflictPolicy]

class CompensationResolution(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPENSATION_RESOLUTION_UNSPECIFIED: _ClassVar[CompensationResolution]
    COMPENSATION_RESOLUTION_RETRY: _ClassVar[CompensationResolution]
    COMPENSATION_RESOLUTION_SKIP: _ClassVar[CompensationResolution]
    COMPENSATION_RESOLUTION_MARK_DONE: _ClassVar[CompensationResolution]
ID_REUSE_POLICY_UNSPECIFIED: IdReusePolicy
ID_REUSE_POLICY_REJECT_DUPLICATE: IdReusePolicy
ID_REUSE_POLICY_ALLOW_DUPLICATE: IdReusePolicy
ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY: IdReusePolicy
ID_CONFLICT_POLICY_UNSPECIFIED: IdConflictPolicy
ID_CONFLICT_POLICY_FAIL: IdConflictPolicy
ID_CONFLICT_POLICY_USE_EXISTING: IdConflictPolicy
ID_CONFLICT_POLICY_TERMINATE_EXISTING: IdConflictPolicy
COMPENSATION_RESOLUTION_UNSPECIFIED: CompensationResolution
COMPENSATION_RESOLUTION_RETRY: CompensationResolution
COMPENSATION_RESOLUTION_SKIP: CompensationResolution
COMPENSATION_RESOLUTION_MARK_DONE: CompensationResolution

class ExecutionOptions(_message.Message):
    __slots__ = ("retry_policy", "attempt_timeout", "max_duration", "queue_timeout", "heartbeat_timeout", "priority", "delay", "concurrency_key")
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_DURATION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    retry_policy: _common_pb2.RetryPolicy
    attempt_timeout: _duration_pb2.Duration
    max_duration: _duration_pb2.Duration
    queue_timeout: _duration_pb2.Duration
    heartbeat_timeout: _duration_pb2.Duration
    priority: int
    delay: _duration_pb2.Duration
    concurrency_key: str
    def __init__(self, retry_policy: _Optional[_Union[_common_pb2.RetryPolicy, _Mapping]] = ..., attempt_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., queue_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat_timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., priority: _Optional[int] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., concurrency_key: _Optional[str] = ...) -> None: ...

class EnqueueExecutionRequest(_message.Message):
    __slots__ = ("handler", "arguments", "id", "id_reuse_policy", "id_conflict_policy", "request_id", "options", "wait", "function")
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ID_REUSE_POLICY_FIELD_NUMBER: _ClassVar[int]
    ID_CONFLICT_POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    handler: str
    arguments: _common_pb2.Payload
    id: str
    id_reuse_policy: IdReusePolicy
    id_conflict_policy: IdConflictPolicy
    request_id: str
    options: ExecutionOptions
    wait: _duration_pb2.Duration
    function: str
    def __init__(self, handler: _Optional[str] = ..., arguments: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., id: _Optional[str] = ..., id_reuse_policy: _Optional[_Union[IdReusePolicy, str]] = ..., id_conflict_policy: _Optional[_Union[IdConflictPolicy, str]] = ..., request_id: _Optional[str] = ..., options: _Optional[_Union[ExecutionOptions, _Mapping]] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., function: _Optional[str] = ...) -> None: ...

class EnqueueExecutionResponse(_message.Message):
    __slots__ = ("id", "component", "existing", "outcome", "waits_for_node")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_NODE_FIELD_NUMBER: _ClassVar[int]
    id: str
    component: _common_pb2.Component
    existing: bool
    outcome: ExecutionOutcome
    waits_for_node: str
    def __init__(self, id: _Optional[str] = ..., component: _Optional[_Union[_common_pb2.Component, str]] = ..., existing: bool = ..., outcome: _Optional[_Union[ExecutionOutcome, _Mapping]] = ..., waits_for_node: _Optional[str] = ...) -> None: ...

class ExecutionOutcome(_message.Message):
    __slots__ = ("status", "result", "failure", "reason")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ExecutionStatus
    result: _common_pb2.Payload
    failure: _common_pb2.Failure
    reason: str
    def __init__(self, status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ..., result: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class BatchEnqueueExecutionsRequest(_message.Message):
    __slots__ = ("requests", "atomic")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[EnqueueExecutionRequest]
    atomic: bool
    def __init__(self, requests: _Optional[_Iterable[_Union[EnqueueExecutionRequest, _Mapping]]] = ..., atomic: bool = ...) -> None: ...

class BatchEnqueueExecutionsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchEnqueueResult]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchEnqueueResult, _Mapping]]] = ...) -> None: ...

class BatchEnqueueResult(_message.Message):
    __slots__ = ("enqueued", "error")
    ENQUEUED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    enqueued: EnqueueExecutionResponse
    error: _status_pb2.Status
    def __init__(self, enqueued: _Optional[_Union[EnqueueExecutionResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[SessionCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[SessionCall, _Mapping]]] = ...) -> None: ...

class SessionCall(_message.Message):
    __slots__ = ("number", "timeout", "enqueue", "wait", "get", "send_signal", "cancel")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SEND_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    number: int
    timeout: _duration_pb2.Duration
    enqueue: EnqueueExecutionRequest
    wait: WaitExecutionRequest
    get: GetExecutionRequest
    send_signal: SendSignalRequest
    cancel: CancelExecutionRequest
    def __init__(self, number: _Optional[int] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., enqueue: _Optional[_Union[EnqueueExecutionRequest, _Mapping]] = ..., wait: _Optional[_Union[WaitExecutionRequest, _Mapping]] = ..., get: _Optional[_Union[GetExecutionRequest, _Mapping]] = ..., send_signal: _Optional[_Union[SendSignalRequest, _Mapping]] = ..., cancel: _Optional[_Union[CancelExecutionRequest, _Mapping]] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("replies", "leader")
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[SessionReply]
    leader: str
    def __init__(self, replies: _Optional[_Iterable[_Union[SessionReply, _Mapping]]] = ..., leader: _Optional[str] = ...) -> None: ...

class SessionReply(_message.Message):
    __slots__ = ("number", "error", "enqueue", "wait", "get", "send_signal", "cancel")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENQUEUE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    SEND_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    number: int
    error: _status_pb2.Status
    enqueue: EnqueueExecutionResponse
    wait: WaitExecutionResponse
    get: GetExecutionResponse
    send_signal: SendSignalResponse
    cancel: CancelExecutionResponse
    def __init__(self, number: _Optional[int] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., enqueue: _Optional[_Union[EnqueueExecutionResponse, _Mapping]] = ..., wait: _Optional[_Union[WaitExecutionResponse, _Mapping]] = ..., get: _Optional[_Union[GetExecutionResponse, _Mapping]] = ..., send_signal: _Optional[_Union[SendSignalResponse, _Mapping]] = ..., cancel: _Optional[_Union[CancelExecutionResponse, _Mapping]] = ...) -> None: ...

class GetExecutionRequest(_message.Message):
    __slots__ = ("id", "consistency")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    consistency: _common_pb2.Consistency
    def __init__(self, id: _Optional[str] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class GetExecutionResponse(_message.Message):
    __slots__ = ("execution", "operation")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    execution: _common_pb2.Execution
    operation: _common_pb2.Operation
    def __init__(self, execution: _Optional[_Union[_common_pb2.Execution, _Mapping]] = ..., operation: _Optional[_Union[_common_pb2.Operation, _Mapping]] = ...) -> None: ...

class GetExecutionTreeRequest(_message.Message):
    __slots__ = ("id", "max_nodes", "consistency")
    ID_FIELD_NUMBER: _ClassVar[int]
    MAX_NODES_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    max_nodes: int
    consistency: _common_pb2.Consistency
    def __init__(self, id: _Optional[str] = ..., max_nodes: _Optional[int] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class GetExecutionTreeResponse(_message.Message):
    __slots__ = ("tree", "truncated")
    TREE_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    tree: ExecutionTree
    truncated: bool
    def __init__(self, tree: _Optional[_Union[ExecutionTree, _Mapping]] = ..., truncated: bool = ...) -> None: ...

class ExecutionTree(_message.Message):
    __slots__ = ("execution", "operations", "children")
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    execution: _common_pb2.Execution
    operations: _containers.RepeatedCompositeFieldContainer[_common_pb2.Operation]
    children: _containers.RepeatedCompositeFieldContainer[ExecutionTree]
    def __init__(self, execution: _Optional[_Union[_common_pb2.Execution, _Mapping]] = ..., operations: _Optional[_Iterable[_Union[_common_pb2.Operation, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[ExecutionTree, _Mapping]]] = ...) -> None: ...

class ExplainExecutionRequest(_message.Message):
    __slots__ = ("id", "consistency")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    consistency: _common_pb2.Consistency
    def __init__(self, id: _Optional[str] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class ExplainExecutionResponse(_message.Message):
    __slots__ = ("explanation",)
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    explanation: _explanation_pb2.Explanation
    def __init__(self, explanation: _Optional[_Union[_explanation_pb2.Explanation, _Mapping]] = ...) -> None: ...

class ListExecutionEventsRequest(_message.Message):
    __slots__ = ("execution_id", "page_size", "page_token", "consistency")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    page_size: int
    page_token: str
    consistency: _common_pb2.Consistency
    def __init__(self, execution_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class ListExecutionEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.ExecutionEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.ExecutionEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExecutionFilter(_message.Message):
    __slots__ = ("statuses", "handlers", "components", "parent_id", "roots_only", "created_after", "created_before")
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    COMPONENTS_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedScalarFieldContainer[_common_pb2.ExecutionStatus]
    handlers: _containers.RepeatedScalarFieldContainer[str]
    components: _containers.RepeatedScalarFieldContainer[_common_pb2.Component]
    parent_id: str
    roots_only: bool
    created_after: _timestamp_pb2.Timestamp
    created_before: _timestamp_pb2.Timestamp
    def __init__(self, statuses: _Optional[_Iterable[_Union[_common_pb2.ExecutionStatus, str]]] = ..., handlers: _Optional[_Iterable[str]] = ..., components: _Optional[_Iterable[_Union[_common_pb2.Component, str]]] = ..., parent_id: _Optional[str] = ..., roots_only: bool = ..., created_after: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListExecutionsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "consistency")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    filter: ExecutionFilter
    page_size: int
    page_token: str
    consistency: _common_pb2.Consistency
    def __init__(self, filter: _Optional[_Union[ExecutionFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class ListExecutionsResponse(_message.Message):
    __slots__ = ("executions", "next_page_token")
    EXECUTIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    executions: _containers.RepeatedCompositeFieldContainer[_common_pb2.Execution]
    next_page_token: str
    def __init__(self, executions: _Optional[_Iterable[_Union[_common_pb2.Execution, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CountExecutionsRequest(_message.Message):
    __slots__ = ("filter", "consistency")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    filter: ExecutionFilter
    consistency: _common_pb2.Consistency
    def __init__(self, filter: _Optional[_Union[ExecutionFilter, _Mapping]] = ..., consistency: _Optional[_Union[_common_pb2.Consistency, str]] = ...) -> None: ...

class CountExecutionsResponse(_message.Message):
    __slots__ = ("count",)
    COUNT_FIELD_NUMBER: _ClassVar[int]
    count: int
    def __init__(self, count: _Optional[int] = ...) -> None: ...

class WaitExecutionRequest(_message.Message):
    __slots__ = ("id", "timeout")
    ID_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    timeout: _duration_pb2.Duration
    def __init__(self, id: _Optional[str] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitExecutionResponse(_message.Message):
    __slots__ = ("closed", "execution")
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    closed: bool
    execution: _common_pb2.Execution
    def __init__(self, closed: bool = ..., execution: _Optional[_Union[_common_pb2.Execution, _Mapping]] = ...) -> None: ...

class SendSignalRequest(_message.Message):
    __slots__ = ("execution_id", "name", "payload", "request_id")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    name: str
    payload: _common_pb2.Payload
    request_id: str
    def __init__(self, execution_id: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SendSignalResponse(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class ReceiveSignalsRequest(_message.Message):
    __slots__ = ("execution_id", "name", "after_sequence")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    name: str
    after_sequence: int
    def __init__(self, execution_id: _Optional[str] = ..., name: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class ReceiveSignalsResponse(_message.Message):
    __slots__ = ("name", "payload", "sequence", "send_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SEND_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    payload: _common_pb2.Payload
    sequence: int
    send_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., payload: _Optional[_Union[_common_pb2.Payload, _Mapping]] = ..., sequence: _Optional[int] = ..., send_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CancelExecutionRequest(_message.Message):
    __slots__ = ("id", "reason", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CancelExecutionResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ExecutionStatus
    def __init__(self, status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ...) -> None: ...

class TerminateExecutionRequest(_message.Message):
    __slots__ = ("id", "reason", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class TerminateExecutionResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ExecutionStatus
    def __init__(self, status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ...) -> None: ...

class DeleteExecutionRequest(_message.Message):
    __slots__ = ("id", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteExecutionResponse(_message.Message):
    __slots__ = ("existed",)
    EXISTED_FIELD_NUMBER: _ClassVar[int]
    existed: bool
    def __init__(self, existed: bool = ...) -> None: ...

class ResumeExecutionRequest(_message.Message):
    __slots__ = ("id", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeExecutionResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ExecutionStatus
    def __init__(self, status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ...) -> None: ...

class ResolveCompensationRequest(_message.Message):
    __slots__ = ("id", "resolution", "reason", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESOLUTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    resolution: CompensationResolution
    reason: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., resolution: _Optional[_Union[CompensationResolution, str]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResolveCompensationResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _common_pb2.ExecutionStatus
    def __init__(self, status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ...) -> None: ...
