"""The unit of work: what a batch of commands reads and changes, before it is saved in one transaction.

Reads answer with what the batch has changed so far, else with what is stored. Nothing here does I/O: the store
behind it is whatever implements `Stored`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeVar

from msgspec.structs import force_setattr, replace

from tempolite_node.engine import formats, sizes
from tempolite_node.engine.effects import AnyEffect
from tempolite_node.engine.model import (
    EXECUTION_MOVES,
    OPERATION_MOVES,
    Component,
    EndedAttempt,
    Execution,
    NodeState,
    Operation,
    OperationKind,
    OperationStatus,
    Signal,
    Status,
    Timer,
)
from tempolite_node.engine.places import Places, StoredPlaces

_K = TypeVar("_K")
_V = TypeVar("_V")


class Stored(Protocol):
    """What is on disk, as of the last commit."""

    def execution(self, execution_id: str) -> Execution | None: ...
    def execution_at(self, row: int) -> Execution | None: ...
    def last_run(self, mailbox: int) -> Execution | None: ...
    def continuing(self, mailbox: int, limit: int) -> list[int]: ...
    def children(self, parent_row: int, limit: int) -> list[int]: ...
    def attached_or_suspended(self, owner: str) -> list[Execution]: ...
    def open_children(self, parent_row: int) -> list[Execution]: ...
    def children_with_children(self, parent_row: int) -> list[Execution]: ...
    def operation(self, row: int, kind: OperationKind, key: str) -> Operation | None: ...
    def operations_of_kind(self, row: int, kind: OperationKind) -> list[Operation]: ...
    @property
    def journal_sizes(self) -> Mapping[int, tuple[int, int]]: ...  # as far as they are known
    def journal_size(self, row: int) -> tuple[int, int]: ...
    def pending(self, row: int) -> list[Operation]: ...
    def retrying(self, row: int) -> list[Operation]: ...
    def waiters(self, target_row: int) -> list[Operation]: ...
    def timer(self, row: int, name: str) -> Timer | None: ...
    def signals_in_line(self, row: int, name: str, limit: int) -> list[Signal]: ...
    def signal(self, row: int, seq: int) -> Signal | None: ...
    def signal_by_request(self, row: int, request_id: str) -> Signal | None: ...
    def count_of(self, owner: str, component: Component, status: Status) -> int: ...
    def last_row(self) -> int: ...
    def lowest_epoch(self) -> tuple[int, int]: ...
    def nodes(self) -> Mapping[str, NodeState]: ...
    def format(self) -> int: ...
    def serving(self, handler: str) -> tuple[NodeState, ...]: ...
    def sequence(self, node_id: str) -> int: ...
    @property
    def places(self) -> StoredPlaces: ...


class Happened(Enum):
    """To an execution that has children."""

    ENDED = auto()
    TERMINATED = auto()  #: or it had ended, and the one above it was terminated
    CANCEL_REQUESTED = auto()
    GIVEN_UP = auto()  #: a saga, whose steps are undone once its children have ended


class Reach(NamedTuple):
    """What happened to an execution is to reach its children."""

    row: int
    happened: Happened
    reason: str = ""  #: for which they are terminated


def _overlaid(stored: Iterable[_V], changed: dict[_K, _V], key: Callable[[_V], _K]) -> list[_V]:
    """The stored values, each in its changed version if it has one, and the changed ones that are new."""
    merged = {key(value): value for value in stored}
    merged.update(changed)
    return list(merged.values())


class Clearing(NamedTuple):
    """A step of the removal of what a run has left behind that was continued as new.

    All of it is final, so each node removes the same, whatever else is decided before it saves. How much is left is
    the store's to know: the step that removes the last of it removes the run's timer too.
    """

    row: int  #: of the run: its journal and its ended attempts
    mailbox: int
    previous: int = 0  #: row of the run before it: what that one, or one before it, took of the inbox
    inbox: int = 0  #: and had received when it ended
    outbox: int = 0  #: and had sent
    whole: bool = False  #: all of the inbox up to there, taken or not


class Work:
    """Changes that a batch has made so far, over what is stored."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._rows: dict[str, int] = {}
        self._children: defaultdict[int, set[int]] = defaultdict(set)
        self._waits: defaultdict[int, dict[tuple[int, str], Operation]] = defaultdict(dict)
        self.last_row = stored.last_row()
        self.executions: dict[int, Execution] = {}
        self.places = Places(stored.places, self.executions, stored.execution_at)
        self.renamed: set[int] = set()  #: rows of executions that have another id than is stored
        self.operations: defaultdict[int, dict[tuple[OperationKind, str], Operation]] = defaultdict(dict)
        self.recorded: Operation | None = None  #: the last one that was
        self.growth: dict[int, tuple[int, int]] = {}  #: of journals: operations and bytes, as `sizes.of_record` counts
        self.timers: defaultdict[int, dict[str, Timer | None]] = defaultdict(dict)
        self.timers_cleared: set[int] = set()  #: rows whose stored timers are all gone; saved before `timers`
        self.inbox: defaultdict[int, dict[int, Signal]] = defaultdict(dict)
        self.outbox: list[Signal] = []
        self.attempts: list[EndedAttempt] = []
        self.clearings: list[Clearing] = []  #: in this order, after all else
        self.attempts_capped: set[tuple[int, OperationKind | None, str]] = set()  #: of which only some are to be kept
        self.deleted: set[int] = set()  #: rows of executions that are gone; before all else
        self.slimmed: set[int] = set()  #: rows of executions that have other arguments and options than are stored
        self.cleared: dict[int, bool] = {}  #: rows whose journals are gone; True: their mailboxes too
        self.lowest_epoch = (
            stored.lowest_epoch()
        )  #: of those that are new, and until when it is that, in Unix milliseconds
        self.counts: defaultdict[tuple[str, Component, Status], int] = defaultdict(int)  #: changes of `count_of`
        self.nodes: dict[str, NodeState | None] = {}  #: None: it was removed
        #: In use, at this place in the log: what was decided otherwise before it came into use still is.
        self.format = stored.format()
        self.sequences: dict[str, int] = {}  #: by node: of its last batch; see log/replicated.py
        self.effects: list[AnyEffect] = []
        self.parents: deque[Reach] = deque()  #: see `lifecycle.reach_children`; empty between commands

    @property
    def changed(self) -> bool:
        return bool(
            self.executions
            or self.operations
            or self.timers
            or self.timers_cleared
            or self.nodes
            or self.sequences
            or self.deleted
        )

    def next_row(self) -> int:
        """A number never given before in this store: key of an execution, or order of an operation or of its end."""
        self.last_row += 1
        return self.last_row

    def emit(self, effect: AnyEffect) -> None:
        self.effects.append(effect)

    # --- executions

    def execution(self, execution_id: str) -> Execution | None:
        row = self._rows.get(execution_id)
        if row is not None:
            return self.executions[row]
        stored = self._stored.execution(execution_id)
        if stored is None or stored.row in self.deleted:
            return None
        changed = self.executions.get(stored.row, stored)
        return changed if changed.id == execution_id else None

    def execution_at(self, row: int) -> Execution:
        execution = self.kept_at(row)
        assert execution is not None, f"no execution at row {row}"
        return execution

    def kept_at(self, row: int) -> Execution | None:
        """None: it was deleted. For links that do not keep what they lead to."""
        if row in self.deleted:
            return None
        return self.executions.get(row) or self._stored.execution_at(row)

    def last_run(self, execution: Execution) -> Execution:
        """Of those that continue it, the one that is continued no more; itself, if it is not."""
        if execution.status is not Status.CONTINUED_AS_NEW:
            return execution
        mailbox = execution.mailbox_row
        stored = self._stored.last_run(mailbox)
        if stored is not None and stored.row in self.deleted:  # and those after it
            return self.execution_at(max([execution.row, *self.continuing(mailbox)]))
        begun = (each.row for each in self.executions.values() if each.mailbox == mailbox)
        return self.execution_at(max([execution.row if stored is None else stored.row, *begun]))

    def continuing(self, mailbox: int) -> set[int]:
        """Rows of the runs that go on with the mailbox of another one: some of them, if there are many."""
        stored = set(self._stored.continuing(mailbox, len(self.deleted) + 1)) - self.deleted
        return stored | {each.row for each in self.executions.values() if each.mailbox == mailbox}

    def has_children(self, row: int) -> bool:
        """Whether any execution is there whose parent it is."""
        if self._children.get(row):
            return True
        return any(child not in self.deleted for child in self._stored.children(row, len(self.deleted) + 1))

    def put(self, execution: Execution) -> Execution:
        row = execution.row
        before = self.executions.get(row)
        if before is None:
            self._rows[execution.id] = row
            if row <= self._stored.last_row():
                before = self._stored.execution_at(row)
        if before is None:
            self._count(execution, 1)
            if execution.parent_row is not None:
                self._children[execution.parent_row].add(row)
        else:
            assert execution.epoch >= before.epoch, f"{before.id}: epoch {before.epoch} -> {execution.epoch}"
            moves = before.status is not execution.status
            assert not moves or execution.status in EXECUTION_MOVES[before.status], (
                f"{before.id}: {before.status} -> {execution.status}"
            )
            if moves or before.owner != execution.owner:
                self._count(before, -1)
                self._count(execution, 1)
            if before.id != execution.id:
                self._rows.pop(before.id, None)
                self._rows[execution.id] = row
                self.renamed.add(row)
        self.executions[row] = execution
        if execution.concurrency_key is not None:
            self.places.follow(before, execution)
        return execution

    def create(self, execution: Execution) -> Execution:
        """Puts one that is new."""
        assert execution.status in EXECUTION_MOVES[None], f"{execution.id} begins as {execution.status}"
        return self.put(execution)

    def delete(self, execution: Execution, *, lowest_epoch: int, until_ms: int) -> None:
        """Takes an execution out, with all that is its own. What it counted for stays counted: it ended.

        lowest_epoch: of those that are new from here on, until then.
        """
        row = execution.row
        self.deleted.add(row)
        self._rows.pop(execution.id, None)
        self.executions.pop(row, None)
        self.renamed.discard(row)
        self.operations.pop(row, None)
        self.growth.pop(row, None)
        self.timers.pop(row, None)
        self.inbox.pop(row, None)
        self.cleared.pop(row, None)
        self.slimmed.discard(row)
        self.timers_cleared.discard(row)
        for waits in self._waits.values():
            for place in [place for place in waits if place[0] == row]:
                del waits[place]
        self.outbox = [signal for signal in self.outbox if signal.execution_row != row]
        self.attempts = [attempt for attempt in self.attempts if attempt.execution_row != row]
        self.attempts_capped = {place for place in self.attempts_capped if place[0] != row}
        if execution.parent_row is not None:
            self._children[execution.parent_row].discard(row)
        epoch, end_ms = self.lowest_epoch
        self.lowest_epoch = max(epoch, lowest_epoch), max(end_ms, until_ms)

    def clear(self, execution: Execution, *, mailbox: bool) -> Execution:
        """Takes away what an execution recorded, in one commit. mailbox: its signals too."""
        row = execution.row
        self.cleared[row] = mailbox
        for changed in (self.operations, self.growth):
            changed.pop(row, None)
        self.attempts = [attempt for attempt in self.attempts if attempt.execution_row != row]
        if mailbox:
            self.inbox.pop(row, None)
            self.outbox = [signal for signal in self.outbox if signal.execution_row != row]
        return self.clear_in_steps(execution)

    def clear_in_steps(self, execution: Execution) -> Execution:
        """Puts one that has other arguments and options than before: it needs them no more."""
        self.slimmed.add(execution.row)
        return self.put(execution)

    def _count(self, execution: Execution, by: int) -> None:
        self.counts[execution.owner, execution.component, execution.status] += by

    def attached_or_suspended(self, owner: str) -> list[Execution]:
        """Those that the owner's last process held, in the order of their rows."""
        stored = {execution.row for execution in self._stored.attached_or_suspended(owner)}
        current = [self.execution_at(row) for row in sorted(stored | set(self.executions))]
        return [e for e in current if e.owner == owner and (e.attached or e.status is Status.SUSPENDED)]

    def open_children(self, parent_row: int) -> list[Execution]:
        stored = {child.row for child in self._stored.open_children(parent_row)}
        current = (self.execution_at(row) for row in sorted(stored | self._children.get(parent_row, set())))
        return [child for child in current if not child.closed]

    def ended_children_with_children(self, parent_row: int) -> list[Execution]:
        stored = {child.row for child in self._stored.children_with_children(parent_row)}
        changed = {child.row for child in self.executions.values() if child.parent_row == parent_row}
        current = (self.execution_at(row) for row in sorted(stored | changed))
        return [child for child in current if child.closed and child.has_children]

    def count_of(self, owner: str, component: Component, status: Status) -> int:
        return self._stored.count_of(owner, component, status) + self.counts.get((owner, component, status), 0)

    # --- nodes

    def node(self, node_id: str) -> NodeState | None:
        return self.nodes[node_id] if node_id in self.nodes else self._stored.nodes().get(node_id)

    def put_node(self, node: NodeState) -> None:
        self.nodes[node.id] = node
        self._follow_format()

    def remove_node(self, node_id: str) -> None:
        self.nodes[node_id] = None
        self._follow_format()

    def _follow_format(self) -> None:
        self.format = formats.in_use({**self._stored.nodes(), **self.nodes}.values())

    @property
    def hash_seed(self) -> int | None:
        """Of the worker hosts of all nodes, once one has registered."""
        return formats.hash_seed({**self._stored.nodes(), **self.nodes}.values())

    def sequence(self, node_id: str) -> int:
        """Of the last batch that was applied of the node's process; 0: none was."""
        given = self.sequences.get(node_id)
        return self._stored.sequence(node_id) if given is None else given

    def serving(self, handler: str) -> tuple[NodeState, ...]:
        """The nodes that serve the handler, down ones included, by id."""
        if not self.nodes:
            return self._stored.serving(handler)
        current = {**self._stored.nodes(), **self.nodes}
        return tuple(node for _, node in sorted(current.items()) if node is not None and node.serves(handler))

    # --- operations

    def operation(self, row: int, kind: OperationKind, key: str) -> Operation | None:
        changed = self.operations.get(row)
        if changed is not None and (found := changed.get((kind, key))) is not None:
            return found
        return self._stored.operation(row, kind, key)

    def put_operation(self, execution: Execution, operation: Operation, *, before: Operation | None) -> Operation:
        """execution: whose it is.

        operation: made for this: nobody else has it yet, and it gets its place among the ends here.
        before: what is recorded under its key so far; the one who decides has looked it up.
        """
        status = before.status if before is not None and before.holds(operation.generation) else None
        assert operation.status in OPERATION_MOVES[operation.kind][status], (
            f"{operation.kind} {operation.key}: {status} -> {operation.status}"
        )
        row = execution.row
        if operation.closed_ms is not None and execution.format >= formats.EXACT_REPLAY:
            self.last_row += 1
            force_setattr(operation, "end_seq", self.last_row)
        count, size = self.growth.get(row, (0, 0))
        if before is None:
            self.growth[row] = count + 1, size + sizes.of_record(operation)
        else:
            self.growth[row] = count, size + sizes.of_record(operation) - sizes.of_record(before)
        self.operations[row][operation.kind, operation.key] = self.recorded = operation
        if operation.kind is OperationKind.WAIT and operation.target_row is not None:
            self._waits[operation.target_row][operation.execution_row, operation.key] = operation
        return operation

    def journal_size(self, row: int) -> tuple[int, int]:
        """Operations of the journal, and their bytes as `sizes.of_record` counts them."""
        count, size = self._stored.journal_sizes.get(row) or self._stored.journal_size(row)
        more = self.growth.get(row)
        return (count, size) if more is None else (count + more[0], size + more[1])

    def put_at_end(self, operation: Operation, *, at_ms: int) -> Operation:
        """Gives one that was over before its place among those that end now: nobody has had its answer."""
        if self.execution_at(operation.execution_row).format >= formats.EXACT_REPLAY:
            operation = replace(operation, end_seq=self.next_row(), closed_ms=at_ms)
            self.operations[operation.execution_row][operation.kind, operation.key] = self.recorded = operation
        return operation

    def operations_of_kind(self, row: int, kind: OperationKind) -> list[Operation]:
        """In the order in which they were recorded."""
        changed = {key: op for key, op in self.operations.get(row, {}).items() if op.kind is kind}
        merged = _overlaid(self._stored.operations_of_kind(row, kind), changed, lambda op: (op.kind, op.key))
        return sorted(merged, key=lambda op: op.seq)

    def pending(self, row: int) -> list[Operation]:
        """Waits that are not over, in the order in which they were recorded."""
        merged = _overlaid(self._stored.pending(row), self.operations.get(row, {}), lambda op: (op.kind, op.key))
        return sorted((op for op in merged if op.is_wait), key=lambda op: op.seq)

    def in_backoff(self, row: int) -> list[Operation]:
        """Side effects that wait for their next attempt, in the order in which they were recorded."""
        changed = self.operations.get(row, {})
        merged = _overlaid(self._stored.retrying(row), changed, lambda op: (op.kind, op.key))
        waiting = (op for op in merged if op.status is OperationStatus.RETRYING and op.due_ms is not None)
        return sorted((op for op in waiting if op.kind is OperationKind.SIDE_EFFECT), key=lambda op: op.seq)

    def waiters(self, target_row: int) -> list[Operation]:
        """Pending waits for the end of an execution."""
        changed = self._waits.get(target_row, {})
        merged = _overlaid(self._stored.waiters(target_row), changed, lambda op: (op.execution_row, op.key))
        return sorted((op for op in merged if op.is_wait and op.target_row == target_row), key=lambda op: op.seq)

    def add_attempt(self, attempt: EndedAttempt) -> None:
        self.attempts.append(attempt)
        if self.format >= formats.CAPPED_ATTEMPTS:
            self.attempts_capped.add((attempt.execution_row, attempt.kind, attempt.key))

    # --- timers

    def timer(self, row: int, name: str) -> Timer | None:
        changed = self.timers.get(row)
        if changed is not None and name in changed:
            return changed[name]
        return None if row in self.timers_cleared else self._stored.timer(row, name)

    def set_timer(self, row: int, name: str, due_ms: int) -> None:
        self.timers[row][name] = Timer(execution_row=row, name=name, due_ms=due_ms)

    def clear_timer(self, row: int, name: str) -> None:
        self.timers[row][name] = None

    def clear_timers(self, row: int) -> None:
        self.timers_cleared.add(row)
        self.timers.pop(row, None)

    # --- signals

    def next_signal(self, row: int, name: str) -> Signal | None:
        """The oldest signal of that name that is in line."""
        changed = self.inbox.get(row, {})
        stored = self._stored.signals_in_line(row, name, len(changed) + 1)
        merged = _overlaid(stored, changed, lambda signal: signal.seq)
        waiting = (signal for signal in merged if signal.name == name and signal.in_line)
        return min(waiting, key=lambda signal: signal.seq, default=None)

    def signal(self, row: int, seq: int) -> Signal:
        signal = self.inbox.get(row, {}).get(seq) or self._stored.signal(row, seq)
        assert signal is not None, f"no signal {seq} at row {row}"
        return signal

    def put_signal(self, signal: Signal) -> None:
        self.inbox[signal.execution_row][signal.seq] = signal

    def signal_by_request(self, row: int, request_id: str) -> Signal | None:
        for signal in self.inbox.get(row, {}).values():
            if signal.request_id == request_id:
                return signal
        return self._stored.signal_by_request(row, request_id)

    def put_outbox(self, signal: Signal) -> None:
        self.outbox.append(signal)
