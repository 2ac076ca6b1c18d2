"""What nodes tell of themselves and of each other: one started, is lost, has a free slot, lost a worker host."""

from __future__ import annotations

from collections import Counter

from msgspec.structs import replace

from tempolite_node.engine import concurrency, formats, lifecycle, trials
from tempolite_node.engine.commands import (
    Batch,
    CrashAttempt,
    DrainNode,
    LoseNode,
    PlaceExecutions,
    RegisterNode,
    RemoveNode,
    StartAttempt,
    SuspendAttempt,
)
from tempolite_node.engine.decide.attempts import end_compensation_attempt, suspend
from tempolite_node.engine.decide.clients import not_found
from tempolite_node.engine.effects import (
    Accepted,
    Admission,
    HostCrashed,
    Reason,
    Registered,
    Rejection,
    RunAttempt,
    RunCompensation,
)
from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.model import (
    Component,
    Execution,
    Failure,
    NodeState,
    OperationKind,
    OperationStatus,
    RetryState,
    Status,
)
from tempolite_node.engine.old_journals import open_together
from tempolite_node.engine.placement import emit_ready, placed
from tempolite_node.engine.work import Work


def admit(work: Work, batch: Batch) -> Admission:
    """Whether a batch is to be applied; notes that it is. A process begins with its registration."""
    node = work.node(batch.node_id)
    if node is None or node.boot_id != batch.boot_id:
        if not (batch.commands and isinstance(batch.commands[0], RegisterNode)):
            return Admission.OUTDATED
    elif batch.sequence <= work.sequence(batch.node_id):
        return Admission.REPEATED
    work.sequences[batch.node_id] = batch.sequence
    return Admission.NEW


def register_node(work: Work, command: RegisterNode) -> Registered | Rejection:
    """Makes the node known, as one that takes work. Queues again what an earlier process of it held.

    That is no crash of theirs, so it is not counted. A node that comes back with the stacks it had keeps them.
    """
    if command.format < work.format:
        return Rejection(Reason.WRONG_STATE, formats.too_old(command.node_id, command.format, work.format))
    before = work.node(command.node_id)
    anew = before is None or before.boot_id != command.boot_id
    limits = concurrency.limits(work, (*(before.handlers if before else ()), *command.handlers))
    hash_seed = work.hash_seed
    registered = NodeState(
        id=command.node_id,
        boot_id=command.boot_id,
        incarnation=(before.incarnation if before else 0) + anew,
        draining=before is not None and before.draining and not anew,
        handlers=command.handlers,
        slots=command.slots,
        address=command.address,
        format=command.format,
    )
    work.put_node(registered)
    if work.format >= EXACT_REPLAY:
        work.put_node(replace(registered, hash_seed=command.hash_seed if hash_seed is None else hash_seed))
    requeued: Counter[str] = Counter()
    if anew:
        restarted = Failure(type="NodeRestarted", message=f"node {command.node_id} stopped while it ran")
        for execution in work.attached_or_suspended(command.node_id):
            if execution.attached:
                died_ms = None if before is None or before.draining else command.last_alive_ms
                lost = trials.lose_with_node(work, execution, died_ms=died_ms, at_ms=command.at_ms, failure=restarted)
                requeued[execution.handler] += not lost.set_aside
            elif not execution.set_aside:
                lifecycle.resume_suspended(work, execution, at_ms=command.at_ms)
                requeued[execution.handler] += 1
    concurrency.settle(work, limits, at_ms=command.at_ms)
    return Registered(requeued=dict(requeued))


def drain_node(work: Work, command: DrainNode) -> Accepted | Rejection:
    node = _node_of_run(work, command)
    if isinstance(node, Rejection):
        return node
    work.put_node(replace(node, draining=True))
    return Accepted()


def lose_node(work: Work, command: LoseNode) -> Accepted | Rejection:
    node = _node_of_run(work, command)
    if isinstance(node, Rejection):
        return node
    work.put_node(replace(node, live=False))
    return Accepted()


def _node_of_run(work: Work, command: DrainNode | LoseNode) -> NodeState | Rejection:
    node = work.node(command.node_id)
    if node is None or node.boot_id != command.boot_id or not node.live:
        return Rejection(Reason.WRONG_STATE, f"node {command.node_id} is down, or has been started again")
    return node


def remove_node(work: Work, command: RemoveNode) -> Accepted | Rejection:
    node = work.node(command.node_id)
    if node is None:
        return Rejection(Reason.NOT_FOUND, f"no node {command.node_id}")
    limits = concurrency.limits(work, node.handlers)
    work.remove_node(command.node_id)
    concurrency.settle(work, limits, at_ms=command.at_ms)
    return Accepted()


def place_executions(work: Work, command: PlaceExecutions) -> Accepted:
    """Moves what its owner can't run. A node that drains gives up by itself what it holds."""
    for execution_id in command.execution_ids:
        execution = work.execution(execution_id)
        if execution is None or execution.closed:
            continue
        moved_to = placed(work, execution)
        if moved_to.owner == execution.owner:
            continue
        if execution.attached:
            owner = work.node(execution.owner)
            if owner is None or not owner.live:
                lost = Failure(type="NodeLost", message=f"node {execution.owner} was lost while it ran")
                died_ms = None if owner is None or owner.draining else command.at_ms
                trials.lose_with_node(work, execution, died_ms=died_ms, at_ms=command.at_ms, failure=lost)
        elif execution.ready_at is not None:
            emit_ready(work, work.put(moved_to))
        elif execution.set_aside:
            work.put(moved_to)
        elif execution.status is Status.SUSPENDED:
            lifecycle.resume_suspended(work, execution, at_ms=command.at_ms)
    return Accepted()


def start_attempt(work: Work, command: StartAttempt) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    # Its place in a queue may be older than its state: a saga that waited to run may wait to be undone by now, and the
    # slot that was taken for it is the other pool's.
    if execution.ready_at is None or execution.pool is not command.pool or execution.owner != command.node_id:
        message = f"execution {execution.id} ({execution.status}) waits for no slot of pool {command.pool} here"
        return Rejection(Reason.WRONG_STATE, message)
    node = work.node(command.node_id)
    if node is None or not node.live:
        return Rejection(Reason.WRONG_STATE, f"node {command.node_id} does not run anything now")
    if execution.pool is Component.COMPENSATION:
        _start_compensation(work, execution, at_ms=command.at_ms)
    else:
        _start_handler(work, execution, at_ms=command.at_ms)
        if execution.resumes:
            _check_order(work, work.execution_at(execution.row), at_ms=command.at_ms)
    return Accepted(status=work.execution_at(execution.row).status)


def _start_handler(work: Work, execution: Execution, *, at_ms: int) -> None:
    new = execution.attempt_started_ms is None
    started = work.put(
        replace(
            execution,
            status=Status.RUNNING,
            epoch=execution.epoch + 1,
            attached=True,
            ready_at=None,
            resumes=False,
            attempt=execution.attempt + new,
            started_ms=at_ms if execution.started_ms is None else execution.started_ms,
            attempt_started_ms=at_ms if new else execution.attempt_started_ms,
        )
    )
    if execution.attempt == 0 and execution.options.queue_timeout_ms is not None:
        work.clear_timer(execution.row, lifecycle.QUEUE)
    _set_attempt_timers(work, started, at_ms=at_ms)
    work.emit(RunAttempt(execution_id=started.id, owner=started.owner, epoch=started.epoch))


def _check_order(work: Work, execution: Execution, *, at_ms: int) -> None:
    """Suspends what can't be replayed: asynchronous code of an earlier format that had several operations open at once.

    Which of their answers came first was not recorded. See docs/design/versions.md.
    """
    if execution.format >= EXACT_REPLAY or not lifecycle.is_stepped(work, execution):
        return
    operations = [op for kind in OperationKind for op in work.operations_of_kind(execution.row, kind)]
    pair = open_together(sorted(operations, key=lambda op: op.seq))
    if pair is None:
        return
    wait, other = pair
    unordered = SuspendAttempt(
        kind=wait.kind,
        key=wait.key,
        expected=f"open beside {other.kind} {other.key}",
        actual="the order of their answers, which an earlier version did not record",
    )
    suspend(work, execution, unordered, at_ms=at_ms)


def _start_compensation(work: Work, execution: Execution, *, at_ms: int) -> None:
    operation = lifecycle.current_compensation(work, execution)
    new = execution.attempt_started_ms is None
    running = replace(operation, status=OperationStatus.RUNNING, attempt=operation.attempt + new, due_ms=None)
    work.put_operation(execution, running, before=operation)
    started = work.put(
        replace(
            execution,
            epoch=execution.epoch + 1,
            attached=True,
            ready_at=None,
            resumes=False,
            attempt_started_ms=at_ms if new else execution.attempt_started_ms,
        )
    )
    _set_attempt_timers(work, started, at_ms=at_ms)
    work.emit(RunCompensation(execution_id=started.id, owner=started.owner, epoch=started.epoch, key=operation.key))


def _set_attempt_timers(work: Work, started: Execution, *, at_ms: int) -> None:
    timeout_ms = lifecycle.attempt_timeout_ms(started)
    if timeout_ms is not None:
        assert started.attempt_started_ms is not None
        work.set_timer(started.row, lifecycle.ATTEMPT, started.attempt_started_ms + timeout_ms)
    heartbeat_ms = started.options.heartbeat_timeout_ms
    if heartbeat_ms is not None and started.pool is not Component.COMPENSATION:
        work.set_timer(started.row, lifecycle.HEARTBEAT, at_ms + heartbeat_ms)


def crash_attempt(work: Work, command: CrashAttempt) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None:
        return not_found(command.execution_id)
    if not execution.attached or execution.epoch != command.epoch:
        return Rejection(Reason.STALE_EPOCH, f"execution {execution.id} runs under epoch {execution.epoch} by now")
    if command.out_of_memory and execution.format >= EXACT_REPLAY:
        _out_of_memory(work, execution, command)
        return Accepted(status=work.execution_at(execution.row).status)
    failure = Failure(type="WorkerHostDied", message=command.message)
    crashes = execution.crashes + command.suspect
    counted = replace(execution, crashes=crashes)
    if command.suspect:
        work.emit(HostCrashed(execution_id=execution.id, execution=counted, failure=failure))
    if command.suspect and crashes >= execution.options.max_crashes:
        _poisoned(work, counted, failure, at_ms=command.at_ms)
    else:
        lifecycle.requeue(work, counted, at_ms=command.at_ms, failure=failure)
    return Accepted(status=work.execution_at(execution.row).status)


def _out_of_memory(work: Work, execution: Execution, command: CrashAttempt) -> None:
    """Its process was ended for it: that is a failure like any other, and no crash."""
    failure = Failure(type="OutOfMemory", message=command.message)
    if execution.pool is Component.COMPENSATION:
        end_compensation_attempt(work, execution, failure, at_ms=command.at_ms, jitter=command.jitter, abandon=False)
    else:
        lifecycle.fail_attempt(work, execution, failure, at_ms=command.at_ms, jitter=command.jitter, abandon=False)


def _poisoned(work: Work, execution: Execution, cause: Failure, *, at_ms: int) -> None:
    """It killed its worker host again and again: it must not go on doing so."""
    lifecycle.record_attempt(work, execution, cause, at_ms=at_ms)
    lifecycle.cancel_pending(work, execution, at_ms=at_ms)
    failure = Failure(
        type="CrashedTooOften",
        message=f"its worker host died {execution.crashes} times while it ran (max_crashes)",
        non_retryable=True,
        cause=cause,
    )
    detached = lifecycle.detach(work, replace(execution, pending=0), abandon=False)
    if execution.pool is Component.COMPENSATION:
        lifecycle.stick(work, detached, failure, retry_state=RetryState.CRASHED_TOO_OFTEN, at_ms=at_ms)
    else:
        lifecycle.give_up(
            work,
            detached,
            Status.FAILED,
            failure=failure,
            retry_state=RetryState.CRASHED_TOO_OFTEN,
            at_ms=at_ms,
        )
