"""What waits for the driver: what other threads put there, and what worker hosts say on their sockets.

The driver's thread reads the sockets itself. A side effect or a child is a word of a host and the answer to it, and
between them no other thread has to wake.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from msgspec import Struct

from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome, Refused
from tempolite_node.errors import NodeError
from tempolite_node.protocol import messages
from tempolite_node.system import READABLE, WRITABLE, poller


class Submit(Struct):
    """A command, and who wants its outcome, or why there is none. Called with what else the round lets out."""

    command: AnyCommand
    answer: Callable[[AnyOutcome | NodeError], None] | None = None


class SubmitBatch(Struct):
    """Commands, and who wants all of their outcomes, or why there are none. Called like that of a `Submit`."""

    commands: Sequence[AnyCommand]
    answer: Callable[[list[AnyOutcome] | NodeError], None]


class Inspect(Struct):
    """A question to the driver's own state, answered after the round's commit."""

    inspect: Callable[[], Any]
    answer: Callable[[Any], None]


class Reconfigure(Struct):
    """A change of what decides which work starts. Made before the round's starts, answered after its commit."""

    reconfigure: Callable[[], Any]
    answer: Callable[[Any], None]


class Barrier(Struct):
    """Who wants to see everything that was acknowledged before. Told when it can be read here, or why it can't be."""

    answer: Callable[[NodeError | None], None]


class RunInDriver(Struct):
    """Something that belongs to the driver's thread: the log's, between two rounds' commits."""

    act: Callable[[], None]


class HostUp(Struct):
    host: int
    handlers: tuple[str, ...]
    stepped: tuple[str, ...] = ()  #: those whose attempts say when they are quiet
    hash_seed: int = 0  #: of its process


class HostMessages(Struct):
    host: int
    calls: list[messages.ForDriver]


class HostDown(Struct):
    host: int
    message: str
    crashed: bool = True  #: one of the attempts that ran may be to blame; False: the node stops
    out_of_memory: bool = False  #: its attempt, the only one, took more than it may


class SignalChecked(Struct):
    """An attempt's signal to another execution has been checked by who knows the types of that one's handler."""

    host: int
    call: messages.AttemptCall
    refused: Refused | None  #: None: it may be sent


class Stop(Struct):
    pass


Input = (
    Submit
    | SubmitBatch
    | Inspect
    | Reconfigure
    | Barrier
    | RunInDriver
    | HostUp
    | HostMessages
    | HostDown
    | SignalChecked
    | Stop
)


class HostSocket(Protocol):
    """A worker host's socket, to be read here alone."""

    number: int  #: of the host

    def fileno(self) -> int: ...

    def read(self) -> list[messages.ForDriver] | None:
        """What it says to the driver; None: it has gone silent for good, and its socket is closed."""
        ...

    def flush(self) -> None:
        """Sends on what its socket had no room for."""
        ...

    def close(self) -> None: ...


class Inputs:
    """Any thread may put something; the driver's thread takes, and reads what speaks."""

    def __init__(self) -> None:
        self._given: deque[Input] = deque()
        self._sockets: dict[int, HostSocket] = {}  #: by file descriptor
        self._poller = poller()
        # For any thread to see:
        self.sleeps = False  #: the driver's thread, until there is something for it
        self.looks = 0  #: how often the sockets were looked at

    def __len__(self) -> int:
        return len(self._given)

    # --- any thread

    def put(self, given: Input) -> None:
        self._given.append(given)
        if self.sleeps:
            self.sleeps = False
            self._poller.wake()

    def attach(self, host_socket: HostSocket) -> None:
        """From here on it is read, until it goes silent."""
        self._sockets[host_socket.fileno()] = host_socket
        self._poller.watch(host_socket.fileno(), READABLE | WRITABLE)

    def await_room(self, host_socket: HostSocket, wanted: bool) -> None:
        """Whether it is flushed once its socket takes more. It is when it is new."""
        with suppress(FileNotFoundError):  # it went silent meanwhile
            self._poller.change(host_socket.fileno(), READABLE | (WRITABLE if wanted else 0))

    # --- the driver's thread

    def take(self, most: int, idle_s: Callable[[], float | None]) -> list[Input]:
        """Everything that waits; if nothing does, whatever comes next.

        idle_s: for how many seconds to wait, at most. Not asked when something waits.
        """
        taken = self._read(0.0 if self._given else idle_s())
        given = self._given
        while given and len(taken) < most:
            taken.append(given.popleft())
        return taken

    def _read(self, wait_s: float | None) -> list[Input]:
        # In this order, and `put` in the other: what is put is seen here, or this thread is seen to sleep.
        self.sleeps = wait_s != 0.0
        events = self._poller.poll(0.0 if self._given else wait_s)
        self.sleeps = False
        self.looks += 1
        received: list[Input] = []
        for descriptor, event in events:
            host_socket = self._sockets.get(descriptor)
            if host_socket is None:
                continue  # the wake of who put something
            if event & WRITABLE:
                host_socket.flush()
            if event & ~WRITABLE:
                calls = host_socket.read()
                if calls is None:
                    self._detach(descriptor)
                elif calls:
                    received.append(HostMessages(host_socket.number, calls))
        return received

    def _detach(self, descriptor: int) -> None:
        self._poller.forget(descriptor)
        self._sockets.pop(descriptor).close()

    def close(self) -> None:
        """Once the driver's thread has ended."""
        if self._poller.closed:
            return
        for descriptor in list(self._sockets):
            self._detach(descriptor)
        self._poller.close()
