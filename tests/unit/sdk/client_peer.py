"""A gRPC server that answers as a test says: the peer of the clients under test."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from tempolite_sdk.client.async_client import AsyncClient, AsyncEnqueuer, AsyncExecutionHandle
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2_grpc, execution_service_pb2_grpc, node_service_pb2_grpc
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

Answer = Any  #: a response, an iterable of responses, or a function of (request, context) that makes one


class Peer:
    """Answers each method's calls by its script, one answer after the other; the last one stays.

    reply: what a session replies to a call; nothing, when it is None. Without it, the peer has no sessions.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
        reply: Callable[[pb.SessionCall], pb.SessionReply | None] | None = None,
    ) -> None:
        self.leader = ""  #: address that it names with every call and session, from now on
        self.sessions: list[list[pb.SessionCall]] = []  #: calls of each session that was opened
        self._reply = reply
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._scripts: dict[str, queue.SimpleQueue[Answer]] = defaultdict(queue.SimpleQueue)
        self._last: dict[str, Answer] = {}
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(
            self._servicer(execution_service_pb2_grpc.ExecutionServiceServicer), self._server
        )
        node_service_pb2_grpc.add_NodeServiceServicer_to_server(
            self._servicer(node_service_pb2_grpc.NodeServiceServicer), self._server
        )
        cluster_service_pb2_grpc.add_ClusterServiceServicer_to_server(
            self._servicer(cluster_service_pb2_grpc.ClusterServiceServicer), self._server
        )
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def answers(self, method: str, *script: Answer) -> None:
        for answer in script:
            self._scripts[method].put(answer)

    def stop(self) -> None:
        """Cuts every connection at once, as a killed process does."""
        self._server.stop(grace=None).wait()

    def _servicer(self, base: type) -> Any:
        methods = [name for name in vars(base) if not name.startswith("_")]
        return type("Servicer", (base,), {name: self._method(name) for name in methods})()

    def _method(self, name: str) -> Callable[..., Any]:
        def take(request: Any, context: grpc.ServicerContext) -> Any:
            self.requests[name].append(request)
            self.metadata[name].append(dict(context.invocation_metadata()))
            self._send_initial_metadata(context)
            if not self._scripts[name].empty():
                self._last[name] = self._scripts[name].get()
            answer = self._last[name]
            return answer(request, context) if callable(answer) else answer

        def unary(_servicer: Any, request: Any, context: grpc.ServicerContext) -> Any:
            return take(request, context)

        def stream(_servicer: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            yield from take(request, context)

        def session(_servicer: Any, requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if self._reply is None:  # clients ask it by single calls
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "no sessions here")
            calls: list[pb.SessionCall] = []
            self.sessions.append(calls)
            self._send_initial_metadata(context)
            for request in requests:
                calls.extend(request.calls)
                for reply in map(self._reply, request.calls):
                    if reply is not None:
                        yield pb.SessionResponse(replies=[reply], leader=self.leader)

        return {"ReceiveSignals": stream, "Session": session}.get(name, unary)

    def _send_initial_metadata(self, context: grpc.ServicerContext) -> None:
        context.send_initial_metadata((("tempolite-leader", self.leader),) if self.leader else ())


def fails(
    code: grpc.StatusCode,
    reason: str = "",
    message: str = "refused",
    *,
    violations: dict[str, str] | None = None,
    retry_after: float | None = None,
) -> Answer:
    """A refusal as the node words it: google.rpc details beside code and message."""
    status = status_pb2.Status(code=code.value[0], message=message)
    if reason:
        status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="tempolite"))
    if retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(retry_after * 1_000))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations.items():
            bad_request.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad_request)

    def abort(_request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, message)

    return abort


class Blocking:
    """An async client used like the sync one, so that one suite holds for both."""

    def __init__(self, subject: Any, runner: asyncio.Runner) -> None:
        self._subject = subject
        self._runner = runner

    @classmethod
    def client(cls, runner: asyncio.Runner, *args: Any, **kwargs: Any) -> Blocking:
        return cls(AsyncClient(*args, **kwargs), runner)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._subject, name)
        if not callable(value):
            return value
        return lambda *args, **kwargs: self._settled(value(*args, **kwargs))

    def _settled(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._settled(self._runner.run(_awaited(value)))
        if isinstance(value, AsyncIterator):
            return self._iterated(value)
        return Blocking(value, self._runner) if isinstance(value, AsyncEnqueuer | AsyncExecutionHandle) else value

    def _iterated(self, values: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._runner.run(_awaited(anext(values)))
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(values.aclose())


async def _awaited(value: Any) -> Any:
    return await value
