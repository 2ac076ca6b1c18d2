"""A session on an event loop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import grpc

from tempolite_sdk.client.session import ENDED, OpenCalls, deadline_exceeded
from tempolite_sdk.client.status import CallFailed, Status, leader_of, read_status

#: Seconds between two looks at which calls are overdue, at least.
_LOOK_S = 0.05


class AsyncSession:
    """One stream, from its first call until it breaks.

    One timer serves all calls, since hardly any is ever overdue: the node answers before a call's time is up.
    """

    def __init__(self, stream: Any, on_leader: Callable[[str], None]) -> None:
        """stream: a grpc.aio call of `Session`. on_leader: gets the leader's address, or "", with all that comes."""
        self._on_leader = on_leader
        self._stream = stream
        self._calls: OpenCalls[_Reply] = OpenCalls()
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = math.inf  #: of the loop's clock: when the timer goes off
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    @property
    def usable(self) -> bool:
        return self._calls.broken is None

    async def call(self, kind: str, request: Any, timeout: float | None) -> Any:
        """The response. CallFailed: the node's refusal, or the stream broke and the call may be repeated."""
        reply = _Reply(self._loop, timeout)
        number = self._calls.add(kind, request, timeout, reply)
        self._ready.set()
        if reply.due < self._look_at:
            self._look_again(reply.due)
        try:
            return await reply.future
        finally:
            self._calls.drop(number)

    def _look_again(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._look_at = self._loop.call_at(at, self._end_the_overdue), at

    def _end_the_overdue(self) -> None:
        now = self._loop.time()
        self._timer, self._look_at = None, math.inf
        for reply in self._calls.waiters:
            if reply.due <= now:
                reply.fail(deadline_exceeded(reply.timeout))
            else:
                self._look_at = min(self._look_at, reply.due)
        if self._look_at < math.inf:
            self._look_again(max(self._look_at, now + _LOOK_S))

    async def _write(self) -> None:
        try:
            # Whoever has no sessions ends the stream at once. A write that crosses that end would hide the reason.
            self._on_leader(leader_of(await self._stream.initial_metadata()))
            while self.usable and not self._stream.done():
                await self._ready.wait()
                self._ready.clear()
                while (message := self._calls.next_message()) is not None:
                    await self._stream.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the reader gets the reason

    async def _read(self) -> None:
        status: Status = ENDED
        try:
            while (response := await self._stream.read()) is not grpc.aio.EOF:
                self._on_leader(response.leader)
                self._calls.replied(response.replies)
            code = await self._stream.code()
            if code is not grpc.StatusCode.OK:
                status = Status(code, await self._stream.details() or code.name)
        except grpc.RpcError as error:
            status = read_status(error)
        except asyncio.CancelledError:
            status = Status(grpc.StatusCode.CANCELLED, "the client was closed")
            raise
        finally:
            self._calls.break_off(status)
            self._ready.set()  # the writer has nothing to wait for any more
            if self._timer is not None:
                self._timer.cancel()

    async def close(self) -> None:
        """Returns when nothing of it is left in the loop."""
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Reply:
    __slots__ = ("due", "future", "timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float | None) -> None:
        self.future: asyncio.Future[Any] = loop.create_future()
        self.timeout = math.inf if timeout is None else timeout
        self.due = loop.time() + self.timeout

    def succeed(self, response: Any) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def fail(self, error: CallFailed) -> None:
        if not self.future.done():
            self.future.set_exception(error)
