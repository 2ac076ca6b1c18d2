from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetNodeInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetNodeInfoResponse(_message.Message):
    __slots__ = ("node_id", "version", "start_time", "incarnation", "applied_index", "draining", "python_version", "sqlite_version", "hosts")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    SQLITE_VERSION_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    version: str
    start_time: _timestamp_pb2.Timestamp
    incarnation: int
    applied_index: int
    draining: bool
    python_version: str
    sqlite_version: str
    hosts: _containers.RepeatedCompositeFieldContainer[WorkerHost]
    def __init__(self, node_id: _Optional[str] = ..., version: _Optional[str] = ..., start_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., incarnation: _Optional[int] = ..., applied_index: _Optional[int] = ..., draining: bool = ..., python_version: _Optional[str] = ..., sqlite_version: _Optional[str] = ..., hosts: _Optional[_Iterable[_Union[WorkerHost, _Mapping]]] = ...) -> None: ...

class WorkerHost(_message.Message):
    __slots__ = ("number", "pid", "attempts", "starts", "lingering")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    LINGERING_FIELD_NUMBER: _ClassVar[int]
    number: int
    pid: int
    attempts: int
    starts: int
    lingering: int
    def __init__(self, number: _Optional[int] = ..., pid: _Optional[int] = ..., attempts: _Optional[int] = ..., starts: _Optional[int] = ..., lingering: _Optional[int] = ...) -> None: ...

class ListHandlersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHandlersResponse(_message.Message):
    __slots__ = ("handlers",)
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    handlers: _containers.RepeatedCompositeFieldContainer[Handler]
    def __init__(self, handlers: _Optional[_Iterable[_Union[Handler, _Mapping]]] = ...) -> None: ...

class Handler(_message.Message):
    __slots__ = ("name", "component", "asynchronous", "arguments_schema", "result_schema", "description", "retry_policy", "concurrency_key_limit", "function", "signals")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    ASYNCHRONOUS_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    RESULT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_KEY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    name: str
    component: _common_pb2.Component
    asynchronous: bool
    arguments_schema: str
    result_schema: str
    description: str
    retry_policy: _common_pb2.RetryPolicy
    concurrency_key_limit: int
    function: str
    signals: _containers.RepeatedCompositeFieldContainer[HandlerSignal]
    def __init__(self, name: _Optional[str] = ..., component: _Optional[_Union[_common_pb2.Component, str]] = ..., asynchronous: bool = ..., arguments_schema: _Optional[str] = ..., result_schema: _Optional[str] = ..., description: _Optional[str] = ..., retry_policy: _Optional[_Union[_common_pb2.RetryPolicy, _Mapping]] = ..., concurrency_key_limit: _Optional[int] = ..., function: _Optional[str] = ..., signals: _Optional[_Iterable[_Union[HandlerSignal, _Mapping]]] = ...) -> None: ...

class HandlerSignal(_message.Message):
    __slots__ = ("name", "payload_schema")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    name: str
    payload_schema: str
    def __init__(self, name: _Optional[str] = ..., payload_schema: _Optional[str] = ...) -> None: ...

class ComponentStats(_message.Message):
    __slots__ = ("active", "scheduled", "queued", "running", "waiting", "completed", "failed", "workers", "busy")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    active: int
    scheduled: int
    queued: int
    running: int
    waiting: int
    completed: int
    failed: int
    workers: int
    busy: int
    def __init__(self, active: _Optional[int] = ..., scheduled: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., waiting: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., workers: _Optional[int] = ..., busy: _Optional[int] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("revision", "handler", "saga", "compensation", "side_effect")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    SAGA_FIELD_NUMBER: _ClassVar[int]
    COMPENSATION_FIELD_NUMBER: _ClassVar[int]
    SIDE_EFFECT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    handler: ComponentStats
    saga: ComponentStats
    compensation: ComponentStats
    side_effect: ComponentStats
    def __init__(self, revision: _Optional[int] = ..., handler: _Optional[_Union[ComponentStats, _Mapping]] = ..., saga: _Optional[_Union[ComponentStats, _Mapping]] = ..., compensation: _Optional[_Union[ComponentStats, _Mapping]] = ..., side_effect: _Optional[_Union[ComponentStats, _Mapping]] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: Stats
    def __init__(self, stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class WaitStatsRequest(_message.Message):
    __slots__ = ("after_revision", "interval", "timeout")
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    after_revision: int
    interval: _duration_pb2.Duration
    timeout: _duration_pb2.Duration
    def __init__(self, after_revision: _Optional[int] = ..., interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WaitStatsResponse(_message.Message):
    __slots__ = ("stats",)
    STATS_FIELD_NUMBER: _ClassVar[int]
    stats: Stats
    def __init__(self, stats: _Optional[_Union[Stats, _Mapping]] = ...) -> None: ...

class Pool(_message.Message):
    __slots__ = ("component", "workers", "busy", "paused", "queued", "queue_limit", "rate_limit", "retry_policy")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    component: _common_pb2.Component
    workers: int
    busy: int
    paused: bool
    queued: int
    queue_limit: int
    rate_limit: float
    retry_policy: _common_pb2.RetryPolicy
    def __init__(self, component: _Optional[_Union[_common_pb2.Component, str]] = ..., workers: _Optional[int] = ..., busy: _Optional[int] = ..., paused: bool = ..., queued: _Optional[int] = ..., queue_limit: _Optional[int] = ..., rate_limit: _Optional[float] = ..., retry_policy: _Optional[_Union[_common_pb2.RetryPolicy, _Mapping]] = ...) -> None: ...

class ListPoolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoolsResponse(_message.Message):
    __slots__ = ("pools",)
    POOLS_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[Pool]
    def __init__(self, pools: _Optional[_Iterable[_Union[Pool, _Mapping]]] = ...) -> None: ...

class GetPoolRequest(_message.Message):
    __slots__ = ("component",)
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    component: _common_pb2.Component
    def __init__(self, component: _Optional[_Union[_common_pb2.Component, str]] = ...) -> None: ...

class GetPoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ScalePoolRequest(_message.Message):
    __slots__ = ("component", "workers")
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    component: _common_pb2.Component
    workers: int
    def __init__(self, component: _Optional[_Union[_common_pb2.Component, str]] = ..., workers: _Optional[int] = ...) -> None: ...

class ScalePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class PausePoolRequest(_message.Message):
    __slots__ = ("component",)
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    component: _common_pb2.Component
    def __init__(self, component: _Optional[_Union[_common_pb2.Component, str]] = ...) -> None: ...

class PausePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...

class ResumePoolRequest(_message.Message):
    __slots__ = ("component",)
    COMPONENT_FIELD_NUMBER: _ClassVar[int]
    component: _common_pb2.Component
    def __init__(self, component: _Optional[_Union[_common_pb2.Component, str]] = ...) -> None: ...

class ResumePoolResponse(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: Pool
    def __init__(self, pool: _Optional[_Union[Pool, _Mapping]] = ...) -> None: ...
