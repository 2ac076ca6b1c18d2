"""A node without an engine: it keeps executions in memory, so that tests of the API see what it asks and is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from msgspec.structs import replace

from tempolite_node.api.ports import NodePorts, Queries
from tempolite_node.config import Config
from tempolite_node.engine.commands import AnyCommand, Cancel, Enqueue, EnqueueBatch, SendSignal, Terminate
from tempolite_node.engine.effects import Accepted, AnyOutcome, Enqueued, EnqueuedBatch, Reason, Rejection, SignalStored
from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    NodeState,
    Operation,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    ServedHandler,
    Signal,
    Status,
)
from tempolite_node.errors import WrongState
from tempolite_node.explain.facts import Look
from tempolite_node.handlers import options
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.handlers.options import Resolved
from tempolite_node.node.watch import Watch
from tempolite_node.protocol.messages import CallOptions, HandlerDescription, Violation
from tempolite_node.views import (
    ClusterState,
    Consistency,
    EventKind,
    EventPlace,
    ExecutionEvent,
    ExecutionFilter,
    HostInfo,
    NodeInfo,
    PoolState,
    Span,
    Stats,
)

T = TypeVar("T")

CONFIG = {
    "node": {"id": "node-1", "data_dir": "unused"},
    "api": {"listen": "127.0.0.1:0"},
    "handlers": [{"target": "shop:fulfil"}, {"target": "shop:ship"}],
}
NOW_MS = 1_700_000_000_000


class MemoryQueries:
    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.recorded: list[Operation] = []
        self.ended: list[EndedAttempt] = []
        self.signals: list[Signal] = []
        self.received: list[Signal] = []

    def execution(self, execution_id: str) -> Execution | None:
        return self.executions.get(execution_id)

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation | None:
        row = self.executions[execution_id].row
        return next((o for o in self.operations(row, 1_000) if (o.kind, o.key) == (kind, key)), None)

    def operations(self, execution_row: int, limit: int, **_: Any) -> list[Operation]:
        return [operation for operation in self.recorded if operation.execution_row == execution_row][:limit]

    def pending(self, execution_row: int) -> list[Operation]:
        return [operation for operation in self.operations(execution_row, 1_000) if operation.closed_ms is None]

    def events(self, execution: Execution, after: EventPlace | None, limit: int, **_: Any) -> list[ExecutionEvent]:
        places = [(EventKind.ENQUEUED, EventPlace(execution.created_ms, 0, 0))]
        places += [(EventKind.OPERATION_ENDED, EventPlace(NOW_MS, 5, o.seq)) for o in self.operations(execution.row, 9)]
        operations = {o.seq: o for o in self.operations(execution.row, 9)}
        found = [
            ExecutionEvent(kind=k, place=p, operation=operations.get(p.place))
            for k, p in sorted(places, key=lambda each: each[1])
        ]
        return [each for each in found if after is None or each.place > after][:limit]

    def execution_at(self, row: int) -> Execution | None:
        return next((each for each in self.executions.values() if each.row == row), None)

    def last_run(self, execution: Execution) -> Execution:
        return execution

    def operation_at(self, execution_row: int, kind: OperationKind, key: str) -> Operation | None:
        return next((o for o in self.operations(execution_row, 1_000) if (o.kind, o.key) == (kind, key)), None)

    def retrying(self, execution_row: int, limit: int) -> list[Operation]:
        found = self.operations(execution_row, 1_000)
        return [operation for operation in found if operation.status is OperationStatus.RETRYING][:limit]

    def last_attempt(self, execution_row: int, kind: OperationKind | None, key: str) -> EndedAttempt | None:
        found = [a for a in self.attempts(execution_row) if (a.kind, a.key) == (kind, key)]
        return found[-1] if found else None

    def open_children(self, execution_row: int, limit: int) -> list[Execution]:
        return [each for each in self.children(execution_row, 1_000) if not each.closed][:limit]

    def count_ahead(self, execution: Execution, limit: int) -> int:
        ahead = [e for e in self.executions.values() if e.ready_at is not None and e.row < execution.row]
        return min(len(ahead), limit)

    def spans(self, execution_row: int, limit: int) -> list[Span]:
        return [Span(o.kind, o.started_ms, o.closed_ms) for o in self.operations(execution_row, limit)]

    def key_holders(self, execution: Execution, limit: int) -> list[str]:
        key = (execution.handler, execution.concurrency_key)
        holders = (e for e in self.executions.values() if e.place is not None and (e.handler, e.concurrency_key) == key)
        return [holder.id for holder in holders][:limit] if execution.waits_for_place else []

    def attempts(self, execution_row: int) -> list[EndedAttempt]:
        return [attempt for attempt in self.ended if attempt.execution_row == execution_row]

    def children(self, execution_row: int, limit: int, **_: Any) -> list[Execution]:
        return [execution for execution in self.executions.values() if execution.parent_row == execution_row][:limit]

    def list_executions(self, filter: ExecutionFilter, limit: int, after: int | None, **_: Any) -> list[Execution]:
        newest_first = sorted(self.executions.values(), key=lambda e: e.row, reverse=True)
        wanted = [e for e in newest_first if not filter.statuses or e.status in filter.statuses]
        return [e for e in wanted if after is None or e.row < after][:limit]

    def count_executions(self, filter: ExecutionFilter) -> int:
        return len(self.list_executions(filter, 1_000_000, None))

    def unconsumed_signals(self, execution_row: int, limit: int) -> list[Signal]:
        return [s for s in self.received if s.execution_row == execution_row and not s.consumed][:limit]

    def outbox(self, execution_row: int, name: str, after: int, limit: int, **_: Any) -> list[Signal]:
        sent = [s for s in self.signals if s.execution_row == execution_row and name in ("", s.name)]
        return [s for s in sent if s.seq > after][:limit]


class MemoryNode:
    """Implements every port of the API but the cluster's: see `ports`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.queries = MemoryQueries()
        self.commands: list[AnyCommand] = []
        self.checked: list[tuple[str, bytes]] = []
        self.violations: list[Violation] = []
        self.fails_with: Exception | None = None
        self.fails_linearizable_with: Exception | None = None  #: reads that need a majority
        self.reads: list[Consistency] = []
        self.state: ClusterState | None = None
        self.members: list[tuple[str, ...]] = []
        self.looked_at: list[Mapping[str, Sequence[str]]] = []
        self.changes = asyncio.Event()
        self.revision = 1
        self.watch = Watch(self.revision)
        self.catch_up_s = 0.0  #: of the member that was added last

    # --- what a test makes happen

    def close(self, execution_id: str, status: Status = Status.COMPLETED, result: bytes | None = None) -> None:
        execution = self.queries.executions[execution_id]
        closed = replace(execution, status=status, closed_ms=NOW_MS, ready_at=None, result=result)
        self.queries.executions[execution_id] = closed
        self.watch.advance(closed=[closed], signalled=[], revision=self.revision)
        self.watch.published(closed=[closed], signalled=[])
        self.change()

    def send(self, execution_id: str, payload: bytes) -> None:
        row = self.queries.executions[execution_id].row
        seq = 1 + len(self.queries.signals)
        self.queries.signals.append(Signal(execution_row=row, seq=seq, name="progress", payload=payload, at_ms=NOW_MS))
        self.change()

    def change(self) -> None:
        self.revision += 1
        self.changes.set()
        self.changes = asyncio.Event()

    def ports(self) -> NodePorts:
        return NodePorts(
            config=self.config,
            commands=self,
            catalog=self,
            arguments=self,
            signals=self,
            reads=self,
            watch=self,
            deletion=self,
            pools=MemoryPools(),
            looks=self,
            status=self,
            cluster=None if self.config.cluster is None else MemoryCluster(self),
        )

    # --- the ports

    def current(self) -> MemoryNode:
        return self

    def find(self, name: str, function: str) -> ServedHandler | Rejection:
        served = [
            options.served_handler(self.config, each.name, Component.HANDLER, function=each.target)
            for each in self.config.handlers
        ]
        return HandlerCatalog(served, dict, in_cluster=False).find(name, function)

    def waits_for_node(self, name: str) -> str:  # noqa: ARG002
        return ""

    def resolve(self, served: ServedHandler, call: CallOptions) -> Resolved:
        return options.resolve(served, call)

    def handlers(self) -> Sequence[HandlerDescription]:
        return [
            HandlerDescription(
                name=handler.name,
                component=Component.HANDLER,
                asynchronous=False,
                arguments_schema="{}",
                result_schema="{}",
            )
            for handler in self.config.handlers
        ]

    def now_ms(self) -> int:
        return NOW_MS

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        self.commands.append(command)
        if self.fails_with is not None:
            raise self.fails_with
        match command:
            case Enqueue():
                return self._enqueue(command)
            case EnqueueBatch():
                outcomes = [self._enqueue(each) for each in command.commands]
                refused = [outcome for outcome in outcomes if isinstance(outcome, Rejection)]
                return refused[0] if refused else EnqueuedBatch(enqueued=tuple(outcomes))
            case SendSignal() | Cancel() | Terminate() if command.execution_id not in self.queries.executions:
                return Rejection(Reason.NOT_FOUND, f"no execution {command.execution_id!r}")
            case SendSignal():
                if self.queries.executions[command.execution_id].closed:
                    return Rejection(Reason.CLOSED, "it has ended")
                return SignalStored(sequence=1)
            case Cancel():
                return Accepted()
            case Terminate():
                self.close(command.execution_id, Status.TERMINATED)
                return Accepted(status=Status.TERMINATED)
            case _:
                return Rejection(Reason.WRONG_STATE, "it is not stuck")

    def _enqueue(self, command: Enqueue) -> Enqueued | Rejection:
        existing = self.queries.executions.get(command.execution_id)
        if existing is not None and existing.request_id != command.request_id:
            return Rejection(Reason.ALREADY_EXISTS, f"{command.execution_id!r} is taken")
        if existing is None:
            self.queries.executions[command.execution_id] = execution(
                command.execution_id,
                row=len(self.queries.executions) + 1,
                handler=command.handler,
                arguments=command.arguments,
                options=command.options,
                request_id=command.request_id,
            )
            self.change()
        return Enqueued(execution_id=command.execution_id, component=command.component, existing=existing is not None)

    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[Violation]]:
        self.checked += calls
        return [self.violations for _ in calls]

    async def check_signal(self, execution_id: str, name: str, payload: bytes) -> Sequence[Violation]:  # noqa: ARG002
        return self.violations

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        return [await self.submit(command) for command in commands]

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self.watch.on_closed(execution_id, closed)

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self.watch.forget_closed(execution_id, closed)

    def closing(self, execution_id: str) -> AbstractContextManager[Awaitable[Execution]]:
        return self.watch.closing(execution_id)

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        found = self.queries.executions.get(execution_id)
        if found is None:
            return Rejection(Reason.NOT_FOUND, f"no execution {execution_id!r}")
        with self.watch.closing(execution_id) as closing:
            await asyncio.sleep(0)  # a node asks its driver, and a deadline may pass meanwhile
            return found if found.closed else await closing

    async def delete(self, execution_id: str) -> bool:
        found = self.queries.executions.get(execution_id)
        if found is not None and not found.closed:
            raise WrongState(f"{execution_id} goes on")
        return self.queries.executions.pop(execution_id, None) is not None

    @contextmanager
    def following(self, execution_id: str) -> Iterator[MemoryFollower]:
        assert execution_id in self.queries.executions
        yield MemoryFollower(self)

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T:
        self.reads.append(consistency)
        if consistency is Consistency.LINEARIZABLE and self.fails_linearizable_with is not None:
            raise self.fails_linearizable_with
        if self.fails_with is not None:
            raise self.fails_with
        return query(self.queries)

    def nodes(self) -> Mapping[str, NodeState]:
        served = [options.served_handler(self.config, each.name, Component.HANDLER) for each in self.config.handlers]
        return {"node-1": NodeState(id="node-1", boot_id="1", incarnation=1, handlers=tuple(served))}

    async def look(self, executions: Mapping[str, Sequence[str]]) -> Mapping[str, Look]:
        self.looked_at.append(executions)
        return {node_id: Look(node_id=node_id) for node_id in executions}

    async def stats(self) -> Stats:
        return Stats(revision=self.revision)

    async def wait_stats(self, after_revision: int) -> None:
        while self.revision <= after_revision:
            await self.changes.wait()

    async def info(self) -> NodeInfo:
        return NodeInfo(
            node_id=self.config.node.id,
            version="1",
            started_ms=NOW_MS,
            incarnation=1,
            applied_index=7,
            draining=False,
            python_version="3",
            sqlite_version="3",
            hosts=(HostInfo(number=1, pid=2, attempts=3, starts=4, lingering=5),),
        )


class MemoryPools:
    def __init__(self) -> None:
        self._workers = dict.fromkeys(Component, 1)
        self._paused: set[Component] = set()

    async def state(self, component: Component) -> PoolState:
        return PoolState(
            component=component,
            workers=self._workers[component],
            busy=0,
            paused=component in self._paused,
            queued=0,
            queue_limit=0,
            rate_limit=0.0,
            retry=RetryPolicy(),
        )

    async def scale(self, component: Component, workers: int) -> PoolState:
        self._workers[component] = workers
        return await self.state(component)

    async def pause(self, component: Component) -> PoolState:
        self._paused.add(component)
        return await self.state(component)

    async def resume(self, component: Component) -> PoolState:
        self._paused.discard(component)
        return await self.state(component)


class MemoryCluster:
    """Of which the node is a member once a test has given it a state."""

    def __init__(self, node: MemoryNode) -> None:
        self._node = node

    def leader_api_address(self) -> str | None:
        return None if self._node.state is None else self._node.state.leader_api_address

    async def state(self) -> ClusterState:
        assert self._node.state is not None, "the test gives none"
        return self._node.state

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        self._node.catch_up_s = catch_up_s
        self._change("add", node_id, address)

    async def remove_member(self, node_id: str) -> None:
        self._change("remove", node_id)

    async def transfer_leadership(self, to: str | None) -> str:
        self._change("transfer", to or "")
        return to or "node-2"

    def _change(self, *change: str) -> None:
        if self._node.fails_with is not None:
            raise self._node.fails_with
        self._node.members.append(change)


class MemoryFollower:
    def __init__(self, node: MemoryNode) -> None:
        self._node = node
        self._seen = node.revision

    async def changed(self) -> None:
        await self._node.wait_stats(self._seen)
        self._seen = self._node.revision


def execution(execution_id: str, *, row: int, **fields: object) -> Execution:
    defaults: dict[str, object] = {
        "handler": "fulfil",
        "component": Component.HANDLER,
        "pool": Component.HANDLER,
        "status": Status.QUEUED,
        "owner": "node-1",
        "created_ms": NOW_MS + row,
        "ready_at": NOW_MS,
        "arguments": b"[]",
    }
    return Execution(id=execution_id, row=row, **({"options": Options()} | defaults | fields))  # type: ignore[arg-type]
