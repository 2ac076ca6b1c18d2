"""The worker host's own process: reads what the node says until the node is gone, and then ends at once."""

from __future__ import annotations

import logging
import math
import os
import select
import socket
from typing import NoReturn, assert_never

from tempolite_node.clock import node_clock_ms
from tempolite_node.interpreter import settle
from tempolite_node.logger.lines import LineFormat
from tempolite_node.logger.records import set_level
from tempolite_node.protocol import framing, messages
from tempolite_node.system import die_with_parent, make_room_for_waiting
from tempolite_node.worker_host.attempt import Services
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.exact.ordering import give_order
from tempolite_node.worker_host.leased_slots import LeasedSlots
from tempolite_node.worker_host.logs import LogPipe, configure_logging
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.registry import load
from tempolite_node.worker_host.runner import Runner
from tempolite_node.worker_host.signals import leave_group_signals_to_the_node
from tempolite_node.worker_host.wear import Wear

_READ_BYTES = 1 << 18
_SLEEP_MAX_S = 86_400.0  #: poll(2) takes no more than 24.8 days; parked stacks may wait for longer

logger = logging.getLogger("tempolite.host")


def serve(descriptor: int, *, log_fd: int, parent: int) -> NoReturn:
    """descriptor: of the socket to the node. log_fd: of the pipe that takes the lines that it logs.

    parent: the process of its keeper.
    """
    # What a lingering host does would run beside the attempt that a restarted node begins.
    die_with_parent(parent)
    leave_group_signals_to_the_node()
    WorkerHost(socket.socket(fileno=descriptor), log_fd=log_fd).serve()


class WorkerHost:
    def __init__(self, connection: socket.socket, *, log_fd: int) -> None:
        self._connection = connection
        self._log_fd = log_fd
        self._channel = Channel(connection)
        self._reader = framing.host_reader()
        self._wear: Wear | None = None

    def serve(self) -> NoReturn:
        while not (batch := self._read()):
            pass  # a frame of thousands of handlers takes more than one read
        first = batch[0]
        assert isinstance(first, messages.Load), f"the first message is a {type(first).__name__}"
        self._log = LogPipe(self._log_fd, LineFormat(first.log_format))
        configure_logging(self._log, first.log_level)
        make_room_for_waiting(first.max_parked)
        give_order()  # before a handler's module takes what is replaced
        registry, mistakes = load(first)
        leave_group_signals_to_the_node()  # a module of the handlers may have set handlers of its own
        settle()
        self._channel.send(
            messages.Loaded(
                pid=os.getpid(),
                handlers=tuple(handler.describe() for handler in registry.handlers.values()),
                mistakes=mistakes,
            )
        )
        node_clock_ms.start(first.clock_ahead_ms)
        parking = Parking(parked_max=first.max_parked, ttl_s=first.park_ttl_ms / 1_000)
        slots = LeasedSlots(lambda slots: self._channel.send(messages.ReturnSlots(slots=slots)))
        services = Services(
            channel=self._channel,
            registry=registry,
            parking=parking,
            slots=slots,
            payload_bytes_max=first.payload_bytes_max,
        )
        if first.recycle_after is not None:
            self._wear = Wear(first.recycle_after, self._channel.send)
        self._serve(batch[1:], Runner(services, wear=self._wear), services, ttl_s=first.park_ttl_ms / 1_000)

    def _serve(self, batch: list[messages.ToHost], runner: Runner, services: Services, *, ttl_s: float) -> NoReturn:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            for message in batch:
                self._handle(message, runner, services)
            runner.deliver()
            # A stack that is parked while this thread sleeps is looked at after one time to live, or sooner.
            looks_s = [_SLEEP_MAX_S, ttl_s, services.parking.unwind_expired(), services.slots.look()]
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
            case messages.RunHandler() | messages.RunCompensation():
                runner.start(message)
            case messages.JournalPart():
                runner.go_on(message)
            case messages.AskForMore():
                self._channel.send(messages.SendMore())
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
                if self._wear is not None:
                    self._wear.look()
                pong = messages.Pong(parked=len(services.parking))
                runner.when_responsive(lambda: self._channel.send(pong))
            case messages.FlushLog():
                self._log.flush(message.timeout_ms / 1_000)
                self._channel.send(messages.LogFlushed())
            case messages.Drain():
                services.parking.drain()
            case messages.UpdateSettings():
                set_level(message.log_level)
                services.registry.update(message.handlers)
            case messages.Load():
                raise AssertionError("the handlers are loaded already")
            case _:
                assert_never(message)
