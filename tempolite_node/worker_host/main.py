"""The worker host's process: reads what the node says until the node is gone, and then ends at once."""

from __future__ import annotations

import argparse
import ctypes
import logging
import math
import os
import select
import signal
import socket
from typing import NoReturn, assert_never

from tempolite_node.interpreter import settle
from tempolite_node.protocol import framing, messages
from tempolite_node.worker_host.attempt import Services
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.leased_slots import LeasedSlots
from tempolite_node.worker_host.logs import configure_logging
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.registry import load
from tempolite_node.worker_host.runner import Runner

_READ_BYTES = 1 << 18
_PR_SET_PDEATHSIG = 1  #: Linux, prctl(2)
_PR_FUTEX_HASH, _PR_FUTEX_HASH_SET_SLOTS = 78, 1  #: the same, of Linux 6.16 and later

#: Threads that may wait, at most and at least (those of the workers are among them); the table takes 64 bytes for each.
_WAITING_MAX, _WAITING_LEAST = 100_000, 1_000

logger = logging.getLogger("tempolite.host")


def main() -> None:
    parser = argparse.ArgumentParser(description="A worker host of a Tempolite node; started by the node alone.")
    parser.add_argument("--fd", type=int, required=True, help="the socket to the node")
    parser.add_argument("--parent", type=int, required=True, help="the node's process id")
    arguments = parser.parse_args()
    _die_with(arguments.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the node decides what it means
    connection = socket.socket(fileno=arguments.fd)
    WorkerHost(connection).serve()


def _die_with(parent: int) -> None:
    """Ends this process with the node, even when it is killed, and even while C code holds the GIL here.

    What a lingering host does would run beside the attempt that a restarted node begins.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(0)


def _make_room_for_waiting(threads: int) -> None:
    """Lets the kernel find one of so many threads that wait without a look at all the others.

    Since 6.16 it keeps the locks that a process waits for in a table of that process's own, sized by the machine's
    processors. With thousands of parked threads each wake of one walks past hundreds. An earlier kernel has one large
    table for all processes, and refuses the call.
    """
    slots = 1 << min(max(threads, _WAITING_LEAST), _WAITING_MAX).bit_length()
    arguments = (_PR_FUTEX_HASH_SET_SLOTS, slots, 0, 0)
    ctypes.CDLL(None).prctl(_PR_FUTEX_HASH, *map(ctypes.c_ulong, arguments))


class WorkerHost:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._channel = Channel(connection)
        self._reader = framing.host_reader()

    def serve(self) -> NoReturn:
        batch = self._read()
        first = batch[0]
        assert isinstance(first, messages.Load), f"the first message is a {type(first).__name__}"
        configure_logging(self._channel, first.log_level)
        _make_room_for_waiting(first.max_parked)
        registry, errors = load(first)
        settle()
        self._channel.send(
            messages.Loaded(handlers=tuple(handler.describe() for handler in registry.handlers.values()), errors=errors)
        )
        parking = Parking(parked_max=first.max_parked, ttl_s=first.park_ttl_ms / 1_000)
        slots = LeasedSlots(lambda slots: self._channel.send(messages.ReturnSlots(slots=slots)))
        services = Services(
            channel=self._channel,
            registry=registry,
            parking=parking,
            slots=slots,
            payload_bytes_max=first.payload_bytes_max,
        )
        self._serve(batch[1:], Runner(services), services, ttl_s=first.park_ttl_ms / 1_000)

    def _serve(self, batch: list[messages.ToHost], runner: Runner, services: Services, *, ttl_s: float) -> NoReturn:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            for message in batch:
                self._handle(message, runner, services)
            runner.deliver()
            # A stack that is parked while this thread sleeps is looked at after one time to live, or sooner.
            looks_s = [ttl_s, services.parking.unwind_expired(), services.slots.look()]
            poll.poll(math.ceil(min(left_s for left_s in looks_s if left_s is not None) * 1_000))
            batch = self._read_ready(poll)

    def _read_ready(self, poll: select.poll) -> list[messages.ToHost]:
        return self._read() if poll.poll(0) else []

    def _read(self) -> list[messages.ToHost]:
        """At least one message, unless a frame is not complete yet. Never comes back when the node is gone."""
        try:
            data = self._connection.recv(_READ_BYTES)
        except OSError:
            data = b""
        if not data:
            os._exit(0)
        return self._reader.feed(data)

    def _handle(self, message: messages.ToHost, runner: Runner, services: Services) -> None:
        match message:
            case messages.Reply():
                runner.reply(message)
            case messages.Run() | messages.RunCompensation():
                runner.start(message)
            case messages.LeaseSlots():
                services.slots.leased(message.slots)
            case messages.CancelAttempt():
                runner.cancel(message)
            case messages.AbandonAttempt():
                runner.abandon(message)
            case messages.CheckArguments():
                violations = tuple(services.registry.check_arguments(*call) for call in message.calls)
                self._channel.send(messages.Checked(call=message.call, violations=violations))
            case messages.CheckSignal(call=call, handler=handler, name=name, payload=payload):
                found = services.registry.check_signal(handler, name, payload)
                self._channel.send(messages.Checked(call=call, violations=(found,)))
            case messages.Ping():
                pong = messages.Pong(parked=len(services.parking))
                runner.when_responsive(lambda: self._channel.send(pong))
            case messages.Drain():
                services.parking.drain()
            case messages.Load():
                raise AssertionError("the handlers are loaded already")
            case _:
                assert_never(message)


if __name__ == "__main__":
    main()
