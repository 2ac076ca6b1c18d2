"""What the API needs of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol, TypeVar

from tempolite_node.config import Config
from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome, Rejection
from tempolite_node.engine.model import (
    Attempt,
    Component,
    Execution,
    Operation,
    OperationKind,
    ServedHandler,
    Signal,
)
from tempolite_node.handlers.options import Resolved
from tempolite_node.protocol.messages import CallOptions, HandlerDescription, Violation
from tempolite_node.views import ClusterState, Consistency, ExecutionFilter, NodeInfo, PoolState, Stats

T = TypeVar("T")


class Queries(Protocol):
    """Reads of the store, on a read-only connection. Synchronous: they run in the read executor."""

    def execution(self, execution_id: str) -> Execution | None: ...

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation | None: ...

    def operations(self, execution_row: int, limit: int) -> list[Operation]:
        """In the order in which they were recorded."""
        ...

    def pending(self, execution_row: int) -> list[Operation]:
        """The waits that are not over."""
        ...

    def key_holders(self, execution: Execution, limit: int) -> list[str]:
        """Ids of executions that hold the concurrency key which the execution waits for; of others, none."""
        ...

    def attempts(self, execution_row: int) -> list[Attempt]:
        """Ended attempts of the execution and of its operations, oldest first."""
        ...

    def children(self, execution_row: int, limit: int) -> list[Execution]:
        """Oldest first."""
        ...

    def list_executions(self, filter: ExecutionFilter, limit: int, after: int | None) -> list[Execution]:
        """Newest first; those created before the one at the row `after`."""
        ...

    def count_executions(self, filter: ExecutionFilter) -> int: ...

    def unconsumed_signals(self, execution_row: int, limit: int) -> list[Signal]:
        """That it received and did not take, those that were set aside too; by sequence."""
        ...

    def outbox(self, execution_row: int, name: str, after: int, limit: int) -> list[Signal]:
        """By sequence, above `after`. name: "" for all names."""
        ...


class Follower(Protocol):
    async def changed(self) -> None:
        """Returns when signals were sent to clients, or the execution has ended, since the last call."""
        ...


class NodePort(Protocol):
    """Raises errors.Unavailable (NoQuorum, OutcomeUnknown), StorageFailed or Overloaded where the node can't take a
    request."""

    @property
    def config(self) -> Config: ...

    def find_handler(self, name: str, function: str) -> ServedHandler | Rejection:
        """As this node serves it, or another one of its cluster. See `HandlerCatalog.find`."""
        ...

    def waits_for_node(self, handler: str) -> str:
        """Why no node can run the handler now; "" if one can. From any thread."""
        ...

    def resolve(self, handler: ServedHandler, call: CallOptions) -> Resolved:
        """How an execution of the handler is run."""
        ...

    def handlers(self) -> Sequence[HandlerDescription]:
        """Those of this node."""
        ...

    def now_ms(self) -> int: ...

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        """The outcome, once it is on disk."""
        ...

    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[Violation]]:
        """What is wrong with the arguments of each call, a handler and its arguments, by the handler's own types."""
        ...

    async def check_signal(self, execution_id: str, name: str, payload: bytes) -> Sequence[Violation]:
        """What is wrong with a signal to the execution, whose handler may declare those that it takes."""
        ...

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        """Their outcomes, in order, once all are on disk. Each is decided by itself."""
        ...

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        """Calls `closed` when the execution ends, after this was called and before it is forgotten."""
        ...

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None: ...

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        """The execution, once it has ended; cancel it to give up."""
        ...

    def closing(self, execution_id: str) -> AbstractContextManager[Awaitable[Execution]]:
        """The execution, once it ends after this was called."""
        ...

    def follow(self, execution_id: str) -> AbstractAsyncContextManager[Follower]: ...

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T: ...

    async def stats(self) -> Stats: ...

    async def wait_stats(self, after_revision: int) -> None:
        """Returns when the stats have a later revision."""
        ...

    async def pool(self, component: Component) -> PoolState: ...

    async def scale_pool(self, component: Component, workers: int) -> PoolState: ...

    async def pause_pool(self, component: Component) -> PoolState: ...

    async def resume_pool(self, component: Component) -> PoolState: ...

    async def info(self) -> NodeInfo: ...

    def leader_api_address(self) -> str | None:
        """Where clients reach the node that leads the cluster, as far as this one knows. Cheap: each call asks."""
        ...

    async def cluster(self) -> ClusterState | None:
        """None: the node belongs to none."""
        ...

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        """Returns when it counts as one of the cluster. errors.WrongState: it can't, and why."""
        ...

    async def remove_member(self, node_id: str) -> None:
        """Nothing is changed if there is no such member. errors.WrongState: it can't, and why."""
        ...

    async def transfer_leadership(self, to: str | None) -> str:
        """Who leads now. to: None: whoever has most of the log. errors.WrongState: nothing has changed, and why."""
        ...
