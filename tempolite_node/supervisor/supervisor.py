"""Starts, watches and restarts the worker hosts. Belongs to the event loop's thread, but for what is said otherwise."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import structlog

from tempolite_node.config import HostsConfig
from tempolite_node.errors import StartError, Unavailable, UnusableHandlers
from tempolite_node.logger.writer import LogWriter
from tempolite_node.protocol import messages, plain_types
from tempolite_node.supervisor.children import ChildProcesses
from tempolite_node.supervisor.connection import SocketReader
from tempolite_node.supervisor.liveness import HostLiveness
from tempolite_node.supervisor.process import HostProcess
from tempolite_node.views import HostInfo
from tempolite_sdk.signatures import Signature

logger = structlog.get_logger("hosts")

#: Between two starts of a host that dies before its handlers are loaded.
_RESTART_DELAY_S = 1.0

_FLUSH_S = 1.0  #: for what hosts have logged and could not hand over, when they are ended


class Supervisor:
    def __init__(
        self,
        config: HostsConfig,
        load: messages.Load,
        reader: SocketReader,
        log: LogWriter,
        *,
        hash_seed: int,
        up: Callable[[int, Sequence[messages.HandlerDescription], int], None],
        down: Callable[[int, str, bool, bool], None],
    ) -> None:
        """reader: of what the hosts say once they are up. log: writes what they log. hash_seed: as of `HostProcess`.

        up: gets the hash seed of the host as well.
        down: gets why a host ended, whether one of its attempts may be to blame, and whether it is, since it took more
            memory than it may.
        """
        self._config = config
        self._load = load
        self._reader = reader
        self._log = log
        self._hash_seed = hash_seed
        self._up = up
        self._down = down
        self._children = ChildProcesses()
        self._hosts: dict[int, HostProcess] = {}
        self._slots: dict[int, int] = {}  #: host number -> which of the `processes` it is
        self._starts: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._calls = itertools.count(1)
        self._checks: dict[int, tuple[int, asyncio.Future[Sequence[Sequence[messages.Violation]]]]] = {}
        self._flushing: dict[int, asyncio.Future[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_load: asyncio.Future[messages.Loaded] | None = None
        self._started = False
        self._node_stops = False
        self._stopping = False
        self.handlers: dict[str, messages.HandlerDescription] = {}
        self._signatures: dict[str, Signature] = {}  #: of the handlers whose arguments the core itself can check

    # --- start and stop

    async def start(self) -> None:
        """Starts every host. UnusableHandlers, StartError: the handlers can't be loaded."""
        self._first_load = asyncio.get_running_loop().create_future()
        for slot in range(self._config.processes):
            self._start_shared(slot)
        try:
            async with asyncio.timeout(self._config.start_timeout_ms / 1000):
                loaded = await self._first_load
        except TimeoutError:
            limit_s = self._config.start_timeout_ms / 1000
            raise StartError(f"the handlers were not imported within {limit_s:g} s (hosts.start_timeout)") from None
        if loaded.mistakes:
            raise UnusableHandlers(loaded.mistakes)
        self._started = True
        self._keep(asyncio.create_task(self._ping()))

    def begin_stop(self) -> None:
        """The node stops: from here on a host that ends is nobody's crash, and no other one is started for it."""
        self._node_stops = True

    async def stop(self) -> None:
        """Ends every host at once, whatever it runs."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        hosts = list(self._hosts.values())
        for host in hosts:
            host.kill()
        await asyncio.gather(*(host.wait_gone() for host in hosts))
        for _, future in self._checks.values():
            if not future.done():
                future.set_exception(Unavailable("the node is stopping"))

    def update(self, load: messages.Load) -> None:
        """Other settings for the hosts: for the attempts that start from here on, and for hosts that start."""
        self._load = load
        for host in self._hosts.values():
            host.send([messages.UpdateSettings(handlers=load.handlers, log_level=load.log_level)])

    def use_hash_seed(self, hash_seed: int) -> None:
        """For hosts that start from here on."""
        self._hash_seed = hash_seed

    async def flush_logs(self) -> None:
        """Gives the hosts a moment for what they have logged, if it came faster than it could be written.

        While the driver reads what they say.
        """
        hosts = [host for host in self._hosts.values() if host.loaded]
        for host in hosts:
            self._flushing[host.number] = asyncio.get_running_loop().create_future()
            host.send([messages.FlushLog(timeout_ms=round(_FLUSH_S * 1_000))])
        if hosts:
            await asyncio.wait(self._flushing.values(), timeout=_FLUSH_S)

    def drain(self) -> None:
        """Asks every host to unwind what waits."""
        for host in self._hosts.values():
            host.send([messages.Drain()])

    def _start_shared(self, slot: int) -> None:
        number = next(self._numbers)
        self._slots[number] = slot
        self._starts[slot] = self._starts.get(slot, 0) + 1
        self._start(number)

    def _start(self, number: int, first: Sequence[messages.ToHost] = ()) -> None:
        host = HostProcess(
            number=number,
            load=self._load,
            log=self._log,
            reader=self._reader,
            children=self._children,
            hash_seed=self._hash_seed,
            memory_limit=self._memory_limit(first),
            on_messages=self._on_messages,
            on_exit=self._on_exit,
        )
        self._hosts[number] = host
        host.send(first)
        try:
            host.start()
        except OSError as error:
            self._on_exit(host, f"worker host {number} could not be started ({error})")

    def _memory_limit(self, first: Sequence[messages.ToHost]) -> int | None:
        """Of the handler whose attempt the host is started for."""
        handler = next(
            (m.handler for m in first if isinstance(m, messages.RunHandler | messages.RunCompensation)), None
        )
        return next((spec.memory_limit for spec in self._load.handlers if spec.name == handler), None)

    def _keep(self, task: asyncio.Task[None]) -> None:
        """A task that fails is heard of."""
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the supervisor of the worker hosts has failed", exc_info=error)

    # --- out

    def deliver(
        self, frames_to_send: Mapping[int, Sequence[messages.ToHost]]
    ) -> Mapping[int, Sequence[messages.ToHost]]:
        """Sends to the hosts that are up, from any thread. Returns what is for `send`."""
        rest: dict[int, Sequence[messages.ToHost]] = {}
        for number, batch in frames_to_send.items():
            host = self._hosts.get(number)
            if host is not None and host.connection is not None:
                host.connection.send(batch)
            else:
                rest[number] = batch
        return rest

    def send(self, frames_to_send: Mapping[int, Sequence[messages.ToHost]], to_close: Sequence[int]) -> None:
        """Frames for each host; a number below zero that is new starts the process of an isolated attempt."""
        for number, batch in frames_to_send.items():
            host = self._hosts.get(number)
            if host is not None:
                host.send(batch)
            elif number < 0 and any(isinstance(m, messages.RunHandler | messages.RunCompensation) for m in batch):
                self._start(number, batch)
            # else: the host is gone, and what it held with it
        for number in to_close:
            host = self._hosts.pop(number, None)
            if host is not None:
                host.kill()

    def replace(self, hosts: Mapping[int, str]) -> None:
        """Starts a successor for each, and tells the reason. They go on until they are closed."""
        for number, reason in hosts.items():
            slot = self._slots.pop(number, None)
            if slot is not None and not self._node_stops:
                logger.info("a worker host is replaced", host=number, reason=reason)
                self._start_shared(slot)

    def serves(self, handler: str) -> bool:
        return handler in self.handlers

    async def check_arguments(self, calls: Sequence[tuple[str, bytes]]) -> Sequence[Sequence[messages.Violation]]:
        """What is wrong with the arguments of each call, by the handler's own types."""
        if all(handler in self._signatures for handler, _ in calls):
            return [messages.violations(self._signatures[handler], arguments) for handler, arguments in calls]
        return await self._ask_host(lambda call: messages.CheckArguments(call=call, calls=tuple(calls)))

    def check_plain_signal(self, handler: str, name: str, payload: bytes) -> Sequence[messages.Violation] | None:
        """What is wrong with the payload of a signal that the handler declares. None: a worker host has to be asked.

        From any thread.
        """
        described = self.handlers.get(handler)
        signal = next((each for each in described.signals if each.name == name), None) if described else None
        if signal is None or signal.type is None:
            return None if signal is not None else ()
        return messages.payload_violations(payload, plain_types.plain(signal.type))

    async def check_signal(self, handler: str, name: str, payload: bytes) -> Sequence[messages.Violation]:
        """What is wrong with the payload of a signal that the handler declares."""
        found = self.check_plain_signal(handler, name, payload)
        if found is not None:
            return found
        [found] = await self._ask_host(
            lambda call: messages.CheckSignal(call=call, handler=handler, name=name, payload=payload)
        )
        return found

    async def _ask_host(self, question: Callable[[int], messages.ToHost]) -> Sequence[Sequence[messages.Violation]]:
        """What a worker host finds wrong: some of the types are user code. question: made with a number of its own."""
        host = next((host for host in self._hosts.values() if host.loaded and host.number > 0), None)
        if host is None:
            raise Unavailable("no worker host is up")
        call = next(self._calls)
        future: asyncio.Future[Sequence[Sequence[messages.Violation]]] = asyncio.get_running_loop().create_future()
        self._checks[call] = (host.number, future)
        host.send([question(call)])
        try:
            return await future
        finally:
            del self._checks[call]

    # --- in

    def _on_messages(self, host: HostProcess, batch: list[messages.FromHost]) -> None:
        """What is not for the driver."""
        for message in batch:
            match message:
                case messages.Checked():
                    _, future = self._checks.get(message.call, (0, None))
                    if future is not None and not future.done():
                        future.set_result(message.violations)
                case messages.LogFlushed():
                    self._log_flushed(host)
                case messages.Pong():
                    host.silent_s = 0.0
                case messages.Loaded():
                    self._loaded(host, message)

    def _loaded(self, host: HostProcess, loaded: messages.Loaded) -> None:
        if self._first_load is not None and not self._first_load.done():
            self._first_load.set_result(loaded)
        if loaded.mistakes:
            if self._started:  # else it is told by the start, which fails
                mistakes = [str(mistake) for mistake in loaded.mistakes]
                logger.error(f"worker host {host.number} can't load the handlers", mistakes=mistakes)
            host.kill()
            return
        host.silent_s = 0.0  # until now it had its handlers to import
        if host.number > 0:
            self.handlers = {handler.name: handler for handler in loaded.handlers}
            self._signatures = {
                handler.name: plain_types.signature(handler.name, handler.parameters)
                for handler in loaded.handlers
                if handler.parameters is not None
            }
            self._up(host.number, loaded.handlers, host.hash_seed)

    def _log_flushed(self, host: HostProcess) -> None:
        if (flushing := self._flushing.get(host.number)) is not None and not flushing.done():
            flushing.set_result(None)

    def _on_exit(self, host: HostProcess, message: str) -> None:
        self._log_flushed(host)
        wanted = self._hosts.pop(host.number, None) is not None
        for number, future in self._checks.values():
            if number == host.number and not future.done():
                future.set_exception(Unavailable("the worker host exited while it checked them"))
        slot = self._slots.pop(host.number, None)
        if self._stopping or self._start_has_failed():
            return
        if not wanted:
            self._down(
                host.number, message, False, False
            )  # what held it has ended; its place among processes is free now
            return
        if host.out_of_memory and not self._node_stops:
            self._down(host.number, message, False, True)  # its attempt tells of it
            return
        logger.warning(message, host=host.number, pid=host.pid)
        if self._first_load is not None and not self._first_load.done():
            self._first_load.set_exception(StartError(f"{message} while it imported the handlers"))
        self._down(host.number, message, not self._node_stops, False)
        if slot is not None and not self._node_stops:
            self._keep(asyncio.create_task(self._restart(slot, delay_s=0.0 if host.loaded else _RESTART_DELAY_S)))

    def _start_has_failed(self) -> bool:
        loading = self._first_load
        return (
            loading is not None
            and loading.done()
            and not loading.cancelled()
            and (loading.exception() is not None or bool(loading.result().mistakes))
        )

    async def _restart(self, slot: int, *, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if not self._node_stops:
            self._start_shared(slot)

    # --- health

    async def _ping(self) -> None:
        """Kills a host that no longer answers: something in it holds the GIL, or it was stopped."""
        loop, interval_s = asyncio.get_running_loop(), self._config.ping_interval_ms / 1000
        liveness = HostLiveness(self._reader, loop.time(), most_s=2 * interval_s)
        while True:
            await asyncio.sleep(interval_s)
            listened_s = liveness.since(loop.time())
            for host in list(self._hosts.values()):
                host.silent_s += listened_s
                limit_ms = self._config.ping_timeout_ms if host.loaded else self._config.start_timeout_ms
                if host.silent_s > limit_ms / 1000:
                    logger.error(
                        f"worker host {host.number} does not answer and is killed", host=host.number, pid=host.pid
                    )
                    host.kill()
                else:
                    host.send([messages.Ping()])

    def describe(self, attempts: Callable[[int], int], lingering: Callable[[int], int]) -> tuple[HostInfo, ...]:
        return tuple(
            HostInfo(
                number=number,
                pid=host.pid,
                attempts=attempts(number),
                starts=self._starts[self._slots[number]],
                lingering=lingering(number),
            )
            for number, host in self._hosts.items()
            if number in self._slots
        )
