from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tempolite_sdk.pb.tempolite.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CauseKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_KIND_UNSPECIFIED: _ClassVar[CauseKind]
    CAUSE_KIND_NO_QUORUM: _ClassVar[CauseKind]
    CAUSE_KIND_NO_NODE: _ClassVar[CauseKind]
    CAUSE_KIND_NODES_DOWN: _ClassVar[CauseKind]
    CAUSE_KIND_DRAINING: _ClassVar[CauseKind]
    CAUSE_KIND_CATCHING_UP: _ClassVar[CauseKind]
    CAUSE_KIND_NO_HOST: _ClassVar[CauseKind]
    CAUSE_KIND_DELAY: _ClassVar[CauseKind]
    CAUSE_KIND_CONCURRENCY_KEY: _ClassVar[CauseKind]
    CAUSE_KIND_POOL_FULL: _ClassVar[CauseKind]
    CAUSE_KIND_POOL_PAUSED: _ClassVar[CauseKind]
    CAUSE_KIND_RATE_LIMIT: _ClassVar[CauseKind]
    CAUSE_KIND_CODE_GOES_ON: _ClassVar[CauseKind]
    CAUSE_KIND_TRIAL: _ClassVar[CauseKind]
    CAUSE_KIND_ABOUT_TO_START: _ClassVar[CauseKind]
    CAUSE_KIND_RUNNING: _ClassVar[CauseKind]
    CAUSE_KIND_SIDE_EFFECT_SLOT: _ClassVar[CauseKind]
    CAUSE_KIND_BACKOFF: _ClassVar[CauseKind]
    CAUSE_KIND_SIGNAL: _ClassVar[CauseKind]
    CAUSE_KIND_TIMER: _ClassVar[CauseKind]
    CAUSE_KIND_EXECUTION: _ClassVar[CauseKind]
    CAUSE_KIND_COMPENSATING: _ClassVar[CauseKind]
    CAUSE_KIND_CANCEL_REQUESTED: _ClassVar[CauseKind]
    CAUSE_KIND_SUSPENDED: _ClassVar[CauseKind]
    CAUSE_KIND_STUCK: _ClassVar[CauseKind]
    CAUSE_KIND_ENDED: _ClassVar[CauseKind]
CAUSE_KIND_UNSPECIFIED: CauseKind
CAUSE_KIND_NO_QUORUM: CauseKind
CAUSE_KIND_NO_NODE: CauseKind
CAUSE_KIND_NODES_DOWN: CauseKind
CAUSE_KIND_DRAINING: CauseKind
CAUSE_KIND_CATCHING_UP: CauseKind
CAUSE_KIND_NO_HOST: CauseKind
CAUSE_KIND_DELAY: CauseKind
CAUSE_KIND_CONCURRENCY_KEY: CauseKind
CAUSE_KIND_POOL_FULL: CauseKind
CAUSE_KIND_POOL_PAUSED: CauseKind
CAUSE_KIND_RATE_LIMIT: CauseKind
CAUSE_KIND_CODE_GOES_ON: CauseKind
CAUSE_KIND_TRIAL: CauseKind
CAUSE_KIND_ABOUT_TO_START: CauseKind
CAUSE_KIND_RUNNING: CauseKind
CAUSE_KIND_SIDE_EFFECT_SLOT: CauseKind
CAUSE_KIND_BACKOFF: CauseKind
CAUSE_KIND_SIGNAL: CauseKind
CAUSE_KIND_TIMER: CauseKind
CAUSE_KIND_EXECUTION: CauseKind
CAUSE_KIND_COMPENSATING: CauseKind
CAUSE_KIND_CANCEL_REQUESTED: CauseKind
CAUSE_KIND_SUSPENDED: CauseKind
CAUSE_KIND_STUCK: CauseKind
CAUSE_KIND_ENDED: CauseKind

class Cause(_message.Message):
    __slots__ = ("kind", "text", "since", "until", "operation_id", "name", "names", "ahead", "failure", "actions", "awaited")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    AWAITED_FIELD_NUMBER: _ClassVar[int]
    kind: CauseKind
    text: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    operation_id: str
    name: str
    names: _containers.RepeatedScalarFieldContainer[str]
    ahead: int
    failure: _common_pb2.Failure
    actions: _containers.RepeatedScalarFieldContainer[str]
    awaited: Explanation
    def __init__(self, kind: _Optional[_Union[CauseKind, str]] = ..., text: _Optional[str] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., operation_id: _Optional[str] = ..., name: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., ahead: _Optional[int] = ..., failure: _Optional[_Union[_common_pb2.Failure, _Mapping]] = ..., actions: _Optional[_Iterable[str]] = ..., awaited: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class TimeSpent(_message.Message):
    __slots__ = ("queued", "running", "waiting", "backing_off", "replaying", "partial")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    BACKING_OFF_FIELD_NUMBER: _ClassVar[int]
    REPLAYING_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    queued: _duration_pb2.Duration
    running: _duration_pb2.Duration
    waiting: _duration_pb2.Duration
    backing_off: _duration_pb2.Duration
    replaying: _duration_pb2.Duration
    partial: bool
    def __init__(self, queued: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., running: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., waiting: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., backing_off: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., replaying: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., partial: bool = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("execution_id", "handler", "status", "sentence", "causes", "next", "next_time", "actions", "time_spent")
    EXECUTION_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIME_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    TIME_SPENT_FIELD_NUMBER: _ClassVar[int]
    execution_id: str
    handler: str
    status: _common_pb2.ExecutionStatus
    sentence: str
    causes: _containers.RepeatedCompositeFieldContainer[Cause]
    next: str
    next_time: _timestamp_pb2.Timestamp
    actions: _containers.RepeatedScalarFieldContainer[str]
    time_spent: TimeSpent
    def __init__(self, execution_id: _Optional[str] = ..., handler: _Optional[str] = ..., status: _Optional[_Union[_common_pb2.ExecutionStatus, str]] = ..., sentence: _Optional[str] = ..., causes: _Optional[_Iterable[_Union[Cause, _Mapping]]] = ..., next: _Optional[str] = ..., next_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actions: _Optional[_Iterable[str]] = ..., time_spent: _Optional[_Union[TimeSpent, _Mapping]] = ...) -> None: ...
