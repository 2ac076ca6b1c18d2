"""A session: many requests and replies on one stream, in batches, with nothing waiting for a batch to fill."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from tempolite_node.api import auth
from tempolite_node.api.convert import requests, responses
from tempolite_node.api.enqueueing import Enqueueing
from tempolite_node.api.polls import DeadlineWheel, time_to_wait_ms
from tempolite_node.api.ports import NodePorts, WatchPort
from tempolite_node.api.status import InvalidRequest, TimeIsUp, status_of
from tempolite_node.engine.commands import Enqueue
from tempolite_node.engine.effects import Enqueued
from tempolite_node.engine.model import Execution
from tempolite_node.errors import NodeError
from tempolite_node.protocol.messages import Violation
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

#: Calls of one session without a reply; beyond it nothing more is read, so that the client's own sending stops.
OPEN_CALLS_MAX = 20_000
_REPLIES_MAX = 500  #: of one message
_RESULT_BYTES_MAX = 1024 * 1024  #: of the results in one message, unless it has but one

_SERVICE = "/tempolite.v1.ExecutionService/"
_METHODS = {
    "enqueue": _SERVICE + "EnqueueExecution",
    "wait": _SERVICE + "WaitExecution",
    "get": _SERVICE + "GetExecution",
    "send_signal": _SERVICE + "SendSignal",
    "cancel": _SERVICE + "CancelExecution",
}


class Answers(Protocol):
    """What answers single requests, whichever way they came."""

    async def get(self, request: pb.GetExecutionRequest) -> pb.GetExecutionResponse: ...
    async def wait(self, request: pb.WaitExecutionRequest, remaining_s: float | None) -> pb.WaitExecutionResponse: ...
    async def send_signal(self, request: pb.SendSignalRequest, peer: str) -> pb.SendSignalResponse: ...
    async def cancel(self, request: pb.CancelExecutionRequest) -> pb.CancelExecutionResponse: ...


class Session:
    """One stream. Lives and dies with it: who gets no reply asks again on another one."""

    def __init__(
        self, answers: Answers, enqueueing: Enqueueing, node: NodePorts, caller: auth.Caller, peer: str
    ) -> None:
        """peer: address of the client, as gRPC has it."""
        self._answers = answers
        self._enqueueing = enqueueing
        self._node = node
        self._caller = caller
        self._peer = peer
        self._responses: deque[pb.SessionResponse] = deque()  #: that are ready, or being filled
        self._filled = 0  #: bytes of results in the last of them
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._open = 0
        self._read_all = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[int, _Wait] = {}
        self._deadlines = DeadlineWheel()
        self._reader: asyncio.Task[None] | None = None

    async def serve(self, incoming: AsyncIterator[pb.SessionRequest]) -> AsyncIterator[pb.SessionResponse]:
        """Replies as they are ready; ends when the client has sent all and has every reply."""
        reader = self._reader = self._start(self._read(incoming))
        try:
            while not (self._read_all and self._open == 0 and not self._responses):
                await self._ready.wait()
                self._ready.clear()
                while self._responses:
                    response = self._responses.popleft()
                    self._open -= len(response.replies)
                    self._room.set()
                    response.leader = self._node.leader_api_address() or ""
                    yield response
                if reader.done() and not reader.cancelled():
                    reader.result()  # what broke the stream, if anything did
        finally:
            for task in self._tasks:
                task.cancel()
            for wait in self._waits.values():
                wait.forget()

    def stop(self) -> None:
        """The node stops: nothing more is read, and every wait is answered with what there is."""
        if self._reader is not None:
            self._reader.cancel()
        for wait in list(self._waits.values()):
            wait.give_up()

    async def _read(self, incoming: AsyncIterator[pb.SessionRequest]) -> None:
        try:
            async for message in incoming:
                while self._open + len(message.calls) > OPEN_CALLS_MAX and self._open:
                    self._room.clear()
                    await self._room.wait()
                self._open += len(message.calls)
                self._take(message.calls)
        finally:
            self._read_all = True
            self._ready.set()

    def _take(self, calls: Sequence[pb.SessionCall]) -> None:
        enqueues: list[pb.SessionCall] = []
        for call in calls:
            kind = call.WhichOneof("request")
            try:
                if kind is None:
                    raise InvalidRequest([Violation("request", "is required")])
                auth.require(self._caller.role, _METHODS[kind])
            except NodeError as error:
                self._fail(call.number, kind, error)
                continue
            if kind == "enqueue":
                enqueues.append(call)
            else:
                self._start(self._answer(call, kind))
        if enqueues:
            self._start(self._enqueue(enqueues))

    def _start(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- single calls

    async def _answer(self, call: pb.SessionCall, kind: str) -> None:
        remaining_s = requests.session_timeout_s(call)
        answer: Awaitable[Any]
        match kind:
            case "wait":
                answer = self._answers.wait(call.wait, remaining_s)
            case "get":
                answer = self._answers.get(call.get)
            case "send_signal":
                answer = self._answers.send_signal(call.send_signal, self._peer)
            case _:
                answer = self._answers.cancel(call.cancel)
        try:
            async with asyncio.timeout(remaining_s):
                self._reply(call.number, **{kind: await answer})
        except TimeoutError:
            self._fail(call.number, kind, TimeIsUp(f"no answer within {remaining_s:g} s"))
        except Exception as error:
            self._fail(call.number, kind, error)

    # --- enqueues, all of a message together

    async def _enqueue(self, calls: Sequence[pb.SessionCall]) -> None:
        try:
            commands = await self._enqueueing.commands([call.enqueue for call in calls])
            for call, command in zip(calls, commands, strict=True):
                if isinstance(command, Enqueue) and call.enqueue.HasField("wait"):
                    self._wait_for(call, command.execution_id)
            outcomes = await self._enqueueing.submit(commands)
        except Exception as error:
            for call in calls:
                self._drop_wait(call.number)
                self._fail(call.number, "enqueue", error)
            return
        for call, outcome in zip(calls, outcomes, strict=True):
            self._enqueued(call, outcome)

    def _enqueued(self, call: pb.SessionCall, outcome: Enqueued | NodeError) -> None:
        wait = self._waits.get(call.number)
        if isinstance(outcome, NodeError):
            self._drop_wait(call.number)
            self._fail(call.number, "enqueue", outcome)
        elif wait is None:
            self._reply_enqueued(call.number, outcome)
        elif outcome.existing:
            # It may have ended before this call.
            self._drop_wait(call.number)
            self._start(self._wait_existing(call, outcome))
        else:
            wait.begin(outcome)

    async def _wait_existing(self, call: pb.SessionCall, outcome: Enqueued) -> None:
        remaining_s = _hold_s(call)
        ended: Execution | None = None
        try:
            async with asyncio.timeout(remaining_s):
                found = await self._node.reads.wait_closed(outcome.execution_id)
                ended = found if isinstance(found, Execution) else None
        except TimeoutError:
            pass  # answered without the outcome
        except Exception as error:
            self._fail(call.number, "enqueue", error)
            return
        self._reply_enqueued(call.number, outcome, ended)

    def _wait_for(self, call: pb.SessionCall, execution_id: str) -> None:
        wait = _Wait(call.number, execution_id, _hold_s(call), self._node.watch, self._deadlines, self._waited)
        self._waits[call.number] = wait
        self._node.watch.on_closed(execution_id, wait.closed)

    def _waited(self, number: int, outcome: Enqueued, ended: Execution | None) -> None:
        self._drop_wait(number)
        self._reply_enqueued(number, outcome, ended)

    def _drop_wait(self, number: int) -> None:
        wait = self._waits.pop(number, None)
        if wait is not None:
            wait.forget()

    # --- replies

    def _reply(self, number: int, **reply: Any) -> None:
        [message] = reply.values()
        self._response(message.ByteSize()).replies.add(number=number, **reply)

    def _reply_enqueued(self, number: int, outcome: Enqueued, ended: Execution | None = None) -> None:
        result_bytes = len(ended.result or b"") if ended is not None else 0
        responses.fill_enqueued(self._response(result_bytes).replies.add(number=number).enqueue, outcome, ended)

    def _response(self, size: int) -> pb.SessionResponse:
        """Where the next reply goes, with a result of that size. It leaves when the loop has come to that."""
        self._filled += size
        last = self._responses[-1] if self._responses else None
        if last is None or len(last.replies) == _REPLIES_MAX or self._filled > _RESULT_BYTES_MAX:
            last = pb.SessionResponse()
            self._responses.append(last)
            self._filled = size
        self._ready.set()
        return last

    def _fail(self, number: int, kind: str | None, error: Exception) -> None:
        method = _METHODS.get(kind or "", _SERVICE + "Session")
        self._reply(number, error=status_of(error, method).message_with_details)


class _Wait:
    """For the end of an execution that is being enqueued. It may end in the very commit that enqueued it."""

    __slots__ = (
        "_deadlines",
        "_ended",
        "_execution_id",
        "_hold_s",
        "_number",
        "_outcome",
        "_over",
        "_tick",
        "_watch",
    )

    def __init__(
        self,
        number: int,
        execution_id: str,
        hold_s: float,
        watch: WatchPort,
        deadlines: DeadlineWheel,
        over: Callable[[int, Enqueued, Execution | None], None],
    ) -> None:
        """number: of the call. over: told when the execution has ended, or (None) when the time is up."""
        self._number = number
        self._execution_id = execution_id
        self._hold_s = hold_s
        self._watch = watch
        self._deadlines = deadlines
        self._over = over
        self._outcome: Enqueued | None = None
        self._ended: Execution | None = None
        self._tick: int | None = None

    def begin(self, outcome: Enqueued) -> None:
        self._outcome = outcome
        if self._ended is not None:
            self._over(self._number, outcome, self._ended)
        else:
            self._tick = self._deadlines.hold(self._hold_s, self.give_up)

    def closed(self, execution: Execution) -> None:
        self._ended = execution
        if self._outcome is not None:
            self._over(self._number, self._outcome, execution)

    def give_up(self) -> None:
        if self._outcome is not None:
            self._over(self._number, self._outcome, None)

    def forget(self) -> None:
        if self._tick is not None:
            self._deadlines.forget(self._tick, self.give_up)
        if self._ended is None:
            self._watch.forget_closed(self._execution_id, self.closed)


def _hold_s(call: pb.SessionCall) -> float:
    wanted_ms = requests.enqueue_wait_ms(call.enqueue)
    return time_to_wait_ms(requests.session_timeout_s(call), wanted_ms) / 1_000
