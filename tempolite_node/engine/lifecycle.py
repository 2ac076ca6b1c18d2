"""The ways of an execution from one status to another, shared by the decisions of every family of commands."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import answers, concurrency, families, formats
from tempolite_node.engine.effects import (
    Abandon,
    AnyAnswer,
    Closed,
    Granted,
    Halted,
    Interrupted,
    RequestCancel,
    Wake,
)
from tempolite_node.engine.markers import put_marker
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    EndedAttempt,
    Execution,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    RetryState,
    Status,
    cancel_again,
    execution_generation,
    prefix_of,
    record_generation,
)
from tempolite_node.engine.placement import emit_ready, placed
from tempolite_node.engine.places import key_of
from tempolite_node.engine.retry import retry_at_ms
from tempolite_node.engine.work import Happened, Reach, Work

# Names of an execution's timers. Those of its operations: see `operation_timer`.
START = "start"  #: delay before the first attempt, or backoff before the next
QUEUE = "queue"  #: queue_timeout
DEADLINE = "deadline"  #: max_duration
ATTEMPT = "attempt"  #: attempt_timeout
HEARTBEAT = "heartbeat"  #: heartbeat_timeout
CLEARING = "clearing"  #: of what a run left behind that was continued as new, or whose journal is deleted


def operation_timer(kind: OperationKind, key: str) -> str:
    return f"{kind}:{key}"


# --- towards a slot


def enqueue_ready(work: Work, execution: Execution, *, at_ms: int, resumes: bool) -> Execution:
    """Puts an execution without a stack into its pool's queue, or into that of its key until its turn comes."""
    status = Status.COMPENSATING if execution.pool is Component.COMPENSATION else Status.QUEUED
    changed = execution if execution.status is status else replace(execution, status=status)
    if execution.concurrency_key is not None and execution.place is None:
        return concurrency.enter(work, replace(changed, due_ms=None), at_ms=at_ms)
    queued = work.put(
        replace(placed(work, changed), attached=False, ready_at=at_ms, resumes=resumes, due_ms=None),
    )
    emit_ready(work, queued)
    return queued


def schedule(work: Work, execution: Execution, *, due_ms: int) -> Execution:
    """Lets an execution without a stack wait, in no queue, for the start of its next attempt."""
    compensating = execution.pool is Component.COMPENSATION
    changed = execution if compensating else replace(execution, status=Status.SCHEDULED)
    work.set_timer(execution.row, START, due_ms)
    return work.put(replace(changed, attached=False, ready_at=None, resumes=False, due_ms=due_ms))


def detach(work: Work, execution: Execution, *, abandon: bool) -> Execution:
    """Takes the right to run from whoever has it: what they still send is stale.

    abandon: tell the worker host; not needed when it gave the attempt up itself.
    """
    if abandon:
        _abandon(work, execution)
    if attempt_timeout_ms(execution) is not None:
        work.clear_timer(execution.row, ATTEMPT)
    if execution.options.heartbeat_timeout_ms is not None:
        work.clear_timer(execution.row, HEARTBEAT)
    return replace(execution, epoch=execution.epoch + 1, attached=False, ready_at=None, resumes=False)


def _abandon(work: Work, execution: Execution) -> None:
    """Tells the worker host that has its stack, if one has."""
    if execution.attached:
        work.emit(Abandon(execution_id=execution.id, epoch=execution.epoch))


def deadline_ms(execution: Execution) -> int | None:
    """When it must be over, with all that it enqueues. What is being undone is undone to the end."""
    return None if execution.pool is Component.COMPENSATION else execution.deadline_ms


def attempt_timeout_ms(execution: Execution) -> int | None:
    """The limit of one attempt in the pool that the execution is in."""
    if execution.pool is Component.COMPENSATION:
        return execution.options.compensation_attempt_timeout_ms
    return execution.options.attempt_timeout_ms


def requeue(work: Work, execution: Execution, *, at_ms: int, failure: Failure) -> None:
    """The attempt's stack is lost without a fault that is known to be its own: the next attempt replays it."""
    record_attempt(work, execution, failure, at_ms=at_ms)
    detached = detach(work, execution, abandon=True)
    enqueue_ready(work, replace(detached, attempt_started_ms=None), at_ms=at_ms, resumes=True)


def suspend(work: Work, execution: Execution, failure: Failure, *, at_ms: int, abandon: bool) -> None:
    """It waits for somebody to do something about it. abandon: as of `detach`."""
    record_attempt(work, execution, failure, at_ms=at_ms)
    detached = detach(work, execution, abandon=abandon)
    suspended = work.put(replace(detached, status=Status.SUSPENDED, failure=failure, attempt_started_ms=None))
    if cancel_due(suspended):
        end_cancelled(work, suspended, at_ms=at_ms)
    else:
        work.emit(Halted(execution_id=suspended.id, execution=suspended, failure=failure))


def resume_suspended(work: Work, execution: Execution, *, at_ms: int) -> None:
    enqueue_ready(work, replace(execution, failure=None), at_ms=at_ms, resumes=True)


# --- the end of an attempt


def record_attempt(work: Work, execution: Execution, failure: Failure, *, at_ms: int) -> None:
    """Keeps what became of the attempt that runs now (of the execution, or of its current compensation)."""
    if execution.pool is Component.COMPENSATION:
        operation = current_compensation(work, execution)
        kind, key, number = OperationKind.COMPENSATION, operation.key, operation.attempt
    else:
        kind, key, number = None, "", execution.attempt
    work.add_attempt(
        EndedAttempt(
            execution_row=execution.row,
            kind=kind,
            key=key,
            number=number,
            failure=failure,
            started_ms=execution.attempt_started_ms or at_ms,
            ended_ms=at_ms,
        )
    )


def fail_attempt(
    work: Work, execution: Execution, failure: Failure, *, at_ms: int, jitter: float, abandon: bool
) -> None:
    """Ends the attempt of a handler or saga in failure: another one follows, or the execution gives up."""
    record_attempt(work, execution, failure, at_ms=at_ms)
    cancel_pending(work, execution, at_ms=at_ms)
    detached = replace(
        detach(work, work.execution_at(execution.row), abandon=abandon),
        attempt_started_ms=None,
        failures=execution.failures + 1,
        generation=execution.generation + 1,
        failure=failure,
        crashes=crashes_after_attempt(execution),
        node_deaths=0,
    )
    if execution.cancel_requested:
        next_attempt: int | RetryState = RetryState.CANCEL_REQUESTED
    else:
        next_attempt = retry_at_ms(
            execution.options.retry,
            failure=failure,
            failures=detached.failures,
            failed_at_ms=at_ms,
            jitter=jitter,
            deadline_ms=execution.deadline_ms,
        )
    if isinstance(next_attempt, int):
        schedule(work, detached, due_ms=next_attempt)
    else:
        ending = Status.TIMED_OUT if failure.type in TIMEOUTS else Status.FAILED
        give_up(work, detached, ending, failure=failure, retry_state=next_attempt, at_ms=at_ms)


def crashes_after_attempt(execution: Execution) -> int:
    """It ended without a crash: what is held against it falls."""
    fewer = execution.format >= formats.EXACT_REPLAY
    return max(0, execution.crashes - 1) if fewer else execution.crashes


#: Failures that a limit brought about: an execution that ends with one is TIMED_OUT.
TIMEOUTS = frozenset({"AttemptTimeout", "HeartbeatTimeout", "QueueTimeout", "MaxDurationExceeded"})


def give_up(
    work: Work,
    execution: Execution,
    ending: Status,
    *,
    failure: Failure | None,
    retry_state: RetryState | None,
    at_ms: int,
) -> None:
    """No attempt follows: a saga undoes its steps, anything else ends."""
    if execution.component is Component.SAGA and (step := next_to_undo(work, execution)) is not None:
        cancel_pending(work, execution, at_ms=at_ms)
        current = detach(work, replace(execution, pending=0), abandon=True)
        # Those of side effects in backoff stay: a compensation may ask for them.
        for timer in (START, QUEUE, DEADLINE):
            work.clear_timer(execution.row, timer)
        undoing = replace(
            current,
            status=Status.COMPENSATING,
            pool=Component.COMPENSATION,
            ending=ending,
            failure=failure,
            retry_state=retry_state,
            attempt_started_ms=None,
            due_ms=None,
        )
        if undoing.has_children and undoing.format >= formats.EXACT_REPLAY:
            work.put(_undoing(work, undoing, step, at_ms=at_ms))
            work.parents.append(Reach(execution.row, Happened.GIVEN_UP))  # and then it begins, or waits for them
        else:
            undo(work, undoing, step, at_ms=at_ms)
    else:
        close(work, execution, ending, failure=failure, retry_state=retry_state, at_ms=at_ms)


# --- compensation


def next_to_undo(work: Work, execution: Execution) -> Operation | None:
    """The last step that has, or may have, taken effect and is not undone yet."""
    done = {op.key for op in work.operations_of_kind(execution.row, OperationKind.COMPENSATION)}
    steps = (step for step in work.operations_of_kind(execution.row, OperationKind.STEP) if step.key not in done)
    took_effect = [
        step for step in steps if step.in_doubt or step.status in (OperationStatus.COMPLETED, OperationStatus.RUNNING)
    ]
    if execution.format < formats.EXACT_REPLAY:
        return max(took_effect, key=lambda step: step.seq, default=None)  # by the order in which they were begun
    return max(took_effect, key=_order_of_end, default=None)


def _order_of_end(step: Operation) -> tuple[bool, int, int]:
    """Smaller first. What still ran when the saga gave up is last."""
    return (step.status is OperationStatus.RUNNING, step.end_seq, step.seq)


def undo(work: Work, execution: Execution, step: Operation, *, at_ms: int) -> None:
    """Queues the compensation of a step."""
    enqueue_ready(work, _undoing(work, execution, step, at_ms=at_ms), at_ms=at_ms, resumes=False)


def _undoing(work: Work, execution: Execution, step: Operation, *, at_ms: int) -> Execution:
    """The saga as one whose step is undone next, with the data that the step had when it was last recorded."""
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=OperationKind.COMPENSATION,
            key=step.key,
            seq=work.next_row(),
            status=OperationStatus.PENDING,
            target=step.target,
            input=step.result if step.result is not None else step.input,
            started_ms=at_ms,
        ),
        before=None,
    )
    return replace(execution, compensating=step.key, crashes=0, node_deaths=0, failures=0, attempt_started_ms=None)


def begin_to_undo(work: Work, saga: Execution, *, at_ms: int) -> None:
    """Of a saga that waited for the end of its children: none of them goes on, perhaps."""
    if families.waits_for_children(work, saga) and not families.has_to_wait(work, saga):
        enqueue_ready(work, saga, at_ms=at_ms, resumes=False)


def undo_next(work: Work, execution: Execution, *, at_ms: int) -> None:
    """After a compensation: the next one, or the end."""
    step = next_to_undo(work, execution)
    if step is not None:
        undo(work, execution, step, at_ms=at_ms)
    else:
        close(
            work,
            execution,
            Status.COMPENSATED,
            failure=execution.failure,
            retry_state=execution.retry_state,
            at_ms=at_ms,
        )


def stick(work: Work, execution: Execution, failure: Failure, *, retry_state: RetryState, at_ms: int) -> None:
    """The compensation is out of retries: the saga waits for an operator."""
    operation = current_compensation(work, execution)
    work.put_operation(
        execution,
        replace(
            operation,
            status=OperationStatus.FAILED,
            failure=failure,
            retry_state=retry_state,
            closed_ms=at_ms,
            due_ms=None,
        ),
        before=operation,
    )
    stuck = work.put(replace(execution, status=Status.STUCK, ready_at=None, due_ms=None, attempt_started_ms=None))
    work.emit(Halted(execution_id=stuck.id, execution=stuck, failure=failure))


def current_compensation(work: Work, execution: Execution) -> Operation:
    assert execution.compensating is not None, f"{execution.id} undoes no step"
    operation = work.operation(execution.row, OperationKind.COMPENSATION, execution.compensating)
    assert operation is not None, f"{execution.id}: no compensation {execution.compensating}"
    return operation


# --- the end


def close(
    work: Work,
    execution: Execution,
    status: Status,
    *,
    at_ms: int,
    result: bytes | None = None,
    failure: Failure | None = None,
    retry_state: RetryState | None = None,
    abandon: bool = True,
) -> None:
    """Ends an execution for good, wakes those who wait for it, and does to its children what their policy says."""
    if execution.pending:
        cancel_pending(work, execution, at_ms=at_ms)
    if abandon:
        _abandon(work, execution)
    work.clear_timers(execution.row)
    closed = work.put(
        replace(
            execution,
            status=status,
            epoch=execution.epoch + 1,
            attached=False,
            ready_at=None,
            resumes=False,
            pending=0,
            place=None,
            attempt_started_ms=None,
            due_ms=None,
            closed_ms=at_ms,
            result=result,
            failure=failure,
            retry_state=retry_state,
        )
    )
    work.emit(Closed(execution_id=closed.id, execution=closed))
    if execution.place is not None:
        concurrency.leave(work, key_of(closed), at_ms=at_ms)
    if closed.waiters:
        answer_waiters(work, closed, at_ms=at_ms)
    if closed.cancel_requested and closed.parent_row is not None:
        begin_to_undo(work, work.execution_at(closed.parent_row), at_ms=at_ms)
    reach_children_of(work, closed)


def reach_children_of(work: Work, closed: Execution) -> None:
    """Its children get to know, once this command is decided, that it has ended."""
    if closed.has_children:
        happened = Happened.TERMINATED if closed.status is Status.TERMINATED else Happened.ENDED
        work.parents.append(Reach(closed.row, happened, closed.reason))


def answer_waiters(work: Work, closed: Execution, *, at_ms: int) -> None:
    answer = answers.ended(closed)
    for wait in work.waiters(closed.row):
        end_wait(work, wait, wait_status(closed), answer, at_ms=at_ms)


def wait_status(closed: Execution) -> OperationStatus:
    """What a wait for an execution comes to."""
    return OperationStatus.COMPLETED if closed.status is Status.COMPLETED else OperationStatus.FAILED


def terminate(work: Work, execution: Execution, *, reason: str, at_ms: int) -> None:
    """Ends an execution at once, none of its code running. Its children follow: see `reach_children`."""
    if execution.closed:
        return
    failure = Failure(type="Terminated", message=reason, non_retryable=True)
    close(work, replace(execution, reason=reason), Status.TERMINATED, failure=failure, at_ms=at_ms)


def reach_children(work: Work, *, at_ms: int) -> None:
    """Does to the children of those that this command ended or cancelled what their policies say.

    One after another, and not from within the end of their parents: children have children, and a family may be deeper
    than Python's stack.
    """
    while work.parents:
        row, happened, reason = work.parents.popleft()
        parent = work.execution_at(row)
        for child in work.open_children(row):
            # Read again: it may have waited for the one before it.
            _reach_child(work, parent, work.execution_at(child.row), happened, reason, at_ms=at_ms)
        if happened is Happened.GIVEN_UP:
            begin_to_undo(work, work.execution_at(row), at_ms=at_ms)
        if happened is Happened.TERMINATED and work.format >= formats.EXACT_REPLAY:
            for child in work.ended_children_with_children(row):
                reached = child.status is Status.TERMINATED  # as it was, or by this command: so were those below it
                if not reached and child.options.close_policy is not ClosePolicy.ABANDON:
                    work.parents.append(Reach(child.row, happened, reason))


def _reach_child(
    work: Work, parent: Execution, child: Execution, happened: Happened, reason: str, *, at_ms: int
) -> None:
    match happened, child.options.close_policy:
        case Happened.TERMINATED, ClosePolicy.TERMINATE | ClosePolicy.REQUEST_CANCEL | None:
            terminate(work, child, reason=reason, at_ms=at_ms)
        case Happened.ENDED, ClosePolicy.TERMINATE:
            terminate(work, child, reason=f"its parent {parent.id} ended", at_ms=at_ms)
        case Happened.ENDED, ClosePolicy.REQUEST_CANCEL:
            request_cancel(work, child, reason=f"its parent {parent.id} ended", at_ms=at_ms)
        case Happened.CANCEL_REQUESTED, _ if families.is_cancelled_with(parent, child):
            request_cancel(work, child, reason=f"its parent {parent.id} was cancelled", at_ms=at_ms)
        case Happened.GIVEN_UP, ClosePolicy.TERMINATE:
            terminate(work, child, reason=f"its parent {parent.id} is undone", at_ms=at_ms)
        case Happened.GIVEN_UP, _ if families.is_cancelled_with(parent, child):
            request_cancel(work, child, reason=f"its parent {parent.id} is undone", at_ms=at_ms)


# --- waits


def cancel_pending(work: Work, execution: Execution, *, at_ms: int) -> None:
    """Ends the waits of an execution whose attempt is over."""
    if not execution.pending:
        return
    for wait in work.pending(execution.row):
        close_wait(work, execution, wait, OperationStatus.CANCELLED, at_ms=at_ms)
    work.put(replace(work.execution_at(execution.row), pending=0))


def leave(work: Work, execution: Execution, kind: OperationKind, key: str, *, at_ms: int) -> Execution:
    """Ends the waits that the code of an operation began, and gave up when the operation was over."""
    if not execution.pending:
        return execution
    inside = [wait for wait in work.pending(execution.row) if wait.key.startswith(prefix_of(kind, key))]
    for wait in inside:
        close_wait(work, execution, wait, OperationStatus.CANCELLED, at_ms=at_ms)
    left = replace(work.execution_at(execution.row), pending=execution.pending - len(inside))
    goes_on = left.status is Status.WAITING and not left.pending
    return work.put(replace(left, status=Status.RUNNING) if goes_on else left)


def end_wait(
    work: Work,
    wait: Operation,
    status: OperationStatus,
    answer: AnyAnswer,
    *,
    at_ms: int,
    result: bytes | None = None,
) -> None:
    """A pending wait is over: its execution goes on."""
    execution = work.execution_at(wait.execution_row)
    over = close_wait(work, execution, wait, status, at_ms=at_ms, result=result)
    waiting = replace(execution, pending=execution.pending - 1)
    if not execution.attached:
        work.put(waiting)
        resume_unwound(work, waiting, at_ms=at_ms)
        return
    if waiting.status is Status.WAITING and waiting.pending == 0:
        waiting = replace(waiting, status=Status.RUNNING)
    work.put(waiting)
    work.emit(
        Wake(
            execution_id=execution.id,
            epoch=execution.epoch,
            kind=wait.kind,
            key=wait.key,
            answer=answer,
            end_seq=over.end_seq,
            at_ms=at_ms,
        )
    )


def resume_unwound(work: Work, execution: Execution, *, at_ms: int) -> None:
    """Queues an execution without a stack if that is what it waited for: it is neither queued nor in backoff."""
    unwound_compensation = (
        execution.status is Status.COMPENSATING
        and execution.ready_at is None
        and execution.due_ms is None
        and not families.waits_for_children(work, execution)
    )
    if execution.status is Status.WAITING or unwound_compensation:
        enqueue_ready(work, execution, at_ms=at_ms, resumes=True)


def in_backoff(work: Work, execution: Execution) -> Operation | None:
    """The first of its side effects that waits for its next attempt."""
    return next(iter(work.in_backoff(execution.row)), None)


def end_backoff(work: Work, execution: Execution, side_effect: Operation, *, at_ms: int) -> None:
    """The side effect's next attempt is due. Without a stack, replay asks for it again and finds that it is."""
    work.put_operation(execution, replace(side_effect, due_ms=None), before=side_effect)
    if not execution.attached:
        resume_unwound(work, execution, at_ms=at_ms)
        return
    answer = Granted(attempt=side_effect.attempt + 1)
    work.emit(
        Wake(
            execution_id=execution.id,
            epoch=execution.epoch,
            kind=side_effect.kind,
            key=side_effect.key,
            answer=answer,
        )
    )


def end_time(work: Work, execution: Execution, side_effect: Operation, *, at_ms: int) -> None:
    """The time of a side effect is up. Its stack was given up: replay asks for it again, and finds that.

    One that has a stack again watches over its time itself.
    """
    work.put_operation(execution, replace(side_effect, due_ms=None), before=side_effect)
    if not execution.attached and execution_generation(side_effect.generation) == execution.generation:
        resume_unwound(work, execution, at_ms=at_ms)


def close_wait(
    work: Work,
    execution: Execution,
    wait: Operation,
    status: OperationStatus,
    *,
    at_ms: int,
    result: bytes | None = None,
) -> Operation:
    if wait.due_ms is not None:
        work.clear_timer(wait.execution_row, operation_timer(wait.kind, wait.key))
    over = replace(wait, status=status, closed_ms=at_ms, due_ms=None, result=result)
    if wait.kind is OperationKind.WAIT and wait.target_row is not None:
        target = work.execution_at(wait.target_row)
        work.put(replace(target, waiters=target.waiters - 1))
        if status in answers.ANSWERED:
            over = replace(over, result=answers.answer_to_record(work, execution, target))
    return work.put_operation(execution, over, before=wait)


# --- cancel


def request_cancel(work: Work, execution: Execution, *, reason: str, at_ms: int, again: bool = False) -> None:
    """Records the request and lets the execution see it as soon as its state allows.

    again: somebody asks for it. When it was raised before, it is raised again, with the reason that it had: replay
        tells but one. What merely follows from its parent leaves it to its cleaning up.
    """
    if execution.closed:
        return
    place: Operation | None = None
    if not execution.cancel_requested:
        requested = replace(execution, cancel_requested=True, reason=reason)
        if execution.format >= formats.EXACT_REPLAY:
            requested = replace(requested, cancel_seq=work.next_row(), cancelled_ms=at_ms)
        work.put(requested)
    elif not (again and execution.cancel_delivered and execution.format >= formats.EXACT_REPLAY):
        return
    elif takes_cancel_in_order(work, execution):
        key, generation = cancel_again(cancels_of(work, execution) + 1), record_generation(execution.generation, 0)
        requested, place = execution, put_marker(work, execution, key, b"true", generation, at_ms=at_ms)
    else:
        requested = work.put(replace(execution, cancel_delivered=False))
    if requested.pool is Component.COMPENSATION:
        return  # what is being undone is undone to the end, with the help of children too
    if requested.has_children:
        work.parents.append(Reach(requested.row, Happened.CANCEL_REQUESTED))
    _show_cancel(work, requested, place, at_ms=at_ms)


def cancels_of(work: Work, execution: Execution) -> int:
    """Cancels of an execution whose code takes them in their order."""
    if not execution.cancel_requested:
        return 0
    number = 1
    while work.operation(execution.row, OperationKind.MARKER, cancel_again(number + 1)) is not None:
        number += 1
    return number


def missed_cancel(work: Work, execution: Execution, released: int) -> bool:
    """Whether a cancel was on its way to the code, when so many had reached it."""
    if cancel_due(execution):
        return True
    in_order = execution.cancel_requested and takes_cancel_in_order(work, execution)
    return in_order and released < cancels_of(work, execution)


def cancel_due(execution: Execution) -> bool:
    """Whether a cancel was requested that it has not seen."""
    undoing = execution.pool is Component.COMPENSATION
    return execution.cancel_requested and not execution.cancel_delivered and not undoing


def takes_cancel_in_order(work: Work, execution: Execution) -> bool:
    """Whether its code meets the cancel at its place among the answers, and not at one of its operations."""
    exact = execution.format >= formats.EXACT_REPLAY and execution.pool is not Component.COMPENSATION
    return exact and is_stepped(work, execution)


def is_stepped(work: Work, execution: Execution) -> bool:
    """Whether its handler's code runs on a loop that is stepped, where its owner runs it; see `ServedHandler`."""
    owner = work.node(execution.owner)
    return owner is not None and owner.serves(execution.handler) and owner.served(execution.handler).stepped


def _show_cancel_in_order(work: Work, execution: Execution, again: Operation | None, *, at_ms: int) -> None:
    """The cancel has its place. What waits is not interrupted: what becomes of each wait is for the code to say.

    again: the place of one after the first.
    """
    shown = work.put(replace(execution, cancel_delivered=True))
    if shown.attached:
        work.emit(_request_cancel(shown, again))
    elif shown.status is Status.WAITING:
        resume_unwound(work, shown, at_ms=at_ms)


def _request_cancel(execution: Execution, again: Operation | None = None) -> RequestCancel:
    return RequestCancel(
        execution_id=execution.id,
        epoch=execution.epoch,
        reason=execution.reason,
        cancel_seq=(execution.cancel_seq or 0) if again is None else again.end_seq,
        at_ms=(execution.cancelled_ms if again is None else again.closed_ms) or 0,
    )


def _show_cancel(work: Work, execution: Execution, again: Operation | None, *, at_ms: int) -> None:
    has_code = execution.attached or execution.resumes or execution.status is Status.WAITING
    if has_code and takes_cancel_in_order(work, execution):
        _show_cancel_in_order(work, execution, again, at_ms=at_ms)
        return
    if execution.attached:
        work.emit(_request_cancel(execution))
    waits = execution.status is Status.WAITING
    if execution.pending and waits and (first := _to_interrupt(work.pending(execution.row))) is not None:
        work.put(replace(execution, cancel_delivered=True))
        end_wait(work, first, OperationStatus.CANCELLED, Interrupted(reason=execution.reason), at_ms=at_ms)
    elif waits and not execution.attached:
        resume_unwound(work, execution, at_ms=at_ms)  # replay shows it to the code, which waits for something else
    elif not (execution.attached or execution.resumes):
        end_cancelled(work, execution, at_ms=at_ms)
    elif execution.attached and (side_effect := _to_interrupt(work.in_backoff(execution.row))) is not None:
        work.clear_timer(execution.row, operation_timer(side_effect.kind, side_effect.key))
        end_backoff(work, execution, side_effect, at_ms=at_ms)  # its next attempt meets the cancel


def _to_interrupt(waits: list[Operation]) -> Operation | None:
    """The one that the code is in, if it is in any; what goes on beside it is left alone."""
    return next((wait for wait in waits if not wait.beside), None)


def end_cancelled(work: Work, execution: Execution, *, at_ms: int) -> None:
    """Ends an execution that none of its own code can tell of its cancel."""
    failure = Failure(type="Cancelled", message=execution.reason, non_retryable=True)
    give_up(work, execution, Status.CANCELLED, failure=failure, retry_state=None, at_ms=at_ms)
