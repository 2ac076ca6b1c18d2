"""Executions, operations, stats and pools to messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import UNSET

from tempolite_node.engine.answers import recorded_answer
from tempolite_node.engine.effects import Enqueued
from tempolite_node.engine.kept_arguments import are_whole
from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    Failure,
    Operation,
    OperationStatus,
    RetryPolicy,
    RetryState,
    ServedHandler,
    Signal,
    Status,
    operation_id,
)
from tempolite_node.protocol.messages import HandlerDescription
from tempolite_node.views import ClusterState, ComponentStats, MemberState, NodeInfo, PoolState, Stats
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as cluster_pb
from tempolite_sdk.pb.tempolite.v1 import common_pb2, event_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as node_pb

_KEY_HOLDERS_SHOWN = 3
_SHOWN_BYTES_MAX = 1_000  #: of the payload of a signal that was not consumed
UNCONSUMED_MAX = 100  #: signals that are shown of an execution
KEY_HOLDERS_MAX = _KEY_HOLDERS_SHOWN + 1  #: one more, to tell that there are others

# Enum values go by name: messages take either, and the generated types tell names and numbers apart.


def component(value: Component) -> str:
    return f"COMPONENT_{value.name}"


def status(value: Status) -> str:
    return f"EXECUTION_STATUS_{value.name}"


def _retry_state(value: RetryState | None) -> str:
    return f"RETRY_STATE_{'UNSPECIFIED' if value is None else value.name}"


def execution(
    source: Execution,
    *,
    attempts: Sequence[EndedAttempt] = (),
    pending: Sequence[Operation] = (),
    waits_for_node: str = "",
    key_holders: Sequence[str] = (),
    unconsumed: Sequence[Signal] = (),
) -> common_pb2.Execution:
    """attempts: of the execution and its operations; only its own are shown. pending: its waits that are not over.

    waits_for_node: why no node can run its handler; shown while that is what it waits for.
    key_holders: ids of executions, some of them, which hold the concurrency key that it waits for.
    """
    return common_pb2.Execution(
        id=source.id,
        handler=source.handler,
        component=component(source.component),
        status=status(source.status),
        parent_id=source.parent_id or "",
        node_id=source.owner,
        epoch=source.epoch,
        attempt=source.attempt,
        crashes=source.crashes,
        node_deaths=source.node_deaths,
        priority=source.priority,
        arguments=_payload(source.arguments) if are_whole(source.arguments) else None,
        result=_payload(source.result),
        failure=failure_message(source.failure),
        retry_state=_retry_state(source.retry_state),
        create_time=time_message(source.created_ms),
        start_time=time_message(source.started_ms),
        close_time=time_message(source.closed_ms),
        next_attempt_time=time_message(source.due_ms),
        deadline=time_message(source.deadline_ms),
        cancel_requested=source.cancel_requested,
        reason=source.reason,
        # What a run did not take is the next one's.
        unconsumed_signals=0 if source.status is Status.CONTINUED_AS_NEW else source.inbox - source.consumed,
        waiting_for=[operation_id(source.id, source.run, wait.kind, wait.key) for wait in pending],
        heartbeat_details=_payload(source.heartbeat),
        retry_policy=retry_policy(source.options.retry),
        attempts=[attempt_message(attempt) for attempt in attempts if attempt.kind is None],
        waits_for_node=waits_for_node if source.ready_at is not None else "",
        concurrency_key=source.concurrency_key or "",
        waits_for_key=_waits_for_key(source, key_holders) if key_holders else "",
        unconsumed=[signal_message(signal) for signal in unconsumed],
        run=source.run,
        journal_delete_time=time_message(source.journal_deleted_ms),
    )


def signal_message(source: Signal) -> common_pb2.UnconsumedSignal:
    return common_pb2.UnconsumedSignal(
        sequence=source.seq,
        name=source.name,
        payload=_payload(source.payload) if len(source.payload) <= _SHOWN_BYTES_MAX else None,
        sender=source.sender,
        send_time=time_message(source.at_ms),
        set_aside=source.set_aside or "",
    )


def _waits_for_key(source: Execution, holders: Sequence[str]) -> str:
    shown = ", ".join(holders[:_KEY_HOLDERS_SHOWN]) + (" and others" if len(holders) > _KEY_HOLDERS_SHOWN else "")
    return f"concurrency key {source.concurrency_key!r} of {source.handler} is held by {shown}"


def operation(source: Operation, of: Execution, *, attempts: Sequence[EndedAttempt] = ()) -> common_pb2.Operation:
    """attempts: of the execution and all its operations; only this one's are shown."""
    answer = recorded_answer(source)
    return common_pb2.Operation(
        id=operation_id(of.id, of.run, source.kind, source.key),
        execution_id=of.id,
        kind=f"OPERATION_KIND_{source.kind.name}",
        key=source.key,
        status=f"OPERATION_STATUS_{source.status.name}",
        target=source.target,
        attempt=source.attempt,
        input=_payload(source.input),
        result=_payload(source.result if answer is None else answer.result),
        failure=failure_message(source.failure),
        start_time=time_message(source.started_ms),
        close_time=time_message(source.closed_ms),
        next_attempt_time=time_message(source.due_ms) if source.status is OperationStatus.RETRYING else None,
        attempts=[
            attempt_message(attempt) for attempt in attempts if (attempt.kind, attempt.key) == (source.kind, source.key)
        ],
    )


def enqueued(source: Enqueued, ended: Execution | None = None, waits_for_node: str = "") -> pb.EnqueueExecutionResponse:
    response = pb.EnqueueExecutionResponse(waits_for_node=waits_for_node)
    fill_enqueued(response, source, ended)
    return response


_COMPONENTS: Mapping[Component, Any] = {value: common_pb2.Component.Value(component(value)) for value in Component}
_STATUSES: Mapping[Status, Any] = {value: common_pb2.ExecutionStatus.Value(status(value)) for value in Status}


def fill_enqueued(response: pb.EnqueueExecutionResponse, source: Enqueued, ended: Execution | None = None) -> None:
    """In its place inside of another message: one that is made first and put in then is copied by way of its bytes."""
    response.id = source.execution_id
    response.component = _COMPONENTS[source.component]
    response.existing = source.existing
    if ended is None:
        return
    outcome = response.outcome
    outcome.status = _STATUSES[ended.status]
    outcome.reason = ended.reason
    if ended.result is not None:
        outcome.result.encoding, outcome.result.data = "json", ended.result
    if (failure := failure_message(ended.failure)) is not None:
        outcome.failure.CopyFrom(failure)


def fill_end(message: event_pb2.ExecutionEvent, source: Execution) -> None:
    """How the execution ended, into an event that says so."""
    message.status = _STATUSES[source.status]
    message.reason = source.reason
    if (result := _payload(source.result)) is not None:
        message.result.CopyFrom(result)
    if (failure := failure_message(source.failure)) is not None:
        message.failure.CopyFrom(failure)


def attempt_message(source: EndedAttempt) -> common_pb2.Attempt:
    return common_pb2.Attempt(
        number=source.number,
        failure=failure_message(source.failure),
        start_time=time_message(source.started_ms),
        end_time=time_message(source.ended_ms),
        left_out=source.left_out,
    )


def signal(source: Signal) -> pb.ReceiveSignalsResponse:
    return pb.ReceiveSignalsResponse(
        name=source.name,
        payload=_payload(source.payload),
        sequence=source.seq,
        send_time=time_message(source.at_ms),
    )


def retry_policy(source: RetryPolicy) -> common_pb2.RetryPolicy:
    message = common_pb2.RetryPolicy(
        maximum_attempts=source.maximum_attempts,
        initial_interval=duration_message(source.initial_interval_ms),
        backoff_coefficient=source.backoff_coefficient,
        maximum_interval=duration_message(source.maximum_interval_ms),
        jitter=source.jitter,
        non_retryable_errors=source.non_retryable_errors,
    )
    if source.retry_spent is not UNSET:
        message.retry_spent = source.retry_spent
    return message


def _payload(data: bytes | None) -> common_pb2.Payload | None:
    return None if data is None else common_pb2.Payload(encoding="json", data=data)


#: Causes nest, and protobuf refuses to read more than 100 levels.
_CAUSES_MAX = 20


def failure_message(source: Failure | None, causes: int = _CAUSES_MAX) -> common_pb2.Failure | None:
    if source is None:
        return None
    return common_pb2.Failure(
        type=source.type,
        message=source.message,
        traceback=source.traceback,
        non_retryable=source.non_retryable,
        cause=failure_message(source.cause, causes - 1) if causes else None,
        bases=source.bases,
    )


def time_message(at_ms: int | None) -> Timestamp | None:
    if at_ms is None:
        return None
    seconds, milliseconds = divmod(at_ms, 1_000)
    return Timestamp(seconds=seconds, nanos=milliseconds * 1_000_000)


def duration_message(duration_ms: int) -> Duration:
    seconds, milliseconds = divmod(duration_ms, 1_000)
    return Duration(seconds=seconds, nanos=milliseconds * 1_000_000)


# --- of the node


def node_info(source: NodeInfo) -> node_pb.GetNodeInfoResponse:
    return node_pb.GetNodeInfoResponse(
        node_id=source.node_id,
        version=source.version,
        start_time=time_message(source.started_ms),
        incarnation=source.incarnation,
        applied_index=source.applied_index,
        draining=source.draining,
        python_version=source.python_version,
        sqlite_version=source.sqlite_version,
        hosts=[
            node_pb.WorkerHost(
                number=host.number,
                pid=host.pid,
                attempts=host.attempts,
                starts=host.starts,
                lingering=host.lingering,
            )
            for host in source.hosts
        ],
    )


def handler(source: HandlerDescription, served: ServedHandler) -> node_pb.Handler:
    return node_pb.Handler(
        name=source.name,
        component=component(source.component),
        asynchronous=source.asynchronous,
        arguments_schema=source.arguments_schema,
        result_schema=source.result_schema,
        description=source.description,
        retry_policy=retry_policy(served.options.retry),
        concurrency_key_limit=served.concurrency_key_limit,
        function=source.function,
        signals=[
            node_pb.HandlerSignal(name=signal.name, payload_schema=signal.payload_schema) for signal in source.signals
        ],
    )


def stats(source: Stats) -> node_pb.Stats:
    return node_pb.Stats(
        revision=source.revision,
        handler=_component_stats(source.handler),
        saga=_component_stats(source.saga),
        compensation=_component_stats(source.compensation),
        side_effect=_component_stats(source.side_effect),
    )


def _component_stats(source: ComponentStats) -> node_pb.ComponentStats:
    return node_pb.ComponentStats(
        active=source.active,
        scheduled=source.scheduled,
        queued=source.queued,
        running=source.running,
        waiting=source.waiting,
        completed=source.completed,
        failed=source.failed,
        workers=source.workers,
        busy=source.busy,
    )


def pool(source: PoolState) -> node_pb.Pool:
    return node_pb.Pool(
        component=component(source.component),
        workers=source.workers,
        busy=source.busy,
        paused=source.paused,
        queued=source.queued,
        queue_limit=source.queue_limit,
        rate_limit=source.rate_limit,
        retry_policy=retry_policy(source.retry),
    )


def cluster(source: ClusterState) -> cluster_pb.Cluster:
    return cluster_pb.Cluster(
        name=source.name,
        node_id=source.node_id,
        role=source.role,
        leader=source.leader or "",
        leader_api_address=source.leader_api_address or "",
        term=source.term,
        commit_index=source.commit_index,
        applied_index=source.applied_index,
        members=[_member(member) for member in source.members],
    )


def _member(source: MemberState) -> cluster_pb.Member:
    return cluster_pb.Member(
        node_id=source.node_id,
        address=source.address,
        api_address=source.api_address,
        live=source.live,
        draining=source.draining,
        votes=source.votes,
        connected=source.connected,
        refused=source.refused or "",
        matched_index=source.matched_index,
        lag=source.lag,
        incarnation=source.incarnation,
        handlers=source.handlers,
        open_executions=source.open_executions,
        workers=[
            cluster_pb.PoolWorkers(component=component(pool), workers=workers)
            for pool, workers in source.workers.items()
        ],
    )
