"""Operations that may last: waits for executions, signals and timers, and the cancel that interrupts them."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import answers, inbox, lifecycle
from tempolite_node.engine.commands import DeliverCancel, GiveUp, ReceiveSignal, SetSignalAside, Sleep, WaitForExecution
from tempolite_node.engine.decide.operations import recorded, refusal, refuse, refused
from tempolite_node.engine.effects import AnyAnswer, Interrupted, Reason, Refused, SignalSetAside, TimedOut, Value
from tempolite_node.engine.families import way_back
from tempolite_node.engine.markers import put_marker
from tempolite_node.engine.model import CANCEL_MARKER, Execution, Operation, OperationKind, OperationStatus, Status
from tempolite_node.engine.times import later
from tempolite_node.engine.work import Work


def _begin(
    work: Work,
    execution: Execution,
    kind: OperationKind,
    key: str,
    *,
    generation: int,
    target: str,
    target_row: int | None = None,
    due_ms: int | None,
    beside: bool,
    started_ms: int | None = None,
    at_ms: int,
) -> Interrupted | None:
    """Records a wait that is not over: the execution holds no slot from here on.

    started_ms: of a wait that is open again; None: it begins now.

    A cancel that its code has not seen interrupts it at once, unless the code goes on beside it. The request to wait,
    and the word of the cancel, may have crossed on their ways.
    """
    if lifecycle.cancel_due(execution) and not beside:
        _over_at_once(
            work,
            execution,
            kind,
            key,
            generation=generation,
            status=OperationStatus.CANCELLED,
            target=target,
            target_row=target_row,
            at_ms=at_ms,
        )
        return _interrupt(work, execution)
    if target_row is not None:
        waited_for = work.execution_at(target_row)
        work.put(replace(waited_for, waiters=waited_for.waiters + 1))
    before = work.operation(execution.row, kind, key)
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=kind,
            key=key,
            seq=before.seq if before else work.next_row(),
            status=OperationStatus.PENDING,
            target=target,
            target_row=target_row,
            generation=generation,
            started_ms=at_ms if started_ms is None else started_ms,
            due_ms=due_ms,
            beside=beside,
        ),
        before=before,
    )
    if due_ms is not None:
        work.set_timer(execution.row, lifecycle.operation_timer(kind, key), due_ms)
    _wait(work, replace(execution, pending=execution.pending + 1))
    return None


def _interrupt(work: Work, execution: Execution) -> Interrupted:
    work.put(replace(execution, cancel_delivered=True))
    return Interrupted(reason=execution.reason)


def _wait(work: Work, execution: Execution) -> None:
    """A compensation that waits goes on being COMPENSATING."""
    work.put(replace(execution, status=Status.WAITING) if execution.status is Status.RUNNING else execution)


def _over_at_once(
    work: Work,
    execution: Execution,
    kind: OperationKind,
    key: str,
    *,
    generation: int,
    status: OperationStatus,
    target: str,
    target_row: int | None = None,
    result: bytes | None = None,
    signal_seq: int | None = None,
    beside: bool = False,
    started_ms: int | None = None,
    at_ms: int,
) -> None:
    before = work.operation(execution.row, kind, key)
    work.put_operation(
        execution,
        Operation(
            execution_row=execution.row,
            kind=kind,
            key=key,
            seq=before.seq if before else work.next_row(),
            status=status,
            target=target,
            target_row=target_row,
            generation=generation,
            result=result,
            signal_seq=signal_seq,
            beside=beside,
            started_ms=at_ms if started_ms is None else started_ms,
            closed_ms=at_ms,
        ),
        before=before,
    )


def _due(at_ms: int, timeout_ms: int | None) -> int | None:
    return None if timeout_ms is None else later(at_ms, timeout_ms)


def wait_for_execution(
    work: Work, execution: Execution, request: WaitForExecution, generation: int, *, at_ms: int
) -> AnyAnswer | None:
    before = recorded(work, execution, OperationKind.WAIT, request.key, generation)
    if before is not None and before.target != request.execution_id:
        message = f"wait {request.key} is recorded for execution {before.target}"
        return refused(Reason.NON_DETERMINISM, message)
    if before is not None:
        return _ask_again(work, execution, before, at_ms=at_ms)

    def refuse_it(reason: Reason, message: str) -> Refused:
        return refuse(
            work,
            execution,
            OperationKind.WAIT,
            request.key,
            reason,
            message,
            target=request.execution_id,
            generation=generation,
            at_ms=at_ms,
        )

    target = work.execution(request.execution_id)
    if target is None:
        return refuse_it(Reason.NOT_FOUND, f"no execution {request.execution_id}")
    target = work.last_run(target)
    if target.status is Status.CONTINUED_AS_NEW:
        return refuse_it(Reason.NOT_FOUND, f"what execution {request.execution_id} went on as was deleted")
    if target.closed:
        status = lifecycle.wait_status(target)
        _over_at_once(
            work,
            execution,
            OperationKind.WAIT,
            request.key,
            generation=generation,
            status=status,
            target=request.execution_id,
            target_row=target.row,
            result=answers.answer_to_record(work, execution, target),
            at_ms=at_ms,
        )
        return answers.ended(target)
    cycle = way_back(work, execution, target)
    if cycle is not None:
        return refuse_it(Reason.WAIT_CYCLE, f"the wait would never end: {' waits for '.join(cycle)}")
    if target.parent_row == execution.row and not target.awaited:
        work.put(replace(target, awaited=True))
    return _begin(
        work,
        execution,
        OperationKind.WAIT,
        request.key,
        generation=generation,
        target=request.execution_id,
        target_row=target.row,
        due_ms=_due(at_ms, request.timeout_ms),
        beside=request.beside,
        at_ms=at_ms,
    )


def _ask_again(work: Work, execution: Execution, wait: Operation, *, at_ms: int) -> AnyAnswer | None:
    """The same wait asked for once more, after the stack was lost: it goes on, or tells what it came to.

    If it is over, that came about after the journal was read, and nobody has had the answer. Others may have had theirs
    meanwhile: this one takes its place behind them.
    """
    if not wait.is_wait:
        work.put_at_end(wait, at_ms=at_ms)
    match wait.status:
        case OperationStatus.PENDING if lifecycle.cancel_due(execution) and not wait.beside:
            lifecycle.close_wait(work, execution, wait, OperationStatus.CANCELLED, at_ms=at_ms)
            return _interrupt(work, replace(execution, pending=execution.pending - 1))
        case OperationStatus.PENDING:
            _wait(work, execution)
            return None
        case OperationStatus.TIMED_OUT:
            return TimedOut()
        case OperationStatus.CANCELLED:
            return Interrupted(reason=execution.reason)
        case OperationStatus.REFUSED:
            return refusal(wait)
        case _ if wait.target_row is not None:
            # By its row: its id may be another execution's by now.
            return answers.recorded_answer(wait) or answers.ended(work.execution_at(wait.target_row))
        case _:
            return Value(payload=wait.result)


def receive_signal(
    work: Work, execution: Execution, request: ReceiveSignal, generation: int, *, at_ms: int
) -> AnyAnswer | None:
    before = recorded(work, execution, OperationKind.SIGNAL, request.key, generation)
    if before is not None:
        if before.target != request.name:
            message = f"signal {request.key} is recorded for the name {before.target}"
            return refused(Reason.NON_DETERMINISM, message)
        return _ask_again(work, execution, before, at_ms=at_ms)
    return _take_or_wait(
        work,
        execution,
        request.key,
        request.name,
        generation=generation,
        due_ms=_due(at_ms, request.timeout_ms),
        beside=request.beside,
        at_ms=at_ms,
    )


def set_signal_aside(
    work: Work, execution: Execution, request: SetSignalAside, generation: int, *, at_ms: int
) -> AnyAnswer | None:
    """The signal leaves the line, and the wait takes the next one, or is open again until its timeout: in one commit.

    Refused where the code may have read it before, and went on with what it read. Then it is the code that has changed.
    """
    wait = work.operation(execution.row, OperationKind.SIGNAL, request.key)
    if wait is None or wait.status is not OperationStatus.COMPLETED or wait.target != request.name:
        return refused(Reason.WRONG_STATE, f"signal {request.key} has taken none")
    if wait.signal_seq is None or work.format < 2:
        return refused(Reason.WRONG_STATE, f"signal {request.key} was recorded before signals could be set aside")
    if request.replayed and _went_on_after(work, wait):
        return refused(Reason.WRONG_STATE, f"signal {request.key} was read before")
    aside = inbox.give_back(work, wait, set_aside=request.error)
    work.emit(SignalSetAside(execution_id=execution.id, execution=execution, signal=aside))
    return _take_or_wait(
        work,
        work.execution_at(execution.row),
        request.key,
        request.name,
        generation=generation,
        due_ms=_due(wait.started_ms, request.timeout_ms),
        beside=wait.beside,
        started_ms=wait.started_ms,
        at_ms=at_ms,
    )


def _went_on_after(work: Work, wait: Operation) -> bool:
    """Whether the execution has recorded anything since the wait was over."""
    assert wait.closed_ms is not None, f"signal {wait.key} is not over"
    recorded = (op for kind in OperationKind for op in work.operations_of_kind(wait.execution_row, kind))
    return any(op.started_ms > wait.closed_ms for op in recorded)


def _take_or_wait(
    work: Work,
    execution: Execution,
    key: str,
    name: str,
    *,
    generation: int,
    due_ms: int | None,
    beside: bool,
    started_ms: int | None = None,
    at_ms: int,
) -> AnyAnswer | None:
    """Takes the signal that is next in line, or waits for one until it is due."""
    waiting = work.next_signal(execution.mailbox_row, name) if execution.inbox > execution.consumed else None
    if waiting is not None:
        _over_at_once(
            work,
            execution,
            OperationKind.SIGNAL,
            key,
            generation=generation,
            status=OperationStatus.COMPLETED,
            target=name,
            result=waiting.payload,
            signal_seq=inbox.consume(work, execution, waiting),
            beside=beside,
            started_ms=started_ms,
            at_ms=at_ms,
        )
        return Value(payload=waiting.payload)
    if due_ms is not None and due_ms <= at_ms:
        _over_at_once(
            work,
            execution,
            OperationKind.SIGNAL,
            key,
            generation=generation,
            status=OperationStatus.TIMED_OUT,
            target=name,
            started_ms=started_ms,
            at_ms=at_ms,
        )
        return TimedOut()
    return _begin(
        work,
        execution,
        OperationKind.SIGNAL,
        key,
        generation=generation,
        target=name,
        due_ms=due_ms,
        beside=beside,
        started_ms=started_ms,
        at_ms=at_ms,
    )


def sleep(work: Work, execution: Execution, request: Sleep, generation: int, *, at_ms: int) -> AnyAnswer | None:
    before = recorded(work, execution, OperationKind.TIMER, request.key, generation)
    if before is not None:
        return _ask_again(work, execution, before, at_ms=at_ms)
    return _begin(
        work,
        execution,
        OperationKind.TIMER,
        request.key,
        generation=generation,
        target="",
        due_ms=later(at_ms, request.duration_ms),
        beside=request.beside,
        at_ms=at_ms,
    )


def give_up(work: Work, execution: Execution, request: GiveUp, *, at_ms: int) -> Value:
    """The code does not want the wait any more: it takes nothing from here on, and what it took, others may have."""
    wait = work.operation(execution.row, request.kind, request.key)
    if wait is None or wait.status in (OperationStatus.GIVEN_UP, OperationStatus.REFUSED):
        return Value()
    if wait.is_wait:
        lifecycle.close_wait(work, execution, wait, OperationStatus.GIVEN_UP, at_ms=at_ms)
        left = replace(work.execution_at(execution.row), pending=execution.pending - 1)
        goes_on = left.status is Status.WAITING and not left.pending
        work.put(replace(left, status=Status.RUNNING) if goes_on else left)
        return Value()
    given_up = replace(wait, status=OperationStatus.GIVEN_UP, closed_ms=at_ms, result=None, signal_seq=None)
    work.put_operation(execution, given_up, before=wait)
    if wait.signal_seq is not None:
        inbox.offer(work, wait.execution_row, inbox.give_back(work, wait, set_aside=None), at_ms=at_ms)
    return Value()


def deliver_cancel(
    work: Work, execution: Execution, request: DeliverCancel, generation: int, *, at_ms: int
) -> AnyAnswer:
    """The cancel is raised at the operation that the key names; if that is a wait begun before, it is over."""
    if not lifecycle.cancel_due(execution):
        return refused(Reason.WRONG_STATE, f"execution {execution.id} has no cancel to deliver")
    pending = execution.pending
    for wait in work.pending(execution.row) if pending else ():
        if lifecycle.operation_timer(wait.kind, wait.key) == request.key:
            lifecycle.close_wait(work, execution, wait, OperationStatus.CANCELLED, at_ms=at_ms)
            pending -= 1
    marker = CANCEL_MARKER + request.key
    if work.operation(execution.row, OperationKind.MARKER, marker) is None:
        put_marker(work, execution, marker, b"true", generation, at_ms=at_ms)
    work.put(replace(execution, cancel_delivered=True, pending=pending))
    return Value()
