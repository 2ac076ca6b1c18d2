"""Many calls on one stream: what both clients' sessions share. See `ExecutionService.Session`.

Calls leave in batches of whatever is ready; nothing waits for a batch to fill. When the stream breaks, every call
without a reply fails as UNAVAILABLE, and is repeated by who made it, word for word, on a stream that is new.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from grpc import StatusCode

from tempolite_sdk.client.status import CallFailed, Status, status_of_reply
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

#: Methods that a session carries, by their names in it.
_KINDS = {
    "ExecutionService/EnqueueExecution": "enqueue",
    "ExecutionService/WaitExecution": "wait",
    "ExecutionService/GetExecution": "get",
    "ExecutionService/SendSignal": "send_signal",
    "ExecutionService/CancelExecution": "cancel",
}

METHOD = "ExecutionService/Session"

_CALLS_MAX = 500  #: of one message
_BYTES_MAX = 1024 * 1024  #: of one message; every node takes 4 MiB


def kind_in_session(method: str, request: Any) -> str | None:
    """The call's name in a session; None: it goes by itself, as large ones do, which would hold the others up."""
    kind = _KINDS.get(method)
    return kind if kind is not None and request.ByteSize() < _BYTES_MAX else None


def knows_no_sessions(error: Exception) -> bool:
    """Whether a session failed because the node, or a proxy, has none: single calls do from then on."""
    return isinstance(error, CallFailed) and error.status.code is StatusCode.UNIMPLEMENTED


class Waiter(Protocol):
    """Who waits for a reply."""

    def succeed(self, response: Any) -> None: ...
    def fail(self, error: CallFailed) -> None: ...


W = TypeVar("W", bound=Waiter)

_Unsent = tuple[int, str, Any, float | None]  #: number, kind, request and timeout of a call


class OpenCalls(Generic[W]):
    """The calls of one stream: those that are to be sent, and those that wait for a reply."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._unsent: deque[_Unsent] = deque()
        self._waiters: dict[int, W] = {}
        self.broken: CallFailed | None = None

    def add(self, kind: str, request: Any, timeout: float | None, waiter: W) -> int:
        """Raises CallFailed on a stream that is broken by now."""
        if self.broken is not None:
            raise self.broken
        number = next(self._numbers)
        self._waiters[number] = waiter
        self._unsent.append((number, kind, request, timeout))
        return number

    @property
    def waiters(self) -> Iterable[W]:
        return self._waiters.values()

    def drop(self, number: int) -> None:
        """Nobody waits for the reply any more."""
        self._waiters.pop(number, None)

    def next_message(self) -> pb.SessionRequest | None:
        """What is ready to be sent, as far as it fits one message; None: nothing is."""
        message = pb.SessionRequest()
        size = 0
        while self._unsent and len(message.calls) < _CALLS_MAX:
            size += self._unsent[0][2].ByteSize()
            if message.calls and size > _BYTES_MAX:
                break
            # Built in its place in the message: each message around it would copy the request once more.
            number, kind, request, timeout = self._unsent.popleft()
            call = message.calls.add(number=number)
            getattr(call, kind).CopyFrom(request)
            if timeout is not None:
                limit = call.timeout
                limit.seconds, milliseconds = divmod(round(timeout * 1_000), 1_000)
                if milliseconds:
                    limit.nanos = milliseconds * 1_000_000
        return message if message.calls else None

    def replied(self, replies: Iterable[pb.SessionReply]) -> None:
        for reply in replies:
            waiter = self._waiters.pop(reply.number, None)
            if waiter is None:
                continue
            kind = reply.WhichOneof("reply")
            if kind == "error":
                waiter.fail(CallFailed(status_of_reply(reply.error)))
            elif kind is not None:
                waiter.succeed(getattr(reply, kind))

    def break_off(self, status: Status) -> None:
        """The stream is gone: each waiting call fails, and only its repeat can show what became of it."""
        self.broken = CallFailed(status)
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            waiter.fail(self.broken)


#: The end of a stream that nobody complained about: the node stops.
ENDED = Status(StatusCode.UNAVAILABLE, "the node ended the session")


def deadline_exceeded(timeout: float) -> CallFailed:
    return CallFailed(Status(StatusCode.DEADLINE_EXCEEDED, f"no answer within {timeout:g} s"))
