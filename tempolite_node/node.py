"""Builds the parts of a node and joins them: the order in which they start and stop, and why.

Start: data directory (alone in it), store (the past), worker hosts (handlers are right, or there is no start), log and
driver (what an earlier process ran is queued again), API (now there is something to answer with).
Stop, the other way round: the API says no to what is new, the hosts unwind what waits and end what runs, the driver
saves what they said, the log ends, the store closes. A node of a cluster gives its work to the others before.
"""

from __future__ import annotations

import asyncio
import platform
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import apsw
import structlog

from tempolite_node import __version__, frames
from tempolite_node.api.cluster import no_cluster
from tempolite_node.api.server import ApiServer
from tempolite_node.barrier import SharedBarrier
from tempolite_node.children import Children
from tempolite_node.clock import wall_clock_ms
from tempolite_node.cluster import Cluster
from tempolite_node.config import Config
from tempolite_node.datadir import DataDir
from tempolite_node.driver import Driver
from tempolite_node.engine import formats
from tempolite_node.engine.commands import AnyCommand, DrainNode, LoseNode, RegisterNode
from tempolite_node.engine.effects import AnyOutcome, Reason, Rejection
from tempolite_node.engine.model import Component, Execution, ServedHandler
from tempolite_node.errors import NodeError, Overloaded, StartError, StorageFailed, Unavailable
from tempolite_node.hosts.dispatch import Dispatch
from tempolite_node.hosts.supervisor import Supervisor
from tempolite_node.inputs import Ask, AskAll, Barrier, Change, Do, HostDown, HostUp, Inputs, Look
from tempolite_node.interpreter import hand_on_soon, settle
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.log.local import LocalLog
from tempolite_node.log.raft_settings import raft_config
from tempolite_node.log.replicated import ReplicatedLog
from tempolite_node.options import Resolved, handler_specs, pool_retry, queue_limit, served_handler
from tempolite_node.served import ServedHandlers
from tempolite_node.stats import stats_of
from tempolite_node.store.database import open_writer, sync, sync_directory
from tempolite_node.store.executions import Executions, claim_store
from tempolite_node.store.queries import Queries
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import Snapshots
from tempolite_node.views import ClusterState, Consistency, NodeInfo, PoolState, Stats
from tempolite_node.watch import Follower, Watch

T = TypeVar("T")

log = structlog.get_logger("node")

#: Commands of clients that may wait for the driver; more are refused before anything is stored.
WAITING_INPUTS_MAX = 50_000


class Node:
    """One node, from start to stop, on the running event loop: what the API asks, and where the driver answers."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._loop = asyncio.get_running_loop()
        self._started_ms = wall_clock_ms()
        self._draining = False
        self._stop_requested = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._failure: BaseException | None = None
        self._driver_runs = True
        self._replicated: ReplicatedLog | None = None
        self._cluster: Cluster | None = None
        self._asked: set[asyncio.Future[Any]] = set()  #: who waits for the driver's next commit
        self._looking: set[asyncio.Task[None]] = set()
        self._barrier = SharedBarrier(lambda: self._asking(Barrier))
        self._data_dir = DataDir(config.node.data_dir)

    # --- start and stop

    async def start(self) -> None:
        """StartError, StorageFailed: it can't start here; what was started is stopped again."""
        self._data_dir.open()
        try:
            self._open_store()
            self._supervisor = Supervisor(
                self.config.hosts,
                load_message(self.config),
                self._driver.inputs,
                up=self._host_up,
                down=self._host_down,
            )
            await self._supervisor.start()
            self._serve_handlers()
            self._driver.start()
            if self._replicated is None:
                await self._look(lambda: None)  # what an earlier process ran is queued again
            self._api = ApiServer(self, self.config)
            port = await self._api.start()
        except BaseException:
            await self._stop_hosts()
            if hasattr(self, "_driver"):
                self._driver.stop()
            self._data_dir.close()
            raise
        host = self.config.api.listen.host
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._data_dir.write_address(address)
        settle()
        hand_on_soon()
        log.info(
            "the node serves",
            node=self.config.node.id,
            address=address,
            handlers=sorted(self._supervisor.handlers),
            version=__version__,
        )

    def _open_store(self) -> None:
        config, store = self.config, self._data_dir.store
        connection = open_writer(store)
        try:
            claim_store(connection, config.node.id, config.cluster.name if config.cluster else None)
            # What an earlier process committed and never had synced counts from here on.
            sync(store)
            sync_directory(store.parent)
        except ValueError as error:
            raise StartError(f"{store}: {error}") from error
        except apsw.Error as error:
            raise StorageFailed(f"{store}: the store can't be written: {error}") from error
        executions = Executions(connection)
        used = formats.in_use(executions.nodes().values())
        if used > formats.FORMAT:
            raise StartError(f"{store}: {formats.too_old(config.node.id, formats.FORMAT, used)}")
        self._executions = executions
        self._readers = Readers(store)
        pools = {component: config.pools.of(component) for component in Component}
        dispatch = Dispatch(
            executions,
            node_id=config.node.id,
            pools=pools,
            clock_s=time.monotonic,
            lends=config.cluster is None,
        )
        self._driver = Driver(
            node_id=config.node.id,
            executions=executions,
            dispatch=dispatch,
            outputs=self,
            children=Children(lambda: self._served),
            registration=self._registration,
            log=self._make_log,
        )
        self._watch = Watch(executions.applied_index)

    def _make_log(self, machine: StateMachine) -> Log:
        cluster = self.config.cluster
        if cluster is None:
            return LocalLog(machine, wall_clock_ms, sync=partial(sync, self._data_dir.store), post=self._in_driver)
        replicated = ReplicatedLog(
            machine,
            raft_config(self.config),
            snapshots=Snapshots(self._executions, self._readers, self.config.node.id),
            run=lambda: self._driver.run,
            post=self._in_driver,
            on_failure=self._failed,
            on_removed=self.removed,
            on_question=lambda peer, question: self._peers.answer(peer, question),
            wall_clock_ms=wall_clock_ms,
            node_timeout_s=cluster.node_timeout_ms / 1_000,
            write_timeout_s=cluster.write_timeout_ms / 1_000,
        )
        self._replicated = replicated
        self._cluster = Cluster(cluster, self, replicated.raft, self._executions.nodes)
        return replicated

    def _in_driver(self, act: Callable[[], None]) -> None:
        self._driver.put(Do(act))

    @property
    def _peers(self) -> Cluster:
        if self._cluster is None:
            raise no_cluster()
        return self._cluster

    def _serve_handlers(self) -> None:
        own = [served_handler(self.config, name, each.component) for name, each in self._supervisor.handlers.items()]
        self._own_handlers = tuple(sorted(own, key=lambda served: served.name))
        self._served = ServedHandlers(self._own_handlers, self._executions.nodes)

    def _registration(self, at_ms: int, run: str) -> RegisterNode:
        cluster = self.config.cluster
        return RegisterNode(
            at_ms=at_ms,
            node_id=self.config.node.id,
            run=run,
            handlers=self._own_handlers,
            slots={component: pool.workers for component, pool in self._driver.dispatch.pools.items()},
            address="" if cluster is None else str(cluster.node(self.config.node.id).advertise),
            format=formats.FORMAT,
        )

    async def run(self) -> int:
        """Serves until it is asked to stop or fails. Returns the exit code."""
        await self._stop_requested.wait()
        if self._failure is None:
            await self._drain()
        await self.stop()
        return 0 if self._failure is None else 1

    async def _drain(self) -> None:
        """Lets running attempts end: those that wait are unwound, and go on after the next start, or elsewhere."""
        self._draining = True
        drain_s = self.config.node.drain_timeout_ms / 1000
        log.info("draining", timeout_s=drain_s)
        await self._change(self._pause_all)
        told = await self._tell_others(DrainNode)
        self._supervisor.drain()
        idle = asyncio.ensure_future(self._wait_idle())
        now = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait({idle, now}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            log.warning("stopping with attempts under way; they run again after the next start")
        idle.cancel()
        now.cancel()
        if told:  # else nobody hears it, and it would only wait once more
            await self._tell_others(LoseNode)
        await self._hand_over_leadership()

    async def _tell_others(self, command: type[DrainNode] | type[LoseNode]) -> bool:
        """Whether they have heard it."""
        if self._replicated is None:
            return False
        try:
            await self.submit(command(at_ms=self.now_ms(), node_id=self.config.node.id, run=self._driver.run))
        except NodeError as error:
            log.warning("the other nodes can't be told that this one stops; they will notice", error=str(error))
            return False
        return True

    async def _hand_over_leadership(self) -> None:
        if self._replicated is None or not self._replicated.leads or len(self._executions.nodes()) < 2:
            return
        try:
            leader = await self._peers.transfer_leadership(None)
            log.info("another node leads the cluster now", leader=leader)
        except NodeError as error:
            log.warning("the leadership can't be handed over; the other nodes will elect", error=str(error))

    def _pause_all(self) -> None:
        for component, pool in self._driver.dispatch.pools.items():
            if component is not Component.SIDE_EFFECT:  # attempts that are to end still need them
                pool.paused = True

    async def _wait_idle(self) -> None:
        """Until no attempt is left in a worker host. Each end of one is a commit."""
        revision = self._watch.revision
        while await self._look(lambda: self._driver.dispatch.attempts):
            await self._watch.changed_after(revision)
            revision = self._watch.revision

    async def stop(self) -> None:
        """Stops at once, in order. What is recorded stays; what runs is run again after the next start."""
        self._watch.stop()
        await self._api.stop(grace=1.0)
        await self._stop_hosts()
        await self._loop.run_in_executor(None, self._driver.stop)
        if self._cluster is not None:
            self._cluster.stop()
        self._readers.close()
        self._executions.close()
        self._data_dir.close()
        log.info("the node has stopped")

    async def _stop_hosts(self) -> None:
        if hasattr(self, "_supervisor"):
            await self._supervisor.stop()

    def request_stop(self) -> None:
        """Once: drain and stop. Twice: stop now."""
        if self._stop_requested.is_set():
            self._stop_now.set()
        self._stop_requested.set()

    # --- between the worker hosts and the driver

    def _host_up(self, host: int, handlers: Sequence[frames.HandlerDescription]) -> None:
        self._driver.put(HostUp(host, tuple(handler.name for handler in handlers)))

    def _host_down(self, host: int, message: str) -> None:
        self._driver.put(HostDown(host, message))

    # --- where the driver answers; in its thread, or in the log's

    def publish(
        self,
        *,
        frames_to_send: Mapping[int, Sequence[frames.ToHost]],
        hosts_to_close: list[int],
        answers: list[tuple[Callable[[Any], None], Any]],
        closed: list[Execution],
        signalled: list[str],
        revision: int,
    ) -> None:
        rest = self._supervisor.deliver(frames_to_send)
        watched = self._watch.advance(closed=closed, signalled=signalled, revision=revision)
        if watched or answers or rest or hosts_to_close:
            self._loop.call_soon_threadsafe(self._published, rest, hosts_to_close, answers, closed, signalled)

    def driver_failed(self, error: BaseException) -> None:
        self._driver_runs = False
        self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._fail, error)

    def removed(self) -> None:
        self._failed(Unavailable(f"node {self.config.node.id} was removed from its cluster"))

    def restored(self) -> None:
        self._loop.call_soon_threadsafe(self._begin_to_look_again)

    # --- and in the loop's

    def _published(
        self,
        frames_to_send: Mapping[int, Sequence[frames.ToHost]],
        hosts_to_close: list[int],
        answers: list[tuple[Callable[[Any], None], Any]],
        closed: list[Execution],
        signalled: list[str],
    ) -> None:
        self._supervisor.send(frames_to_send, hosts_to_close)
        for answer, value in answers:
            answer(value)
        self._watch.published(closed=closed, signalled=signalled)

    def _begin_to_look_again(self) -> None:
        looking = self._loop.create_task(self._look_again())
        self._looking.add(looking)  # the loop alone would not keep it
        looking.add_done_callback(self._looking.discard)

    async def _look_again(self) -> None:
        """What is waited for may have ended while this node was behind."""
        ids = self._watch.waited_for()
        with suppress(Unavailable):  # the node stops, and tells those who wait itself
            found = await self._look(lambda: [self._executions.execution(execution_id) for execution_id in ids])
            closed = [execution for execution in found if execution is not None and execution.closed]
            self._watch.published(closed=closed, signalled=ids)

    def _fail(self, error: BaseException) -> None:
        """Nothing can be acknowledged any more: the node goes down, loudly."""
        if self._failure is not None:
            return
        self._failure = error
        event = "the node stops" if self._driver_runs else "the node stops: its driver failed"
        log.critical(event, error=str(error), exc_info=None if isinstance(error, Unavailable) else error)
        for future in list(self._asked):
            if not future.done():
                known = isinstance(error, StorageFailed | Unavailable)
                future.set_exception(error if known else Unavailable("the node failed"))
        self.request_stop()

    # --- what the API asks

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        """The outcome, once it is on disk."""
        self._refuse_if_overloaded()
        outcome: AnyOutcome = await self._asking(lambda answer: Ask(command, answer))
        return outcome

    def _refuse_if_overloaded(self) -> None:
        if self._driver.waiting_inputs() > WAITING_INPUTS_MAX:
            raise Overloaded(f"more than {WAITING_INPUTS_MAX} requests wait for the node's disk")

    async def _look(self, look: Callable[[], T]) -> T:
        """Runs in the driver's thread, between two commits."""
        seen: T = await self._asking(lambda answer: Look(look, answer))
        return seen

    async def _change(self, change: Callable[[], None]) -> None:
        """Changes which work starts, in the driver's thread, and has what may start by then started."""
        await self._asking(lambda answer: Change(change, answer))

    async def _asking(self, given: Callable[[Callable[[Any], None]], Ask | AskAll | Look | Change | Barrier]) -> Any:
        if self._failure is not None or self._watch.stopped:
            raise Unavailable("the node is stopping")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.add(future)
        self._driver.put(given(partial(_resolve, future)))
        try:
            return await future
        finally:
            self._asked.discard(future)

    def handler(self, name: str) -> ServedHandler | None:
        return self._served.get(name)

    def waits_for_node(self, handler: str) -> str:
        return "" if self._cluster is None else self._served.waits_for_node(handler)

    def resolve(self, handler: ServedHandler, call: frames.CallOptions) -> Resolved:
        return self._served.resolve(handler, call)

    def handlers(self) -> Sequence[frames.HandlerDescription]:
        return sorted(self._supervisor.handlers.values(), key=lambda handler: handler.name)

    def serves(self, handler: str) -> bool:
        return handler in self._supervisor.handlers

    def now_ms(self) -> int:
        return self._driver.now_ms()

    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[frames.Violation]]:
        if self._cluster is None:
            return await self.check_own_arguments(calls)
        return await self._cluster.check_arguments(calls)

    async def check_own_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[frames.Violation]]:
        return await self._supervisor.check_arguments(calls)

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        """Their outcomes, in order, once all are on disk."""
        self._refuse_if_overloaded()
        outcomes: list[AnyOutcome] = await self._asking(lambda answer: AskAll(commands, answer))
        return outcomes

    def on_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self._watch.on_closed(execution_id, closed)

    def forget_closed(self, execution_id: str, closed: Callable[[Execution], None]) -> None:
        self._watch.forget_closed(execution_id, closed)

    def closing(self, execution_id: str) -> AbstractContextManager[Awaitable[Execution]]:
        return self._watch.closing(execution_id)

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        """The execution, once it has ended; cancel it to give up."""
        with self._watch.closing(execution_id) as closing:
            execution = await self._look(lambda: self._executions.execution(execution_id))
            if execution is None and self._cluster is not None:
                await self._barrier.passed()  # it may be known to the others
                execution = await self._look(lambda: self._executions.execution(execution_id))
            if execution is None:
                return Rejection(Reason.NOT_FOUND, f"no execution {execution_id}")
            return execution if execution.closed else await closing

    def follow(self, execution_id: str) -> AbstractAsyncContextManager[Follower]:
        return self._following(execution_id)

    @asynccontextmanager
    async def _following(self, execution_id: str) -> AsyncIterator[Follower]:
        with self._watch.following(execution_id) as follower:
            yield follower

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T:
        if self._cluster is not None and consistency is Consistency.LINEARIZABLE:
            await self._barrier.passed()
        found = await self._readers.read(query)
        if self._cluster is None:
            await self._watch.changed_after(self._executions.visible_index - 1)  # what was seen is on disk by then
        return found

    async def stats(self) -> Stats:
        return await self._look(lambda: stats_of(self._executions, self._driver.dispatch))

    async def wait_stats(self, after_revision: int) -> None:
        await self._watch.changed_after(after_revision)

    async def pool(self, component: Component) -> PoolState:
        return await self._look(lambda: self._pool_state(component))

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
        return await self._change_pool(component, workers=workers)

    async def pause_pool(self, component: Component) -> PoolState:
        return await self._change_pool(component, paused=True)

    async def resume_pool(self, component: Component) -> PoolState:
        return await self._change_pool(component, paused=False)

    async def _change_pool(
        self, component: Component, *, workers: int | None = None, paused: bool | None = None
    ) -> PoolState:
        def change() -> None:
            pool = self._driver.dispatch.pools[component]
            pool.workers = pool.workers if workers is None else workers
            pool.paused = pool.paused if paused is None else paused

        await self._change(change)
        if workers is not None and self._cluster is not None:
            await self.submit(self._registration(self.now_ms(), self._driver.run))  # executions are placed by slots
        return await self.pool(component)

    async def info(self) -> NodeInfo:
        return await self._look(self._info)

    def _info(self) -> NodeInfo:
        own = self._executions.nodes().get(self.config.node.id)
        return NodeInfo(
            node_id=self.config.node.id,
            version=__version__,
            started_ms=self._started_ms,
            incarnation=own.incarnation if own is not None else 0,
            applied_index=self._executions.applied_index,
            draining=self._draining,
            python_version=platform.python_version(),
            sqlite_version=apsw.sqlite_lib_version(),
            hosts=self._supervisor.describe(self._driver.dispatch.attempts_of),
        )

    # --- the cluster

    def leader_api_address(self) -> str | None:
        return None if self._cluster is None else self._cluster.leader_api_address()

    async def cluster(self) -> ClusterState | None:
        return None if self._cluster is None else await self._cluster.state()

    async def open_executions(self) -> Mapping[str, int]:
        return await self._look(self._executions.open_by_owner)

    async def add_member(self, node_id: str, address: str, *, catch_up_s: float) -> None:
        await self._peers.add_member(node_id, address, catch_up_s=catch_up_s)

    async def remove_member(self, node_id: str) -> None:
        await self._peers.remove_member(node_id)

    async def transfer_leadership(self, to: str | None) -> str:
        return await self._peers.transfer_leadership(to)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Who asked may have given up meanwhile."""
    if future.done():
        return
    if isinstance(value, NodeError):
        future.set_exception(value)
    else:
        future.set_result(value)


def load_message(config: Config) -> frames.Load:
    return frames.Load(
        handlers=handler_specs(config),
        python_path=tuple(str(path) for path in config.hosts.python_path),
        max_parked=config.hosts.max_parked,
        park_ttl_ms=config.hosts.park_ttl_ms,
        payload_bytes_max=config.api.limits.payload_bytes,
        log_level=config.log.level,
    )


def run(config: Config) -> int:
    """The daemon: starts, serves, and stops on SIGTERM or SIGINT; a second one stops it now. Returns the exit code.

    StartError: it can't start.
    """
    return asyncio.run(_run(config))


async def _run(config: Config) -> int:
    node = Node(config)
    loop = asyncio.get_running_loop()
    try:
        await node.start()
    except StorageFailed as error:
        raise StartError(str(error)) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_stop)
    return await node.run()


def check_handlers(config: Config) -> Sequence[str]:
    """What is wrong with the handlers of a config, found by loading them in a worker host."""
    return asyncio.run(_check_handlers(config))


async def _check_handlers(config: Config) -> Sequence[str]:
    def ignore(*_: object) -> None:
        """Nothing runs here."""

    one = config.hosts.model_copy(update={"processes": 1})
    inputs = Inputs()
    supervisor = Supervisor(one, load_message(config), inputs, up=ignore, down=ignore)
    try:
        await supervisor.start()
    except StartError as error:
        return str(error).splitlines()
    finally:
        await supervisor.stop()
        inputs.close()
    return ()
