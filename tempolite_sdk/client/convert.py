"""Messages to what the SDK shows (`info`), and what callers pass to messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from google.protobuf import duration_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tempolite_sdk.client.cluster_info import ClusterInfo, MemberInfo
from tempolite_sdk.client.events import EventKind, ExecutionEvent
from tempolite_sdk.client.explanation import Cause, CauseKind, Explanation, TimeSpent
from tempolite_sdk.client.info import (
    AttemptInfo,
    Component,
    ComponentStats,
    ExecutionInfo,
    ExecutionStatus,
    HandlerInfo,
    NodeInfo,
    OperationInfo,
    OperationKind,
    OperationStatus,
    Payload,
    Pool,
    RetryState,
    Stats,
    UnconsumedSignal,
    WorkerHost,
)
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.durations import Duration, seconds_of
from tempolite_sdk.errors import FailureInfo, InvalidArgument, NodeFault
from tempolite_sdk.handlers import RetryPolicy
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2, common_pb2, event_pb2, explanation_pb2, node_service_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

E = TypeVar("E", bound=StrEnum)

# --- enums: the names of the API's values are ours with a prefix


def to_enum(prefix: str, member: StrEnum) -> str:
    """The name of the API's value; messages take names."""
    return f"{prefix}_{member.name}"


def parse_choice(field: str, choices: type[E], value: str) -> E:
    """A member, from itself or its value, e.g. "handler"."""
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(repr(member.value) for member in choices)
        raise InvalidArgument(f"{field} must be one of {known}, not {value!r}") from None


def _by_number(prefix: str, wire: Any, choices: type[E]) -> Mapping[int, E]:
    return {wire.Value(to_enum(prefix, member)): member for member in choices}


def _known(prefix: str, wire: Any, choices: type[E]) -> Mapping[int, E]:
    """The same of an enum that has a member, for the SDK alone, for all that the node may say besides."""
    names = dict(wire.items())
    return {names[name]: member for member in choices if (name := to_enum(prefix, member)) in names}


_COMPONENTS = _by_number("COMPONENT", common_pb2.Component, Component)
_STATUSES = _by_number("EXECUTION_STATUS", common_pb2.ExecutionStatus, ExecutionStatus)
_OPERATION_KINDS = _by_number("OPERATION_KIND", common_pb2.OperationKind, OperationKind)
_OPERATION_STATUSES = _by_number("OPERATION_STATUS", common_pb2.OperationStatus, OperationStatus)
_RETRY_STATES = _by_number("RETRY_STATE", common_pb2.RetryState, RetryState)


def _member(known: Mapping[int, E], number: int) -> E:
    if number not in known:
        name = type(next(iter(known.values()))).__name__
        raise NodeFault(f"the node answered with a {name} that this SDK does not know ({number}); is it newer?")
    return known[number]


def execution_status(number: int) -> ExecutionStatus:
    return _member(_STATUSES, number)


# --- times


def to_duration(field: str, duration: Duration | None) -> duration_pb2.Duration | None:
    """To be copied into a message, and not to be changed: callers share it."""
    return None if duration is None else _duration(field, duration)


@lru_cache(maxsize=1_024)
def _duration(field: str, duration: Duration) -> duration_pb2.Duration:
    whole, part = divmod(round(seconds_of(field, duration) * 1_000_000), 1_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=part * 1_000)


def to_timestamp(field: str, at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    if at.tzinfo is None:
        raise InvalidArgument(f"{field} needs a time zone, e.g. datetime.now(UTC), not {at!r}")
    timestamp = Timestamp()
    timestamp.FromDatetime(at.astimezone(UTC))
    return timestamp


def time(message: Any, name: str) -> datetime | None:
    if not message.HasField(name):
        return None
    at: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    return at


# --- payloads, failures, retry policies


def fill_payload(payload: common_pb2.Payload, data: bytes) -> None:
    """In its place in a message: one that is made first and put in then is copied."""
    payload.encoding, payload.data = "json", data


def payload(message: Any, name: str) -> Payload | None:
    if not message.HasField(name):
        return None
    return Payload(getattr(message, name).data)


def failure(message: common_pb2.Failure) -> FailureInfo:
    return FailureInfo(
        type=message.type,
        message=message.message,
        traceback=message.traceback,
        non_retryable=message.non_retryable,
        bases=tuple(message.bases),
        cause=failure(message.cause) if message.HasField("cause") else None,
    )


def _failure(message: Any) -> FailureInfo | None:
    return failure(message.failure) if message.HasField("failure") else None


def to_retry_policy(policy: RetryPolicy | None) -> common_pb2.RetryPolicy | None:
    if policy is None:
        return None
    message = common_pb2.RetryPolicy(
        maximum_attempts=policy.maximum_attempts,
        initial_interval=to_duration("retry.initial_interval", policy.initial_interval),
        backoff_coefficient=policy.backoff_coefficient,
        maximum_interval=to_duration("retry.maximum_interval", policy.maximum_interval),
        jitter=policy.jitter,
        non_retryable_errors=policy.non_retryable_errors or (),
    )
    if policy.retry_spent is not None:
        message.retry_spent = policy.retry_spent
    return message


def _retry_policy(holder: Any) -> RetryPolicy | None:
    if not holder.HasField("retry_policy"):
        return None
    message: common_pb2.RetryPolicy = holder.retry_policy

    def given(name: str) -> Any:
        value = getattr(message, name) if message.HasField(name) else None
        return value.ToTimedelta() if isinstance(value, duration_pb2.Duration) else value

    return RetryPolicy(
        maximum_attempts=given("maximum_attempts"),
        initial_interval=given("initial_interval"),
        backoff_coefficient=given("backoff_coefficient"),
        maximum_interval=given("maximum_interval"),
        jitter=given("jitter"),
        non_retryable_errors=tuple(message.non_retryable_errors),
        retry_spent=given("retry_spent"),
    )


# --- executions and operations


def _attempts(messages: Iterable[common_pb2.Attempt]) -> tuple[AttemptInfo, ...]:
    return tuple(
        AttemptInfo(
            number=message.number,
            failure=_failure(message),
            start_time=time(message, "start_time"),
            end_time=time(message, "end_time"),
            left_out=message.left_out,
        )
        for message in messages
    )


def _unconsumed(message: common_pb2.UnconsumedSignal) -> UnconsumedSignal:
    return UnconsumedSignal(
        sequence=message.sequence,
        name=message.name,
        payload=payload(message, "payload"),
        sender=message.sender,
        send_time=time(message, "send_time"),
        set_aside=message.set_aside,
    )


def execution(message: common_pb2.Execution) -> ExecutionInfo:
    return ExecutionInfo(
        id=message.id,
        handler=message.handler,
        component=_member(_COMPONENTS, message.component),
        status=execution_status(message.status),
        parent_id=message.parent_id or None,
        node_id=message.node_id,
        waits_for_node=message.waits_for_node,
        concurrency_key=message.concurrency_key or None,
        waits_for_key=message.waits_for_key,
        epoch=message.epoch,
        attempt=message.attempt,
        crashes=message.crashes,
        node_deaths=message.node_deaths,
        priority=message.priority,
        arguments=payload(message, "arguments"),
        result=payload(message, "result"),
        failure=_failure(message),
        retry_state=_RETRY_STATES.get(message.retry_state),
        create_time=time(message, "create_time"),
        start_time=time(message, "start_time"),
        close_time=time(message, "close_time"),
        journal_delete_time=time(message, "journal_delete_time"),
        next_attempt_time=time(message, "next_attempt_time"),
        deadline=time(message, "deadline"),
        cancel_requested=message.cancel_requested,
        reason=message.reason,
        unconsumed_signals=message.unconsumed_signals,
        unconsumed=tuple(_unconsumed(each) for each in message.unconsumed),
        waiting_for=tuple(message.waiting_for),
        heartbeat_details=payload(message, "heartbeat_details"),
        retry_policy=_retry_policy(message),
        attempts=_attempts(message.attempts),
        run=message.run or 1,
    )


def operation(message: common_pb2.Operation) -> OperationInfo:
    return OperationInfo(
        id=message.id,
        execution_id=message.execution_id,
        kind=_member(_OPERATION_KINDS, message.kind),
        key=message.key,
        status=_member(_OPERATION_STATUSES, message.status),
        target=message.target,
        attempt=message.attempt,
        input=payload(message, "input"),
        result=payload(message, "result"),
        failure=_failure(message),
        start_time=time(message, "start_time"),
        close_time=time(message, "close_time"),
        next_attempt_time=time(message, "next_attempt_time"),
        attempts=_attempts(message.attempts),
    )


def execution_or_operation(message: pb.GetExecutionResponse) -> ExecutionInfo | OperationInfo:
    if message.WhichOneof("found") == "operation":
        return operation(message.operation)
    return execution(message.execution)


def tree_response(message: pb.GetExecutionTreeResponse) -> ExecutionTree:
    return tree(message.tree, truncated=message.truncated)


def tree(message: pb.ExecutionTree, *, truncated: bool = False) -> ExecutionTree:
    return ExecutionTree(
        execution=execution(message.execution),
        operations=tuple(operation(each) for each in message.operations),
        children=tuple(tree(each) for each in message.children),
        truncated=truncated,
    )


# --- explanations

_CAUSE_KINDS = _known("CAUSE_KIND", explanation_pb2.CauseKind, CauseKind)


def explanation(message: explanation_pb2.Explanation) -> Explanation:
    return Explanation(
        execution_id=message.execution_id,
        handler=message.handler,
        status=execution_status(message.status),
        sentence=message.sentence,
        causes=tuple(_cause(each) for each in message.causes),
        next=message.next,
        next_time=time(message, "next_time"),
        actions=tuple(message.actions),
        time_spent=_time_spent(message.time_spent) if message.HasField("time_spent") else None,
    )


def _cause(message: explanation_pb2.Cause) -> Cause:
    return Cause(
        kind=_CAUSE_KINDS.get(message.kind, CauseKind.UNKNOWN),
        text=message.text,
        since=time(message, "since"),
        until=time(message, "until"),
        operation_id=message.operation_id,
        name=message.name,
        names=tuple(message.names),
        ahead=message.ahead if message.HasField("ahead") else None,
        failure=_failure(message),
        actions=tuple(message.actions),
        awaited=explanation(message.awaited) if message.HasField("awaited") else None,
    )


def _time_spent(message: explanation_pb2.TimeSpent) -> TimeSpent:
    return TimeSpent(
        queued=message.queued.ToTimedelta(),
        running=message.running.ToTimedelta(),
        waiting=message.waiting.ToTimedelta(),
        backing_off=message.backing_off.ToTimedelta(),
        replaying=message.replaying.ToTimedelta(),
        partial=message.partial,
    )


# --- events

_EVENT_KINDS = _known("EXECUTION_EVENT_KIND", event_pb2.ExecutionEventKind, EventKind)


def event(message: event_pb2.ExecutionEvent) -> ExecutionEvent:
    found = operation(message.operation) if message.HasField("operation") else None
    ended = _attempts([message.attempt])[0] if message.HasField("attempt") else None
    failures = (
        _failure(message),
        None if found is None else found.failure,
        None if ended is None else ended.failure,
    )
    return ExecutionEvent(
        kind=_EVENT_KINDS.get(message.kind, EventKind.UNKNOWN),
        time=time(message, "time"),
        operation=found,
        operation_id=message.operation_id if found is None else found.id,
        attempt=ended,
        signal=_unconsumed(message.signal) if message.HasField("signal") else None,
        signal_sequence=message.signal_sequence,
        status=execution_status(message.status) if message.status else None,
        result=payload(message, "result"),
        failure=next((each for each in failures if each is not None), None),
        reason=message.reason,
    )


# --- the node


def _component_stats(message: node_service_pb2.ComponentStats) -> ComponentStats:
    return ComponentStats(
        active=message.active,
        scheduled=message.scheduled,
        queued=message.queued,
        running=message.running,
        waiting=message.waiting,
        completed=message.completed,
        failed=message.failed,
        workers=message.workers,
        busy=message.busy,
    )


def stats(message: node_service_pb2.Stats) -> Stats:
    return Stats(
        revision=message.revision,
        handler=_component_stats(message.handler),
        saga=_component_stats(message.saga),
        compensation=_component_stats(message.compensation),
        side_effect=_component_stats(message.side_effect),
    )


def pool(message: node_service_pb2.Pool) -> Pool:
    return Pool(
        component=_member(_COMPONENTS, message.component),
        workers=message.workers,
        busy=message.busy,
        paused=message.paused,
        queued=message.queued,
        queue_limit=message.queue_limit,
        rate_limit=message.rate_limit,
        retry_policy=_retry_policy(message),
    )


def node_info(message: node_service_pb2.GetNodeInfoResponse) -> NodeInfo:
    return NodeInfo(
        node_id=message.node_id,
        version=message.version,
        start_time=time(message, "start_time"),
        incarnation=message.incarnation,
        applied_index=message.applied_index,
        draining=message.draining,
        python_version=message.python_version,
        sqlite_version=message.sqlite_version,
        hosts=tuple(
            WorkerHost(
                number=host.number,
                pid=host.pid,
                attempts=host.attempts,
                starts=host.starts,
                lingering=host.lingering,
            )
            for host in message.hosts
        ),
    )


def handler(message: node_service_pb2.Handler) -> HandlerInfo:
    return HandlerInfo(
        name=message.name,
        component=_member(_COMPONENTS, message.component),
        is_async=message.asynchronous,
        description=message.description,
        arguments_schema=_schema(message.arguments_schema),
        result_schema=_schema(message.result_schema),
        retry_policy=_retry_policy(message),
        concurrency_key_limit=message.concurrency_key_limit,
        function=message.function,
        signals={each.name: _schema(each.payload_schema) for each in message.signals},
    )


def _schema(text: str) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = json.loads(text) if text else {}
    return schema


# --- the cluster


def cluster(message: cluster_service_pb2.Cluster) -> ClusterInfo:
    return ClusterInfo(
        name=message.name,
        node_id=message.node_id,
        role=message.role,
        leader=message.leader or None,
        leader_api_address=message.leader_api_address or None,
        term=message.term,
        commit_index=message.commit_index,
        applied_index=message.applied_index,
        members=tuple(_cluster_member(member) for member in message.members),
    )


def _cluster_member(message: cluster_service_pb2.Member) -> MemberInfo:
    return MemberInfo(
        node_id=message.node_id,
        address=message.address,
        api_address=message.api_address or None,
        live=message.live,
        draining=message.draining,
        votes=message.votes,
        connected=message.connected,
        refused=message.refused or None,
        matched_index=message.matched_index if message.HasField("matched_index") else None,
        lag=message.lag if message.HasField("lag") else None,
        incarnation=message.incarnation,
        handlers=tuple(message.handlers),
        open_executions=message.open_executions,
        workers={_member(_COMPONENTS, pool.component): pool.workers for pool in message.workers},
    )
