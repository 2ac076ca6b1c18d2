"""A session shared by threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from tempolite_sdk.client.session import ENDED, OpenCalls, deadline_exceeded
from tempolite_sdk.client.status import CallFailed, leader_of, read_status
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb


class SyncSession:
    """One stream, from its first call until it breaks. A thread reads its replies; gRPC has one that writes."""

    def __init__(
        self, open_stream: Callable[[Iterator[pb.SessionRequest]], Any], on_leader: Callable[[str], None]
    ) -> None:
        """on_leader: gets the leader's address, or "", with all that comes; from the thread that reads."""
        self._on_leader = on_leader
        self._calls: OpenCalls[_Reply] = OpenCalls()
        self._lock = threading.Lock()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rung = False  #: and the writer has not come yet
        self._stream = open_stream(self._messages())
        threading.Thread(target=self._read, name="tempolite-session", daemon=True).start()

    @property
    def usable(self) -> bool:
        return self._calls.broken is None

    def call(self, kind: str, request: Any, timeout: float | None) -> Any:
        """The response. CallFailed: the node's refusal, or the stream broke and the call may be repeated."""
        reply = _Reply()
        with self._lock:
            number = self._calls.add(kind, request, timeout, reply)
            self._ring()
        if not reply.wait(timeout):
            with self._lock:
                self._calls.drop(number)
            raise deadline_exceeded(timeout or 0.0)
        if reply.error is not None:
            raise reply.error
        return reply.response

    def _messages(self) -> Iterator[pb.SessionRequest]:
        """Taken by gRPC's thread, which waits here for something to send."""
        while True:
            self._bell.get()
            with self._lock:
                self._rung = False
                messages = []
                while (message := self._calls.next_message()) is not None:
                    messages.append(message)
                if not self.usable:
                    return
            yield from messages

    def _ring(self) -> None:
        """Once for all that is ready. Under the lock."""
        if not self._rung:
            self._rung = True
            self._bell.put(None)

    def _read(self) -> None:
        status = ENDED
        try:
            self._on_leader(leader_of(self._stream.initial_metadata()))
            for response in self._stream:
                self._on_leader(response.leader)
                with self._lock:
                    self._calls.replied(response.replies)
        except grpc.RpcError as error:
            status = read_status(error)
        finally:
            with self._lock:
                self._calls.break_off(status)
                self._ring()

    def close(self) -> None:
        self._stream.cancel()


class _Reply:
    __slots__ = ("_pending", "error", "response")

    def __init__(self) -> None:
        self._pending = threading.Lock()  # what an Event has inside, at a tenth of its cost
        self._pending.acquire()
        self.response: Any = None
        self.error: CallFailed | None = None

    def wait(self, timeout: float | None) -> bool:
        """Until it is settled. False: it was not in time."""
        return self._pending.acquire(timeout=-1 if timeout is None else timeout)

    def succeed(self, response: Any) -> None:
        self.response = response
        self._pending.release()

    def fail(self, error: CallFailed) -> None:
        self.error = error
        self._pending.release()
