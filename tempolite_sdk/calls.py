"""What a client asks of a node, without the asking: each call's request, and how its response is read.

`Client` and `AsyncClient` differ in how they carry a call out and in nothing else. What takes several calls is a
conversation: a generator that yields calls and is sent what they came to.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypedDict, TypeVar

from tempolite_sdk import convert
from tempolite_sdk.durations import Duration, seconds_of
from tempolite_sdk.errors import (
    BatchRefused,
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionError,
    ExecutionFailed,
    ExecutionTerminated,
    ExecutionTimedOut,
    FailureInfo,
    InvalidArgument,
    TempoliteError,
    Unavailable,
)
from tempolite_sdk.handlers import RetryPolicy
from tempolite_sdk.ids import new_execution_id, new_request_id
from tempolite_sdk.info import (
    Component,
    ExecutionInfo,
    ExecutionStatus,
    ExecutionTree,
    HandlerInfo,
    IdConflict,
    IdReuse,
    NodeInfo,
    OperationInfo,
    Payload,
    Pool,
    Resolution,
    SentSignal,
    Stats,
)
from tempolite_sdk.payload import decode, encode
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as node_pb
from tempolite_sdk.signatures import signature_of
from tempolite_sdk.status import exception_of, status_of_reply

T = TypeVar("T")

#: How long the node may hold a long poll, in seconds: shorter than what proxies and firewalls cut off.
POLL_HOLD = 20.0

#: Seconds that a call gets even when its deadline is due, so that a wait of 0 seconds asks once.
LAST_TRY = 1.0


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request to one method. It may be sent again: repeats are answered as the first."""

    method: str  #: "<service>/<method>"
    request: Any
    read: Callable[[Any], T]  #: what the caller gets of the response
    hold: float | None = None  #: seconds for which the node may hold its answer, of a long poll or stream
    patience: float | None = None  #: seconds after which to give up, where they are fewer than the client's timeout


Conversation = Generator[Call[Any], Any, T]


def ask(call: Call[T]) -> Conversation[T]:
    answer: T = yield call
    return answer


def _check_names(known: type, given: Mapping[str, Any]) -> None:
    # What a signature would do, had it to be written out for each client.
    if unknown := given.keys() - known.__annotations__.keys():
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")


# --- enqueue


class EnqueueOptions(TypedDict, total=False):
    """How one execution is enqueued and run. What is left out, the node's config decides."""

    id: str | None  #: of the execution; default: a new one
    id_reuse: IdReuse | str | None  #: when the id belongs to an execution that has ended
    id_conflict: IdConflict | str | None  #: when the id belongs to an execution that has not ended
    request_id: str | None  #: repeats with it, from wherever, start one execution
    retry: RetryPolicy | None
    attempt_timeout: Duration | None  #: of one attempt
    max_duration: Duration | None  #: of all attempts, from the enqueue
    queue_timeout: Duration | None  #: until the first attempt starts
    heartbeat_timeout: Duration | None  #: between two heartbeats
    priority: int | None  #: higher first; -1000 to 1000
    delay: Duration | None  #: before the first attempt


@dataclass(frozen=True, slots=True)
class Enqueued:
    id: str
    existing: bool
    result_type: Any
    ending: Ending | None  #: when it was waited for, and has ended


@dataclass(frozen=True, slots=True)
class Ending:
    """How an execution ended."""

    id: str
    status: ExecutionStatus
    result: Payload | None
    failure: FailureInfo | None
    reason: str


def enqueue(
    handler: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: EnqueueOptions,
    *,
    hold: float | None = None,
) -> Call[Enqueued]:
    """hold: seconds for which the node may wait for the execution's end before it answers; None: it answers at once."""
    request, result_type = _enqueue_request(handler, args, kwargs, options)
    if (wait := convert.to_duration("wait", hold)) is not None:
        request.wait.CopyFrom(wait)

    def read(response: pb.EnqueueExecutionResponse) -> Enqueued:
        return _enqueued(response, result_type)

    return Call("ExecutionService/EnqueueExecution", request, read, hold=hold)


def _enqueue_request(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: EnqueueOptions
) -> tuple[pb.EnqueueExecutionRequest, Any]:
    """The request, and the type of the handler's result."""
    _check_names(EnqueueOptions, options)
    name, arguments, result_type = _arguments(handler, args, kwargs)
    request = pb.EnqueueExecutionRequest(
        handler=name,
        arguments=convert.to_payload(arguments),
        id=_execution_id(options),
        request_id=options.get("request_id") or new_request_id(),
        id_reuse_policy=_choice("id_reuse", "ID_REUSE_POLICY", IdReuse, options.get("id_reuse")),
        id_conflict_policy=_choice("id_conflict", "ID_CONFLICT_POLICY", IdConflict, options.get("id_conflict")),
        options=_execution_options(options),
    )
    return request, result_type


def _enqueued(response: pb.EnqueueExecutionResponse, result_type: Any) -> Enqueued:
    ending = _ending(response.id, response.outcome) if response.HasField("outcome") else None
    return Enqueued(response.id, response.existing, result_type, ending)


def _ending(id: str, outcome: pb.ExecutionOutcome) -> Ending:
    return Ending(
        id=id,
        status=convert.execution_status(outcome.status),
        result=convert.payload(outcome, "result"),
        failure=convert.failure(outcome.failure) if outcome.HasField("failure") else None,
        reason=outcome.reason,
    )


def execute(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: EnqueueOptions
) -> Conversation[Any]:
    """Enqueues and waits for the result, in one call when that does not take long."""
    enqueued = yield from ask(enqueue(handler, args, kwargs, options, hold=POLL_HOLD))
    if enqueued.ending is not None:
        return result_of(enqueued.ending, enqueued.result_type)
    return (yield from result(enqueued.id, enqueued.result_type, None))


def _arguments(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, bytes, Any]:
    """The handler's name, its arguments, and the type of its result."""
    if not isinstance(handler, str):
        signature = signature_of(handler)
        arguments = signature.encode_arguments(signature.named_arguments(args, kwargs))
        return signature.name, arguments, signature.return_type
    if args and kwargs:
        raise InvalidArgument(
            f"handler {handler!r} is given by name: pass its arguments all by position or all by keyword; "
            "only its function tells which is which"
        )
    return handler, encode(dict(kwargs) if kwargs else list(args)), Any


def _execution_id(options: EnqueueOptions) -> str:
    # A caller who repeats a request_id, perhaps from another process, must name the same execution each time: the
    # node derives its id from the request_id.
    return options.get("id") or ("" if options.get("request_id") else new_execution_id())


_OF_THE_EXECUTION = frozenset(
    {"retry", "attempt_timeout", "max_duration", "queue_timeout", "heartbeat_timeout", "priority", "delay"}
)


def _execution_options(options: EnqueueOptions) -> pb.ExecutionOptions | None:
    if _OF_THE_EXECUTION.isdisjoint(options):
        return None
    return pb.ExecutionOptions(
        retry_policy=convert.to_retry_policy(options.get("retry")),
        attempt_timeout=convert.to_duration("attempt_timeout", options.get("attempt_timeout")),
        max_duration=convert.to_duration("max_duration", options.get("max_duration")),
        queue_timeout=convert.to_duration("queue_timeout", options.get("queue_timeout")),
        heartbeat_timeout=convert.to_duration("heartbeat_timeout", options.get("heartbeat_timeout")),
        priority=options.get("priority") or 0,
        delay=convert.to_duration("delay", options.get("delay")),
    )


def _choice(name: str, prefix: str, choices: type[StrEnum], value: str | None) -> Any:
    """The name of the API's value, or None: unset. Any, since the generated types take numbers or exact literals."""
    return None if value is None else convert.to_enum(prefix, convert.parse_choice(name, choices, value))


# --- many of one handler

Progress = Callable[[int, int], None]  #: how many are done, and of how many

_BATCH_MAX = 1_000  #: executions of one request, unless all are to be stored or none
_BATCH_BYTES_MAX = 2 * 1024 * 1024
_ATOMIC_MAX = 10_000


def enqueue_many(
    handler: Callable[..., Any] | str, arguments: Sequence[Sequence[Any]], options: EnqueueOptions, *, atomic: bool
) -> Iterator[Call[Sequence[Enqueued | TempoliteError]]]:
    """The calls that enqueue them, each made when it is taken: one can be made while another is under way."""
    if options.get("id") or options.get("request_id"):
        raise InvalidArgument("id and request_id are of one execution; many get ids of their own")
    if atomic and len(arguments) > _ATOMIC_MAX:
        raise InvalidArgument(f"at most {_ATOMIC_MAX:,} executions are stored as a whole, not {len(arguments):,}")
    return (
        _batch(requests, result_type, atomic=atomic)
        for requests, result_type in _batches(handler, arguments, options, atomic=atomic)
    )


def _batches(
    handler: Callable[..., Any] | str, arguments: Sequence[Sequence[Any]], options: EnqueueOptions, *, atomic: bool
) -> Iterator[tuple[Sequence[pb.EnqueueExecutionRequest], Any]]:
    """Requests as they fit a message, with the type of the result; all in one when they belong together."""
    batch: list[pb.EnqueueExecutionRequest] = []
    size = 0
    result_type: Any = Any
    for args in arguments:
        request, result_type = _enqueue_request(handler, args, {}, options)
        size += request.ByteSize()
        if batch and not atomic and (len(batch) == _BATCH_MAX or size > _BATCH_BYTES_MAX):
            yield batch, result_type
            batch, size = [], request.ByteSize()
        batch.append(request)
    if batch:
        yield batch, result_type


def _batch(
    requests: Sequence[pb.EnqueueExecutionRequest], result_type: Any, *, atomic: bool
) -> Call[Sequence[Enqueued | TempoliteError]]:
    def read(response: pb.BatchEnqueueExecutionsResponse) -> Sequence[Enqueued | TempoliteError]:
        return [
            exception_of(status_of_reply(result.error))
            if result.HasField("error")
            else _enqueued(result.enqueued, result_type)
            for result in response.results
        ]

    request = pb.BatchEnqueueExecutionsRequest(requests=requests, atomic=atomic)
    return Call("ExecutionService/BatchEnqueueExecutions", request, read)


def all_enqueued(outcomes: Sequence[Enqueued | TempoliteError]) -> Sequence[Enqueued]:
    """Raises BatchRefused when some were not."""
    errors = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, TempoliteError)}
    enqueued = [outcome for outcome in outcomes if isinstance(outcome, Enqueued)]
    if errors:
        ids = [outcome.id if isinstance(outcome, Enqueued) else None for outcome in outcomes]
        raise BatchRefused(errors, ids)
    return enqueued


# --- one execution


def get(id: str) -> Call[ExecutionInfo | OperationInfo]:
    return Call("ExecutionService/GetExecution", pb.GetExecutionRequest(id=id), convert.execution_or_operation)


def execution(id: str) -> Call[ExecutionInfo]:
    return Call(
        "ExecutionService/GetExecution",
        pb.GetExecutionRequest(id=id),
        lambda response: convert.execution(response.execution),
    )


def tree(id: str, max_nodes: int | None) -> Call[ExecutionTree]:
    request = pb.GetExecutionTreeRequest(id=id, max_nodes=max_nodes or 0)
    return Call("ExecutionService/GetExecutionTree", request, convert.tree_response)


def send_signal(id: str, name: str, payload: Any, request_id: str | None) -> Call[int]:
    request = pb.SendSignalRequest(
        execution_id=id,
        name=name,
        payload=convert.to_payload(encode(payload)),
        request_id=request_id or new_request_id(),
    )
    return Call("ExecutionService/SendSignal", request, lambda response: int(response.sequence))


def cancel(id: str, reason: str) -> Call[ExecutionStatus]:
    request = pb.CancelExecutionRequest(id=id, reason=reason, request_id=new_request_id())
    return Call("ExecutionService/CancelExecution", request, _status)


def terminate(id: str, reason: str) -> Call[ExecutionStatus]:
    request = pb.TerminateExecutionRequest(id=id, reason=reason, request_id=new_request_id())
    return Call("ExecutionService/TerminateExecution", request, _status)


def resolve_compensation(id: str, resolution: Resolution | str, reason: str) -> Call[ExecutionStatus]:
    request = pb.ResolveCompensationRequest(
        id=id,
        resolution=_choice("resolution", "COMPENSATION_RESOLUTION", Resolution, resolution),
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


def result(id: str, result_type: Any, timeout: Duration | None) -> Conversation[Any]:
    """Waits until the execution has ended: long polls, one after the other."""
    deadline = Deadline.after(timeout)
    while True:
        ended = yield from deadline.ask(_wait_execution(id, deadline))
        if ended is not None:
            return result_of(ended, result_type)
        if deadline.is_over:
            raise DeadlineExceeded(f"execution {id} has not ended after {deadline.timeout:g} s; it goes on")


def result_of(ended: ExecutionInfo | Ending, result_type: Any) -> Any:
    """What the handler returned. Raises how the execution ended when it did not complete."""
    if ended.status is not ExecutionStatus.COMPLETED:
        raise _ENDINGS[ended.status](ended.id, ended.failure, ended.reason)
    return None if ended.result is None else decode(ended.result.data, result_type)


def _wait_execution(id: str, deadline: Deadline) -> Call[ExecutionInfo | None]:
    request = pb.WaitExecutionRequest(id=id, timeout=convert.to_duration("timeout", deadline.hold))
    return Call(
        "ExecutionService/WaitExecution",
        request,
        lambda response: convert.execution(response.execution) if response.closed else None,
        hold=deadline.hold,
    )


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a wait of several calls is over."""

    timeout: float  #: seconds; infinite: never
    at: float = field(repr=False)  #: of time.monotonic()

    @classmethod
    def after(cls, timeout: Duration | None) -> Deadline:
        seconds = math.inf if timeout is None else seconds_of("timeout", timeout)
        return cls(seconds, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        return max(self.at - time.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        return self.remaining == 0.0

    @property
    def hold(self) -> float:
        """For the next long poll."""
        return min(POLL_HOLD, self.remaining)

    def ask(self, call: Call[T]) -> Conversation[T]:
        """The call, given up at the deadline; DeadlineExceeded when the node could not be reached until then."""
        if self.timeout != math.inf:
            call = replace(call, patience=max(self.remaining, LAST_TRY))
        try:
            return (yield from ask(call))
        except Unavailable as error:
            if self.is_over:
                raise DeadlineExceeded(f"no answer after {self.timeout:g} s: {error}") from error
            raise


# --- signals to clients


class SignalCursor(Generic[T]):
    """How far a stream of signals was read: where it goes on after the connection was lost."""

    def __init__(self, id: str, name: str, after: int, payload_type: Any) -> None:
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


# --- many executions


@dataclass(frozen=True, slots=True)
class Page:
    executions: tuple[ExecutionInfo, ...]
    next_token: str  #: empty on the last page


Choices = str | Iterable[str] | None  #: one, several, or all (enums too: their members are strings)


class Filter(TypedDict, total=False):
    """Which executions are meant: those that meet every condition."""

    status: Choices
    handler: Choices
    component: Choices
    parent: str | None  #: id of the parent
    roots_only: bool
    created_after: datetime | None  #: exclusive
    created_before: datetime | None  #: exclusive


def execution_filter(filter: Filter) -> pb.ExecutionFilter:
    _check_names(Filter, filter)
    return pb.ExecutionFilter(
        statuses=[_choice("status", "EXECUTION_STATUS", ExecutionStatus, each) for each in _several(filter, "status")],
        handlers=_several(filter, "handler"),
        components=[_component(each) for each in _several(filter, "component")],
        parent_id=filter.get("parent") or "",
        roots_only=filter.get("roots_only", False),
        created_after=convert.to_timestamp("created_after", filter.get("created_after")),
        created_before=convert.to_timestamp("created_before", filter.get("created_before")),
    )


def _several(filter: Mapping[str, Any], name: str) -> list[Any]:
    choices = filter.get(name)
    if choices is None:
        return []
    return [choices] if isinstance(choices, str) else list(choices)


def page(filter: pb.ExecutionFilter, page_size: int | None, token: str) -> Call[Page]:
    request = pb.ListExecutionsRequest(filter=filter, page_size=page_size or 0, page_token=token)
    return Call("ExecutionService/ListExecutions", request, _page)


def _page(response: pb.ListExecutionsResponse) -> Page:
    return Page(tuple(convert.execution(each) for each in response.executions), response.next_page_token)


def count(filter: pb.ExecutionFilter) -> Call[int]:
    request = pb.CountExecutionsRequest(filter=filter)
    return Call("ExecutionService/CountExecutions", request, lambda response: int(response.count))


# --- the node


def node_info() -> Call[NodeInfo]:
    return Call("NodeService/GetNodeInfo", node_pb.GetNodeInfoRequest(), convert.node_info)


def handlers() -> Call[tuple[HandlerInfo, ...]]:
    return Call(
        "NodeService/ListHandlers",
        node_pb.ListHandlersRequest(),
        lambda response: tuple(convert.handler(each) for each in response.handlers),
    )


def stats() -> Call[Stats]:
    return Call("NodeService/GetStats", node_pb.GetStatsRequest(), _stats)


def _stats(response: Any) -> Stats:
    return convert.stats(response.stats)


def wait(predicate: Callable[[Stats], bool], interval: Duration, timeout: Duration | None) -> Conversation[Stats]:
    """Asks the predicate for the stats, and again whenever they have changed, until it holds."""
    deadline = Deadline.after(timeout)
    current = yield from deadline.ask(stats())
    while not predicate(current):
        if deadline.is_over:
            raise DeadlineExceeded(f"the predicate does not hold after {deadline.timeout:g} s")
        try:
            current = yield from ask(_wait_stats(current.revision, interval, deadline))
        except Unavailable:
            # Revisions begin anew with the node: what it has now may be less than what was seen.
            current = yield from deadline.ask(stats())
    return current


def _wait_stats(after_revision: int, interval: Duration, deadline: Deadline) -> Call[Stats]:
    request = node_pb.WaitStatsRequest(
        after_revision=after_revision,
        interval=convert.to_duration("interval", interval),
        timeout=convert.to_duration("timeout", deadline.hold),
    )
    return Call("NodeService/WaitStats", request, _stats, hold=deadline.hold, patience=0.0)


def pools() -> Call[tuple[Pool, ...]]:
    return Call(
        "NodeService/ListPools",
        node_pb.ListPoolsRequest(),
        lambda response: tuple(convert.pool(each) for each in response.pools),
    )


def pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/GetPool", node_pb.GetPoolRequest(component=_component(component)), _pool)


def scale_pool(component: Component | str, workers: int) -> Call[Pool]:
    request = node_pb.ScalePoolRequest(component=_component(component), workers=workers)
    return Call("NodeService/ScalePool", request, _pool)


def pause_pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/PausePool", node_pb.PausePoolRequest(component=_component(component)), _pool)


def resume_pool(component: Component | str) -> Call[Pool]:
    return Call("NodeService/ResumePool", node_pb.ResumePoolRequest(component=_component(component)), _pool)


def _pool(response: Any) -> Pool:
    return convert.pool(response.pool)


def _component(component: Component | str) -> str:
    return convert.to_enum("COMPONENT", convert.parse_choice("component", Component, component))
