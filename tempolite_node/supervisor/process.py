"""A worker host: a child process and its keeper, from its start by way of the import of its handlers to its end.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from tempolite_node.clock import node_clock_ms
from tempolite_node.logger.writer import LogWriter
from tempolite_node.protocol import framing, messages
from tempolite_node.supervisor.children import ChildProcesses
from tempolite_node.supervisor.connection import READ_BYTES, HostConnection, SocketReader


class HostProcess:
    def __init__(
        self,
        *,
        number: int,
        load: messages.Load,
        log: LogWriter,
        reader: SocketReader,
        children: ChildProcesses,
        hash_seed: int,
        memory_limit: int | None = None,
        on_messages: Callable[[HostProcess, list[messages.FromHost]], None],
        on_exit: Callable[[HostProcess, str], None],
    ) -> None:
        """log: writes the lines that it logs. reader: of the socket, once the handlers are loaded.

        hash_seed: by which sets of strings are ordered, in each process alike.
        memory_limit: in bytes, of all that runs in it; beyond it, it is ended.
        """
        self.number = number  #: never given twice in a node's life; below zero: of one isolated attempt
        self.silent_s = 0.0  #: since its last sign of life
        self.out_of_memory = False  #: that is what it was ended for
        self.connection: HostConnection | None = None  #: once the handlers are loaded
        self._load = load
        self._log = log
        self._reader = reader
        self._on_messages = on_messages
        self._on_exit = on_exit
        self._children = children
        self.hash_seed = hash_seed
        self._memory_limit = memory_limit
        self._report: int | None = None  #: where the keeper tells how much memory it was
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None  #: the keeper of the host
        self._pid = 0
        self._unsent: list[messages.ToHost] = []  #: until the handlers are loaded
        self._loading: asyncio.Task[None] | None = None
        self._exited = asyncio.Event()

    @property
    def pid(self) -> int:
        """Of the process that runs the handlers; until they are loaded, of its keeper."""
        if self._pid:
            return self._pid
        return self._process.pid if self._process is not None else 0

    @property
    def loaded(self) -> bool:
        return self.connection is not None

    def start(self) -> None:
        """Spawns the process and asks it to import the handlers. OSError: it can't be spawned."""
        ours, theirs = socket.socketpair()
        with theirs, self._log.pipe() as log_fd:
            limit = self._memory_limit or 0
            command = [sys.executable, "-P", "-m", "tempolite_node.worker_host.keeper", str(limit)]
            report: int | None = None
            if limit:
                self._report, report = os.pipe()
                os.set_blocking(self._report, False)
            try:
                self._process = self._children.spawn(
                    command,
                    pass_fds=[theirs.fileno(), log_fd, *([] if report is None else [report])],
                    environment=self._environment(),
                    ended=self._ended,
                )
            except BaseException:
                ours.close()
                self._reported()
                raise
            finally:
                if report is not None:
                    os.close(report)
        ours.setblocking(False)
        self._loading = self._loop.create_task(self._load_handlers(ours))

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONHASHSEED": str(self.hash_seed)}

    async def _load_handlers(self, connection: socket.socket) -> None:
        """Reads what the process says until its handlers are loaded; from then on, the driver does."""
        frames = framing.node_reader()
        try:
            load = replace(self._load, clock_ahead_ms=node_clock_ms.ahead_ms)
            await self._loop.sock_sendall(connection, framing.encode([load]))
            while not self.loaded:
                data = await self._loop.sock_recv(connection, READ_BYTES)
                if not data:
                    break
                for message in frames.feed(data):
                    if isinstance(message, messages.Loaded):
                        self._pid = message.pid
                        if not message.mistakes:
                            self._connect(connection, frames)
                    self._on_messages(self, [message])
        except (OSError, ValueError):
            pass
        finally:
            if not self.loaded:  # it is gone, or does not speak our language
                connection.close()
                self.kill()

    def _connect(self, connection: socket.socket, frames: framing.FrameReader[messages.FromHost]) -> None:
        made = HostConnection(
            self.number,
            connection,
            frames,
            await_room=self._reader.await_room,
            on_messages=lambda batch: self._in_loop(self._on_messages, self, batch),
            on_lost=lambda: self._in_loop(self.kill),
        )
        self._reader.attach(made)
        if self._unsent:
            made.send(self._unsent)
            self._unsent = []
        self.connection = made  # other threads send from here on

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call, *arguments)

    def _ended(self, code: int) -> None:
        if self.connection is not None:
            self.connection.shut_down()  # a process that its code has forked may hold the other end
        ending = f"signal {-code}" if code < 0 else f"code {code}"
        taken = self._reported()
        self._exited.set()
        if taken is None:
            self._on_exit(self, f"worker host {self.number} exited with {ending}")
        else:
            self.out_of_memory = True
            took = f"its process, with what it had started, took {taken:,} bytes of memory"
            self._on_exit(self, f"{took}; its memory_limit is {self._memory_limit:,}")

    def _reported(self) -> int | None:
        """How much memory it was, if it was too much."""
        report, self._report = self._report, None
        if report is None:
            return None
        with suppress(BlockingIOError), open(report, "rb", buffering=0) as told:
            return int(told.read(64) or 0) or None
        return None

    def send(self, batch: Sequence[messages.ToHost]) -> None:
        if self.connection is not None:
            self.connection.send(batch)
        else:
            self._unsent += batch

    # --- the end

    def kill(self) -> None:
        """A host without its socket is of no use, should it still live."""
        if self._process is not None:
            self._children.end(self._process)
        if self.connection is not None:
            self.connection.shut_down()
        elif self._loading is not None:
            self._loading.cancel()

    async def wait_gone(self) -> None:
        if self._process is not None:
            await self._exited.wait()
