"""Middleware of the API: what stands around every call of a method, whatever its kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

Middleware = Callable[[grpc.aio.ServicerContext], AbstractAsyncContextManager[None]]


def wrapped(handler: grpc.RpcMethodHandler, middleware: Middleware) -> grpc.RpcMethodHandler:
    """The same handler, running inside `middleware(context)`."""
    for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        behavior = getattr(handler, kind)
        if behavior is not None:
            return handler._replace(**{kind: _wrapped(behavior, middleware)})
    raise AssertionError(f"a method handler without behavior: {handler}")


def _wrapped(behavior: Callable[..., Any], middleware: Middleware) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(behavior):

        async def generate(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            async with middleware(context):
                async for response in behavior(request, context):
                    yield response

        return generate

    async def call(request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with middleware(context):
            return await behavior(request, context)

    return call
