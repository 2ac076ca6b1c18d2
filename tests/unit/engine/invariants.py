"""What must be true of a store after any commands, read from its tables and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import apsw

from tempolite_node.engine.formats import EXACT_REPLAY
from tempolite_node.engine.lifecycle import ATTEMPT, CLEARING, DEADLINE, START, operation_timer
from tempolite_node.engine.model import (
    FINAL,
    Component,
    Execution,
    Operation,
    OperationKind,
    OperationStatus,
    Signal,
    Status,
)
from tempolite_node.store.rows import EXECUTIONS, INBOX, NODES, OPERATIONS
from tempolite_node.store.writer import StoreWriter

TABLES = ("meta", "nodes", "executions", "operations", "attempts", "inbox", "outbox", "timers")
_WAITS = (OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER)
_REFUSABLE = (OperationKind.CHILD, OperationKind.SIGNAL_SENT)


def dump(connection: apsw.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for what differs by the number of transactions."""
    tables = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in TABLES}
    [(one, _index, *others)] = tables["meta"]
    return {**tables, "meta": [(one, *others)]}


class Snapshot:
    """A whole store."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.nodes = {node.id: node for node in map(NODES.value, connection.execute(NODES.select))}
        self.executions = {e.row: e for e in map(EXECUTIONS.value, connection.execute(EXECUTIONS.select))}
        self.operations = {
            (op.execution_row, op.kind, op.key): op
            for op in map(OPERATIONS.value, connection.execute(OPERATIONS.select))
        }
        self.inbox = {(s.execution_row, s.seq): s for s in map(INBOX.value, connection.execute(INBOX.select))}
        self.outbox = Counter(row for (row,) in connection.execute("SELECT execution_row FROM outbox"))
        self.timers: dict[tuple[int, str], int] = {
            (row, name): due for row, name, due in connection.execute("SELECT execution_row, name, due_ms FROM timers")
        }
        self.last_row: int = connection.execute("SELECT last_row FROM meta").get
        self.by_execution: dict[int, list[Operation]] = {row: [] for row in self.executions}
        for operation in self.operations.values():
            self.by_execution[operation.execution_row].append(operation)

    def pending(self, row: int) -> list[Operation]:
        return [op for op in self.by_execution[row] if op.status is OperationStatus.PENDING and op.kind in _WAITS]

    def key_limit(self, handler: str) -> int:
        """How many executions with one concurrency key may be under way."""
        served = [each for node in self.nodes.values() for each in node.handlers if each.name == handler]
        return min((each.concurrency_key_limit for each in served), default=1)

    def under_way(self) -> Counter[tuple[str, str]]:
        """Places whose executions have started, or a run before them has, by handler and key."""
        started = {
            (e.handler, e.concurrency_key, e.place)
            for e in self.executions.values()
            if e.concurrency_key is not None and e.place is not None and (e.attempt or e.mailbox is not None)
        }
        return Counter((handler, key) for handler, key, _ in started)

    def misplaced(self) -> list[Execution]:
        """Executions that their owner can't run, that hang on nothing of its, and that another node can run."""
        return [execution for execution in self.executions.values() if self._is_misplaced(execution)]

    def _is_misplaced(self, execution: Execution) -> bool:
        able = {node.id for node in self.nodes.values() if node.takes_work and node.serves(execution.handler)}
        if execution.owner in able or not able:
            return False
        owner = self.nodes.get(execution.owner)
        lost = execution.attached and (owner is None or not owner.live)
        return lost or execution.ready_at is not None or execution.status is Status.SUSPENDED


def check(connection: apsw.Connection, executions: StoreWriter) -> Snapshot:
    """Asserts what must be true of the store at any time."""
    now = Snapshot(connection)
    for execution in now.executions.values():
        for wrong in [*_wrong_numbers(now, execution), *_wrong_state(now, execution), *_lost(now, execution)]:
            raise AssertionError(f"{execution.id}: {wrong}\n{execution}\n{now.by_execution[execution.row]}")
    for operation in now.operations.values():
        for wrong in _wrong_operation(now, operation):
            raise AssertionError(f"{wrong}\n{operation}\n{now.executions[operation.execution_row]}")
    _check_counts(now, executions)
    _check_nodes(now, executions)
    _check_places(now, executions)
    _check_memory(now, executions)
    _check_no_cycle(now)
    return now


def check_passage(before: Snapshot, after: Snapshot) -> None:
    """Asserts what must be true of any two states of a store, the second one later."""
    for row, earlier in before.executions.items():
        if row not in after.executions:
            assert earlier.closed, f"{earlier.id} was deleted, and had not ended"
            continue
        later = after.executions[row]
        assert later.epoch >= earlier.epoch, f"{later.id}: epoch {earlier.epoch} -> {later.epoch}"
        if earlier.attached and later.owner != earlier.owner:
            assert later.epoch > earlier.epoch, f"{later.id}: {earlier.owner} still has the right to run"
        if earlier.closed and later.journal_deleted_ms == earlier.journal_deleted_ms:
            # A closed execution may give its id to another one, and may be waited for.
            assert _final(later) == _final(earlier), f"{earlier} became {later}"
    for (handler, name), count in after.under_way().items():
        more = count > before.under_way()[handler, name]
        assert not more or count <= after.key_limit(handler), f"{count} executions with key {name} are under way"
    for key, recorded in before.operations.items():
        if key not in after.operations and _may_be_gone(after, key[0]):
            continue
        assert after.operations[key].seq == recorded.seq, f"{key}: another record under the same key"
        if recorded.status is OperationStatus.COMPLETED and not _may_be_made_anew(after, recorded):
            assert after.operations[key].result == recorded.result, f"{key}: another result"
    for key, signal in before.inbox.items():
        if key not in after.inbox and _may_be_gone(after, key[0]):
            continue
        taken_by = after.executions.get(signal.taken_by or 0)
        continued = taken_by is not None and taken_by.status is Status.CONTINUED_AS_NEW
        later_signal = after.inbox.get(key)
        if continued and (later_signal is None or later_signal.in_line):
            continue  # it is gone by now, or its code had not seen it
        assert later_signal is not None, f"{key} is gone"
        unchanged = later_signal == signal or later_signal.set_aside is not None or _is_given_back(after, later_signal)
        assert unchanged or signal.in_line, f"{key}: consumed twice"


def _may_be_made_anew(after: Snapshot, recorded: Operation) -> bool:
    """A child that ended badly makes room for another one, when its parent is retried; so does a signal set aside.

    A wait that was given up may be begun again.
    """
    if recorded.kind in _WAITS and recorded.kind is not OperationKind.SIGNAL:
        return True
    if recorded.signal_seq is not None:
        signal = after.inbox.get((after.executions[recorded.execution_row].mailbox_row, recorded.signal_seq))
        taken_again = after.operations[recorded.execution_row, recorded.kind, recorded.key].end_seq > recorded.end_seq
        return (signal is not None and signal.set_aside is not None) or taken_again
    if recorded.kind is not OperationKind.CHILD:
        return False
    child = after.executions.get(recorded.target_row or 0)
    if child is None:
        return False  # it was deleted, and then who enqueued it has ended
    return child.closed and child.status is not Status.COMPLETED


def _may_be_gone(after: Snapshot, row: int) -> bool:
    """Whether what an execution had recorded may be deleted."""
    execution = after.executions.get(row)
    gone = execution is None or execution.journal_deleted_ms is not None
    return gone or (execution is not None and execution.status is Status.CONTINUED_AS_NEW)


def _is_given_back(after: Snapshot, signal: Signal) -> bool:
    """A wait that took it was given up: it is in line, or another wait has it."""
    takers = [op for op in after.by_execution[signal.execution_row] if op.signal_seq == signal.seq]
    return len(takers) == signal.consumed


def _final(execution: Execution) -> tuple[Any, ...]:
    values = {name: getattr(execution, name) for name in execution.__struct_fields__}
    return tuple(value for name, value in values.items() if name not in ("id", "awaited"))


def _wrong_numbers(now: Snapshot, execution: Execution) -> Iterator[str]:
    row = execution.row
    pending = len(now.pending(row))
    if execution.pending != pending:
        yield f"counts {execution.pending} pending waits, has {pending}"
    waiters = [op for op in now.operations.values() if op.target_row == row and _waits_for_execution(op)]
    if execution.waiters != len(waiters):
        yield f"counts {execution.waiters} waiters, has {len(waiters)}"
    if execution.status is not Status.CONTINUED_AS_NEW:  # then its mailbox is another one's
        yield from _wrong_mailbox(now, execution)
    if not execution.has_children and any(child.parent_row == row for child in now.executions.values()):
        yield "has_children is wrong"  # those that it had may be deleted
    if execution.parent_row is not None and execution.parent_row not in now.executions:
        yield "was kept, and its parent was not"


def _wrong_mailbox(now: Snapshot, execution: Execution) -> Iterator[str]:
    """Of what the runs before it have had, a part is gone."""
    row = execution.mailbox_row
    if now.executions[row].journal_deleted_ms is not None:
        return
    received = [signal for (owner, _), signal in now.inbox.items() if owner == row]
    gone = execution.inbox - len(received)
    if gone and (gone < 0 or execution.mailbox is None):
        yield f"counts {execution.inbox} signals, has {len(received)}"
    if execution.consumed != gone + sum(signal.consumed for signal in received):
        yield f"counts {execution.consumed} consumed signals"
    sent = now.outbox[row]
    if execution.outbox != sent and (execution.outbox < sent or execution.mailbox is None):
        yield f"counts {execution.outbox} signals sent, has {sent}"


def _waits_for_execution(operation: Operation) -> bool:
    return operation.kind is OperationKind.WAIT and operation.status is OperationStatus.PENDING


def _wrong_state(now: Snapshot, execution: Execution) -> Iterator[str]:
    row = execution.row
    timers = {name for owner, name in now.timers if owner == row}
    if now.timers.get((row, START)) != execution.due_ms:
        yield f"starts at {execution.due_ms}, its timer is due at {now.timers.get((row, START))}"
    waits_for_slot = (execution.status is Status.QUEUED and not _waits_for_place(execution)) or (
        execution.status is Status.COMPENSATING and execution.ready_at is not None
    )
    if waits_for_slot != (execution.ready_at is not None):
        yield f"is {execution.status}, ready at {execution.ready_at}"
    may_have_place = execution.concurrency_key is not None and not execution.closed
    if execution.place is not None and not may_have_place:
        yield "has a place, and no use for it"
    if execution.place is None and may_have_place and (execution.attempt or execution.ready_at is not None):
        yield "goes on without a place"
    if execution.status is Status.CONTINUED_AS_NEW or execution.journal_deleted_ms is not None:
        timers -= {CLEARING}
    if execution.closed:
        if timers or execution.pending or execution.waiters:
            yield f"has ended, and holds timers {timers}, {execution.pending} waits, {execution.waiters} waiters"
        return
    if execution.attached and execution.ready_at is not None:
        yield "runs and waits for a slot"
    if execution.resumes and execution.ready_at is None:
        yield "goes ahead in no queue"
    if execution.attached != (execution.status in (Status.RUNNING, Status.WAITING, Status.COMPENSATING)) and (
        execution.attached or execution.status is Status.RUNNING
    ):
        yield f"is {execution.status} and attached: {execution.attached}"
    undoing = execution.status in (Status.COMPENSATING, Status.STUCK)
    if (execution.pool is Component.COMPENSATION) != undoing or (execution.compensating is not None) != undoing:
        yield f"is {execution.status} in pool {execution.pool}, undoes {execution.compensating}"
    if undoing:
        status = now.operations[row, OperationKind.COMPENSATION, execution.compensating or ""].status
        if (execution.status is Status.STUCK) != (status is OperationStatus.FAILED):
            yield f"is {execution.status}, and its compensation {status}"
    elif execution.deadline_ms is not None and now.timers.get((row, DEADLINE)) != execution.deadline_ms:
        yield "nothing ends it at its deadline"
    if execution.status is Status.WAITING and not _may_go_on(now, execution):
        yield "waits for nothing"
    has_timeout = (
        execution.options.compensation_attempt_timeout_ms if undoing else execution.options.attempt_timeout_ms
    ) is not None
    if (ATTEMPT in timers) != (has_timeout and execution.attempt_started_ms is not None):
        yield f"attempt started at {execution.attempt_started_ms}, timers {timers}"
    if execution.cancel_requested and not execution.cancel_delivered and not undoing:
        sees_it_at_its_next_call = execution.status is Status.RUNNING
        sees_it_when_replayed = execution.status is Status.QUEUED and execution.resumes
        waits = [op for op in now.by_execution[row] if op.is_wait]
        sees_it_beside_its_waits = execution.attached and bool(waits) and all(op.beside for op in waits)
        if not (sees_it_at_its_next_call or sees_it_when_replayed or sees_it_beside_its_waits):
            yield "does not see that it is to be cancelled"


def _waits_for_place(execution: Execution) -> bool:
    has_key = execution.concurrency_key is not None
    return has_key and execution.status is Status.QUEUED and execution.place is None


def _lost(now: Snapshot, execution: Execution) -> Iterator[str]:
    """Every open execution has something that moves it on."""
    if execution.closed or execution.status in (Status.SUSPENDED, Status.STUCK):
        return
    if execution.attached or execution.ready_at is not None or _waits_for_place(execution):
        return  # who waits for a place: see `_check_places`
    due_ms = now.timers.get((execution.row, START))
    if due_ms is not None and due_ms == execution.due_ms:
        return
    if not _may_go_on(now, execution) and not _has_children_to_wait_for(now, execution):
        yield "is lost: nothing moves it on"


def _has_children_to_wait_for(now: Snapshot, saga: Execution) -> bool:
    """Whether it has given up, and undoes nothing before children have ended that it has stopped."""
    if saga.status is not Status.COMPENSATING or saga.attached or saga.ready_at is not None or saga.due_ms is not None:
        return False
    compensation = now.operations[saga.row, OperationKind.COMPENSATION, saga.compensating or ""]
    stopped = (
        child.row
        for child in now.executions.values()
        if child.parent_row == saga.row and not child.closed and child.cancel_requested
    )
    begun = compensation.status is not OperationStatus.PENDING
    return not begun and any(saga.row not in _waited_for_by(now, row) for row in stopped)


def _waited_for_by(now: Snapshot, row: int) -> set[int]:
    """Those for whose end it waits, itself or through others."""
    found: set[int] = set()
    rows = {row}
    while rows:
        waits = (op for row in rows for op in now.by_execution[row] if _waits_for_execution(op))
        rows = {op.target_row for op in waits if op.target_row is not None} - found
        found |= rows
    return found


def _may_go_on(now: Snapshot, execution: Execution) -> bool:
    """Whether something that it waits for can still end; `_wrong_operation` sees to that it will."""
    retrying = any(
        op.kind is OperationKind.SIDE_EFFECT and op.status is OperationStatus.RETRYING and op.due_ms is not None
        for op in now.by_execution[execution.row]
    )
    return retrying or bool(now.pending(execution.row))


def _wrong_operation(now: Snapshot, operation: Operation) -> Iterator[str]:
    execution = now.executions[operation.execution_row]
    if operation.seq > now.last_row:
        yield f"has a number above {now.last_row}"
    goes_on = operation.status in (OperationStatus.PENDING, OperationStatus.RUNNING, OperationStatus.RETRYING)
    if goes_on != (operation.closed_ms is None):
        yield f"is {operation.status} and closed at {operation.closed_ms}"
    if operation.due_ms is not None and not goes_on:
        yield f"is {operation.status} and due at {operation.due_ms}"
    refused = operation.status is OperationStatus.REFUSED
    if operation.kind in (OperationKind.WAIT, OperationKind.CHILD) and (operation.target_row is None) != refused:
        yield f"is {operation.status}, and its target {operation.target_row}"
    if refused != (operation.failure is not None) and operation.kind in (*_WAITS, *_REFUSABLE):
        yield f"is {operation.status} because of {operation.failure}"
    has_place = operation.closed_ms is not None and execution.format >= EXACT_REPLAY
    if (operation.end_seq > operation.seq) != has_place or (not has_place and operation.end_seq):
        yield f"is {operation.status}, and ended as {operation.end_seq}"
    if execution.closed:
        return
    pending = operation.status is OperationStatus.PENDING and operation.kind in _WAITS
    retrying = operation.status is OperationStatus.RETRYING and operation.kind is OperationKind.SIDE_EFFECT
    due_ms = now.timers.get((execution.row, operation_timer(operation.kind, operation.key)))
    in_time = operation.status is OperationStatus.RUNNING and operation.kind is OperationKind.SIDE_EFFECT
    if (pending or retrying or in_time) and operation.due_ms != due_ms:
        yield f"is due at {operation.due_ms}, its timer at {due_ms}"
    if pending and operation.kind is OperationKind.TIMER and due_ms is None:
        yield "sleeps for ever"
    if pending and operation.kind is OperationKind.WAIT:
        target = now.executions[operation.target_row or 0]
        if target.closed:
            yield f"waits for {target.id}, which has ended"
    if pending and operation.kind is OperationKind.SIGNAL:
        kept = [s for s in now.inbox.values() if _is_kept_for(s, execution.mailbox_row, operation.target)]
        if kept:
            yield f"waits for a signal that is there: {kept}"
    links_child = operation.kind is OperationKind.CHILD and not refused
    if links_child and now.executions[operation.target_row or 0].parent_row != execution.row:
        yield "links a child of another one"


def _is_kept_for(signal: Signal, row: int, name: str) -> bool:
    return signal.execution_row == row and signal.name == name and signal.in_line


def _check_counts(now: Snapshot, executions: StoreWriter) -> None:
    counted = Counter((execution.component, execution.status) for execution in now.executions.values())
    for component in (Component.HANDLER, Component.SAGA):
        for status in Status:
            _check_count(executions.counts()[component, status], counted[component, status], status)
    by_owner = Counter((each.owner, each.component, each.status) for each in now.executions.values())
    for owner in {*now.nodes, *(each.owner for each in now.executions.values())}:
        for component in (Component.HANDLER, Component.SAGA):
            for status in Status:
                _check_count(executions.count_of(owner, component, status), by_owner[owner, component, status], status)
    still_open = Counter(each.owner for each in now.executions.values() if not each.closed)
    assert +executions.open_by_owner() == still_open


def _check_count(count: int, found: int, status: Status) -> None:
    """Of what has ended, those that were deleted count as well."""
    assert count == found or (count > found and status in FINAL), f"{count} are counted as {status}, {found} are there"


def _check_nodes(now: Snapshot, executions: StoreWriter) -> None:
    assert list(executions.nodes().items()) == sorted(now.nodes.items())
    for handler in {served.name for node in now.nodes.values() for served in node.handlers}:
        assert [node.id for node in executions.serving(handler)] == sorted(
            node.id for node in now.nodes.values() if node.serves(handler)
        )
    misplaced = sorted(execution.id for execution in now.misplaced())
    assert sorted(executions.misplaced(1_000)) == misplaced


def _check_places(now: Snapshot, executions: StoreWriter) -> None:
    """No place is free while somebody waits for it, and none is given out of turn."""
    keys = {(e.handler, e.concurrency_key) for e in now.executions.values() if e.concurrency_key is not None}
    for handler, key in keys:
        those = [e for e in now.executions.values() if (e.handler, e.concurrency_key) == (handler, key)]
        members = Counter(e.place for e in those if e.place is not None)
        waiting = [e for e in those if _waits_for_place(e)]
        not_started = [e for e in those if e.place == e.row and e.attempt == 0]
        limit = now.key_limit(handler)
        assert not waiting or len(members) >= limit, f"{key}: {waiting[0].id} waits, and a place is free"
        assert not not_started or len(members) <= limit, f"{key}: {not_started[0].id} may start beyond the limit"
        for given in not_started:
            assert all(_turn(given) < _turn(other) for other in waiting), f"{key}: {given.id} goes out of turn"
        assert executions.places.taken((handler, key)) == len(members)
        assert all(executions.places.members(place) == count for place, count in members.items())
    by_owner = Counter((e.owner, e.component) for e in now.executions.values() if _waits_for_place(e))
    for owner in {e.owner for e in now.executions.values()}:
        for component in (Component.HANDLER, Component.SAGA):
            assert executions.places.waiting_of(owner, component) == by_owner[owner, component]


def _turn(execution: Execution) -> tuple[int, int]:
    return (-execution.priority, execution.row)


def _check_memory(now: Snapshot, executions: StoreWriter) -> None:
    """What the writer keeps in memory is what is stored."""
    for execution in now.executions.values():
        assert executions.execution(execution.id) == executions.execution_at(execution.row) == execution
    for (row, kind, key), operation in now.operations.items():
        assert executions.operation(row, kind, key) == operation


def _check_no_cycle(now: Snapshot) -> None:
    """Takes away, again and again, those that wait for nobody who is left."""
    waits: dict[int, set[int]] = {}
    for operation in now.operations.values():
        if _waits_for_execution(operation) and operation.target_row is not None:
            waits.setdefault(operation.execution_row, set()).add(operation.target_row)
    while free := [row for row, targets in waits.items() if not targets & waits.keys()]:
        for row in free:
            del waits[row]
    assert not waits, f"they wait for each other: {[now.executions[row].id for row in waits]}"
