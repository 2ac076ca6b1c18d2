"""The node as its API sees it: each question goes to the part that knows the answer. See `api/ports.py`."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import TypeVar

from tempolite_node import __version__
from tempolite_node.clock import wall_clock_ms
from tempolite_node.config import Config
from tempolite_node.driver.driver import Driver, Registration
from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome, Reason, Rejection
from tempolite_node.engine.model import Component, Execution, ServedHandler
from tempolite_node.errors import no_cluster
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.handlers.options import Resolved, pool_retry, queue_limit
from tempolite_node.log.raft.raft_log import RaftLog
from tempolite_node.node.cluster import Cluster
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.read_barrier import SharedBarrier
from tempolite_node.node.signal_checks import SignalChecks
from tempolite_node.node.stats import stats_of
from tempolite_node.node.watch import Follower, Watch
from tempolite_node.protocol import messages
from tempolite_node.store.database import sqlite_version
from tempolite_node.store.queries import Queries
from tempolite_node.store.readers import Readers
from tempolite_node.store.writer import Executions
from tempolite_node.supervisor.supervisor import Supervisor
from tempolite_node.views import ClusterState, Consistency, NodeInfo, PoolState, Stats

T = TypeVar("T")


class Facade:
    def __init__(
        self,
        config: Config,
        *,
        driver: Driver,
        asking: DriverClient,
        watch: Watch,
        executions: Executions,
        readers: Readers,
        supervisor: Supervisor,
        served: HandlerCatalog,
        registration: Registration,
        raft: RaftLog | None,
    ) -> None:
        """executions: of them only what is for any thread, but through `asking`. raft: None: the node is alone."""
        self.config = config
        self.draining = False
        self._driver = driver
        self._asking = asking
        self._watch = watch
        self._executions = executions
        self._readers = readers
        self._supervisor = supervisor
        self._served = served
        self._registration = registration
        self._barrier = SharedBarrier(asking.barrier)
        self._started_ms = wall_clock_ms()
        self._cluster: Cluster | None = None
        if raft is not None and config.cluster is not None:
            self._cluster = Cluster(config.cluster, self, raft, executions.nodes)
        self.signal_checks = SignalChecks(served, supervisor, executions, self._cluster)

    @property
    def _peers(self) -> Cluster:
        if self._cluster is None:
            raise no_cluster()
        return self._cluster

    def stop(self) -> None:
        if self._cluster is not None:
            self._cluster.stop()

    # --- what changes the store

    def now_ms(self) -> int:
        return self._driver.now_ms()

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        return await self._asking.submit(command)

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        return await self._asking.submit_all(commands)

    # --- handlers

    def find_handler(self, name: str, function: str) -> ServedHandler | Rejection:
        return self._served.find(name, function)

    def waits_for_node(self, handler: str) -> str:
        return "" if self._cluster is None else self._served.waits_for_node(handler)

    def resolve(self, handler: ServedHandler, call: messages.CallOptions) -> Resolved:
        return self._served.resolve(handler, call)

    def handlers(self) -> Sequence[messages.HandlerDescription]:
        return sorted(self._supervisor.handlers.values(), key=lambda handler: handler.name)

    def serves(self, handler: str) -> bool:
        return handler in self._supervisor.handlers

    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[messages.Violation]]:
        if self._cluster is None:
            return await self.check_own_arguments(calls)
        return await self._cluster.check_arguments(calls)

    async def check_own_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[messages.Violation]]:
        return await self._supervisor.check_arguments(calls)

    async def check_signal(self, execution_id: str, name: str, payload: bytes) -> Sequence[messages.Violation]:
        if not self.signal_checks.needed:
            return ()
        target = await self._known_execution(execution_id)
        if target is None or target.closed:
            return ()  # the engine says so
        return await self.signal_checks.violations(target.handler, name, payload)

    async def check_own_signal(self, handler: str, name: str, payload: bytes) -> Sequence[messages.Violation]:
        return await self._supervisor.check_signal(handler, name, payload)

    # --- what is stored, and its end

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T:
        if self._cluster is not None and consistency is Consistency.LINEARIZABLE:
            await self._barrier.passed()
        found = await self._readers.read(query)
        if self._cluster is None:
            await self._watch.changed_after(self._executions.visible_index - 1)  # what was seen is on disk by then
        return found

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self._watch.on_closed(execution_id, closed)

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self._watch.forget_closed(execution_id, closed)

    def closing(self, execution_id: str) -> AbstractContextManager[Awaitable[Execution]]:
        return self._watch.closing(execution_id)

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        with self._watch.closing(execution_id) as closing:
            execution = await self._known_execution(execution_id)
            if execution is None:
                return Rejection(Reason.NOT_FOUND, f"no execution {execution_id}")
            return execution if execution.closed else await closing

    async def _known_execution(self, execution_id: str) -> Execution | None:
        execution = await self._execution(execution_id)
        if execution is None and self._cluster is not None:
            await self._barrier.passed()  # it may be known to the others
            execution = await self._execution(execution_id)
        return execution

    async def _execution(self, execution_id: str) -> Execution | None:
        return await self._asking.look(lambda: self._executions.execution(execution_id))

    def follow(self, execution_id: str) -> AbstractAsyncContextManager[Follower]:
        return self._following(execution_id)

    @asynccontextmanager
    async def _following(self, execution_id: str) -> AsyncIterator[Follower]:
        with self._watch.following(execution_id) as follower:
            yield follower

    # --- the node itself

    async def info(self) -> NodeInfo:
        return await self._asking.look(self._info)

    def _info(self) -> NodeInfo:
        own = self._executions.nodes().get(self.config.node.id)
        return NodeInfo(
            node_id=self.config.node.id,
            version=__version__,
            started_ms=self._started_ms,
            incarnation=own.incarnation if own is not None else 0,
            applied_index=self._executions.applied_index,
            draining=self.draining,
            python_version=platform.python_version(),
            sqlite_version=sqlite_version(),
            hosts=self._supervisor.describe(self._driver.dispatch.attempts_of),
        )

    async def stats(self) -> Stats:
        return await self._asking.look(lambda: stats_of(self._executions, self._driver.dispatch))

    async def wait_stats(self, after_revision: int) -> None:
        await self._watch.changed_after(after_revision)

    async def pool(self, component: Component) -> PoolState:
        return await self._asking.look(lambda: self._pool_state(component))

    def _pool_state(self, component: Component) -> PoolState:
        pool = self._driver.dispatch.pools[component]
        stats = getattr(stats_of(self._executions, self._driver.dispatch), component.value)
        return PoolState(
            component=component,
            workers=pool.workers,
            busy=stats.busy,
            paused=pool.paused,
            queued=stats.queued,
            queue_limit=queue_limit(self.config, component),
            rate_limit=self.config.pools.of(component).rate_limit,
            retry=pool_retry(self.config, component),
        )

    async def scale_pool(self, component: Component, workers: int) -> PoolState:
        def change() -> None:
            self._driver.dispatch.pools[component].workers = workers

        await self._asking.change(change)
        if self._cluster is not None:
            await self.submit(self._registration(self.now_ms(), self._driver.run))  # executions are placed by slots
        return await self.pool(component)

    async def pause_pool(self, component: Component) -> PoolState:
        return await self._pause_pool(component, paused=True)

    async def resume_pool(self, component: Component) -> PoolState:
        return await self._pause_pool(component, paused=False)

    async def _pause_pool(self, component: Component, *, paused: bool) -> PoolState:
        def change() -> None:
            self._driver.dispatch.pools[component].paused = paused

        await self._asking.change(change)
        return await self.pool(component)

    # --- the cluster

    def answer_peer(self, peer: str, question: bytes) -> bytes:
        """What another node asks; see `Cluster.answer`. In a thread of the log's."""
        return self._peers.answer(peer, question)

    def leader_api_address(self) -> str | None:
        return None if self._cluster is None else self._cluster.leader_api_address()

    async def cluster(self) -> ClusterState | None:
        return None if self._cluster is None else await self._cluster.state()

    async def open_executions(self) -> Mapping[str, int]:
        return await self._asking.look(self._executions.open_by_owner)

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        await self._peers.add_member(node_id, address, catch_up_s=catch_up_s)

    async def remove_member(self, node_id: str) -> None:
        await self._peers.remove_member(node_id)

    async def transfer_leadership(self, to: str | None) -> str:
        return await self._peers.transfer_leadership(to)
