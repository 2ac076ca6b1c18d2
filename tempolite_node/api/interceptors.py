"""What every call passes on its way in: is there room for it, who is it, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc.aio import AbortError

from tempolite_node.api.auth import Authenticator, Caller, caller
from tempolite_node.api.middleware import wrapped
from tempolite_node.api.status import status_of
from tempolite_node.errors import NodeError, Overloaded

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Turns what a service raises into a gRPC status. Outermost."""

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None  # gRPC answers UNIMPLEMENTED

        @asynccontextmanager
        async def around(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
            try:
                yield
            except AbortError:
                raise
            except Exception as error:
                await abort(context, error, details.method)

        return wrapped(handler, around)


class LimitInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets in so many calls at a time; refuses the others before their messages are read, where possible.

    Not by gRPC's `maximum_concurrent_rpcs`: grpcio 1.74 and earlier ignore it in asyncio servers, and those that heed
    it do not say which limit it is, nor when to come again.
    """

    def __init__(self, concurrent_rpcs: int) -> None:
        self._most = concurrent_rpcs
        self._open = 0

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        if self._open >= self._most:
            return _refusal(self._full(), details.method)
        handler = await continuation(details)
        if handler is None:
            return None

        @asynccontextmanager
        async def around(_context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
            # Counted here and not above: of a call that is given up before, nobody would hear the end.
            if self._open >= self._most:
                raise self._full()
            self._open += 1
            try:
                yield
            finally:
                self._open -= 1

        return wrapped(handler, around)

    def _full(self) -> Overloaded:
        return Overloaded(f"the node has {self._most:,} calls open, and takes no more (api.limits.concurrent_rpcs)")


class AuthInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Lets a call in when its caller's role suffices; else refuses it before its message is read, where possible."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(self, continuation: Continuation, details: grpc.HandlerCallDetails) -> Any:
        authenticator, method, metadata = self._authenticator, details.method, details.invocation_metadata
        try:
            role = authenticator.admit_by_metadata(method, metadata)
        except NodeError as error:
            return _refusal(error, method)
        handler = await continuation(details)
        if handler is None:
            return None
        if role is not None:
            # Each call is served by a task of its own.
            caller.set(Caller(authenticator, role, lambda: authenticator.admit_by_metadata(method, metadata)))
            return handler

        @asynccontextmanager
        async def around(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
            # Only here is the connection's certificate known.
            shown = context.auth_context()
            admitted = authenticator.admit_by_certificate(method, shown)
            caller.set(Caller(authenticator, admitted, lambda: authenticator.admit_by_certificate(method, shown)))
            yield

        return wrapped(handler, around)


def _refusal(error: NodeError, method: str) -> grpc.RpcMethodHandler:
    async def refuse(_requests: Any, context: grpc.aio.ServicerContext) -> None:
        await abort(context, error, method)

    # As a stream of requests, since gRPC would read a single one whole before it calls us.
    return grpc.stream_stream_rpc_method_handler(refuse)


async def abort(context: grpc.aio.ServicerContext, error: Exception, method: str) -> None:
    status = status_of(error, method)
    await context.abort(status.code, status.message, status.trailing_metadata)
