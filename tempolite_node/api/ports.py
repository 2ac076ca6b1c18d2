"""What the API needs of the node: a port for each part that it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from msgspec import Struct

from tempolite_node.config import Config
from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome, Rejection
from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    NodeState,
    Operation,
    OperationKind,
    ServedHandler,
    Signal,
)
from tempolite_node.explain.facts import Look
from tempolite_node.handlers.options import Resolved
from tempolite_node.protocol.messages import CallOptions, HandlerDescription, Violation
from tempolite_node.views import (
    ClusterState,
    Consistency,
    EventPlace,
    ExecutionEvent,
    ExecutionFilter,
    NodeInfo,
    PoolState,
    Span,
    Stats,
)

T = TypeVar("T")


class Queries(Protocol):
    """Reads of the store, on a read-only connection. Synchronous: they run in the read executor.

    bytes_max: of payloads. The first value is taken whatever it has; the next one that goes beyond it is the last of
    the list, and shows that there are more.
    """

    def execution(self, execution_id: str) -> Execution | None: ...

    def run_of(self, execution: Execution, run: int) -> Execution | None:
        """That run, of those that had the execution's id in turn up to this one."""
        ...

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation | None: ...

    def operations(self, execution_row: int, limit: int, *, bytes_max: int | None = None) -> list[Operation]:
        """In the order in which they were recorded."""
        ...

    def pending(self, execution_row: int) -> list[Operation]:
        """The waits that are not over."""
        ...

    def events(
        self, execution: Execution, after: EventPlace | None, limit: int, *, bytes_max: int
    ) -> list[ExecutionEvent]:
        """What happened to it and in it, in order; those behind `after`."""
        ...

    def execution_at(self, row: int) -> Execution | None: ...

    def last_run(self, execution: Execution) -> Execution:
        """Of those that continue it, the one that is continued no more; itself, if it is not."""
        ...

    def operation_at(self, execution_row: int, kind: OperationKind, key: str) -> Operation | None: ...

    def retrying(self, execution_row: int, limit: int) -> list[Operation]:
        """Operations between two attempts."""
        ...

    def last_attempt(self, execution_row: int, kind: OperationKind | None, key: str) -> EndedAttempt | None:
        """That ended, of the execution or of one of its operations."""
        ...

    def open_children(self, execution_row: int, limit: int) -> list[Execution]:
        """Those that have not ended, oldest first."""
        ...

    def count_ahead(self, execution: Execution, limit: int) -> int:
        """Executions before it, up to the limit, in the queue of its pool or among those that wait for its key."""
        ...

    def spans(self, execution_row: int, limit: int) -> list[Span]:
        """When its operations, and its own attempts that have ended, began and ended: so many at most."""
        ...

    def key_holders(self, execution: Execution, limit: int) -> list[str]:
        """Ids of executions that hold the concurrency key which the execution waits for; of others, none."""
        ...

    def attempts(self, execution_row: int) -> list[EndedAttempt]:
        """Ended attempts of the execution and of its operations, oldest first."""
        ...

    def children(self, execution_row: int, limit: int, *, bytes_max: int | None = None) -> list[Execution]:
        """Oldest first."""
        ...

    def list_executions(
        self, filter: ExecutionFilter, limit: int, after: int | None, *, bytes_max: int | None = None
    ) -> list[Execution]:
        """Newest first; those created before the one at the row `after`."""
        ...

    def count_executions(self, filter: ExecutionFilter) -> int: ...

    def unconsumed_signals(self, mailbox: int, limit: int) -> list[Signal]:
        """That it received and did not take, those that were set aside too; by sequence."""
        ...

    def outbox(self, mailbox: int, name: str, after: int, limit: int, *, bytes_max: int | None = None) -> list[Signal]:
        """By sequence, above `after`. name: "" for all names."""
        ...


class Follower(Protocol):
    async def changed(self) -> None:
        """Returns when signals were sent to clients, or the execution has ended, since the last call."""
        ...


class CommandPort(Protocol):
    """Raises errors.Unavailable (NoQuorum, OutcomeUnknown), StorageFailed or Overloaded: the node can't take it."""

    def now_ms(self) -> int: ...

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        """The outcome, once it is on disk."""
        ...

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        """Their outcomes, in order, once all are on disk. Each is decided by itself."""
        ...


class Handlers(Protocol):
    def find(self, name: str, function: str) -> ServedHandler | Rejection:
        """The handler that a caller means, or why none is served. See `HandlerCatalog.find`."""
        ...

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        """How an execution of the handler is run."""
        ...


class CatalogPort(Protocol):
    """The handlers that this node or another one of its cluster serves. From any thread."""

    def current(self) -> Handlers:
        """As of now: another object once the nodes have changed."""
        ...

    def waits_for_node(self, name: str) -> str:
        """Why no node can run the handler now; "" if one can."""
        ...


class ArgumentPort(Protocol):
    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[Violation]]:
        """What is wrong with the arguments of each call, a handler and its arguments, by the handler's own types.

        errors.Unavailable: nobody can tell now.
        """
        ...


class SignalPort(Protocol):
    async def check_signal(self, execution_id: str, name: str, payload: bytes) -> Sequence[Violation]:
        """What is wrong with a signal to the execution, whose handler may declare those that it takes.

        errors.Unavailable: nobody can tell now.
        """
        ...


class ReadPort(Protocol):
    """Raises errors.Unavailable (NoQuorum), StorageFailed."""

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T: ...

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        """The execution, once it has ended; cancel it to give up."""
        ...


class DeletionPort(Protocol):
    """Raises errors.Unavailable (NoQuorum), StorageFailed."""

    async def delete(self, execution_id: str) -> bool:
        """Deletes all executions that had the id, with all below them. Whether there were any.

        errors.WrongState: something of it has not ended, or it is part of another tree; which, and why.
        """
        ...


class WatchPort(Protocol):
    """Ends of executions and signals, as they come. Raises errors.Unavailable once the node stops."""

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        """Calls `closed` when the execution ends, after this was called and before it is forgotten."""
        ...

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None: ...

    def closing(self, execution_id: str) -> AbstractContextManager[Awaitable[Execution]]:
        """The execution, once it ends after this was called."""
        ...

    def following(self, execution_id: str) -> AbstractContextManager[Follower]: ...


class PoolPort(Protocol):
    async def state(self, component: Component) -> PoolState: ...

    async def scale(self, component: Component, workers: int) -> PoolState: ...

    async def pause(self, component: Component) -> PoolState: ...

    async def resume(self, component: Component) -> PoolState: ...


class LookPort(Protocol):
    """What nodes know of executions beside the store."""

    def nodes(self) -> Mapping[str, NodeState]: ...

    async def look(self, executions: Mapping[str, Sequence[str]]) -> Mapping[str, Look]:
        """What each node that answers knows of these executions, by its id."""
        ...


class StatusPort(Protocol):
    """What this node serves, and what it holds and does."""

    def handlers(self) -> Sequence[HandlerDescription]: ...

    async def info(self) -> NodeInfo: ...

    async def stats(self) -> Stats: ...

    async def wait_stats(self, after_revision: int) -> None:
        """Returns when the stats have a later revision."""
        ...


class ClusterPort(Protocol):
    def leader_api_address(self) -> str | None:
        """Where clients reach the node that leads, as far as this one knows. Cheap: each call asks."""
        ...

    async def state(self) -> ClusterState: ...

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        """Returns when it counts as one of the cluster. errors.WrongState: it can't, and why."""
        ...

    async def remove_member(self, node_id: str) -> None:
        """Nothing is changed if there is no such member. errors.WrongState: it can't, and why."""
        ...

    async def transfer_leadership(self, to: str | None) -> str:
        """Who leads now. to: None: whoever has most of the log. errors.WrongState: nothing has changed, and why."""
        ...


class NodePorts(Struct, frozen=True, kw_only=True):
    """The parts of a node that its API asks, each implemented by the one that knows."""

    config: Config
    commands: CommandPort
    catalog: CatalogPort
    arguments: ArgumentPort
    signals: SignalPort
    reads: ReadPort
    watch: WatchPort
    deletion: DeletionPort
    pools: PoolPort
    looks: LookPort
    status: StatusPort
    cluster: ClusterPort | None  #: None: the node is alone

    def leader_api_address(self) -> str | None:
        return None if self.cluster is None else self.cluster.leader_api_address()
