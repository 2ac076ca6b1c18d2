"""Operations that are over as soon as they are recorded: side effects, steps, children, signals, cancels, markers."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from tempolite_node.engine import formats, inbox, lifecycle
from tempolite_node.engine.commands import (
    BeginSideEffect,
    BeginStep,
    CancelFromAttempt,
    CompleteSideEffect,
    CompleteStep,
    EnqueueChild,
    FailSideEffect,
    FailStep,
    RecordMarker,
    RecordRefusal,
    SendSignalFromAttempt,
    TimedSideEffect,
)
from tempolite_node.engine.decide.clients import deadline_of_new, new_execution, take_id
from tempolite_node.engine.effects import AnyAnswer, Failed, Granted, Reason, Refused, Rejection, SignalSent, Value
from tempolite_node.engine.markers import put_marker
from tempolite_node.engine.model import (
    HAS_RUN,
    ClosePolicy,
    EndedAttempt,
    Execution,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    RetryState,
    Signal,
    Status,
    record_generation,
)
from tempolite_node.engine.placement import owner_of_new
from tempolite_node.engine.retry import retry_at_ms
from tempolite_node.engine.work import Work


def refused(reason: Reason, message: str) -> Refused:
    return Refused(reason=reason.value, message=message)


def refuse(
    work: Work,
    execution: Execution,
    kind: OperationKind,
    key: str,
    reason: Reason | str,
    message: str,
    *,
    generation: int,
    target: str,
    digest: bytes = b"",
    at_ms: int,
) -> Refused:
    """Refuses an operation, and records that: by the time of a replay it might be done. See docs/design/refusals.md.

    An execution of an earlier format has no such records. In each generation the operation is asked for anew.
    """
    if _is_exact(execution):
        before = work.operation(execution.row, kind, key)
        work.put_operation(
            execution,
            Operation(
                execution_row=execution.row,
                kind=kind,
                key=key,
                seq=before.seq if before else work.next_row(),
                status=OperationStatus.REFUSED,
                target=target,
                digest=digest,
                generation=generation,
                failure=Failure(type=str(reason), message=message),
                started_ms=at_ms,
                closed_ms=at_ms,
            ),
            before=before,
        )
    return Refused(reason=str(reason), message=message)


def refusal(operation: Operation) -> Refused:
    """What is recorded of one that was refused."""
    assert operation.failure is not None, f"{operation.kind} {operation.key} was refused without a reason"
    return Refused(reason=operation.failure.type, message=operation.failure.message)


def record_refusal(
    work: Work, execution: Execution, request: RecordRefusal, generation: int, *, at_ms: int
) -> AnyAnswer:
    before = work.operation(execution.row, request.kind, request.key)
    if before is not None and before.status is OperationStatus.COMPLETED:
        if (differing := _differs(before, request.digest)) is not None:
            return differing
        if request.kind is not OperationKind.CHILD:
            return Value()
        if _child_to_redo(work, execution, before, generation) is None:
            return _child_again(work, before, generation, at_ms=at_ms)
    elif before is not None and before.holds(generation):
        return refusal(before)
    return refuse(
        work,
        execution,
        request.kind,
        request.key,
        request.reason,
        request.message,
        generation=generation,
        target=request.target,
        digest=request.digest,
        at_ms=at_ms,
    )


def recorded(work: Work, execution: Execution, kind: OperationKind, key: str, generation: int) -> Operation | None:
    """What is recorded at the key and still holds: a retry after a failed attempt redoes what failed before it.

    A wait that was given up does not: who asks for it again begins it anew.
    """
    operation = _if_holds(work.operation(execution.row, kind, key), generation)
    return None if operation is not None and operation.status is OperationStatus.GIVEN_UP else operation


def _if_holds(operation: Operation | None, generation: int) -> Operation | None:
    return operation if operation is not None and operation.holds(generation) else None


def _differs(operation: Operation, digest: bytes) -> Refused | None:
    if operation.digest == digest:
        return None
    message = f"{operation.kind} {operation.key} is recorded with another input"
    return refused(Reason.NON_DETERMINISM, message)


# --- side effects


def begin_side_effect(work: Work, execution: Execution, request: BeginSideEffect, generation: int) -> AnyAnswer | None:
    """Reads only: a side effect is recorded when it ends."""
    operation = recorded(work, execution, OperationKind.SIDE_EFFECT, request.key, generation)
    if operation is None:
        return Granted(attempt=1)
    if (differing := _differs(operation, request.digest)) is not None:
        return differing
    if operation.status is OperationStatus.RETRYING:
        return Granted(attempt=operation.attempt + 1) if operation.due_ms is None else None
    if operation.status is OperationStatus.RUNNING:
        return Granted(attempt=operation.attempt + 1)
    return _side_effect_answer(operation)


def _side_effect_answer(operation: Operation) -> AnyAnswer:
    if operation.failure is not None and operation.status is OperationStatus.FAILED:
        return Failed(failure=operation.failure, attempts=operation.attempt)
    return Value(payload=operation.result)


def keep_time(work: Work, execution: Execution, timed: TimedSideEffect) -> None:
    """Records that a side effect runs, so that its time is up when it was to be, though its stack is given up."""
    generation = record_generation(execution.generation, timed.side_effect_failures)
    earlier = work.operation(execution.row, OperationKind.SIDE_EFFECT, timed.key)
    before = _if_holds(earlier, generation)
    if before is not None and not _is_tried(before):
        return
    running = work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.SIDE_EFFECT,
            key=timed.key,
            seq=earlier.seq if earlier else work.next_row(),
            status=OperationStatus.RUNNING,
            digest=timed.digest,
            generation=generation,
            attempt=before.attempt if before else 0,
            failure=before.failure if before else None,
            started_ms=before.started_ms if before else timed.started_ms,
            due_ms=timed.due_ms,
        ),
        before=earlier,
    )
    work.set_timer(execution.row, lifecycle.operation_timer(running.kind, running.key), timed.due_ms)


def _is_tried(side_effect: Operation) -> bool:
    """Whether it is yet to end."""
    return side_effect.status in (OperationStatus.RETRYING, OperationStatus.RUNNING)


def _end_of_time_is_past(work: Work, side_effect: Operation) -> None:
    """It has ended before."""
    if side_effect.status is OperationStatus.RUNNING:
        timer = lifecycle.operation_timer(side_effect.kind, side_effect.key)
        work.clear_timer(side_effect.execution_row, timer)


def complete_side_effect(
    work: Work, execution: Execution, request: CompleteSideEffect, generation: int, *, at_ms: int
) -> AnyAnswer:
    kind, key = OperationKind.SIDE_EFFECT, request.key
    earlier = work.operation(execution.row, kind, key)
    before = earlier if earlier is not None and earlier.holds(generation) else None
    if before is not None:
        if not _is_tried(before):
            return _differs(before, request.digest) or _side_effect_answer(before)
        _end_of_time_is_past(work, before)
    if execution.pending:
        execution = lifecycle.leave(work, execution, kind, key, at_ms=at_ms)
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=kind,
            key=key,
            seq=earlier.seq if earlier else work.next_row(),
            status=OperationStatus.COMPLETED,
            digest=request.digest,
            generation=generation,
            attempt=before.attempt + 1 if before else 1,
            result=request.result,
            started_ms=before.started_ms if before else min(request.started_ms, at_ms),
            closed_ms=at_ms,
        ),
        before=earlier,
    )
    return Value(payload=request.result)


def fail_side_effect(
    work: Work, execution: Execution, request: FailSideEffect, generation: int, *, at_ms: int, jitter: float
) -> AnyAnswer | None:
    earlier = work.operation(execution.row, OperationKind.SIDE_EFFECT, request.key)
    before = _if_holds(earlier, generation)
    if before is not None:
        if not _is_tried(before):
            return _differs(before, request.digest) or _side_effect_answer(before)
        _end_of_time_is_past(work, before)
    execution = lifecycle.leave(work, execution, OperationKind.SIDE_EFFECT, request.key, at_ms=at_ms)
    attempt = before.attempt + 1 if before else 1
    work.add_attempt(
        EndedAttempt(
            execution_row=execution.row,
            kind=OperationKind.SIDE_EFFECT,
            key=request.key,
            number=attempt,
            failure=request.failure,
            started_ms=min(request.started_ms, at_ms),
            ended_ms=at_ms,
        )
    )
    next_attempt = (
        RetryState.NON_RETRYABLE_FAILURE
        if request.has_run
        else retry_at_ms(
            request.retry,
            failure=request.failure,
            failures=attempt,
            failed_at_ms=at_ms,
            jitter=jitter,
            deadline_ms=lifecycle.deadline_ms(execution),
        )
    )
    out_of_retries = isinstance(next_attempt, RetryState)
    failed = work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.SIDE_EFFECT,
            key=request.key,
            seq=earlier.seq if earlier else work.next_row(),
            status=OperationStatus.FAILED if out_of_retries else OperationStatus.RETRYING,
            digest=request.digest,
            generation=HAS_RUN if request.has_run else generation,
            attempt=attempt,
            failure=request.failure,
            retry_state=next_attempt if isinstance(next_attempt, RetryState) else None,
            started_ms=before.started_ms if before else min(request.started_ms, at_ms),
            closed_ms=at_ms if out_of_retries else None,
            due_ms=None if isinstance(next_attempt, RetryState) else next_attempt,
            beside=request.beside,
        ),
        before=earlier,
    )
    if failed.due_ms is None:
        return Failed(failure=request.failure, attempts=attempt)
    work.set_timer(execution.row, lifecycle.operation_timer(failed.kind, failed.key), failed.due_ms)
    return None


# --- steps


def begin_step(work: Work, execution: Execution, request: BeginStep, generation: int, *, at_ms: int) -> AnyAnswer:
    """Records the step before its transaction runs, so that a crash in mid-transaction leaves it in doubt."""
    before = work.operation(execution.row, OperationKind.STEP, request.key)
    if before is None:
        in_doubt = False
    elif before.status is OperationStatus.COMPLETED:
        return _differs(before, request.digest) or Value(payload=before.result)
    elif before.failure is not None and before.status is OperationStatus.FAILED and before.holds(generation):
        return _differs(before, request.digest) or Failed(failure=before.failure, attempts=before.attempt)
    elif before.status is OperationStatus.RUNNING:
        if (differing := _differs(before, request.digest)) is not None:
            return differing
        in_doubt = True
    else:
        in_doubt = before.in_doubt
    number = before.attempt + 1 if before else 1
    left = before.result if before is not None and in_doubt and _is_exact(execution) else None
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.STEP,
            key=request.key,
            seq=before.seq if before else work.next_row(),
            status=OperationStatus.RUNNING,
            target=request.target,
            digest=request.digest,
            generation=generation,
            attempt=number,
            input=request.input,
            result=left,
            in_doubt=in_doubt,
            started_ms=before.started_ms if before else at_ms,
        ),
        before=before,
    )
    return Granted(attempt=number, data=left)


def _is_exact(execution: Execution) -> bool:
    return execution.format >= formats.EXACT_REPLAY


def _running_step(work: Work, execution: Execution, key: str) -> Operation | Refused:
    step = work.operation(execution.row, OperationKind.STEP, key)
    if step is None or step.status is not OperationStatus.RUNNING:
        return refused(Reason.WRONG_STATE, f"step {key} was not begun")
    return step


def complete_step(work: Work, execution: Execution, request: CompleteStep, *, at_ms: int) -> AnyAnswer:
    step = _running_step(work, execution, request.key)
    if isinstance(step, Refused):
        return step
    if execution.pending:
        lifecycle.leave(work, execution, OperationKind.STEP, request.key, at_ms=at_ms)
    work.put_operation(
        execution,
        replace(
            step,
            status=OperationStatus.COMPLETED,
            result=request.data,
            failure=None,
            in_doubt=False,
            closed_ms=at_ms,
        ),
        before=step,
    )
    return Value(payload=request.data)


def fail_step(work: Work, execution: Execution, request: FailStep, *, at_ms: int) -> AnyAnswer:
    step = _running_step(work, execution, request.key)
    if isinstance(step, Refused):
        return step
    lifecycle.leave(work, execution, OperationKind.STEP, request.key, at_ms=at_ms)
    work.add_attempt(
        EndedAttempt(
            execution_row=execution.row,
            kind=OperationKind.STEP,
            key=request.key,
            number=step.attempt,
            failure=request.failure,
            started_ms=step.started_ms,
            ended_ms=at_ms,
        )
    )
    work.put_operation(
        execution,
        replace(
            step,
            status=OperationStatus.FAILED,
            result=request.data,
            failure=request.failure,
            generation=HAS_RUN if request.has_run else step.generation,
            in_doubt=step.in_doubt or request.compensate,
            closed_ms=at_ms,
        ),
        before=step,
    )
    return Value()


# --- children


def enqueue_child(
    work: Work, execution: Execution, request: EnqueueChild, generation: int, *, at_ms: int
) -> AnyAnswer | Rejection:
    """The child and its link to the parent, in one commit."""
    before = work.operation(execution.row, OperationKind.CHILD, request.key)
    redone = None
    if before is not None and before.status is OperationStatus.COMPLETED:
        if (differing := _differs(before, request.digest)) is not None:
            return differing
        redone = _child_to_redo(work, execution, before, generation)
        if redone is None:
            return _child_again(work, before, generation, at_ms=at_ms)
    elif before is not None and before.holds(generation):
        return refusal(before)

    def refuse_it(reason: Reason, message: str) -> Refused:
        return refuse(
            work,
            execution,
            OperationKind.CHILD,
            request.key,
            reason,
            message,
            target=request.handler,
            digest=request.digest,
            generation=generation,
            at_ms=at_ms,
        )

    taken = work.execution(request.execution_id)
    if taken is not None and not (redone is not None and taken.row == redone.row) and not _left_over(execution, taken):
        return refuse_it(Reason.ALREADY_EXISTS, f"execution {request.execution_id} exists")
    owner = owner_of_new(work, request.handler, request.component, waits=request.concurrency_key is not None)
    if owner is None:
        return refuse_it(Reason.NOT_FOUND, f"no node serves handler {request.handler!r}")
    child = new_execution(
        work,
        at_ms=at_ms,
        execution_id=request.execution_id,
        handler=request.handler,
        component=request.component,
        arguments=request.arguments,
        options=request.options,
        owner=owner.id,
        priority=request.priority,
        delay_ms=request.delay_ms,
        deadline_ms=_inherited_deadline(work, execution, request, at_ms=at_ms),
        max_duration_ms=request.max_duration_ms,
        previous=None if taken is None else take_id(work, taken),
        concurrency_key=request.concurrency_key,
        parent=execution,
    )
    if not execution.has_children:
        work.put(replace(execution, has_children=True))
    result = msgspec.json.encode(child.id)
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.CHILD,
            key=request.key,
            seq=before.seq if before else work.next_row(),
            status=OperationStatus.COMPLETED,
            target=child.id,
            target_row=child.row,
            digest=request.digest,
            generation=generation,
            result=result,
            started_ms=at_ms,
            closed_ms=at_ms,
        ),
        before=before,
    )
    return Value(payload=result)


def _child_again(work: Work, link: Operation, generation: int, *, at_ms: int) -> Value:
    """The child as it is. In a later generation that is an answer of its own, whatever becomes of the child then."""
    if link.generation < generation:
        work.put_at_end(replace(link, generation=generation), at_ms=at_ms)
    return Value(payload=link.result)


def _child_to_redo(work: Work, parent: Execution, link: Operation, generation: int) -> Execution | None:
    """The child, if it ended badly before an attempt failed: a retry enqueues it anew."""
    assert link.target_row is not None, f"{link.key} links no child"
    linked = work.kept_at(link.target_row)
    if linked is None:
        return None  # it was deleted with the execution whose journal this one began with
    child = work.last_run(linked)
    if _is_exact(parent) and _was_stopped(child):
        return None
    redo = child.closed and child.status is not Status.COMPLETED and link.generation < generation
    return child if redo else None


def _was_stopped(child: Execution) -> bool:
    """Whether it ended because somebody wanted it to: no retry of its parent is to run it again."""
    return child.cancel_requested or child.status is Status.TERMINATED


def _left_over(parent: Execution, taken: Execution) -> bool:
    """Whether the id belongs to a child that has ended, of an earlier execution that had the parent's id.

    Ids that are derived from the parent's are those of its children, run after run.
    """
    earlier_run = taken.parent_id == parent.id and taken.parent_row != parent.row
    return _is_exact(parent) and taken.closed and earlier_run


def _inherited_deadline(work: Work, parent: Execution, request: EnqueueChild, *, at_ms: int) -> int | None:
    """The earlier one of its own and its parent's. One that is to outlive its parent has nothing of that."""
    own = deadline_of_new(work, request.max_duration_ms, delay_ms=request.delay_ms, at_ms=at_ms)
    if work.format >= formats.EXACT_REPLAY and request.options.close_policy is ClosePolicy.ABANDON:
        return own
    return min((d for d in (own, lifecycle.deadline_ms(parent)) if d is not None), default=None)


# --- markers and signals


def record_marker(work: Work, execution: Execution, request: RecordMarker, generation: int, *, at_ms: int) -> AnyAnswer:
    before = work.operation(execution.row, OperationKind.MARKER, request.key)
    if before is not None:
        return Value(payload=before.result)
    put_marker(work, execution, request.key, request.value, generation, at_ms=at_ms)
    return Value(payload=request.value)


def send_signal(
    work: Work, execution: Execution, request: SendSignalFromAttempt, generation: int, *, at_ms: int
) -> AnyAnswer:
    """Sends once: to the clients that follow the execution, or into another one's inbox, in this commit."""
    earlier = work.operation(execution.row, OperationKind.SIGNAL_SENT, request.key)
    before = _if_holds(earlier, generation)
    if before is not None:
        return _differs(before, request.digest) or (
            refusal(before) if before.status is OperationStatus.REFUSED else Value()
        )
    told = request.name if request.to is None else f"{request.name} to {request.to}"

    def refuse_it(reason: Reason, message: str) -> Refused:
        return refuse(
            work,
            execution,
            OperationKind.SIGNAL_SENT,
            request.key,
            reason,
            message,
            target=told,
            digest=request.digest,
            generation=generation,
            at_ms=at_ms,
        )

    if request.to is None:
        sent = execution.outbox + 1
        work.put(replace(execution, outbox=sent))
        work.put_outbox(
            Signal(
                execution_row=execution.mailbox_row, seq=sent, name=request.name, payload=request.payload, at_ms=at_ms
            )
        )
        work.emit(SignalSent(execution_id=execution.id))
    else:
        target = work.execution(request.to)
        if target is None:
            return refuse_it(Reason.NOT_FOUND, f"no execution {request.to}")
        delivered = inbox.deliver(
            work,
            target,
            name=request.name,
            payload=request.payload,
            sender=f"execution {execution.id}",
            request_id=None,  # the record of this operation, in the same commit, is what makes it be sent once
            at_ms=at_ms,
        )
        if isinstance(delivered, Rejection):
            return refuse_it(delivered.reason, delivered.message)
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.SIGNAL_SENT,
            key=request.key,
            seq=earlier.seq if earlier else work.next_row(),
            status=OperationStatus.COMPLETED,
            target=told,
            digest=request.digest,
            generation=generation,
            result=request.payload,
            started_ms=at_ms,
            closed_ms=at_ms,
        ),
        before=earlier,
    )
    return Value()


# --- cancels of others


def cancel(work: Work, execution: Execution, request: CancelFromAttempt, generation: int, *, at_ms: int) -> AnyAnswer:
    """As a client's: what has ended stays as it ended. The request and its record are one commit."""
    earlier = work.operation(execution.row, OperationKind.CANCEL, request.key)
    before = _if_holds(earlier, generation)
    if before is not None:
        return _differs(before, request.digest) or _cancel_answer(before)
    target = work.execution(request.execution_id)
    failure = None
    if target is None:
        failure = Failure(type=Reason.NOT_FOUND.value, message=f"no execution {request.execution_id}")
    recorded = work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.CANCEL,
            key=request.key,
            seq=earlier.seq if earlier else work.next_row(),
            status=OperationStatus.COMPLETED if target is not None else OperationStatus.REFUSED,
            target=request.execution_id,
            target_row=None if target is None else target.row,
            digest=request.digest,
            generation=generation,
            failure=failure,
            started_ms=at_ms,
            closed_ms=at_ms,
        ),
        before=earlier,
    )
    if target is not None:
        lifecycle.request_cancel(work, target, reason=request.reason, at_ms=at_ms, again=True)
    return _cancel_answer(recorded)


def _cancel_answer(recorded: Operation) -> AnyAnswer:
    return refusal(recorded) if recorded.status is OperationStatus.REFUSED else Value()
