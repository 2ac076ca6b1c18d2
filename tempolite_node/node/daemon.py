"""Builds the parts of a node and joins them: the order in which they start and stop, and why.

Start: data directory (alone in it), store (the past), worker hosts (handlers are right, or there is no start), log and
driver (what an earlier process ran is queued again), API (now there is something to answer with).
Stop, the other way round: the API says no to what is new, the hosts unwind what waits and end what runs, the driver
saves what they said, the log ends, the store closes. A node of a cluster gives its work to the others before.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import apsw
import structlog

from tempolite_node import __version__
from tempolite_node.api.server import ApiServer
from tempolite_node.clock import wall_clock_ms
from tempolite_node.config import Config
from tempolite_node.driver.calls import Undecided
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.inputs import HostDown, HostUp, Inputs, RunInDriver
from tempolite_node.engine import formats
from tempolite_node.engine.commands import DrainNode, LoseNode, RegisterNode, SendSignalFromAttempt
from tempolite_node.engine.effects import Refused
from tempolite_node.engine.model import Component, Execution
from tempolite_node.errors import NodeError, StartError, StorageFailed, Unavailable
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.handlers.children import Children
from tempolite_node.handlers.options import handler_specs, served_handler
from tempolite_node.interpreter import hand_on_soon, settle
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.log.local import LocalLog
from tempolite_node.log.replicated import ReplicatedLog
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.raft_config import raft_config
from tempolite_node.node.service import Facade
from tempolite_node.node.watch import Watch
from tempolite_node.protocol import messages
from tempolite_node.store.data_directory import DataDir
from tempolite_node.store.database import open_writer, sync, sync_directory
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import Snapshots
from tempolite_node.store.writer import Executions, claim_store
from tempolite_node.supervisor.supervisor import Supervisor

logger = structlog.get_logger("node")


class Node:
    """One node, from start to stop, on the running event loop; and where the driver's rounds end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._failure: BaseException | None = None
        self._driver_runs = True
        self._replicated: ReplicatedLog | None = None
        self._looking: set[asyncio.Task[None]] = set()
        self._data_dir = DataDir(config.node.data_dir)

    # --- start and stop

    async def start(self) -> None:
        """StartError, StorageFailed: it can't start here; what was started is stopped again."""
        self._data_dir.open()
        try:
            self._open_store()
            self._supervisor = Supervisor(
                self._config.hosts,
                load_message(self._config),
                self._driver.inputs,
                up=self._host_up,
                down=self._host_down,
            )
            await self._supervisor.start()
            self._serve_handlers()
            self._driver.start()
            if self._replicated is None:
                await self._asking.look(lambda: None)  # what an earlier process ran is queued again
            self._api = ApiServer(self._facade, self._config)
            port = await self._api.start()
        except BaseException:
            await self._stop_hosts()
            if hasattr(self, "_driver"):
                self._driver.stop()
            self._data_dir.close()
            raise
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

    def _open_store(self) -> None:
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
            leases=config.cluster is None,
        )
        self._driver = Driver(
            node_id=config.node.id,
            executions=executions,
            dispatch=dispatch,
            outputs=self,
            children=Children(lambda: self._served),
            signals=self._check_signal,
            registration=self._registration,
            log=self._make_log,
        )
        self._asking = DriverClient(self._driver)
        self._watch = Watch(executions.applied_index)

    def _make_log(self, machine: StateMachine) -> Log:
        cluster = self._config.cluster
        if cluster is None:
            return LocalLog(machine, wall_clock_ms, sync=partial(sync, self._data_dir.store), post=self._in_driver)
        replicated = ReplicatedLog(
            machine,
            raft_config(self._config),
            snapshots=Snapshots(self._executions, self._readers, self._config.node.id),
            run=lambda: self._driver.run,
            post=self._in_driver,
            on_failure=self._failed,
            on_removed=self.removed,
            on_question=lambda peer, question: self._facade.answer_peer(peer, question),
            wall_clock_ms=wall_clock_ms,
            node_timeout_s=cluster.node_timeout_ms / 1_000,
            write_timeout_s=cluster.write_timeout_ms / 1_000,
        )
        self._replicated = replicated
        return replicated

    def _check_signal(self, request: SendSignalFromAttempt) -> Refused | Undecided | None:
        """In the driver's thread."""
        return self._facade.signal_checks.of_attempt(request)

    def _in_driver(self, act: Callable[[], None]) -> None:
        self._driver.put(RunInDriver(act))

    def _serve_handlers(self) -> None:
        own = [
            served_handler(
                self._config,
                name,
                each.component,
                function=each.function,
                signals=tuple(signal.name for signal in each.signals),
            )
            for name, each in self._supervisor.handlers.items()
        ]
        self._own_handlers = tuple(sorted(own, key=lambda served: served.name))
        self._served = HandlerCatalog(self._own_handlers, self._executions.nodes)
        self._facade = Facade(
            self._config,
            driver=self._driver,
            asking=self._asking,
            watch=self._watch,
            executions=self._executions,
            readers=self._readers,
            supervisor=self._supervisor,
            served=self._served,
            registration=self._registration,
            raft=None if self._replicated is None else self._replicated.raft,
        )

    def _registration(self, at_ms: int, run: str) -> RegisterNode:
        cluster = self._config.cluster
        others = [node for node_id, node in self._executions.nodes().items() if node_id != self._config.node.id]
        return RegisterNode(
            at_ms=at_ms,
            node_id=self._config.node.id,
            run=run,
            handlers=formats.handlers_in(formats.in_use_with(others), self._own_handlers),
            slots={component: pool.workers for component, pool in self._driver.dispatch.pools.items()},
            address="" if cluster is None else str(cluster.node(self._config.node.id).advertise),
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
        self._facade.draining = True
        drain_s = self._config.node.drain_timeout_ms / 1000
        logger.info("draining", timeout_s=drain_s)
        await self._asking.change(self._pause_all)
        told = await self._tell_others(DrainNode)
        self._supervisor.drain()
        idle = asyncio.ensure_future(self._wait_idle())
        now = asyncio.ensure_future(self._stop_now.wait())
        await asyncio.wait({idle, now}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
        if not idle.done():
            logger.warning("stopping with attempts under way; they run again after the next start")
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
            driver = self._driver
            await self._asking.submit(command(at_ms=driver.now_ms(), node_id=self._config.node.id, run=driver.run))
        except NodeError as error:
            logger.warning("the other nodes can't be told that this one stops; they will notice", error=str(error))
            return False
        return True

    async def _hand_over_leadership(self) -> None:
        if self._replicated is None or not self._replicated.leads or len(self._executions.nodes()) < 2:
            return
        try:
            leader = await self._facade.transfer_leadership(None)
            logger.info("another node leads the cluster now", leader=leader)
        except NodeError as error:
            logger.warning("the leadership can't be handed over; the other nodes will elect", error=str(error))

    def _pause_all(self) -> None:
        for component, pool in self._driver.dispatch.pools.items():
            if component is not Component.SIDE_EFFECT:  # attempts that are to end still need them
                pool.paused = True

    async def _wait_idle(self) -> None:
        """Until no attempt is left in a worker host. Each end of one is a commit."""
        revision = self._watch.revision
        while await self._asking.look(lambda: self._driver.dispatch.attempts):
            await self._watch.changed_after(revision)
            revision = self._watch.revision

    async def stop(self) -> None:
        """Stops at once, in order. What is recorded stays; what runs is run again after the next start."""
        self._asking.stop()
        self._watch.stop()
        await self._api.stop(grace=1.0)
        await self._stop_hosts()
        await self._loop.run_in_executor(None, self._driver.stop)
        self._facade.stop()
        self._readers.close()
        self._executions.close()
        self._data_dir.close()
        logger.info("the node has stopped")

    async def _stop_hosts(self) -> None:
        if hasattr(self, "_supervisor"):
            await self._supervisor.stop()

    def request_stop(self) -> None:
        """Once: drain and stop. Twice: stop now."""
        if self._stop_requested.is_set():
            self._stop_now.set()
        self._stop_requested.set()

    # --- between the worker hosts and the driver

    def _host_up(self, host: int, handlers: Sequence[messages.HandlerDescription]) -> None:
        self._driver.put(HostUp(host, tuple(handler.name for handler in handlers)))

    def _host_down(self, host: int, message: str) -> None:
        self._driver.put(HostDown(host, message))

    # --- where the driver answers; in its thread, or in the log's

    def publish(
        self,
        *,
        frames_to_send: Mapping[int, Sequence[messages.ToHost]],
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
        self._failed(Unavailable(f"node {self._config.node.id} was removed from its cluster"))

    def restored(self) -> None:
        self._loop.call_soon_threadsafe(self._begin_to_look_again)

    # --- and in the loop's

    def _published(
        self,
        frames_to_send: Mapping[int, Sequence[messages.ToHost]],
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
            found = await self._asking.look(lambda: [self._executions.execution(execution_id) for execution_id in ids])
            closed = [execution for execution in found if execution is not None and execution.closed]
            self._watch.published(closed=closed, signalled=ids)

    def _fail(self, error: BaseException) -> None:
        """Nothing can be acknowledged any more: the node goes down, loudly."""
        if self._failure is not None:
            return
        self._failure = error
        event = "the node stops" if self._driver_runs else "the node stops: its driver failed"
        logger.critical(event, error=str(error), exc_info=None if isinstance(error, Unavailable) else error)
        self._asking.fail(error)
        self.request_stop()


def load_message(config: Config) -> messages.Load:
    return messages.Load(
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
