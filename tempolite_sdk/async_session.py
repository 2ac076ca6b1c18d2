"""A session on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from tempolite_sdk.sessions import ENDED, OpenCalls, deadline_exceeded
from tempolite_sdk.status import CallFailed, Status, read_status


class AsyncSession:
    """One stream, from its first call until it breaks."""

    def __init__(self, stream: Any, opened: Callable[[Any], None]) -> None:
        """stream: a grpc.aio call of `Session`. opened: gets its initial metadata."""
        self._opened = opened
        self._stream = stream
        self._calls: OpenCalls[_Reply] = OpenCalls()
        self._ready = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    @property
    def usable(self) -> bool:
        return self._calls.broken is None

    async def call(self, kind: str, request: Any, timeout: float | None) -> Any:
        """The response. CallFailed: the node's refusal, or the stream broke and the call may be repeated."""
        reply = _Reply(asyncio.get_running_loop().create_future())
        number = self._calls.add(kind, request, timeout, reply)
        self._ready.set()
        try:
            async with asyncio.timeout(timeout):
                return await reply.future
        except TimeoutError as error:
            raise deadline_exceeded(timeout or 0.0) from error
        finally:
            self._calls.drop(number)

    async def _write(self) -> None:
        try:
            # Whoever has no sessions ends the stream at once. A write that crosses that end would hide the reason.
            self._opened(await self._stream.initial_metadata())
            while not self._stream.done():
                await self._ready.wait()
                self._ready.clear()
                while (message := self._calls.next_message()) is not None:
                    await self._stream.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError):
            return  # the reader hears why

    async def _read(self) -> None:
        status: Status = ENDED
        try:
            while (response := await self._stream.read()) is not grpc.aio.EOF:
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

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()


class _Reply:
    __slots__ = ("future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future

    def succeed(self, response: Any) -> None:
        if not self.future.done():
            self.future.set_result(response)

    def fail(self, error: CallFailed) -> None:
        if not self.future.done():
            self.future.set_exception(error)
