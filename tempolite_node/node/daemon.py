"""Builds the parts of a node and joins them: the order in which they start and stop, and why.

Start: data directory (alone in it), store (the past), worker hosts (handlers are right, or there is no start), log and
driver (what an earlier process ran is queued again), API (now there is something to answer with).
Stop, the other way round: the API says no to what is new, the hosts unwind what waits and end what runs, the driver
saves what they said, the log ends, the store closes. A node of a cluster gives its work to the others before.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import apsw
import structlog

from tempolite_node import __version__
from tempolite_node.api.ports import NodePorts
from tempolite_node.api.server import ApiServer
from tempolite_node.clock import node_clock_ms
from tempolite_node.config import Config
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.inputs import HostDown, HostUp, Inputs, RunInDriver
from tempolite_node.engine import formats
from tempolite_node.engine.commands import DrainNode, LoseNode, RegisterNode
from tempolite_node.engine.model import Component, ServedHandler
from tempolite_node.errors import NodeError, StartError, StorageFailed, Unavailable
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.handlers.children import ChildResolver
from tempolite_node.handlers.options import handler_specs, served_handler
from tempolite_node.interpreter import hand_on_soon, settle
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.log.local import LocalLog
from tempolite_node.logger.lines import LineFormat
from tempolite_node.logger.records import set_level
from tempolite_node.logger.writer import LogWriter
from tempolite_node.node import reloadable
from tempolite_node.node.deletion import Deletion
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.execution_log import ExecutionLog
from tempolite_node.node.looks import Looks
from tempolite_node.node.pools import Pools
from tempolite_node.node.publisher import Publisher
from tempolite_node.node.reads import Reads
from tempolite_node.node.reload import Part, Reload
from tempolite_node.node.signal_checks import SignalChecks
from tempolite_node.node.status import NodeStatus
from tempolite_node.node.watch import Watch
from tempolite_node.protocol import messages
from tempolite_node.store.data_directory import DataDir
from tempolite_node.store.database import explained, open_reader, open_writer, sync, sync_directory
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import StoreSnapshots
from tempolite_node.store.writer import StoreWriter, claim_store, foreign
from tempolite_node.supervisor.supervisor import Supervisor
from tempolite_node.system import Terminals, let_through

if TYPE_CHECKING:
    from tempolite_node.log.replicated import ReplicatedLog
    from tempolite_node.node.cluster import Cluster

logger = structlog.get_logger("node")

_SIGN_OF_LIFE_S = 5.0  #: between two of them


class Node:
    """One node, from start to stop, on the running event loop."""

    def __init__(self, config: Config, log: LogWriter) -> None:
        """log: takes the lines of the worker hosts, and those on executions."""
        self._config = config
        self._log = log
        self._execution_log = ExecutionLog(config.node.id, log)
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._draining = False
        self._failure: BaseException | None = None
        self._replicated: ReplicatedLog | None = None
        self._data_dir = DataDir(config.node.data_dir)
        self._last_alive_ms: int | None = None
        self._signs_of_life: asyncio.TimerHandle | None = None

    # --- start and stop

    async def start(self) -> None:
        """StartError, StorageFailed: it can't start here; what was started is stopped again."""
        async with AsyncExitStack() as parts:
            self._data_dir.open()
            parts.callback(self._data_dir.close)
            self._last_alive_ms = self._data_dir.last_alive_ms()
            self._open_store(parts)
            self._make_driver(parts)
            await self._supervisor.start()
            self._catalog_handlers()
            parts.callback(self._end_signs_of_life)
            self._give_signs_of_life()
            self._driver.start()
            if self._replicated is None:
                await self._client.inspect(lambda: None)  # what an earlier process ran is queued again
            parts.push_async_callback(self._supervisor.flush_logs)
            self._api = ApiServer(self._ports())
            port = await self._api.start()
            parts.push_async_callback(self._api.stop, grace=1.0)
            parts.callback(self._watch.stop)
            parts.callback(self._client.stop)
            self._parts = parts.pop_all()
        host = self._config.api.listen.host
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._data_dir.write_address(address)
        settle()
        hand_on_soon()
        logger.info(
            "the node serves",
            node=self._config.node.id,
            address=address,
            handlers=sorted(self._supervisor.handlers),
            version=__version__,
        )

    def _open_store(self, parts: AsyncExitStack) -> None:
        config, store = self._config, self._data_dir.store
        connection = open_writer(store)
        try:
            claim_store(connection, config.node.id, config.cluster.name if config.cluster else None)
            # What an earlier process committed and never had synced counts from here on.
            sync(store)
            sync_directory(store.parent)
        except ValueError as error:
            raise StartError(f"{store}: {error}") from error
        except apsw.Error as error:
            raise StorageFailed(f"{store}: the store can't be written: {explained(error)}") from error
        executions = StoreWriter(connection)
        parts.callback(executions.close)
        used = formats.in_use(executions.nodes().values())
        if used > formats.FORMAT:
            raise StartError(f"{store}: {formats.too_old(config.node.id, formats.FORMAT, used)}")
        self._executions = executions
        self._readers = Readers(store)
        parts.callback(self._readers.close)

    def _make_driver(self, parts: AsyncExitStack) -> None:
        """With the parts around it: what it reads, what it publishes to, and who asks it."""
        config, executions = self._config, self._executions
        inputs = Inputs()
        decided = formats.hash_seed(executions.nodes().values())
        hash_seed = _random_hash_seed() if decided is None else decided
        self._supervisor = Supervisor(
            config.hosts,
            load_message(config, self._log.format),
            inputs,
            self._log,
            hash_seed=hash_seed,
            up=self._host_up,
            down=self._host_down,
        )
        self._watch = Watch(executions.applied_index)
        dispatch = Dispatch(
            executions,
            node_id=config.node.id,
            pools={component: config.pools.of(component) for component in Component},
            clock_s=time.monotonic,
            leases=config.cluster is None,
            suspects_max=config.hosts.max_suspects,
            lingering_max=config.hosts.max_lingering,
            lingering_timeout_s=config.hosts.lingering_timeout_ms / 1_000,
            retiring_timeout_s=config.hosts.retiring_timeout_ms / 1_000,
            hash_seed=hash_seed,
        )
        dispatch.traces = config.log.level == "debug"
        self._driver = Driver(
            node_id=config.node.id,
            executions=executions,
            dispatch=dispatch,
            inputs=inputs,
            outputs=Publisher(
                inputs=inputs,
                executions=executions,
                supervisor=self._supervisor,
                watch=self._watch,
                execution_log=self._execution_log,
                on_removed=self._removed,
                on_failed=self._driver_failed,
            ),
            children=ChildResolver(lambda: self._catalog),
            signals=lambda request: self._signal_checks.of_attempt(request),
            registration=self._registration,
            log=self._make_log,
        )
        self._client = DriverClient(self._driver)
        self._cluster = self._make_cluster(parts)
        self._looks = Looks(
            config.node.id,
            driver=self._driver,
            client=self._client,
            nodes=executions.nodes,
            draining=lambda: self._draining,
            peers=self._cluster,
        )
        self._reads = Reads(
            readers=self._readers,
            executions=executions,
            driver=self._client,
            watch=self._watch,
            in_cluster=self._cluster is not None,
        )
        self._deletion = Deletion(reads=self._reads, commands=self._client, watch=self._watch)
        parts.push_async_callback(self._loop.run_in_executor, None, self._driver.stop)
        parts.push_async_callback(self._supervisor.stop)

    def _make_cluster(self, parts: AsyncExitStack) -> Cluster | None:
        if self._replicated is None or self._config.cluster is None:
            return None
        from tempolite_node.node.cluster import Cluster

        cluster = Cluster(
            self._config.cluster,
            self._replicated.raft,
            executions=self._executions,
            driver=self._client,
            supervisor=self._supervisor,
            own_look=lambda execution_ids: self._looks.own(execution_ids),
        )
        parts.callback(cluster.stop)
        return cluster

    def _make_log(self, machine: StateMachine) -> Log:
        cluster = self._config.cluster
        if cluster is None:
            return LocalLog(machine, node_clock_ms, sync=partial(sync, self._data_dir.store), post=self._in_driver)
        from tempolite_node.log.replicated import ReplicatedLog  # here, since a node that is alone loads no Raft
        from tempolite_node.node.raft_config import raft_config

        replicated = ReplicatedLog(
            machine,
            raft_config(self._config),
            snapshots=StoreSnapshots(self._executions, self._readers, self._config.node.id),
            boot_id=lambda: self._driver.boot_id,
            post=self._in_driver,
            on_failure=self._log_failed,
            on_removed=self._removed,
            on_question=self._answer_peer,
            wall_clock_ms=node_clock_ms,
            node_timeout_s=cluster.node_timeout_ms / 1_000,
            write_timeout_s=cluster.write_timeout_ms / 1_000,
        )
        self._replicated = replicated
        return replicated

    def _in_driver(self, act: Callable[[], None]) -> None:
        self._driver.put(RunInDriver(act))

    def _answer_peer(self, peer: str, question: bytes) -> bytes:
        """What another node asks. In a thread of the log's."""
        assert self._cluster is not None, f"{peer} asks a node that is alone"
        return self._cluster.answer(peer, question)

    def _catalog_handlers(self) -> None:
        self._own_handlers = self._described_handlers()
        self._catalog = HandlerCatalog(self._own_handlers, self._executions.nodes, in_cluster=self._cluster is not None)
        self._signal_checks: SignalChecks = SignalChecks(
            self._catalog, self._supervisor, self._executions, reads=self._reads, peers=self._cluster
        )

    def _ports(self) -> NodePorts:
        """What the API asks, of the parts that know."""
        executions, dispatch, client = self._executions, self._driver.dispatch, self._client
        self._pools = Pools(
            self._config,
            dispatch=dispatch,
            executions=executions,
            driver=client,
            registration=None if self._cluster is None else self._own_registration,
        )
        self._status = NodeStatus(
            self._config.node.id,
            dispatch=dispatch,
            executions=executions,
            driver=client,
            supervisor=self._supervisor,
            watch=self._watch,
        )
        return NodePorts(
            config=self._config,
            commands=client,
            catalog=self._catalog,
            arguments=self._supervisor if self._cluster is None else self._cluster,
            signals=self._signal_checks,
            reads=self._reads,
            watch=self._watch,
            deletion=self._deletion,
            pools=self._pools,
            looks=self._looks,
            status=self._status,
            cluster=self._cluster,
        )

    def _own_registration(self) -> RegisterNode:
        return self._registration(self._driver.now_ms(), self._driver.boot_id)

    def _described_handlers(self) -> tuple[ServedHandler, ...]:
        own = [
            served_handler(
                self._config,
                name,
                each.component,
                function=each.function,
                signals=tuple(signal.name for signal in each.signals),
                stepped=each.asynchronous,
            )
            for name, each in self._supervisor.handlers.items()
        ]
        return tuple(sorted(own, key=lambda served: served.name))

    def _registration(self, at_ms: int, boot_id: str) -> RegisterNode:
        cluster = self._config.cluster
        others = [node for node_id, node in self._executions.nodes().items() if node_id != self._config.node.id]
        return RegisterNode(
            at_ms=at_ms,
            node_id=self._config.node.id,
            boot_id=boot_id,
            handlers=formats.handlers_in(formats.in_use_with(others), self._own_handlers),
            slots={component: pool.workers for component, pool in self._driver.dispatch.pools.items()},
            address="" if cluster is None else str(cluster.node(self._config.node.id).advertise),
            format=formats.FORMAT,
            last_alive_ms=self._last_alive_ms,
            hash_seed=self._driver.dispatch.hosts.hash_seed,
        )

    def _give_signs_of_life(self) -> None:
        """So that the next start knows when this process died, if it does: see `RegisterNode`."""

        def give() -> None:
            self._data_dir.give_sign_of_life(self._driver.now_ms())
            self._signs_of_life = self._loop.call_later(_SIGN_OF_LIFE_S, give)

        if self._last_alive_ms is None:
            give()
        else:  # that one stands until this process has had the time to register
            self._signs_of_life = self._loop.call_later(_SIGN_OF_LIFE_S, give)

    def _end_signs_of_life(self) -> None:
        if self._signs_of_life is not None:
            self._signs_of_life.cancel()
        self._data_dir.stops()

    async def run(self) -> int:
        """Serves until it is asked to stop or fails. Returns the exit code."""
        await self._stop_requested.wait()
        if self._failure is None:
            await self._drain()
        await self.stop()
        return 0 if self._failure is None else 1

    async def _drain(self) -> None:
        """Lets running attempts end: those that wait are unwound, and go on after the next start, or elsewhere."""
        self._status.draining = self._draining = True
        self._end_signs_of_life()  # whoever loses patience with it and kills it tells nothing of what it runs
        drain_s = self._config.node.drain_timeout_ms / 1000
        logger.info("draining", timeout_s=drain_s)
        await self._pools.drain()
        notified = await self._notify_others(DrainNode)
        self._supervisor.drain()
        idle = asyncio.ensure_future(self._wait_idle())
        now = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait({idle, now}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            logger.warning("stopping with attempts under way; they run again after the next start")
        idle.cancel()
        now.cancel()
        if notified:  # else the others can't be reached, and it would only wait once more
            await self._notify_others(LoseNode)
        await self._hand_over_leadership()

    async def _notify_others(self, command: type[DrainNode] | type[LoseNode]) -> bool:
        """Whether the others know."""
        if self._replicated is None:
            return False
        try:
            driver = self._driver
            await self._client.submit(
                command(at_ms=driver.now_ms(), node_id=self._config.node.id, boot_id=driver.boot_id)
            )
        except NodeError as error:
            logger.warning("the other nodes can't be told that this one stops; they will notice", error=str(error))
            return False
        return True

    async def _hand_over_leadership(self) -> None:
        if self._replicated is None or self._cluster is None:
            return
        if not self._replicated.leads or len(self._executions.nodes()) < 2:
            return
        try:
            leader = await self._cluster.transfer_leadership(None)
            logger.info("another node leads the cluster now", leader=leader)
        except NodeError as error:
            logger.warning("the leadership can't be handed over; the other nodes will elect", error=str(error))

    async def _wait_idle(self) -> None:
        """Until no attempt is left in a worker host. Each end of one is a commit."""
        revision = self._watch.revision
        while await self._client.inspect(lambda: self._driver.dispatch.attempts):
            await self._watch.changed_after(revision)
            revision = self._watch.revision

    async def stop(self) -> None:
        """Stops at once, in order. What is recorded stays; what runs is run again after the next start."""
        await self._parts.aclose()
        logger.info("the node has stopped")

    def request_stop(self) -> None:
        """Once: drain and stop. Twice: stop now."""
        if self._stop_requested.is_set():
            self._stop_now.set()
        self._stop_requested.set()
        self._supervisor.begin_stop()

    # --- what is read again while it runs

    def reloadable(self) -> Sequence[Part]:
        """The parts that take new settings, once it has started."""
        parts = [
            reloadable.log_level(self._set_log_level),
            reloadable.callers(self._api),
            reloadable.api_certificates(self._api),
            reloadable.executions(self._take_settings),
        ]
        if self._replicated is not None:
            parts.append(reloadable.peer_certificates(self._replicated.raft))
        return parts

    async def _take_settings(self, running: Config, config: Config) -> None:
        """Has executions that are enqueued, and attempts that start, run by the pools and handlers of the config.

        A setting that is the same in both keeps what an operator has made of it meanwhile.
        """
        self._config = config
        self._supervisor.update(load_message(config, self._log.format))
        if (running.pools, running.handlers) == (config.pools, config.handlers):
            return
        self._own_handlers = self._described_handlers()
        self._catalog.replace_own(self._own_handlers)
        await self._pools.take(config)
        await self._client.submit(self._own_registration())

    def _set_log_level(self, level: str) -> None:
        """Of the node; that of the worker hosts goes with the settings of the executions."""
        set_level(level)
        self._driver.dispatch.traces = level == "debug"

    # --- between the worker hosts and the driver

    def _host_up(self, host: int, handlers: Sequence[messages.HandlerDescription], hash_seed: int) -> None:
        stepped = tuple(handler.name for handler in handlers if handler.asynchronous)
        self._driver.put(HostUp(host, tuple(handler.name for handler in handlers), stepped, hash_seed))

    def _host_down(self, host: int, message: str, crashed: bool, out_of_memory: bool) -> None:
        self._driver.put(HostDown(host, message, crashed, out_of_memory))

    # --- how it ends early; called in any thread

    def _driver_failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._fail, "the node stops: its driver failed", error)

    def _log_failed(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._fail, "the node stops", error)

    def _removed(self) -> None:
        self._log_failed(Unavailable(f"node {self._config.node.id} was removed from its cluster"))

    def _fail(self, event: str, error: BaseException) -> None:
        """Nothing can be acknowledged any more: the node goes down, loudly."""
        if self._failure is not None:
            return
        self._failure = error
        self._client.fail(error)
        self.request_stop()  # whatever becomes of the line below
        logger.critical(event, error=str(error), exc_info=None if isinstance(error, Unavailable) else error)


def load_message(config: Config, log_format: LineFormat) -> messages.Load:
    return messages.Load(
        handlers=handler_specs(config),
        python_path=tuple(str(path) for path in config.hosts.python_path),
        max_parked=config.hosts.max_parked,
        park_ttl_ms=config.hosts.park_ttl_ms,
        payload_bytes_max=config.api.limits.payload_bytes,
        log_level=config.log.level,
        log_format=log_format,
        recycle_after=recycle_after(config),
    )


def recycle_after(config: Config) -> messages.RecycleAfter | None:
    """None: hosts are never replaced for what they have run."""
    limits = config.hosts.recycle_after
    if (limits.attempts, limits.memory, limits.age_ms) == (None, None, None):
        return None
    return messages.RecycleAfter(attempts=limits.attempts, memory=limits.memory, age_ms=limits.age_ms)


def run(config: Config, log: LogWriter, terminals: Terminals, read_again: Callable[[], Config]) -> int:
    """The daemon: starts, serves, and stops on SIGTERM or SIGINT; a second one stops it now. Returns the exit code.

    log: is left to its caller to stop. read_again: the config, on SIGHUP, also on one that was held back until now;
        that of a terminal that was closed stops it.
    StartError: it can't start.
    """
    return asyncio.run(_run(config, log, terminals, read_again))


async def _run(config: Config, log: LogWriter, terminals: Terminals, read_again: Callable[[], Config]) -> int:
    loop = asyncio.get_running_loop()
    stopped, hung_up = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hung_up.set)
    let_through(signal.SIGHUP)  # before there is a thread or a process that would go on without it
    node = Node(config, log)
    starting = loop.create_task(node.start())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _cancel_start, starting, stopped)
    try:
        await starting
    except StorageFailed as error:
        raise StartError(str(error)) from error
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        logger.info("the node was stopped before it served")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_stop)
    if stopped.is_set():
        node.request_stop()  # it came when the start was over, and this function had not gone on yet
    reload = Reload(config, read_again, node.reloadable())

    def hang_up() -> None:
        if terminals.closed:
            node.request_stop()
        else:
            reload.request()

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if hung_up.is_set():
        hang_up()
    return await node.run()


def _cancel_start(starting: asyncio.Task[None], stopped: asyncio.Event) -> None:
    stopped.set()
    starting.cancel()


def check_data_dir(config: Config) -> str | None:
    """Why the node can't go on with what is in its data directory; None: it can, or there is nothing yet."""
    store = DataDir(config.node.data_dir).store
    if not store.exists():
        return None
    try:
        with closing(open_reader(store)) as connection:
            return foreign(connection, config.node.id, config.cluster.name if config.cluster else None)
    except apsw.Error as error:
        return f"{store} can't be read: {explained(error)}"


def _random_hash_seed() -> int:
    return secrets.randbelow(2**32)  # as many as Python takes


def check_handlers(config: Config, log: LogWriter) -> None:
    """Loads the handlers of a config in a worker host. UnusableHandlers, StartError: what is wrong with them."""
    asyncio.run(_check_handlers(config, log))


async def _check_handlers(config: Config, log: LogWriter) -> None:
    def ignore(*_: object) -> None:
        """Nothing runs here."""

    one = config.hosts.model_copy(update={"processes": 1})
    inputs = Inputs()
    load, hash_seed = load_message(config, log.format), _random_hash_seed()
    supervisor = Supervisor(one, load, inputs, log, hash_seed=hash_seed, up=ignore, down=ignore)
    try:
        await supervisor.start()
    finally:
        await supervisor.stop()
        inputs.close()
