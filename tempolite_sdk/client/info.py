"""What a node reports of executions, operations and itself. Plain data: no I/O, and nothing of gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar, overload

from tempolite_sdk.client.display import Displayed
from tempolite_sdk.errors import FailureInfo
from tempolite_sdk.handlers import RetryPolicy
from tempolite_sdk.payload import decode

T = TypeVar("T")


class Component(StrEnum):
    """Each component has its own pool, with its own workers."""

    HANDLER = "handler"
    SAGA = "saga"
    COMPENSATION = "compensation"
    SIDE_EFFECT = "side_effect"


#: A component, or its name as type checkers know it; likewise below.
ComponentLike = Component | Literal["handler", "saga", "compensation", "side_effect"]


class ExecutionStatus(StrEnum):
    """Where an execution is in its life; `is_final` where that is over."""

    SCHEDULED = "scheduled"  #: waits for its start time or for the backoff of its next attempt
    QUEUED = "queued"  #: waits for a slot of its pool
    RUNNING = "running"
    WAITING = "waiting"  #: for a signal, a timer or another execution; holds no slot
    COMPENSATING = "compensating"  #: a saga undoes its steps, last first
    STUCK = "stuck"  #: a compensation is out of retries; see `resolve_compensation`
    SUSPENDED = "suspended"  #: replay met other code than was recorded
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    COMPENSATED = "compensated"  #: a saga gave up, and what may have taken effect was undone
    CONTINUED_AS_NEW = "continued_as_new"  #: the next run goes on under the id that this one had

    @property
    def is_final(self) -> bool:
        """A final status never changes."""
        return self in _FINAL


StatusLike = (
    ExecutionStatus
    | Literal["scheduled", "queued", "running", "waiting", "compensating", "stuck", "suspended"]
    | Literal["completed", "failed", "cancelled", "terminated", "timed_out", "compensated", "continued_as_new"]
)

_FINAL = frozenset(
    {
        ExecutionStatus.COMPLETED,
        ExecutionStatus.FAILED,
        ExecutionStatus.CANCELLED,
        ExecutionStatus.TERMINATED,
        ExecutionStatus.TIMED_OUT,
        ExecutionStatus.COMPENSATED,
        ExecutionStatus.CONTINUED_AS_NEW,
    }
)


class OperationKind(StrEnum):
    """What an operation does."""

    SIDE_EFFECT = "side_effect"
    STEP = "step"
    COMPENSATION = "compensation"
    CHILD = "child"
    WAIT = "wait"  #: for the end of an execution
    SIGNAL = "signal"  #: received
    SIGNAL_SENT = "signal_sent"
    TIMER = "timer"
    MARKER = "marker"  #: a memoized value, or the delivery of a cancel
    CANCEL = "cancel"  #: of another execution, requested


class OperationStatus(StrEnum):
    """Where an operation is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"  #: failed; its next attempt is due at `next_attempt_time`
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  #: a compensation that an operator skipped
    REFUSED = "refused"  #: it could not be done: `failure` says why
    GIVEN_UP = "given_up"  #: a wait that the code gave up


class RetryState(StrEnum):
    """Why no further attempt was made."""

    MAXIMUM_ATTEMPTS_REACHED = "maximum_attempts_reached"
    NON_RETRYABLE_FAILURE = "non_retryable_failure"
    TIMEOUT = "timeout"
    CANCEL_REQUESTED = "cancel_requested"
    CRASHED_TOO_OFTEN = "crashed_too_often"


class IdReuse(StrEnum):
    """What to do when the id belongs to an execution that has ended."""

    REJECT_DUPLICATE = "reject_duplicate"
    ALLOW_DUPLICATE = "allow_duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow_duplicate_failed_only"


IdReuseLike = IdReuse | Literal["reject_duplicate", "allow_duplicate", "allow_duplicate_failed_only"]


class IdConflict(StrEnum):
    """What to do when the id belongs to an execution that has not ended."""

    FAIL = "fail"
    USE_EXISTING = "use_existing"
    TERMINATE_EXISTING = "terminate_existing"


IdConflictLike = IdConflict | Literal["fail", "use_existing", "terminate_existing"]


class Resolution(StrEnum):
    """What an operator decides about the compensation that holds a STUCK saga."""

    RETRY = "retry"  #: with a fresh count of attempts
    SKIP = "skip"  #: leave this step as it is and go on with the next
    MARK_DONE = "mark_done"  #: it was undone by other means


ResolutionLike = Resolution | Literal["retry", "skip", "mark_done"]


@dataclass(frozen=True, slots=True)
class Payload:
    """A value of user code, as the node keeps it."""

    data: bytes

    @overload
    def value(self, type: type[T]) -> T: ...
    @overload
    def value(self, type: Any = Any) -> Any: ...
    def value(self, type: Any = Any) -> Any:
        """Decoded; without a type, as plain JSON values."""
        return decode(self.data, type)

    def __repr__(self) -> str:
        shown = self.data[:100].decode("utf-8", "replace")
        return f"Payload({shown}{'…' if len(self.data) > 100 else ''})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AttemptInfo(Displayed):
    """An attempt that ended without completing its execution or operation."""

    number: int  #: 1-based
    failure: FailureInfo | None
    start_time: datetime | None
    end_time: datetime | None
    left_out: int = 0  #: attempts between the one before and this one that are not kept


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class UnconsumedSignal(Displayed):
    """A signal that an execution has in its inbox, and that its code has not received."""

    _in_line = ("name", "payload", "sequence", "sender", "set_aside")

    sequence: int  #: in the inbox, 1-based
    name: str
    payload: Payload | None = None  #: None: it has more than 1,000 bytes
    sender: str = ""  #: "execution <id>" or "client <address>"; "": not known
    send_time: datetime | None = None
    set_aside: str = ""  #: what is wrong with its payload, so that no wait takes it; "": the next one does


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionInfo(Displayed):
    """An execution: what it is, where it is in its life, and how it went so far."""

    _in_line = (
        "id",
        "handler",
        "status",
        "attempt",
        "crashes",
        "node_deaths",
        "failure",
        "reason",
        "unconsumed_signals",
        "waits_for_node",
        "waits_for_key",
    )

    id: str
    handler: str
    component: Component
    status: ExecutionStatus
    parent_id: str | None = None  #: None: a root
    node_id: str = ""  #: the owner
    epoch: int = 0  #: fencing number of the ownership
    attempt: int = 0  #: number of the current or last attempt; 0 before the first
    crashes: int = 0  #: attempts that ended because their worker host died
    node_deaths: int = 0  #: of its nodes in a row, each soon after it was started: from 3 on it is tried alone
    priority: int = 0
    arguments: Payload | None = None
    result: Payload | None = None  #: when COMPLETED
    failure: FailureInfo | None = None  #: the last one, or the cause of a compensation
    retry_state: RetryState | None = None
    create_time: datetime | None = None
    start_time: datetime | None = None  #: of the first attempt
    close_time: datetime | None = None
    #: When its operations, attempts and signals were deleted, and its arguments if they were long.
    journal_delete_time: datetime | None = None
    next_attempt_time: datetime | None = None  #: while SCHEDULED
    deadline: datetime | None = None  #: from max_duration
    cancel_requested: bool = False
    reason: str = ""  #: of the cancel or terminate request
    unconsumed_signals: int = 0  #: received and not consumed, those that were set aside too
    waiting_for: tuple[str, ...] = ()  #: operation ids, while WAITING
    heartbeat_details: Payload | None = None
    retry_policy: RetryPolicy | None = None  #: as resolved when it was enqueued
    attempts: tuple[AttemptInfo, ...] = ()  #: ended ones; only from `get` and `tree`
    waits_for_node: str = ""  #: while QUEUED: why no node of the cluster can run it now; only from `get`
    concurrency_key: str | None = None
    waits_for_key: str = ""  #: while QUEUED: which executions have to end first, since they hold its concurrency key
    unconsumed: tuple[UnconsumedSignal, ...] = ()  #: the first 100 of those signals; only from `get` and `tree`
    run: int = 1  #: 1-based: of those that had the id in turn; earlier ones are kept as "<id>~<number>"

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self.status.is_final

    @property
    def duration(self) -> timedelta | None:
        """From the first attempt's start to the end; None before that."""
        return _between(self.start_time, self.close_time)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class OperationInfo(Displayed):
    """A recorded act inside an execution."""

    _in_line = ("id", "status", "target", "attempt", "failure")

    id: str  #: "<execution id>/<kind>/<key>"
    execution_id: str
    kind: OperationKind
    key: str
    status: OperationStatus
    target: str = ""  #: class of a step, name of a signal, id of a child or of the execution waited for
    attempt: int = 0
    input: Payload | None = None  #: data of a step
    result: Payload | None = None
    failure: FailureInfo | None = None
    start_time: datetime | None = None
    close_time: datetime | None = None
    next_attempt_time: datetime | None = None
    attempts: tuple[AttemptInfo, ...] = ()

    @property
    def duration(self) -> timedelta | None:
        """From the first attempt's start to the end; None before that."""
        return _between(self.start_time, self.close_time)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SentSignal(Displayed, Generic[T]):
    """A signal that an execution sent to its clients."""

    _in_line = ("name", "payload", "sequence")

    name: str
    payload: T
    sequence: int  #: per execution, over all names; resume with it
    send_time: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ComponentStats(Displayed):
    """Counts of one component's executions (handler, saga) or operations (compensation, side effect)."""

    active: int = 0  #: all that have not ended, the stuck and suspended too
    scheduled: int = 0
    queued: int = 0
    running: int = 0
    waiting: int = 0
    completed: int = 0  #: ended well since the store was made; compensation and side effect: since the node started
    failed: int = 0  #: ended otherwise
    workers: int = 0
    busy: int = 0  #: slots taken now


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Stats(Displayed):
    """Counts of what a node does, by component."""

    revision: int  #: grows with every change, until the node restarts
    handler: ComponentStats
    saga: ComponentStats
    compensation: ComponentStats
    side_effect: ComponentStats


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Pool(Displayed):
    """The workers of one component, and what waits for them."""

    _in_line = ("component", "workers", "busy", "queued", "paused")

    component: Component
    workers: int
    busy: int
    paused: bool
    queued: int
    queue_limit: int  #: 0: none
    rate_limit: float  #: starts per second; 0: none
    retry_policy: RetryPolicy | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WorkerHost(Displayed):
    """A child process of the node that runs handlers."""

    number: int
    pid: int
    attempts: int  #: that it holds, parked ones included
    starts: int  #: 1 + starts in place of one that crashed or was replaced
    lingering: int = 0  #: executions of which code goes on in it that lost its right to run


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NodeInfo(Displayed):
    """A node that answered: its versions, its worker hosts, how far it is."""

    _in_line = ("node_id", "version", "applied_index", "draining", "hosts")

    node_id: str
    version: str
    start_time: datetime | None
    incarnation: int  #: counts the starts of the node's data directory
    applied_index: int  #: of the log
    draining: bool
    python_version: str
    sqlite_version: str
    hosts: tuple[WorkerHost, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HandlerInfo(Displayed):
    """A handler that a node serves."""

    _in_line = ("name", "component", "is_async", "description")

    name: str
    component: Component
    is_async: bool
    description: str = ""  #: first line of the docstring
    arguments_schema: Mapping[str, Any] = field(default_factory=dict)  #: JSON Schema of the arguments, by name
    result_schema: Mapping[str, Any] = field(default_factory=dict)  #: JSON Schema
    retry_policy: RetryPolicy | None = None
    concurrency_key_limit: int = 1  #: executions with one concurrency key that are under way at a time
    function: str = ""  #: "module:qualified name", as the function says itself
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  #: that it declares: name to JSON Schema


def _between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return end - start if start is not None and end is not None else None
