"""A node for one execution, in the process of the worker host that runs it.

It answers as a script says, or as it did in an earlier run, and may have the host unwind at each wait.
"""

from __future__ import annotations

import asyncio
import random
import select
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from tempolite_node.engine import commands
from tempolite_node.engine.effects import Ended, Failed, Granted, Value
from tempolite_node.engine.model import Component, Failure, OperationKind, OperationStatus, Status
from tempolite_node.protocol import framing, messages
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.attempt import Services
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.exact.tasks import ExactTask
from tempolite_node.worker_host.leased_slots import LeasedSlots
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.registry import Handler, Registry
from tempolite_node.worker_host.runner import Runner
from tempolite_sdk.async_contexts import AsyncHandlerContext
from tempolite_sdk.signatures import signature_of

_IDLE_S = 0.01  #: without a word of the host: what it has begun may go on for longer

Place = tuple[OperationKind, str]
_CANCEL: Place = (OperationKind.MARKER, "")


@dataclass
class Decided:
    """What the log holds of an end."""

    place: Place
    seq: int
    at_ms: int
    record: Record | None  #: None: of the cancel
    answer: Any


@dataclass
class Pending:
    call: int | None  #: None: it is known of from the journal alone
    request: Any


class CollectingChannel(Channel):
    """To a node in the same process."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._to_node = connection

    def _write(self) -> None:
        batch = [self._unsent.popleft() for _ in range(len(self._unsent))]
        with suppress(OSError):
            self._to_node.sendall(framing.encode(batch))


@dataclass
class HostNode:
    body: Callable[[Any], Coroutine[Any, Any, Any]]
    random: random.Random
    cancel_after: int | None = None
    unwinds: bool = False  #: at each wait
    begins: threading.Event | None = None  #: nothing is decided before it is set
    journal: list[Decided] = field(default_factory=list)
    earlier: list[Decided] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    given_up: dict[Place, int] = field(default_factory=dict)  #: with the number of ends before
    opened: dict[Place, Record] = field(default_factory=dict)  #: waits that the journal knows of
    trace: list[Any] = field(default_factory=list)
    begun: int = 0
    end: str = "stuck"

    def run(self) -> HostNode:
        ours, theirs = socket.socketpair()
        self._connection, self._frames = ours, framing.node_reader()
        self._now_ms = 1_000
        self._epoch = 0
        self._pending: dict[Place, Pending] = {}
        self._over = self._unwound = False
        self._runner = Runner(self._services(theirs))
        try:
            self._start()
            self._serve()
        finally:
            self.trace = list(self.trace)
            self._runner.abandon(messages.AbandonAttempt(execution_id="e", epoch=self._epoch))
            ours.close()
        return self

    def _services(self, connection: socket.socket) -> Services:
        async def handler(ctx: AsyncHandlerContext) -> Any:
            return await self.body(ctx)

        spec = messages.HandlerSpec(name="handler", target="tests:handler")
        served = Handler(spec, handler, signature_of(handler), Component.HANDLER, asynchronous=True, params=None)
        return Services(
            channel=CollectingChannel(connection),
            registry=Registry([served]),
            parking=Parking(parked_max=0 if self.unwinds else 100, ttl_s=3_600),
            slots=LeasedSlots(lambda _slots: None),
            payload_bytes_max=1_000_000,
        )

    def _start(self) -> None:
        self._epoch += 1
        self.begun += 1
        self._unwound = False
        self._pending = {}
        self.trace = []  # the one before may still be written to, by cleanup code
        ends = self.journal + self.decided
        records = dict(self.opened)
        cancel = next((each for each in ends if each.place == _CANCEL), None)
        records |= {each.place: each.record for each in ends if each.record is not None}
        for place in self.given_up:
            if place in records:
                records[place] = replace(records[place], status=OperationStatus.GIVEN_UP)
        self._runner.start(
            messages.RunHandler(
                execution_id="e",
                epoch=self._epoch,
                handler="handler",
                arguments=b"{}",
                attempt=1,
                generation=0,
                journal=tuple(records.values()),
                cancel_requested=cancel is not None,
                cancel_seq=cancel.seq if cancel is not None else None,
                cancelled_ms=cancel.at_ms if cancel is not None else 0,
                started_ms=1_000,
                format=3,
            )
        )

    # --- what the host says

    def _serve(self) -> None:
        for _ in range(1_000):
            while select.select([self._connection], [], [], _IDLE_S)[0]:
                for message in self._frames.feed(self._connection.recv(1 << 18)):
                    if isinstance(message, messages.AttemptCall) and message.epoch == self._epoch:
                        self._take(message)
                self._runner.deliver()
            if self._over:
                return
            if self.begins is not None and not self.begins.is_set():
                continue
            if not self._decide():
                if self._unwound:
                    self._start()  # its wait may be over already
                    continue
                if self._stuck():
                    return
            elif self._unwound:
                self._start()
            self._runner.deliver()
        raise AssertionError("it does not end")

    def _stuck(self) -> bool:
        """A word may be on its way, from code that takes its time."""
        return not select.select([self._connection], [], [], 0.5)[0]

    def _take(self, call: messages.AttemptCall) -> None:
        request = call.request
        match request:
            case commands.CompleteAttempt():
                self.end = (request.result or b"null").decode()
                self._over = True
            case commands.FailAttempt():
                self.end = f"{request.failure.type}({request.failure.message}) cancelled={request.cancelled}"
                self._over = True
            case commands.SuspendAttempt():
                self.end = f"suspended: {request}"
                self._over = True
            case commands.UnwindAttempt():
                self._unwound = True
            case commands.BeginSideEffect():
                self._reply(call.call, Granted(attempt=1))
            case commands.GiveUp(kind=kind, key=key):
                self._pending.pop((kind, key), None)
                self.given_up.setdefault((kind, key), len(self.journal) + len(self.decided))
                self._reply(call.call, Value(), seq=10_000, at_ms=0)
            case _:
                place = _place(request)
                done = next((each for each in self.journal + self.decided if each.place == place), None)
                if done is not None and not isinstance(request, commands.CompleteSideEffect | commands.FailSideEffect):
                    self._reply(call.call, done.answer, seq=done.seq, at_ms=done.at_ms)
                    return
                self._pending[place] = Pending(call.call, request)
                if isinstance(request, commands.Sleep | commands.ReceiveSignal | commands.WaitForExecution):
                    self.opened[place] = _record(place, request, OperationStatus.PENDING)

    def _reply(self, call: int, answer: Any, *, seq: int = 0, at_ms: int = 0) -> None:
        self._runner.reply(
            messages.Reply(execution_id="e", epoch=self._epoch, call=call, answer=answer, end_seq=seq, at_ms=at_ms)
        )

    # --- what the log decides

    def _decide(self) -> bool:
        """Whether there was something to be decided."""
        done = len(self.journal) + len(self.decided)
        while self.earlier and self.earlier[0].place in self.given_up:
            self.decided.append(self.earlier.pop(0))
        if self.earlier:
            decided = self.earlier[0]
            pending = self._pending.pop(decided.place, None)
            if pending is None and decided.place != _CANCEL:
                return False
            self.earlier.pop(0)
        elif done == self.cancel_after:
            pending, self.cancel_after = None, None
            decided = Decided(_CANCEL, done + 1, self._tick(0), None, None)
        elif self._pending:
            place = self.random.choice(sorted(self._pending))
            pending = self._pending.pop(place)
            decided = self._end_of(place, pending.request, done + 1)
        else:
            return False
        self.decided.append(decided)
        if decided.place == _CANCEL:
            self._runner.cancel(
                messages.CancelAttempt(
                    execution_id="e",
                    epoch=self._epoch,
                    reason="",
                    cancel_seq=decided.seq,
                    at_ms=decided.at_ms,
                )
            )
        elif pending is not None and pending.call is not None:
            self._reply(pending.call, decided.answer, seq=decided.seq, at_ms=decided.at_ms)
        return True

    def _end_of(self, place: Place, request: Any, seq: int) -> Decided:
        at_ms = self._tick(request.duration_ms if isinstance(request, commands.Sleep) else 0)
        record = _record(place, request, OperationStatus.COMPLETED)
        answer: Any = Value(payload=record.result)
        match request:
            case commands.FailSideEffect(failure=failure):
                record = replace(record, status=OperationStatus.FAILED, failure=failure, attempt=1)
                answer = Failed(failure=failure, attempts=1)
            case commands.WaitForExecution(execution_id=execution_id):
                failed = self.random.random() < 0.5
                ended = Status.FAILED if failed else Status.COMPLETED
                failure = Failure(type="Failure", message=place[1]) if failed else None
                record = replace(record, ended=ended, failure=failure)
                answer = Ended(execution_id=execution_id, status=ended, result=record.result, failure=failure)
        return Decided(place, seq, at_ms, replace(record, end_seq=seq, closed_ms=at_ms), answer)

    def _tick(self, duration_ms: int) -> int:
        self._now_ms += self.random.choice([0, 1, 40]) + duration_ms
        return self._now_ms


def _place(request: Any) -> Place:
    match request:
        case commands.Sleep():
            kind = OperationKind.TIMER
        case commands.ReceiveSignal():
            kind = OperationKind.SIGNAL
        case commands.WaitForExecution():
            kind = OperationKind.WAIT
        case commands.CompleteSideEffect() | commands.FailSideEffect():
            kind = OperationKind.SIDE_EFFECT
        case commands.RecordMarker():
            kind = OperationKind.MARKER
        case messages.ChildRequest():
            kind = OperationKind.CHILD
        case _:
            raise AssertionError(request)
    return kind, request.key


def _record(place: Place, request: Any, status: OperationStatus) -> Record:
    kind, key = place
    result = f'"{key}"'.encode()
    target = ""
    match request:
        case commands.CompleteSideEffect(result=given):
            result = given
        case commands.RecordMarker(value=value):
            result = value
        case commands.ReceiveSignal(name=name):
            target = name
        case commands.WaitForExecution(execution_id=execution_id):
            target = execution_id
        case messages.ChildRequest():
            target, result = f"child-{key}", f'"child-{key}"'.encode()
    digest = getattr(request, "digest", b"")
    return Record(kind=kind, key=key, status=status, target=target, digest=digest, result=result)


@dataclass
class HostContext:
    """What the interpreter of programs asks, as operations of a handler's context."""

    node: HostNode
    ctx: AsyncHandlerContext
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._trace = self.node.trace

    def ask(self, name: str, *, lasting: bool = False) -> Awaitable[Any]:
        if lasting:
            task = asyncio.current_task()
            assert isinstance(task, ExactTask)
            key = f"{name}@{task.path}"
            self.counts[key] = self.counts.get(key, 0) + 1
            return self._effect(f"{key}#{self.counts[key]}", name)
        if name == "odd":
            return self.ctx.wait_for_completion("another")
        return self.ctx.receive_signal(name) if name == "op" else self.ctx.sleep(1)

    def _effect(self, key: str, name: str) -> Awaitable[Any]:
        async def effect() -> str:
            try:
                await asyncio.sleep(0.003)
            except asyncio.CancelledError:
                if name == "odd":
                    return f"{key} went on"
                raise
            return key

        return self.ctx.side_effect(key, effect)

    def note(self, *what: Any) -> None:
        self._trace.append([*what, asyncio.get_running_loop().time(), self.ctx.cancelled])
