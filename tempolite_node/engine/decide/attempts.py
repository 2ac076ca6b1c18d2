"""What a running attempt asks for: fenced by its epoch, then decided by the kind of the request."""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from tempolite_node.engine import formats, lifecycle, limits, trials
from tempolite_node.engine.commands import (
    BeginSideEffect,
    BeginStep,
    CancelFromAttempt,
    CompleteAttempt,
    CompleteSideEffect,
    CompleteStep,
    ContinueAsNew,
    DeliverCancel,
    EnqueueChild,
    FailAttempt,
    FailSideEffect,
    FailStep,
    FromAttempt,
    GiveUp,
    Heartbeat,
    ReceiveSignal,
    RecordMarker,
    RecordRefusal,
    SendSignalFromAttempt,
    SetSignalAside,
    Sleep,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.decide import operations, runs, waits
from tempolite_node.engine.effects import AnyAnswer, AttemptOver, Reason, Rejection, Value
from tempolite_node.engine.model import (
    Component,
    Execution,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    RetryState,
    Status,
    record_generation,
    shown,
)
from tempolite_node.engine.retry import retry_at_ms
from tempolite_node.engine.work import Work


def from_attempt(work: Work, command: FromAttempt) -> AnyAnswer | AttemptOver | Rejection | None:
    execution = work.execution(command.execution_id)
    if execution is None or not execution.attached or execution.epoch != command.epoch:
        return Rejection(Reason.STALE_EPOCH, f"execution {command.execution_id} does not run under {command.epoch}")
    row, growth = execution.row, work.growth
    before = growth.get(row)
    outcome = _requested(work, execution, command)
    if growth.get(row) is before or execution.format < formats.EXACT_REPLAY:
        return outcome
    if execution.node_deaths and not isinstance(command.request, BeginStep):  # that is recorded anew each time
        trials.trust(work, work.execution_at(execution.row))
    options, (count, size) = execution.options, work.journal_size(row)
    if count * limits.WARNED_AT < options.max_operations and size * limits.WARNED_AT < options.max_journal_bytes:
        return outcome  # as good as all
    failure = limits.exceeded(work, execution, before or (0, 0), (count, size))
    if failure is None:
        return outcome
    # What it did is recorded, since it happened; but nobody goes on from it.
    grown = work.execution_at(execution.row)
    lifecycle.fail_attempt(work, grown, failure, at_ms=command.at_ms, jitter=command.jitter, abandon=True)
    return AttemptOver()


def _requested(work: Work, execution: Execution, command: FromAttempt) -> AnyAnswer | Rejection | None:
    request = command.request
    at_ms = command.at_ms
    generation = record_generation(execution.generation, command.side_effect_failures)
    match request:  # what there is most of comes first
        case CompleteSideEffect():
            return operations.complete_side_effect(work, execution, request, generation, at_ms=at_ms)
        case CompleteAttempt():
            return _complete(work, execution, request, at_ms=at_ms)
        case WaitForExecution():
            return waits.wait_for_execution(work, execution, request, generation, at_ms=at_ms)
        case EnqueueChild():
            return operations.enqueue_child(work, execution, request, generation, at_ms=at_ms)
        case BeginStep():
            return operations.begin_step(work, execution, request, generation, at_ms=at_ms)
        case CompleteStep():
            return operations.complete_step(work, execution, request, at_ms=at_ms)
        case BeginSideEffect():
            return operations.begin_side_effect(work, execution, request, generation)
        case FailSideEffect():
            return operations.fail_side_effect(work, execution, request, generation, at_ms=at_ms, jitter=command.jitter)
        case ReceiveSignal():
            return waits.receive_signal(work, execution, request, generation, at_ms=at_ms)
        case SetSignalAside():
            return waits.set_signal_aside(work, execution, request, generation, at_ms=at_ms)
        case Sleep():
            return waits.sleep(work, execution, request, generation, at_ms=at_ms)
        case FailStep():
            return operations.fail_step(work, execution, request, at_ms=at_ms)
        case RecordMarker():
            return operations.record_marker(work, execution, request, generation, at_ms=at_ms)
        case SendSignalFromAttempt():
            return operations.send_signal(work, execution, request, generation, at_ms=at_ms)
        case GiveUp():
            return waits.give_up(work, execution, request, at_ms=at_ms)
        case RecordRefusal():
            return operations.record_refusal(work, execution, request, generation, at_ms=at_ms)
        case CancelFromAttempt():
            return operations.cancel(work, execution, request, generation, at_ms=at_ms)
        case DeliverCancel():
            return waits.deliver_cancel(work, execution, request, generation, at_ms=at_ms)
        case Heartbeat():
            return _heartbeat(work, execution, request, at_ms=at_ms)
        case ContinueAsNew():
            return runs.continue_as_new(work, execution, request, at_ms=at_ms)
        case FailAttempt():
            return _fail(work, execution, request, at_ms=at_ms, jitter=command.jitter)
        case UnwindAttempt():
            return _unwind(work, execution, request, at_ms=at_ms)
        case SuspendAttempt():
            return suspend(work, execution, request, at_ms=at_ms)
        case _:
            assert_never(request)


def _heartbeat(work: Work, execution: Execution, request: Heartbeat, *, at_ms: int) -> Value:
    details = request.details if request.details is not None else execution.heartbeat
    goes_on = execution.node_deaths and details != execution.heartbeat
    work.put(replace(execution, heartbeat=details))
    if goes_on:
        trials.trust(work, work.execution_at(execution.row))
    if execution.options.heartbeat_timeout_ms is not None and execution.pool is not Component.COMPENSATION:
        work.set_timer(execution.row, lifecycle.HEARTBEAT, at_ms + execution.options.heartbeat_timeout_ms)
    return Value()


def _complete(work: Work, execution: Execution, request: CompleteAttempt, *, at_ms: int) -> Value:
    if execution.pool is Component.COMPENSATION:
        _complete_compensation(work, execution, at_ms=at_ms)
    else:
        lifecycle.close(work, execution, Status.COMPLETED, at_ms=at_ms, result=request.result, abandon=False)
    return Value()


def _fail(work: Work, execution: Execution, request: FailAttempt, *, at_ms: int, jitter: float) -> Value:
    failure = request.failure
    if execution.pool is Component.COMPENSATION:
        end_compensation_attempt(work, execution, failure, at_ms=at_ms, jitter=jitter, abandon=False)
    elif request.cancelled and _has_seen_cancel(execution):
        lifecycle.record_attempt(work, execution, failure, at_ms=at_ms)
        lifecycle.cancel_pending(work, execution, at_ms=at_ms)
        detached = lifecycle.detach(work, replace(execution, pending=0), abandon=False)
        lifecycle.give_up(work, detached, Status.CANCELLED, failure=failure, retry_state=None, at_ms=at_ms)
    else:
        lifecycle.fail_attempt(work, execution, failure, at_ms=at_ms, jitter=jitter, abandon=False)
    return Value()


def _has_seen_cancel(execution: Execution) -> bool:
    """Once it was raised. It may have been requested again meanwhile."""
    again = execution.cancel_requested and execution.format >= formats.EXACT_REPLAY
    return execution.cancel_delivered or again


def _unwind(work: Work, execution: Execution, request: UnwindAttempt, *, at_ms: int) -> Value:
    """The stack is gone, the attempt goes on: by replay, when one of its waits is over. One may be over by now."""
    unwound = replace(execution, epoch=execution.epoch + 1, attached=False, node_deaths=0)
    if execution.options.heartbeat_timeout_ms is not None:
        work.clear_timer(execution.row, lifecycle.HEARTBEAT)
    for timed in request.timed:
        operations.keep_time(work, execution, timed)
    missed_cancel = lifecycle.missed_cancel(work, execution, request.cancels)
    if missed_cancel or not _still_waits(work, execution, request):
        lifecycle.enqueue_ready(work, unwound, at_ms=at_ms, resumes=True)
    elif execution.status is Status.RUNNING:
        work.put(replace(unwound, status=Status.WAITING))  # for a side effect's backoff
    else:
        work.put(unwound)
    return Value()


def _still_waits(work: Work, execution: Execution, request: UnwindAttempt) -> bool:
    """Whether all that the stack waited for is yet to come, and no answer is on its way to a stack that is gone."""
    if request.waits:
        return all(_is_open(work.operation(execution.row, kind, key)) for kind, key in request.waits)
    if execution.pending and execution.status is not Status.RUNNING:
        return True
    return bool(work.in_backoff(execution.row))


def _is_open(operation: Operation | None) -> bool:
    """Whether it is a wait that is not over, or a side effect in backoff."""
    if operation is None:
        return False
    retrying = operation.status is OperationStatus.RETRYING
    return operation.is_wait or (retrying and operation.due_ms is not None)


def suspend(work: Work, execution: Execution, request: SuspendAttempt, *, at_ms: int) -> Value:
    """Replay can't go the way that was recorded: somebody has to put the code right."""
    failure = Failure(
        type="NotInHandler" if request.misuse else "NonDeterminism",
        message=request.misuse or _what_differs(work, execution, request),
        non_retryable=True,
    )
    if execution.pool is Component.COMPENSATION:
        end_compensation_attempt(work, execution, failure, at_ms=at_ms, jitter=0.0, abandon=False)
        return Value()
    lifecycle.suspend(work, execution, failure, at_ms=at_ms, abandon=False)
    return Value()


def _what_differs(work: Work, execution: Execution, request: SuspendAttempt) -> str:
    """The recorded and the found value, and where. What is recorded elsewhere the host does not know."""
    if request.what:
        return f"{request.what}: recorded was {request.expected}, the code has {request.actual}"
    expected = request.expected
    if execution.format >= formats.EXACT_REPLAY:
        expected = _recorded_value(work, work.operation(execution.row, request.kind, request.key)) or expected
    return f"{request.kind} {request.key}: recorded was {expected}, replay asks for {request.actual}"


def _recorded_value(work: Work, operation: Operation | None) -> str:
    match operation:
        case Operation(kind=OperationKind.CHILD, target_row=int(row)) if (child := work.kept_at(row)) is not None:
            return f"{child.handler} with {shown(child.arguments)} (execution {child.id})"
        case Operation(kind=OperationKind.SIGNAL_SENT):
            return f"signal {operation.target} with {shown(operation.result)}"
        case Operation(kind=OperationKind.STEP):
            return f"{operation.target} with {shown(operation.input)}"
        case _:
            return ""


def _complete_compensation(work: Work, execution: Execution, *, at_ms: int) -> None:
    operation = lifecycle.current_compensation(work, execution)
    undone = replace(operation, status=OperationStatus.COMPLETED, closed_ms=at_ms, due_ms=None)
    work.put_operation(execution, undone, before=operation)
    lifecycle.cancel_pending(work, execution, at_ms=at_ms)
    detached = lifecycle.detach(work, replace(execution, pending=0), abandon=False)
    lifecycle.undo_next(work, detached, at_ms=at_ms)


def end_compensation_attempt(
    work: Work, execution: Execution, failure: Failure, *, at_ms: int, jitter: float, abandon: bool
) -> None:
    """The attempt to undo a step failed: another one follows, or the saga is stuck."""
    lifecycle.record_attempt(work, execution, failure, at_ms=at_ms)
    lifecycle.cancel_pending(work, execution, at_ms=at_ms)
    failures = execution.failures + 1
    detached = replace(
        lifecycle.detach(work, replace(execution, pending=0), abandon=abandon),
        attempt_started_ms=None,
        failures=failures,
        generation=execution.generation + 1,
        crashes=lifecycle.crashes_after_attempt(execution),
        node_deaths=0,
    )
    next_attempt = retry_at_ms(
        execution.options.compensation_retry,
        failure=failure,
        failures=failures,
        failed_at_ms=at_ms,
        jitter=jitter,
        deadline_ms=None,
        retry_spent=True,  # else a saga would be stuck where its side effect had tried a few times
    )
    if isinstance(next_attempt, RetryState):
        lifecycle.stick(work, detached, failure, retry_state=next_attempt, at_ms=at_ms)
        return
    operation = lifecycle.current_compensation(work, execution)
    retrying = replace(operation, status=OperationStatus.RETRYING, failure=failure, due_ms=next_attempt)
    work.put_operation(execution, retrying, before=operation)
    lifecycle.schedule(work, detached, due_ms=next_attempt)
