"""What an explanation is made of: what is stored of an execution and of those it waits for, and a look at nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    NodeState,
    Operation,
    OperationKind,
    Signal,
    Status,
)
from tempolite_node.explain.model import AHEAD_MAX, TimeSpent
from tempolite_node.explain.time_spent import SPANS_MAX, time_spent
from tempolite_node.views import Span

SHOWN_MAX = 5  #: of those that hold what it waits for
OPERATIONS_MAX = 20  #: open operations of one execution that are told
_SIGNALS_MAX = 100
DEPTH_MAX = 30  #: of executions that wait for each other
EXECUTIONS_MAX = 100  #: of one explanation


class Queries(Protocol):
    """Reads of the store."""

    def execution_at(self, row: int) -> Execution | None: ...
    def pending(self, execution_row: int) -> list[Operation]: ...
    def retrying(self, execution_row: int, limit: int) -> list[Operation]: ...
    def operation_at(self, execution_row: int, kind: OperationKind, key: str) -> Operation | None: ...
    def last_attempt(self, execution_row: int, kind: OperationKind | None, key: str) -> EndedAttempt | None: ...
    def open_children(self, execution_row: int, limit: int) -> list[Execution]: ...
    def key_holders(self, execution: Execution, limit: int) -> list[str]: ...
    def count_ahead(self, execution: Execution, limit: int) -> int: ...
    def unconsumed_signals(self, mailbox: int, limit: int) -> list[Signal]: ...
    def spans(self, execution_row: int, limit: int) -> list[Span]: ...
    def last_run(self, execution: Execution) -> Execution: ...


class Stored(Struct, frozen=True, kw_only=True):
    """An execution as the store has it."""

    execution: Execution
    pending: tuple[Operation, ...] = ()  #: waits that are not over
    retrying: tuple[Operation, ...] = ()  #: between two attempts
    compensation: Operation | None = None  #: the one that is under way, or stuck
    last_attempt: EndedAttempt | None = None  #: of the execution, or of its compensation
    key_holders: tuple[str, ...] = ()
    ahead: int | None = None  #: before it in the queue that it is in
    unread: tuple[Signal, ...] = ()
    awaited: Mapping[str, Stored] = {}  #: by id; those it waits for, and children that a saga waits for
    not_told: tuple[str, ...] = ()  #: ids of those it waits for that are not in `awaited`: too deep, too many, a circle
    last_run: str = ""  #: id of the run that goes on in its place
    time_spent: TimeSpent | None = None


def stored(queries: Queries, execution: Execution, now_ms: int) -> Stored:
    """With all that it waits for, as far as there is room."""
    room = [EXECUTIONS_MAX]
    found = _stored(queries, execution, (), room)
    spans = queries.spans(execution.row, SPANS_MAX + 1)
    return replace(found, time_spent=time_spent(execution, spans, now_ms))


def _stored(queries: Queries, execution: Execution, above: tuple[int, ...], room: list[int]) -> Stored:
    room[0] -= 1
    if execution.closed:
        continued = execution.status is Status.CONTINUED_AS_NEW
        return Stored(execution=execution, last_run=queries.last_run(execution).id if continued else "")
    compensation = None
    if execution.compensating is not None:
        compensation = queries.operation_at(execution.row, OperationKind.COMPENSATION, execution.compensating)
    kind, key = (None, "") if compensation is None else (compensation.kind, compensation.key)
    pending = queries.pending(execution.row)[: OPERATIONS_MAX + 1] if execution.pending else []
    queued = execution.ready_at is not None or execution.waits_for_place
    awaited, not_told = _awaited(queries, execution, pending, (*above, execution.row), room)
    unread: Sequence[Signal] = ()
    if execution.inbox > execution.consumed:
        unread = queries.unconsumed_signals(execution.mailbox_row, _SIGNALS_MAX)
    return Stored(
        execution=execution,
        pending=tuple(pending),
        retrying=tuple(queries.retrying(execution.row, OPERATIONS_MAX)),
        compensation=compensation,
        last_attempt=queries.last_attempt(execution.row, kind, key),
        key_holders=tuple(queries.key_holders(execution, SHOWN_MAX + 1)),
        ahead=queries.count_ahead(execution, AHEAD_MAX) if queued else None,
        unread=tuple(unread),
        awaited=awaited,
        not_told=not_told,
    )


def _awaited(
    queries: Queries, execution: Execution, pending: Sequence[Operation], above: tuple[int, ...], room: list[int]
) -> tuple[Mapping[str, Stored], tuple[str, ...]]:
    """Those that the execution waits for, and the ids of those that are left out."""
    targets = [wait.target_row for wait in pending if wait.kind is OperationKind.WAIT and wait.target_row is not None]
    found = [each for each in map(queries.execution_at, targets) if each is not None]
    if _waits_for_children(execution):
        found += queries.open_children(execution.row, OPERATIONS_MAX)
    awaited: dict[str, Stored] = {}
    not_told = []
    for each in found:
        if each.row in above or len(above) >= DEPTH_MAX or room[0] <= 0:
            not_told.append(each.id)
        elif each.id not in awaited:
            awaited[each.id] = _stored(queries, each, above, room)
    return awaited, tuple(not_told)


def _waits_for_children(execution: Execution) -> bool:
    """A saga undoes nothing before what it has enqueued has ended."""
    undoing = execution.status is Status.COMPENSATING and execution.ready_at is None and execution.due_ms is None
    return undoing and not execution.attached and execution.has_children


def executions_in(found: Stored) -> list[Execution]:
    """All that are open, the one that was asked for first."""
    own = [] if found.execution.closed else [found.execution]
    return [*own, *(each for below in found.awaited.values() for each in executions_in(below))]


# --- what nodes know beside the store


class PoolLook(Struct, frozen=True, kw_only=True):
    """A pool of a node, right now."""

    workers: int
    busy: int
    paused: bool = False
    rate_limit: float = 0.0  #: starts per second; 0: none
    rate_wait_ms: int = 0  #: until the rate limit lets the next one start
    holders: tuple[str, ...] = ()  #: executions of which code runs in its slots; the first few
    leased: int = 0  #: slots of which the worker hosts alone know what runs in them


class RunLook(Struct, frozen=True, kw_only=True):
    """An attempt in a worker host."""

    runs: bool = False  #: its own code has a slot
    wakes: bool = False  #: its own code has an answer, and waits for a slot
    side_effects_running: tuple[str, ...] = ()  #: keys
    side_effects_waiting: Mapping[
        str, int
    ] = {}  #: keys of those that wait for a slot, each with how many are before it


class Look(Struct, frozen=True, kw_only=True):
    """What a node knows of some executions."""

    node_id: str
    draining: bool = False
    registered: bool = True  #: False: it catches up with the others
    hosts_up: int = 1
    pools: Mapping[Component, PoolLook] = {}
    runs: Mapping[str, RunLook] = {}
    code_goes_on: tuple[str, ...] = ()  #: executions of which code of an ended attempt runs
    tried_alone: str = ""  #: the execution that is tried, so that nothing else starts


class Known(Struct, frozen=True, kw_only=True):
    """What is known beside what is stored of the execution."""

    now_ms: int
    nodes: Mapping[str, NodeState] = {}
    looks: Mapping[str, Look] = {}  #: of the nodes that have answered
    served: frozenset[str] = frozenset()  #: names of all handlers that any node serves
    no_quorum: str = ""  #: why the cluster decides nothing; "": it does
