"""A worker host: a child process, from its start by way of the import of its handlers to its end.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from tempolite_node.driver.inputs import Inputs
from tempolite_node.protocol import framing, messages
from tempolite_node.supervisor.connection import READ_BYTES, HostConnection


class HostProcess:
    def __init__(
        self,
        *,
        number: int,
        load: messages.Load,
        inputs: Inputs,
        heard: Callable[[HostProcess, list[messages.FromHost]], None],
        gone: Callable[[HostProcess, str], None],
    ) -> None:
        """inputs: read the socket once the handlers are loaded."""
        self.number = number  #: never given twice in a node's life; below zero: of one isolated attempt
        self.silent_s = 0.0  #: since its last sign of life
        self.connection: HostConnection | None = None  #: once the handlers are loaded
        self._load = load
        self._inputs = inputs
        self._heard = heard
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._process: asyncio.subprocess.Process | None = None
        self._pidfd: int | None = None
        self._unsent: list[messages.ToHost] = []  #: until the handlers are loaded
        self._loading: asyncio.Task[None] | None = None
        self._exited: asyncio.Task[None] | None = None
        self._killed = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def loaded(self) -> bool:
        return self.connection is not None

    async def start(self) -> None:
        """Spawns the process and asks it to import the handlers. Never forks: gRPC's threads would not survive it."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tempolite_node.worker_host.main",
                "--fd",
                str(theirs.fileno()),
                "--parent",
                str(os.getpid()),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # what user code prints is not the daemon's answer to anybody
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._pidfd = os.pidfd_open(self._process.pid)
        self._exited = self._loop.create_task(self._wait_for_exit())
        if self._killed:  # while it was being spawned
            ours.close()
            self.kill()
        else:
            ours.setblocking(False)
            self._loading = self._loop.create_task(self._load_handlers(ours))

    async def _load_handlers(self, connection: socket.socket) -> None:
        """Reads what the process says until its handlers are loaded; from then on, the driver does."""
        reader = framing.node_reader()
        try:
            await self._loop.sock_sendall(connection, framing.encode([self._load]))
            while not self.loaded:
                data = await self._loop.sock_recv(connection, READ_BYTES)
                if not data:
                    break
                for message in reader.feed(data):
                    if isinstance(message, messages.Loaded) and not message.mistakes:
                        self._connect(connection, reader)
                    self._heard(self, [message])
        except (OSError, ValueError):
            pass
        finally:
            if not self.loaded:  # it is gone, or does not speak our language
                connection.close()
                self.kill()

    def _connect(self, connection: socket.socket, reader: framing.FrameReader[messages.FromHost]) -> None:
        made = HostConnection(
            self.number,
            connection,
            reader,
            await_room=self._inputs.await_room,
            heard=lambda batch: self._in_loop(self._heard, self, batch),
            lost=lambda: self._in_loop(self.kill),
        )
        self._inputs.attach(made)
        if self._unsent:
            made.send(self._unsent)
            self._unsent = []
        self.connection = made  # other threads send from here on

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(call, *arguments)

    async def _wait_for_exit(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        assert self._pidfd is not None
        os.close(self._pidfd)
        self._pidfd = None
        if self.connection is not None:
            self.connection.shut_down()  # a process that its code has forked may hold the other end
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._gone(self, f"worker host {self.number} died ({ending})")

    def send(self, batch: Sequence[messages.ToHost]) -> None:
        if self.connection is not None:
            self.connection.send(batch)
        else:
            self._unsent += batch

    # --- the end

    def kill(self) -> None:
        """Not by way of the process, which would look for its end first, and take it from the one who waits for it.

        A host without its socket is of no use, should it still live.
        """
        self._killed = True
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self.connection is not None:
            self.connection.shut_down()
        elif self._loading is not None:
            self._loading.cancel()

    async def wait_gone(self) -> None:
        if self._exited is not None:
            await self._exited
