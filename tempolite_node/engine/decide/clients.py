"""What clients and operators ask for."""

from __future__ import annotations

from collections import Counter
from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from tempolite_node.engine import concurrency, formats, inbox, lifecycle
from tempolite_node.engine.commands import (
    Cancel,
    Enqueue,
    EnqueueBatch,
    IdConflict,
    IdReuse,
    Resolution,
    ResolveCompensation,
    Resume,
    SendSignal,
    Terminate,
)
from tempolite_node.engine.effects import Accepted, Enqueued, EnqueuedBatch, Reason, Rejection, SignalStored
from tempolite_node.engine.kept_arguments import same_arguments
from tempolite_node.engine.markers import put_marker
from tempolite_node.engine.model import (
    ALONE_AFTER,
    KEPT_SEPARATOR,
    Component,
    Execution,
    NodeState,
    OperationKind,
    OperationStatus,
    Options,
    Status,
)
from tempolite_node.engine.placement import emit_ready, owner_of_new
from tempolite_node.engine.work import Work

_RESOLVED_MARKER = "resolved@"  #: before the id of the request


def enqueue(work: Work, command: Enqueue) -> Enqueued | Rejection:
    existing = work.execution(command.execution_id)
    found = _look(work, command, existing)
    return _create(work, command, existing, found) if isinstance(found, NodeState) else found


def enqueue_batch(work: Work, command: EnqueueBatch) -> EnqueuedBatch | Rejection:
    """All or none: each is looked at before the first is made."""
    found: dict[str, Enqueued | None] = {}
    ahead: Counter[Component] = Counter()
    for each in command.commands:
        if each.execution_id in found:
            return Rejection(Reason.ALREADY_EXISTS, f"the batch has the id {each.execution_id} twice")
        there = _look(work, each, work.execution(each.execution_id), ahead=ahead[each.component])
        if isinstance(there, Rejection):
            return there
        found[each.execution_id] = there if isinstance(there, Enqueued) else None
        ahead[each.component] += isinstance(there, NodeState) and _joins_queue(work, each)
    enqueued = [found[each.execution_id] or _create_of_batch(work, each) for each in command.commands]
    return EnqueuedBatch(enqueued=tuple(enqueued))


def _create_of_batch(work: Work, command: Enqueue) -> Enqueued:
    # Placed anew: those of the batch that were made before it are load too.
    owner = owner_of_new(work, command.handler, command.component, waits=command.concurrency_key is not None)
    assert owner is not None, f"{command.handler} was served a moment ago"
    return _create(work, command, work.execution(command.execution_id), owner)


def _look(
    work: Work, command: Enqueue, existing: Execution | None, *, ahead: int = 0
) -> Enqueued | Rejection | NodeState:
    """The execution that is there already, or why there can be none, or the node that is to run a new one.

    existing: the one that has the id.
    ahead: executions of the same batch that will be in the queue by then.
    """
    if existing is not None:
        made = None if command.request_id is None else _made_by(work, existing, command.request_id)
        if made is not None:
            return _repeated(work, made, command)
        kept = _resolve_conflict(work, existing, command)
        if kept is not None:
            return kept
    owner = owner_of_new(work, command.handler, command.component, waits=command.concurrency_key is not None)
    if owner is None:
        return Rejection(Reason.NOT_FOUND, f"no node serves handler {command.handler!r}")
    limit = owner.served(command.handler).queue_limit
    if limit and _joins_queue(work, command) and _queued(work, owner, command.component) + ahead >= limit:
        message = f"the queue of pool {command.component} is full ({limit} executions) on node {owner.id}"
        return Rejection(Reason.QUEUE_FULL, message)
    return owner


def _create(work: Work, command: Enqueue, existing: Execution | None, owner: NodeState) -> Enqueued:
    """Makes the execution, and room for it where another one has the id.

    existing: the one that has the id. Looked up by who asks: an id that nobody has is a search of the store each time.
    """
    previous = None if existing is None else _make_room(work, existing, command)
    created = new_execution(
        work,
        at_ms=command.at_ms,
        execution_id=command.execution_id,
        handler=command.handler,
        component=command.component,
        arguments=command.arguments,
        options=command.options,
        owner=owner.id,
        priority=command.priority,
        delay_ms=command.delay_ms,
        deadline_ms=deadline_of_new(work, command.max_duration_ms, delay_ms=command.delay_ms, at_ms=command.at_ms),
        request_id=command.request_id,
        max_duration_ms=command.max_duration_ms,
        previous=previous,
        concurrency_key=command.concurrency_key,
    )
    return Enqueued(execution_id=created.id, component=created.component)


def _made_by(work: Work, existing: Execution, request_id: str) -> Execution | None:
    """The execution that the request made, of the one that has the id now and the run before it.

    Runs that continue each other count as one: the request made the first of them.
    """
    if existing.request_id == request_id:
        return existing
    if existing.previous is None:
        return None
    first = work.kept_at(existing.mailbox_row)
    if first is None or first.request_id == request_id:
        return first
    previous = None if first.previous is None else work.kept_at(first.previous)
    before = None if previous is None else work.kept_at(previous.mailbox_row)
    return before if before is not None and before.request_id == request_id else None


def _repeated(work: Work, existing: Execution, command: Enqueue) -> Enqueued | Rejection:
    """What becomes of a request that was made before. One for something else is no repeat of it.

    What was enqueued before format 2 is answered as it was then, whatever the repeat asks for.
    """
    if existing.format >= 2 and existing.handler != command.handler:
        message = f"request {command.request_id} enqueued {_told(existing)}; it can't enqueue {command.handler} too"
        return Rejection(Reason.ALREADY_EXISTS, message)
    if existing.format >= 2 and not same_arguments(existing.arguments, command.arguments):
        message = f"request {command.request_id} enqueued {_told(existing)} with other arguments"
        return Rejection(Reason.ALREADY_EXISTS, message)
    last = work.last_run(existing)
    return Enqueued(execution_id=last.id, component=last.component, existing=True)


def _told(execution: Execution) -> str:
    return f"execution {execution.id} of {execution.handler}"


def _resolve_conflict(work: Work, existing: Execution, command: Enqueue) -> Enqueued | Rejection | None:
    """What becomes of a request for an id that is taken. None: the earlier execution makes room."""
    taken = Rejection(Reason.ALREADY_EXISTS, f"{_told(existing)} exists ({existing.status})")
    if not existing.closed:
        match command.id_conflict:
            case IdConflict.FAIL:
                return taken
            case IdConflict.USE_EXISTING if work.format >= 2 and existing.handler != command.handler:
                message = f"{_told(existing)} exists ({existing.status}): it can't be used as one of {command.handler}"
                return Rejection(Reason.ALREADY_EXISTS, message)
            case IdConflict.USE_EXISTING:
                return Enqueued(execution_id=existing.id, component=existing.component, existing=True)
            case IdConflict.TERMINATE_EXISTING:
                return None
            case _:
                assert_never(command.id_conflict)
    match command.id_reuse:
        case IdReuse.REJECT_DUPLICATE:
            return taken
        case IdReuse.ALLOW_DUPLICATE:
            return None
        case IdReuse.ALLOW_DUPLICATE_FAILED_ONLY:
            return taken if existing.status is Status.COMPLETED else None
        case _:
            assert_never(command.id_reuse)


def _make_room(work: Work, existing: Execution, command: Enqueue) -> Execution:
    """Ends the execution that has the id, if need be, and takes its id from it."""
    reason = "another execution was enqueued under its id"
    lifecycle.terminate(work, existing, reason=reason, at_ms=command.at_ms)
    return take_id(work, work.execution_at(existing.row))


def take_id(work: Work, earlier: Execution) -> Execution:
    """Keeps an ended execution under its id with a suffix, and returns it: `previous` of whoever gets the id."""
    former_id = f"{earlier.id}{KEPT_SEPARATOR}{earlier.row}"
    while work.execution(former_id) is not None:
        former_id += KEPT_SEPARATOR
    return work.put(replace(earlier, id=former_id))


def _joins_queue(work: Work, command: Enqueue) -> bool:
    """Whether it is one more in its queue. What is due later is in none yet, since format 3."""
    return not command.delay_ms or work.format < formats.EXACT_REPLAY


def _queued(work: Work, owner: NodeState, component: Component) -> int:
    queued = work.count_of(owner.id, component, Status.QUEUED)
    if work.format >= formats.EXACT_REPLAY:
        return queued
    return queued + work.count_of(owner.id, component, Status.SCHEDULED)


def deadline_of_new(work: Work, max_duration_ms: int | None, *, delay_ms: int, at_ms: int) -> int | None:
    """By its max_duration, which counts from the moment when it may start."""
    if max_duration_ms is None:
        return None
    start_ms = at_ms + delay_ms if work.format >= formats.EXACT_REPLAY else at_ms
    return start_ms + max_duration_ms


def new_execution(
    work: Work,
    *,
    at_ms: int,
    execution_id: str,
    handler: str,
    component: Component,
    arguments: bytes,
    options: Options,
    owner: str,
    priority: int,
    delay_ms: int,
    deadline_ms: int | None,
    max_duration_ms: int | None,
    previous: Execution | None,
    concurrency_key: str | None,
    request_id: str | None = None,
    parent: Execution | None = None,
) -> Execution:
    """Records a new execution, ready for its first attempt, scheduled for it, or in the queue of its key.

    owner: takes work, unless no node that serves the handler does.
    previous: the execution that had the id before. An attempt is fenced by id and epoch, so epochs go on where those of
        it ended: what its last attempt still sends must not be taken for a word of the new one. Where it was deleted,
        they go on above those of all that were.
    """
    format = work.format
    created = Execution(
        id=execution_id,
        row=work.next_row(),
        handler=handler,
        component=component,
        status=Status.SCHEDULED if delay_ms else Status.QUEUED,
        owner=owner,
        created_ms=at_ms,
        arguments=arguments,
        options=formats.options_in(format, options),
        request_id=request_id,
        priority=priority,
        pool=component,
        ready_at=None if delay_ms or concurrency_key is not None else at_ms,
        format=format,
    )
    # What few have is set by itself: it costs what it takes to find a field among all, time and again.
    more: dict[str, Any] = {}
    if parent is not None:
        more |= {"parent_row": parent.row, "parent_id": parent.id}
    if previous is None and at_ms < work.lowest_epoch[1]:
        more["epoch"] = work.lowest_epoch[0]
    if previous is not None:
        more["epoch"] = previous.epoch
        if format >= formats.EXACT_REPLAY:
            more |= {"run": previous.run + 1, "previous": previous.row}
    if concurrency_key is not None:
        more["concurrency_key"] = concurrency_key
    if delay_ms:
        more["due_ms"] = at_ms + delay_ms
    if deadline_ms is not None:
        more["deadline_ms"] = deadline_ms
    if max_duration_ms is not None and format >= formats.EXACT_REPLAY:
        more["max_duration_ms"] = max_duration_ms
    created = work.create(replace(created, **more) if more else created)
    if delay_ms:
        work.set_timer(created.row, lifecycle.START, at_ms + delay_ms)
    elif concurrency_key is not None:
        created = concurrency.enter(work, created, at_ms=at_ms)
    else:
        emit_ready(work, created)
    if options.queue_timeout_ms is not None:
        work.set_timer(created.row, lifecycle.QUEUE, at_ms + delay_ms + options.queue_timeout_ms)
    if deadline_ms is not None:
        work.set_timer(created.row, lifecycle.DEADLINE, deadline_ms)
    return created


def send_signal(work: Work, command: SendSignal) -> SignalStored | Rejection:
    target = work.execution(command.execution_id)
    if target is None:
        return not_found(command.execution_id)
    stored = inbox.deliver(
        work,
        target,
        name=command.name,
        payload=command.payload,
        request_id=command.request_id,
        sender=command.sender,
        at_ms=command.at_ms,
    )
    return stored if isinstance(stored, Rejection) else SignalStored(sequence=stored)


def cancel(work: Work, command: Cancel) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    lifecycle.request_cancel(work, execution, reason=command.reason, at_ms=command.at_ms, again=True)
    return Accepted(status=work.execution_at(execution.row).status)


def terminate(work: Work, command: Terminate) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    lifecycle.terminate(work, execution, reason=command.reason, at_ms=command.at_ms)
    return Accepted(status=work.execution_at(execution.row).status)


def resume(work: Work, command: Resume) -> Accepted | Rejection:
    """What was set aside since nodes died of it is tried alone again."""
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    if execution.status is Status.SUSPENDED:
        deaths = min(execution.node_deaths, ALONE_AFTER)
        lifecycle.resume_suspended(work, replace(execution, node_deaths=deaths), at_ms=command.at_ms)
    elif execution.closed or execution.status is Status.STUCK:
        message = f"execution {execution.id} is {execution.status}: only one that is suspended can be resumed"
        return Rejection(Reason.WRONG_STATE, message)
    return Accepted(status=work.execution_at(execution.row).status)


def resolve_compensation(work: Work, command: ResolveCompensation) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    marker = None if command.request_id is None else f"{_RESOLVED_MARKER}{command.request_id}"
    if marker is not None and work.operation(execution.row, OperationKind.MARKER, marker) is not None:
        return Accepted(status=execution.status)
    if execution.status is not Status.STUCK:
        return Rejection(
            Reason.WRONG_STATE, f"execution {execution.id} is {execution.status}: only a stuck saga can be resolved"
        )
    operation = lifecycle.current_compensation(work, execution)
    if marker is not None:
        value = msgspec.json.encode({"resolution": command.resolution, "reason": command.reason})
        put_marker(work, execution, marker, value, execution.generation, at_ms=command.at_ms)
    going_on = replace(execution, status=Status.COMPENSATING)
    match command.resolution:
        case Resolution.RETRY:
            again = replace(operation, status=OperationStatus.PENDING, closed_ms=None, end_seq=0)
            work.put_operation(execution, again, before=operation)
            ready = replace(going_on, failures=0, crashes=0, node_deaths=0)
            lifecycle.enqueue_ready(work, ready, at_ms=command.at_ms, resumes=False)
        case Resolution.SKIP:
            work.put_operation(
                execution, replace(operation, status=OperationStatus.SKIPPED, closed_ms=command.at_ms), before=operation
            )
            lifecycle.undo_next(work, going_on, at_ms=command.at_ms)
        case Resolution.MARK_DONE:
            work.put_operation(
                execution,
                replace(operation, status=OperationStatus.COMPLETED, closed_ms=command.at_ms),
                before=operation,
            )
            lifecycle.undo_next(work, going_on, at_ms=command.at_ms)
        case _:
            assert_never(command.resolution)
    return Accepted(status=work.execution_at(execution.row).status)


def not_found(execution_id: str) -> Rejection:
    return Rejection(Reason.NOT_FOUND, f"no execution {execution_id}")
