"""Explanations to messages."""

from __future__ import annotations

from tempolite_node.api.convert.responses import duration_message, failure_message, status, time_message
from tempolite_node.explain.model import Cause, Explanation, TimeSpent
from tempolite_sdk.pb.tempolite.v1 import explanation_pb2 as pb


def explanation(source: Explanation) -> pb.Explanation:
    return pb.Explanation(
        execution_id=source.execution_id,
        handler=source.handler,
        status=status(source.status),
        sentence=source.sentence,
        causes=[_cause(each) for each in source.causes],
        next=source.next,
        next_time=time_message(source.next_ms),
        actions=source.actions,
        time_spent=None if source.time_spent is None else _time_spent(source.time_spent),
    )


def _cause(source: Cause) -> pb.Cause:
    return pb.Cause(
        kind=f"CAUSE_KIND_{source.kind.name}",
        text=source.text.rstrip(","),
        since=time_message(source.since_ms),
        until=time_message(source.until_ms),
        operation_id=source.operation_id,
        name=source.name,
        names=source.names,
        ahead=source.ahead,
        failure=failure_message(source.failure),
        actions=source.actions,
        awaited=None if source.awaited is None else explanation(source.awaited),
    )


def _time_spent(source: TimeSpent) -> pb.TimeSpent:
    return pb.TimeSpent(
        queued=duration_message(source.queued),
        running=duration_message(source.running),
        waiting=duration_message(source.waiting),
        backing_off=duration_message(source.backing_off),
        replaying=duration_message(source.replaying),
        partial=source.partial,
    )
