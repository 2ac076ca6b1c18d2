"""How the asyncio client carries calls out: `sync_connection.py`, awaited."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc

from tempolite_sdk.client.async_session import AsyncSession
from tempolite_sdk.client.calls.call import Call, Conversation
from tempolite_sdk.client.calls.execution import SignalCursor
from tempolite_sdk.client.channel import Target, Wiring
from tempolite_sdk.client.info import SentSignal
from tempolite_sdk.client.retries import Tries
from tempolite_sdk.client.route import Route
from tempolite_sdk.client.session import METHOD, kind_in_session, knows_no_sessions
from tempolite_sdk.client.status import CallFailed, leader_of
from tempolite_sdk.errors import FailedPrecondition, TempoliteError

T = TypeVar("T")


class AsyncLink:
    """One endpoint: its channel, and the session there. Belongs to the loop of its first call."""

    def __init__(self, target: Target, *, sessions: bool) -> None:
        self.endpoint = target.endpoint
        self.metadata = target.metadata
        self.has_sessions = sessions  #: until the node says otherwise
        self._target = target
        self._wiring: Wiring | None = None
        self._session: AsyncSession | None = None

    @property
    def wiring(self) -> Wiring:
        # Not before there is a loop: grpc.aio binds a channel to the one that runs when it is made.
        if self._wiring is None:
            self._wiring = Wiring(self._target.open_async())
        return self._wiring

    def session(self, route: Route[AsyncLink]) -> AsyncSession:
        """route: is told which leader a new session names."""
        method = self.wiring.method(METHOD)
        if self._session is None or not self._session.usable:
            self._session = AsyncSession(method(metadata=self.metadata), lambda leader: route.note_leader(self, leader))
        return self._session

    async def close(self) -> None:
        """At once, and to no effect on the parent's connection, in a forked child."""
        channel = self.wiring.close()
        if channel is None:
            return
        if self._session is not None:
            await self._session.close()
        await channel.close()


class AsyncConnection:
    """Carries calls out, and repeats those whose answer was lost. Belongs to the loop of its first call."""

    def __init__(self, targets: Sequence[Target], *, timeout: float, sessions: bool) -> None:
        self._route = Route([AsyncLink(target, sessions=sessions) for target in targets])
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None  #: that of the first call

    def _check_loop(self) -> None:
        """Raises on another loop than the first call's: gRPC would wait there for what this one never does."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            ended = " that is closed by now" if self._loop.is_closed() else ""
            raise FailedPrecondition(
                f"this AsyncClient belongs to the event loop of its first call, another one{ended}: "
                "make a client for each loop (each asyncio.run() makes a loop), or use Client in threads"
            )

    async def close(self) -> None:
        self._check_loop()
        for link in self._route.links:
            await link.close()

    async def call(self, call: Call[T]) -> T:
        self._check_loop()
        tries = Tries(self._route, call, self._timeout)
        while True:
            link = tries.next_link()
            try:
                response = await self._ask(link, call, tries.timeout(call))
            except (grpc.RpcError, CallFailed) as error:
                if knows_no_sessions(error):
                    link.has_sessions = False
                    continue
                await asyncio.sleep(tries.pause_after(error))
                call = call.repeated()
            else:
                tries.answered()
                if call.affinity is not None:
                    call.affinity.link = link
                return call.read(response)

    async def _ask(self, link: AsyncLink, call: Call[Any], timeout: float | None) -> Any:
        kind = kind_in_session(call.method, call.request) if link.has_sessions else None
        if kind is not None:
            session = link.session(self._route)
            return await session.call(kind, call.request, timeout)
        asked = link.wiring.method(call.method)(call.request, timeout=timeout, metadata=link.metadata)
        response = await asked
        if self._route.has_choice:
            self._route.note_leader(link, leader_of(await asked.initial_metadata()))
        return response

    async def run(self, conversation: Conversation[T]) -> T:
        try:
            call = next(conversation)
            while True:
                try:
                    answer = await self.call(call)
                except TempoliteError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def pipeline(self, calls: Iterator[Call[T]], on_result: Callable[[T], None]) -> None:
        """Carries out calls, two at a time at most. on_result: is called with the result of each, in their order."""
        under_way: deque[asyncio.Task[T]] = deque()
        try:
            for call in calls:
                under_way.append(asyncio.create_task(self.call(call)))
                await asyncio.sleep(0)  # it leaves while the next one is made
                if len(under_way) == 2:
                    on_result(await under_way.popleft())
            while under_way:
                on_result(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()

    async def stream(self, cursor: SignalCursor[T]) -> AsyncGenerator[SentSignal[T], None]:
        self._check_loop()
        tries = Tries(self._route, cursor.call(), self._timeout)
        while True:
            call, link = cursor.call(), tries.next_link()
            responses = link.wiring.method(call.method)(call.request, metadata=link.metadata)
            try:
                async for response in responses:
                    tries.succeeded()
                    yield call.read(response)
                return
            except grpc.RpcError as error:
                pause = tries.pause_after(error)
            finally:
                responses.cancel()
            await asyncio.sleep(pause)
