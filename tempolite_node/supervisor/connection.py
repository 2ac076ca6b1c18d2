"""The socket to a worker host whose handlers are loaded. The driver's thread reads it, any thread may send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import structlog

from tempolite_node.protocol import framing, messages

logger = structlog.get_logger("hosts")

READ_BYTES = 1 << 18


class SocketReader(Protocol):
    """Reads the sockets of all hosts, in a thread of its own; any thread may call it."""

    @property
    def sleeps(self) -> bool:
        """Whether it waits for something to read."""
        ...

    @property
    def looks(self) -> int:
        """How often it looked whether there is something to read."""
        ...

    def attach(self, host_socket: HostConnection) -> None:
        """From here on the socket is read, until it is at its end."""
        ...

    def await_room(self, host_socket: HostConnection, wanted: bool) -> None:
        """wanted: whether the connection is flushed once its socket takes more."""
        ...


class HostConnection:
    def __init__(
        self,
        number: int,
        connection: socket.socket,
        reader: framing.FrameReader[messages.FromHost],
        *,
        await_room: Callable[[HostConnection, bool], None],
        on_messages: Callable[[list[messages.FromHost]], None],
        on_lost: Callable[[], None],
    ) -> None:
        """connection: does not block.

        await_room: is told whether `flush` is to be called once the socket takes more.
        on_messages: is told what is not for the driver.
        on_lost: is told that the host is gone, or does not speak our language.
        """
        self.number = number
        self._socket = connection
        self._reader = reader
        self._await_room = await_room
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._unsent = bytearray()  #: what the socket had no room for
        self._sending = threading.Lock()

    def fileno(self) -> int:
        return self._socket.fileno()

    # --- out

    def send(self, batch: Sequence[messages.ToHost]) -> None:
        """Never waits for the host; what it can't take by now, it gets later.

        A host that can't be told something is given up: what it runs is run again, or fails in the end.
        """
        try:
            frame = framing.encode(batch)
        except ValueError as error:
            # No traceback: it is of our own lines, and the error says what is too large.
            logger.error("a worker host can't be told what to run", host=self.number, error=str(error))  # noqa: TRY400
            self._on_lost()
            return
        with self._sending:
            waits = bool(self._unsent)
            self._unsent += frame
            if not waits and not self._send():
                self._await_room(self, True)

    def flush(self) -> None:
        """Sends on what the socket had no room for."""
        with self._sending:
            if self._send():
                self._await_room(self, False)

    def _send(self) -> bool:
        """Whether that is all."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            return False
        except OSError:
            self._unsent.clear()  # it is gone, which its reader finds
        return True

    # --- in

    def read(self) -> list[messages.ForDriver] | None:
        """What it says to the driver; None: it is of no use any more, and nothing is to be read."""
        try:
            data = self._socket.recv(READ_BYTES)
            batch = self._reader.feed(data)
        except BlockingIOError:
            return []
        except (OSError, ValueError):
            data = b""
        if not data:
            self._on_lost()
            return None
        calls: list[messages.ForDriver] = []
        others: list[messages.FromHost] = []
        for message in batch:
            if isinstance(message, messages.ForDriver):
                calls.append(message)
            else:
                others.append(message)
        if others:
            self._on_messages(others)
        return calls

    # --- the end

    def shut_down(self) -> None:
        """The host sees the end of the socket and exits at once. By any thread: it is closed by who reads it."""
        with self._sending, suppress(OSError):  # it may be closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._sending:
            self._socket.close()
