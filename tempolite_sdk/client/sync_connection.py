"""How the synchronous client carries calls out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc

from tempolite_sdk.client.calls.call import Call, Conversation
from tempolite_sdk.client.calls.execution import SignalCursor
from tempolite_sdk.client.channel import Target, Wiring
from tempolite_sdk.client.info import SentSignal
from tempolite_sdk.client.retries import Tries
from tempolite_sdk.client.route import Route
from tempolite_sdk.client.session import METHOD, kind_in_session, knows_no_sessions
from tempolite_sdk.client.status import CallFailed, leader_of
from tempolite_sdk.client.sync_session import SyncSession
from tempolite_sdk.client.threads import in_threads
from tempolite_sdk.errors import TempoliteError

T = TypeVar("T")


class SyncLink:
    """One endpoint: its channel, and the session there, when calls share one."""

    def __init__(self, target: Target, *, sessions: bool) -> None:
        self.endpoint = target.endpoint
        self.metadata = target.metadata
        self.wiring = Wiring(target.open())
        self.has_sessions = sessions  #: until the node says otherwise
        self._session: SyncSession | None = None

    def session(self, route: Route[SyncLink]) -> SyncSession:
        """route: is told which leader a new session names."""
        if self._session is None or not self._session.usable:
            method = self.wiring.method(METHOD)
            self._session = SyncSession(
                lambda messages: method(messages, metadata=self.metadata),
                lambda leader: route.note_leader(self, leader),
            )
        return self._session

    def close(self) -> None:
        """At once, and to no effect on the parent's connection, in a forked child."""
        channel = self.wiring.close()
        if channel is None:
            return
        if self._session is not None:
            self._session.close()
        channel.close()


class SyncConnection:
    """Carries calls out, one after the other for each thread, and repeats those whose answer was lost."""

    def __init__(self, targets: Sequence[Target], *, timeout: float, sessions: bool) -> None:
        self._route = Route([SyncLink(target, sessions=sessions) for target in targets])
        self._timeout = timeout
        self._lock = threading.Lock()
        self._under_way = 0  #: calls that a session could carry, in all threads

    def close(self) -> None:
        for link in self._route.links:
            link.close()

    def call(self, call: Call[T]) -> T:
        tries = Tries(self._route, call, self._timeout)
        while True:
            link = tries.next_link()
            try:
                response = self._ask(link, call, tries.timeout(call))
            except (grpc.RpcError, CallFailed) as error:
                if knows_no_sessions(error):
                    link.has_sessions = False
                    continue
                time.sleep(tries.pause_after(error))
                call = call.repeated()
            else:
                tries.answered()
                if call.affinity is not None:
                    call.affinity.link = link
                return call.read(response)

    def _ask(self, link: SyncLink, call: Call[Any], timeout: float | None) -> Any:
        """By a call of its own while it is the only one; calls that run beside each other share a session."""
        kind = kind_in_session(call.method, call.request) if link.has_sessions else None
        if kind is None:
            return self._ask_alone(link, call, timeout)
        link.wiring.check()  # in a forked child, nobody may be left to open the lock
        with self._lock:
            session = link.session(self._route) if self._under_way else None
            self._under_way += 1
        try:
            if session is not None:
                return session.call(kind, call.request, timeout)
            return self._ask_alone(link, call, timeout)
        finally:
            with self._lock:
                self._under_way -= 1

    def _ask_alone(self, link: SyncLink, call: Call[Any], timeout: float | None) -> Any:
        method = link.wiring.method(call.method)
        if not self._route.has_choice:
            return method(call.request, timeout=timeout, metadata=link.metadata)
        response, answered = method.with_call(call.request, timeout=timeout, metadata=link.metadata)
        self._route.note_leader(link, leader_of(answered.initial_metadata()))
        return response

    def run(self, conversation: Conversation[T]) -> T:
        try:
            call = next(conversation)
            while True:
                try:
                    answer = self.call(call)
                except TempoliteError as error:
                    call = conversation.throw(error)
                else:
                    call = conversation.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def pipeline(self, calls: Iterator[Call[T]], on_result: Callable[[T], None]) -> None:
        """Carries out calls, two at a time at most. on_result: is called with the result of each, in their order."""
        for outcome in in_threads(self.call, calls, threads=2, ahead=2, name="tempolite-pipeline"):
            on_result(outcome)

    def stream(self, cursor: SignalCursor[T]) -> Iterator[SentSignal[T]]:
        tries = Tries(self._route, cursor.call(), self._timeout)
        while True:
            call, link = cursor.call(), tries.next_link()
            responses = link.wiring.method(call.method)(call.request, metadata=link.metadata)
            try:
                for response in responses:
                    tries.succeeded()
                    yield call.read(response)
                return
            except grpc.RpcError as error:
                pause = tries.pause_after(error)
            finally:
                responses.cancel()
            time.sleep(pause)
