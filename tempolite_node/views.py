"""What the node shows of itself and its cluster: counts, pools, hosts, members; and which executions are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Operation,
    OperationKind,
    RetryPolicy,
    Signal,
    Status,
)


class Consistency(StrEnum):
    """How fresh a read must be."""

    LINEARIZABLE = "linearizable"  #: it has everything that was acknowledged to anyone before it
    STALE = "stale"  #: what this node has


class ExecutionFilter(Struct, frozen=True, kw_only=True):
    """Executions that meet every condition; an empty one is met by all."""

    statuses: frozenset[Status] = frozenset()
    handlers: frozenset[str] = frozenset()
    components: frozenset[Component] = frozenset()
    parent_id: str | None = None
    roots_only: bool = False
    created_after_ms: int | None = None  #: exclusive
    created_before_ms: int | None = None  #: exclusive


class Span(NamedTuple):
    """An operation, or with no kind an attempt of the execution that ended, from its beginning to its end."""

    kind: OperationKind | None
    started_ms: int
    closed_ms: int | None


class EventKind(StrEnum):
    """What happened to an execution, or in it."""

    ENQUEUED = "enqueued"
    STARTED = "started"  #: its first attempt
    SIGNAL_RECEIVED = "signal_received"  #: in its inbox; the operation that takes it ends as it does
    CANCEL_REQUESTED = "cancel_requested"
    ATTEMPT_ENDED = "attempt_ended"  #: without completing it, or its operation
    OPERATION_ENDED = "operation_ended"
    OPERATION_BEGUN = "operation_begun"  #: that did not end at once
    ENDED = "ended"


class EventPlace(NamedTuple):
    """Where an event is in the history of its execution. Places are in order, and no two events have the same."""

    at_ms: int
    rank: int
    place: int


BEGINNING = EventPlace(-(2**62), 0, 0)


class ExecutionEvent(Struct, frozen=True, kw_only=True):
    kind: EventKind
    place: EventPlace
    operation: Operation | None = None
    attempt: EndedAttempt | None = None
    signal: Signal | None = None

    @property
    def payload_bytes(self) -> int:
        operation, signal = self.operation, self.signal
        size = 0 if signal is None else len(signal.payload)
        return size if operation is None else size + len(operation.input or b"") + len(operation.result or b"")


class ComponentStats(Struct, frozen=True, kw_only=True):
    """Counts of one component's executions (handler, saga) or operations (compensation, side effect)."""

    active: int = 0  #: not ended: the four below and those that are stuck, compensating or suspended
    scheduled: int = 0
    queued: int = 0
    running: int = 0
    waiting: int = 0
    completed: int = 0  #: ended well since the store was made; of operations: since the node started
    failed: int = 0  #: ended otherwise
    workers: int = 0
    busy: int = 0  #: slots taken now


class Stats(Struct, frozen=True, kw_only=True):
    revision: int  #: grows with every change
    handler: ComponentStats = ComponentStats()
    saga: ComponentStats = ComponentStats()
    compensation: ComponentStats = ComponentStats()
    side_effect: ComponentStats = ComponentStats()


class PoolState(Struct, frozen=True, kw_only=True):
    component: Component
    workers: int
    busy: int
    paused: bool
    queued: int
    queue_limit: int  #: 0: none
    rate_limit: float  #: starts per second; 0: none
    retry: RetryPolicy  #: of pool and default


class HostInfo(Struct, frozen=True, kw_only=True):
    """A worker host."""

    number: int
    pid: int
    attempts: int  #: that it holds, parked ones included
    starts: int  #: 1 + starts in place of one that crashed or was replaced
    lingering: int = 0  #: executions of which code goes on in it that lost its right to run


class NodeInfo(Struct, frozen=True, kw_only=True):
    node_id: str
    version: str
    started_ms: int
    incarnation: int  #: counts the starts of this data directory
    applied_index: int
    draining: bool
    python_version: str
    sqlite_version: str
    hosts: tuple[HostInfo, ...] = ()


class MemberState(Struct, frozen=True, kw_only=True):
    """A node of the cluster, as the node that is asked sees it."""

    node_id: str
    address: str  #: where the other nodes reach it
    api_address: str  #: where clients do; "": it has not said yet
    live: bool  #: False: silent for longer than cluster.node_timeout
    draining: bool
    votes: bool  #: False: it catches up, and does not count for a majority
    connected: bool
    refused: str | None  #: why one of the two refuses the other's connection
    matched_index: int | None  #: known to the leader alone
    lag: int | None  #: entries that the leader has and it is not known to have
    incarnation: int  #: counts its starts; 0: it has not started yet
    handlers: tuple[str, ...]
    open_executions: int  #: that it owns
    workers: Mapping[Component, int]


class ClusterState(Struct, frozen=True, kw_only=True):
    name: str
    node_id: str  #: whose view this is
    leader: str | None
    leader_api_address: str | None
    role: str  #: leader, candidate, follower, learner, new or recovering
    term: int
    commit_index: int
    applied_index: int
    members: tuple[MemberState, ...]
