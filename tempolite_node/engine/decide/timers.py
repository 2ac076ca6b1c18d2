"""What a timer that is due brings about."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import lifecycle
from tempolite_node.engine.commands import FireTimer
from tempolite_node.engine.decide import runs
from tempolite_node.engine.decide.attempts import end_compensation_attempt
from tempolite_node.engine.decide.clients import not_found
from tempolite_node.engine.effects import Accepted, Reason, Rejection, TimedOut, Value
from tempolite_node.engine.model import (
    Component,
    Execution,
    Failure,
    OperationKind,
    OperationStatus,
    RetryState,
    Status,
)
from tempolite_node.engine.work import Work


def fire_timer(work: Work, command: FireTimer) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    timer = work.timer(execution.row, command.name)
    if timer is None or timer.due_ms != command.due_ms:
        return Rejection(Reason.WRONG_STATE, f"execution {execution.id}: timer {command.name} was cleared or moved")
    work.clear_timer(execution.row, command.name)
    match command.name:
        case lifecycle.START:
            lifecycle.enqueue_ready(work, execution, at_ms=command.at_ms, resumes=False)
        case lifecycle.QUEUE:
            _time_out(work, execution, "QueueTimeout", "no attempt started in time (queue_timeout)", command)
        case lifecycle.DEADLINE:
            _time_out(work, execution, "MaxDurationExceeded", "it took too long (max_duration)", command)
        case lifecycle.ATTEMPT:
            _time_out_attempt(work, execution, "AttemptTimeout", "the attempt took too long", command)
        case lifecycle.HEARTBEAT:
            _miss_heartbeat(work, execution, command)
        case lifecycle.CLEARING:
            runs.clear(work, execution, due_ms=max(command.at_ms, command.due_ms + 1))
        case _:
            _fire_operation_timer(work, execution, command)
    return Accepted(status=work.execution_at(execution.row).status)


def _time_out(work: Work, execution: Execution, kind: str, message: str, command: FireTimer) -> None:
    lifecycle.give_up(
        work,
        execution,
        Status.TIMED_OUT,
        failure=Failure(type=kind, message=message, non_retryable=True),
        retry_state=RetryState.TIMEOUT,
        at_ms=command.at_ms,
    )


def _time_out_attempt(work: Work, execution: Execution, kind: str, message: str, command: FireTimer) -> None:
    failure = Failure(type=kind, message=message)
    if execution.pool is Component.COMPENSATION:
        end_compensation_attempt(work, execution, failure, at_ms=command.at_ms, jitter=command.jitter, abandon=True)
    else:
        lifecycle.fail_attempt(work, execution, failure, at_ms=command.at_ms, jitter=command.jitter, abandon=True)


def _miss_heartbeat(work: Work, execution: Execution, command: FireTimer) -> None:
    """A wait beats no heart, and needs none; the backoff of a side effect is one."""
    if execution.status is Status.RUNNING and lifecycle.in_backoff(work, execution) is None:
        _time_out_attempt(work, execution, "HeartbeatTimeout", "no heartbeat in time (heartbeat_timeout)", command)
    elif execution.options.heartbeat_timeout_ms is not None:
        due_ms = command.at_ms + execution.options.heartbeat_timeout_ms
        work.set_timer(execution.row, lifecycle.HEARTBEAT, due_ms)


def _fire_operation_timer(work: Work, execution: Execution, command: FireTimer) -> None:
    kind, _, key = command.name.partition(":")
    operation = work.operation(execution.row, OperationKind(kind), key)
    assert operation is not None, f"{execution.id}: timer {command.name} belongs to no operation"
    if operation.status is OperationStatus.RETRYING:
        lifecycle.end_backoff(work, execution, operation, at_ms=command.at_ms)
    elif operation.kind is OperationKind.SIDE_EFFECT and operation.status is OperationStatus.RUNNING:
        lifecycle.end_time(work, execution, operation, at_ms=command.at_ms)
    elif operation.is_wait:
        due = replace(operation, due_ms=None)
        if operation.kind is OperationKind.TIMER:
            lifecycle.end_wait(work, due, OperationStatus.COMPLETED, Value(), at_ms=command.at_ms)
        else:
            lifecycle.end_wait(work, due, OperationStatus.TIMED_OUT, TimedOut(), at_ms=command.at_ms)
