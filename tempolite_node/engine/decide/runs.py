"""How a run ends and the next one begins under the same id, in one commit. See docs/design/continue-as-new.md."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import formats, inbox, lifecycle
from tempolite_node.engine.commands import ContinueAsNew
from tempolite_node.engine.decide.clients import take_id
from tempolite_node.engine.decide.operations import refused
from tempolite_node.engine.effects import AnyAnswer, Interrupted, Reason, Value
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    Execution,
    OperationKind,
    OperationStatus,
    Status,
)
from tempolite_node.engine.placement import emit_ready, placed
from tempolite_node.engine.work import Clearing, Work


def continue_as_new(work: Work, execution: Execution, request: ContinueAsNew, *, at_ms: int) -> AnyAnswer:
    """Refused while a saga has something to undo: the next run knows nothing of its steps.

    Interrupted by a cancel that the code has not seen: it may be what the code would end for. Nothing is changed then.
    """
    if execution.format < formats.EXACT_REPLAY or execution.pool is Component.COMPENSATION:
        return refused(Reason.WRONG_STATE, f"execution {execution.id} can't be continued as new")
    if execution.component is Component.SAGA and (step := lifecycle.next_to_undo(work, execution)) is not None:
        message = f"the saga has steps to undo, {step.key} the last of them: the next run would not know of them"
        return refused(Reason.WRONG_STATE, message)
    if lifecycle.missed_cancel(work, execution, request.cancels):
        return Interrupted(reason=execution.reason)
    _give_back_unseen(work, execution, request)
    ended = _end(work, work.execution_at(execution.row), at_ms=at_ms)
    begun = _begin(work, execution, ended, request.arguments, at_ms=at_ms)
    for wait in work.waiters(ended.row):
        work.put_operation(work.execution_at(wait.execution_row), replace(wait, target_row=begun.row), before=wait)
    if ended.cancel_requested and ended.parent_row is not None and work.format >= formats.CONTINUED_CHILDREN:
        lifecycle.begin_to_undo(work, work.execution_at(ended.parent_row), at_ms=at_ms)
    return Value()


def _give_back_unseen(work: Work, execution: Execution, request: ContinueAsNew) -> None:
    for kind, key in request.waits:
        wait = work.operation(execution.row, kind, key) if kind is OperationKind.SIGNAL else None
        if wait is not None and wait.status is OperationStatus.COMPLETED and wait.signal_seq is not None:
            inbox.give_back(work, wait, set_aside=None)


def _end(work: Work, execution: Execution, *, at_ms: int) -> Execution:
    """Its place, its mailbox and who waits for it are the next run's; nobody is told of an end."""
    lifecycle.cancel_pending(work, execution, at_ms=at_ms)
    detached = lifecycle.detach(work, work.execution_at(execution.row), abandon=False)
    work.clear_timers(execution.row)
    work.set_timer(execution.row, lifecycle.CLEARING, at_ms)
    ended = work.put(
        replace(
            detached,
            status=Status.CONTINUED_AS_NEW,
            place=None,
            attempt_started_ms=None,
            due_ms=None,
            closed_ms=at_ms,
            waiters=0,
        )
    )
    lifecycle.reach_children_of(work, ended)
    return take_id(work, ended)


def _begin(work: Work, execution: Execution, ended: Execution, arguments: bytes, *, at_ms: int) -> Execution:
    """execution: as it was before its end."""
    deadline_ms = _deadline(work, execution, at_ms=at_ms)
    begun = Execution(
        id=execution.id,
        row=work.next_row(),
        handler=execution.handler,
        component=execution.component,
        status=Status.QUEUED,
        owner=placed(work, ended).owner,
        created_ms=at_ms,
        arguments=arguments,
        options=execution.options,
        parent_row=execution.parent_row,
        parent_id=execution.parent_id,
        priority=execution.priority,
        epoch=ended.epoch,
        pool=execution.component,
        ready_at=at_ms,
        max_duration_ms=execution.max_duration_ms,
        deadline_ms=deadline_ms,
        waiters=execution.waiters,
        awaited=execution.awaited,
        inbox=ended.inbox,
        consumed=ended.consumed,
        outbox=ended.outbox,
        concurrency_key=execution.concurrency_key,
        place=execution.place,
        format=work.format,
        run=execution.run + 1,
        previous=execution.row,
        mailbox=execution.mailbox_row,
    )
    work.create(begun)
    emit_ready(work, begun)
    if begun.options.queue_timeout_ms is not None:
        work.set_timer(begun.row, lifecycle.QUEUE, at_ms + begun.options.queue_timeout_ms)
    if deadline_ms is not None:
        work.set_timer(begun.row, lifecycle.DEADLINE, deadline_ms)
    return begun


def _deadline(work: Work, execution: Execution, *, at_ms: int) -> int | None:
    """By its own max_duration, which begins anew, and by that of its parent, which goes on."""
    own = None if execution.max_duration_ms is None else at_ms + execution.max_duration_ms
    if execution.parent_row is None or execution.options.close_policy is ClosePolicy.ABANDON:
        return own
    inherited = lifecycle.deadline_ms(work.execution_at(execution.parent_row))
    return min((deadline for deadline in (own, inherited) if deadline is not None), default=None)


def clear(work: Work, ended: Execution, *, due_ms: int) -> None:
    """Removes a bounded part of what a run has left behind that was continued as new, or deleted, and
    sets a timer for the next part.

    Of the first that is its journal, and the signals of the runs before it: its own stay, for whoever sends one of them
    again. Of the second it is all.
    """
    clearing = Clearing(ended.row, ended.mailbox_row)
    previous = None if ended.mailbox is None or ended.previous is None else work.kept_at(ended.previous)
    if ended.journal_deleted_ms is not None and ended.mailbox is None and work.last_run(ended).closed:
        clearing = Clearing(ended.row, ended.row, inbox=ended.inbox, outbox=ended.outbox, whole=True)
    elif ended.mailbox is not None and previous is not None:
        clearing = Clearing(ended.row, ended.mailbox, previous.row, previous.inbox, previous.outbox)
    work.clearings.append(clearing)
    work.set_timer(ended.row, lifecycle.CLEARING, due_ms)
