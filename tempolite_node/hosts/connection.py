"""One worker host: a child process and the socket to it. Belongs to the event loop's thread."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from tempolite_node import frames

_READ_BYTES = 1 << 18


class HostConnection(asyncio.BufferedProtocol):
    """Reads frames off the socket, writes frames to it, and tells when the process is gone."""

    def __init__(
        self,
        *,
        number: int,
        load: frames.Load,
        heard: Callable[[HostConnection, list[frames.FromHost]], None],
        gone: Callable[[HostConnection, str], None],
    ) -> None:
        self.number = number  #: never given twice in a node's life; below zero: of one isolated attempt
        self.loaded = False
        self.last_pong_s = 0.0
        self._load = load
        self._heard = heard
        self._gone = gone
        self._reader = frames.node_reader()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._unsent: list[frames.ToHost] = []  #: of this turn of the loop; all of them until the handlers are loaded
        self._flushes = False
        self._exited: asyncio.Task[None] | None = None
        self._closing = False
        self._pidfd: int | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Spawns the process and asks it to import the handlers. Never forks: gRPC's threads would not survive it."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tempolite_node.host.main",
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
        if self._closing:  # closed while it was being spawned
            self.kill()
        ours.setblocking(False)
        self.last_pong_s = loop.time()
        await loop.create_connection(lambda: self, sock=ours)
        self._exited = loop.create_task(self._wait_for_exit())
        self._write([self._load])

    async def _wait_for_exit(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        assert self._pidfd is not None
        os.close(self._pidfd)
        self._pidfd = None
        ending = f"signal {-code}" if code < 0 else f"exit code {code}"
        self._gone(self, f"worker host {self.number} died ({ending})")

    # --- out

    def send(self, messages: Sequence[frames.ToHost]) -> None:
        """Whatever is sent in one turn of the loop leaves in one frame, at its end."""
        self._unsent += messages
        if self.loaded and not self._flushes:
            self._flushes = True
            asyncio.get_running_loop().call_soon(self._flush)

    def became_loaded(self) -> None:
        self.loaded = True
        self._flush()

    def _flush(self) -> None:
        self._flushes = False
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._write(unsent)

    def _write(self, messages: Sequence[frames.ToHost]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.encode(messages))

    # --- in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._reader.feed(bytes(self._buffer[:nbytes]))
        except ValueError:  # msgspec.DecodeError and ValidationError are ones
            self.kill()  # it does not speak our language: whatever it runs is not to be trusted
            return
        if messages:
            self._heard(self, messages)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """A host without its socket is of no use, should it still live."""
        if not self._closing:
            self.kill()

    # --- the end

    def close(self) -> None:
        """The host sees the end of the socket and exits at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def kill(self) -> None:
        """Not by way of the process, which would look for its end first, and take it from the one who waits for it."""
        if self._pidfd is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self.close()

    async def wait_gone(self) -> None:
        if self._exited is not None:
            await self._exited
