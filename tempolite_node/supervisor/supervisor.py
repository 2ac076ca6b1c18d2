"""Starts, watches and restarts the worker hosts. Belongs to the event loop's thread, but for what is said otherwise."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import structlog

from tempolite_node.config import HostsConfig
from tempolite_node.driver.inputs import Inputs
from tempolite_node.errors import StartError, Unavailable
from tempolite_node.protocol import messages, plain_types
from tempolite_node.supervisor.liveness import HostLiveness
from tempolite_node.supervisor.process import HostProcess
from tempolite_node.views import HostInfo
from tempolite_sdk.signatures import Signature

logger = structlog.get_logger("hosts")

#: Between two starts of a host that dies before its handlers are loaded.
_RESTART_DELAY_S = 1.0


class Supervisor:
    def __init__(
        self,
        config: HostsConfig,
        load: messages.Load,
        inputs: Inputs,
        *,
        up: Callable[[int, Sequence[messages.HandlerDescription]], None],
        down: Callable[[int, str], None],
    ) -> None:
        """inputs: read what the hosts say once they are up."""
        self._config = config
        self._load = load
        self._inputs = inputs
        self._up = up
        self._down = down
        self._hosts: dict[int, HostProcess] = {}
        self._slots: dict[int, int] = {}  #: host number -> which of the `processes` it is
        self._starts: dict[int, int] = {}
        self._numbers = itertools.count(1)
        self._calls = itertools.count(1)
        self._checks: dict[int, tuple[int, asyncio.Future[Sequence[Sequence[messages.Violation]]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_load: asyncio.Future[messages.Loaded] | None = None
        self._stopping = False
        self.handlers: dict[str, messages.HandlerDescription] = {}
        self._signatures: dict[str, Signature] = {}  #: of the handlers whose arguments the core itself can check

    # --- start and stop

    async def start(self) -> None:
        """Starts every host. StartError: the handlers can't be loaded."""
        self._first_load = asyncio.get_running_loop().create_future()
        for slot in range(self._config.processes):
            await self._start_shared(slot)
        try:
            async with asyncio.timeout(self._config.start_timeout_ms / 1000):
                loaded = await self._first_load
        except TimeoutError:
            limit_s = self._config.start_timeout_ms / 1000
            raise StartError(f"the handlers were not imported within {limit_s:g} s (hosts.start_timeout)") from None
        if loaded.errors:
            raise StartError("the handlers can't be loaded:\n" + "\n".join(f"  {error}" for error in loaded.errors))
        self._keep(asyncio.create_task(self._ping()))

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

    def drain(self) -> None:
        """Asks every host to unwind what waits."""
        for host in self._hosts.values():
            host.send([messages.Drain()])

    async def _start_shared(self, slot: int) -> None:
        number = next(self._numbers)
        self._slots[number] = slot
        self._starts[slot] = self._starts.get(slot, 0) + 1
        await self._start(number)

    async def _start(self, number: int, first: Sequence[messages.ToHost] = ()) -> None:
        host = HostProcess(number=number, load=self._load, inputs=self._inputs, heard=self._heard, gone=self._gone)
        self._hosts[number] = host
        host.send(first)
        try:
            await host.start()
        except OSError as error:
            self._gone(host, f"worker host {number} could not be started ({error})")

    def _keep(self, task: asyncio.Task[None]) -> None:
        """A task that fails is heard of."""
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a task of the supervisor failed", exc_info=error)

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
            elif number < 0 and any(isinstance(m, messages.Run | messages.RunCompensation) for m in batch):
                self._keep(asyncio.create_task(self._start(number, batch)))
            # else: the host is gone, and what it held with it
        for number in to_close:
            host = self._hosts.pop(number, None)
            if host is not None:
                host.kill()

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

    def _heard(self, host: HostProcess, batch: list[messages.FromHost]) -> None:
        """What is not for the driver."""
        for message in batch:
            match message:
                case messages.Checked():
                    _, future = self._checks.get(message.call, (0, None))
                    if future is not None and not future.done():
                        future.set_result(message.violations)
                case messages.Pong():
                    host.silent_s = 0.0
                case messages.LogLine():
                    _write_log(message)
                case messages.Loaded():
                    self._loaded(host, message)

    def _loaded(self, host: HostProcess, loaded: messages.Loaded) -> None:
        if self._first_load is not None and not self._first_load.done():
            self._first_load.set_result(loaded)
        if loaded.errors:
            logger.error("a worker host can't load the handlers", host=host.number, errors=loaded.errors)
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
            self._up(host.number, loaded.handlers)

    def _gone(self, host: HostProcess, message: str) -> None:
        known = self._hosts.pop(host.number, None) is not None
        for number, future in self._checks.values():
            if number == host.number and not future.done():
                future.set_exception(Unavailable("the worker host died while it checked them"))
        slot = self._slots.pop(host.number, None)
        if self._stopping or not known:
            return
        logger.warning(message, host=host.number, pid=host.pid)
        if self._first_load is not None and not self._first_load.done():
            self._first_load.set_exception(StartError(f"{message} while it imported the handlers"))
        self._down(host.number, message)
        if slot is not None:
            self._keep(asyncio.create_task(self._restart(slot, delay_s=0.0 if host.loaded else _RESTART_DELAY_S)))

    async def _restart(self, slot: int, *, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._start_shared(slot)

    # --- health

    async def _ping(self) -> None:
        """Kills a host that no longer answers: something in it holds the GIL, or it was stopped."""
        loop, interval_s = asyncio.get_running_loop(), self._config.ping_interval_ms / 1000
        listening = HostLiveness(self._inputs, loop.time(), most_s=2 * interval_s)
        while True:
            await asyncio.sleep(interval_s)
            listened_s = listening.since(loop.time())
            for host in list(self._hosts.values()):
                host.silent_s += listened_s
                limit_ms = self._config.ping_timeout_ms if host.loaded else self._config.start_timeout_ms
                if host.silent_s > limit_ms / 1000:
                    logger.error("a worker host does not answer: killed", host=host.number, pid=host.pid)
                    host.kill()
                else:
                    host.send([messages.Ping()])

    def describe(self, attempts: Callable[[int], int]) -> tuple[HostInfo, ...]:
        return tuple(
            HostInfo(number=number, pid=host.pid, attempts=attempts(number), starts=self._starts[self._slots[number]])
            for number, host in self._hosts.items()
            if number in self._slots
        )


def _write_log(line: messages.LogLine) -> None:
    fields = {"execution_id": line.execution_id} if line.execution_id else {}
    write = getattr(structlog.get_logger(line.logger or "handlers"), _LEVELS.get(line.level, "info"))
    write(line.message, **fields)


_LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "critical": "error",
}
