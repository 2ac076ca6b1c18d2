"""A node or a cluster, as its clients see it, for code on an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar, TypeVarTuple, Unpack, overload

import grpc

from tempolite_sdk.client.async_connection import AsyncConnection
from tempolite_sdk.client.async_handle import AsyncExecutionHandle
from tempolite_sdk.client.async_waiting import AsyncWaiting
from tempolite_sdk.client.calls import cluster, enqueues, execution, listing, node
from tempolite_sdk.client.calls.cluster import CATCH_UP
from tempolite_sdk.client.calls.enqueues import EnqueueOptions, Progress
from tempolite_sdk.client.calls.listing import Filter
from tempolite_sdk.client.channel import DEFAULT_TIMEOUT, TLS, resolve_targets
from tempolite_sdk.client.cluster_info import ClusterInfo, Consistency, ConsistencyLike
from tempolite_sdk.client.explanation import Explanation
from tempolite_sdk.client.info import (
    ComponentLike,
    ExecutionInfo,
    ExecutionStatus,
    HandlerInfo,
    NodeInfo,
    OperationInfo,
    Pool,
    ResolutionLike,
    Stats,
)
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import TempoliteError
from tempolite_sdk.options import check_names
from tempolite_sdk.signals import Signal

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")
Args = TypeVarTuple("Args")


class AsyncEnqueuer:
    """What `AsyncClient` and `AsyncClient.options(...)` share."""

    def __init__(self, connection: AsyncConnection, options: EnqueueOptions) -> None:
        self._connection = connection
        self._options = options

    @overload
    async def enqueue(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncExecutionHandle[T]: ...
    @overload
    async def enqueue(
        self, handler: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncExecutionHandle[T]: ...
    @overload
    async def enqueue(self, handler: str, /, *args: Any, **kwargs: Any) -> AsyncExecutionHandle[Any]: ...
    async def enqueue(
        self, handler: Callable[..., Any] | str, /, *args: Any, **kwargs: Any
    ) -> AsyncExecutionHandle[Any]:
        """Starts the handler with these arguments (the node adds the context). When it returns, that is on disk.

        handler: the function, or its name in the node's config; by name, arguments and result are unchecked here.
        Raises `InvalidArgument` naming the argument that does not fit, `NotFound` for an unknown handler,
        `AlreadyExists` for a taken id, `QueueFull` when the pool's queue is.
        """
        enqueued = await self._connection.call(enqueues.enqueue(handler, args, kwargs, self._options))
        return AsyncExecutionHandle(self._connection, enqueued.id, enqueued.result_type, existing=enqueued.existing)

    @overload
    async def execute(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    async def execute(self, handler: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def execute(self, handler: str, /, *args: Any, **kwargs: Any) -> Any: ...
    async def execute(self, handler: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Enqueues the handler and returns its result: `enqueue(...)` and `result()` in one call to the node.

        Raises what either of them does.
        """
        return await self._connection.run(enqueues.execute(handler, args, kwargs, self._options))

    @overload
    async def enqueue_many(
        self,
        handler: Callable[[Any, *Args], Coroutine[Any, Any, T]],
        arguments: Iterable[tuple[*Args]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[AsyncExecutionHandle[T]]: ...
    @overload
    async def enqueue_many(
        self,
        handler: Callable[[Any, *Args], T],
        arguments: Iterable[tuple[*Args]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[AsyncExecutionHandle[T]]: ...
    @overload
    async def enqueue_many(
        self,
        handler: str,
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[AsyncExecutionHandle[Any]]: ...
    async def enqueue_many(
        self,
        handler: Callable[..., Any] | str,
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[AsyncExecutionHandle[Any]]:
        """Enqueues the handler once for each tuple of positional arguments, in few calls to the node.

        atomic: all or none, in one commit; at most 10,000, in one message (api.limits.message_bytes of the node).
        progress: called with how many are stored, and of how many.
        Raises `BatchRefused` when some were refused and the others are stored; with `atomic`, what `enqueue` would.
        """
        given = list(arguments)
        batches = enqueues.enqueue_many(handler, given, self._options, atomic=atomic)
        outcomes: list[enqueues.Enqueued | TempoliteError] = []

        def on_result(outcome: Sequence[enqueues.Enqueued | TempoliteError]) -> None:
            outcomes.extend(outcome)
            if progress is not None:
                progress(len(outcomes), len(given))

        await self._connection.pipeline(batches, on_result)
        return [
            AsyncExecutionHandle(self._connection, each.id, each.result_type, existing=each.existing)
            for each in enqueues.all_enqueued(outcomes)
        ]


class AsyncClient(AsyncEnqueuer, AsyncWaiting):
    """A node or a cluster, as its clients see it. Use it on one event loop.

    address: "host:port", or several of one cluster: "a:8367,b:8367" or a sequence; default: TEMPOLITE_ADDRESS, else
        127.0.0.1:8367. One is in use at a time: the leader, where the nodes name it, else the next that answers.
    token: sent as bearer token; default: TEMPOLITE_TOKEN. Refused on a plaintext connection that leaves the machine.
    tls: True for the public authorities, or a `TLS` with files; or `credentials` made by grpc.
    timeout: seconds for which a call is repeated while no node can be reached.
    sessions: let calls that run beside each other share a stream, which is much the faster; False: each is a call of
        its own, for a proxy that cuts long streams.
    """

    def __init__(
        self,
        address: str | Sequence[str] | None = None,
        *,
        token: str | None = None,
        tls: TLS | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        sessions: bool = True,
    ) -> None:
        targets = resolve_targets(address, token=token, tls=tls, credentials=credentials, timeout=timeout)
        super().__init__(AsyncConnection(targets, timeout=timeout, sessions=sessions), {})

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections. A later call raises `FailedPrecondition`; another `close` does nothing."""
        await self._connection.close()

    def options(self, **options: Unpack[EnqueueOptions]) -> AsyncEnqueuer:
        """For one enqueue: `client.options(priority=5).enqueue(fulfil, order)`. Durations: timedelta or seconds.

        Raises TypeError for an unknown option.
        """
        check_names(EnqueueOptions, options)
        return AsyncEnqueuer(self._connection, options)

    # --- one execution

    @overload
    def handle(self, id: str, type: type[T]) -> AsyncExecutionHandle[T]: ...
    @overload
    def handle(self, id: str, type: Any = Any) -> AsyncExecutionHandle[Any]: ...
    def handle(self, id: str, type: Any = Any) -> AsyncExecutionHandle[Any]:
        """Of an execution that exists already; asks nothing of the node. type: of its result."""
        return AsyncExecutionHandle(self._connection, id, type)

    async def get(
        self, id: str, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE
    ) -> ExecutionInfo | OperationInfo:
        """An execution, or one of its operations by "<execution id>/<kind>/<key>".

        consistency: "stale" takes what the node has, without asking the rest of its cluster.
        """
        return await self._connection.call(execution.get(id, consistency))

    async def tree(
        self, id: str, max_nodes: int | None = None, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE
    ) -> ExecutionTree:
        """An execution with its operations, its children, their operations, and so on.

        max_nodes: executions and operations; default and maximum 10,000. consistency: as for `get`.
        """
        return await self._connection.call(execution.tree(id, max_nodes, consistency))

    async def explain(self, id: str, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE) -> Explanation:
        """Why an execution does not move; see `AsyncExecutionHandle.explain`."""
        return await self._connection.call(execution.explain(id, consistency))

    @overload
    async def send_signal(self, id: str, name: Signal[S], payload: S, request_id: str | None = None) -> int: ...
    @overload
    async def send_signal(self, id: str, name: str, payload: Any = None, request_id: str | None = None) -> int: ...
    async def send_signal(
        self, id: str, name: Signal[Any] | str, payload: Any = None, request_id: str | None = None
    ) -> int:
        """As `AsyncExecutionHandle.send_signal`."""
        return await self._connection.call(execution.send_signal(id, name, payload, request_id))

    async def cancel(self, id: str, reason: str = "") -> ExecutionStatus:
        """As `AsyncExecutionHandle.cancel`."""
        return await self.handle(id).cancel(reason)

    async def terminate(self, id: str, reason: str = "") -> ExecutionStatus:
        """As `AsyncExecutionHandle.terminate`."""
        return await self.handle(id).terminate(reason)

    async def delete(self, id: str) -> bool:
        """As `AsyncExecutionHandle.delete`."""
        return await self.handle(id).delete()

    async def resume(self, id: str) -> ExecutionStatus:
        """As `AsyncExecutionHandle.resume`."""
        return await self.handle(id).resume()

    async def resolve_compensation(self, id: str, resolution: ResolutionLike, reason: str = "") -> ExecutionStatus:
        """As `AsyncExecutionHandle.resolve_compensation`."""
        return await self.handle(id).resolve_compensation(resolution, reason)

    # --- many executions

    def list(
        self,
        *,
        page_size: int | None = None,
        consistency: ConsistencyLike = Consistency.LINEARIZABLE,
        **filter: Unpack[Filter],
    ) -> AsyncIterator[ExecutionInfo]:
        """The executions that meet the filter, newest first, page by page as they are taken.

        status, handler, component: one or several; None: all. page_size: default and maximum 1,000.
        consistency: as for `get`, of each page.
        """
        return self._pages(listing.execution_filter(filter), page_size, consistency)

    async def _pages(
        self, filter: Any, page_size: int | None, consistency: ConsistencyLike
    ) -> AsyncIterator[ExecutionInfo]:
        page = await self._connection.call(listing.page(filter, page_size, "", consistency))
        while True:
            for each in page.executions:
                yield each
            if not page.next_token:
                return
            page = await self._connection.call(listing.page(filter, page_size, page.next_token, consistency))

    async def count(self, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE, **filter: Unpack[Filter]) -> int:
        """How many executions meet the filter. consistency: as for `get`."""
        return await self._connection.call(listing.count(listing.execution_filter(filter), consistency))

    # --- the node

    async def stats(self) -> Stats:
        """Counts of each component's executions and operations, and of its workers."""
        return await self._connection.call(node.stats())

    async def wait(
        self, predicate: Callable[[Stats], bool], interval: Duration = 0.1, timeout: Duration | None = None
    ) -> Stats:
        """The first stats for which the predicate holds; it is asked now, and whenever they have changed.

        interval: at least this long between two questions. Raises `DeadlineExceeded` when the timeout has passed.
        """
        return await self._connection.run(node.wait(predicate, interval, timeout))

    async def node_info(self) -> NodeInfo:
        """The node that answers: its id, its versions, its worker hosts."""
        return await self._connection.call(node.info())

    async def handlers(self) -> tuple[HandlerInfo, ...]:
        """The handlers that the node serves, with the JSON Schema of their arguments and results."""
        return await self._connection.call(node.handlers())

    async def pools(self) -> tuple[Pool, ...]:
        """The pool of each component."""
        return await self._connection.call(node.pools())

    async def pool(self, component: ComponentLike) -> Pool:
        """The pool of one component."""
        return await self._connection.call(node.pool(component))

    async def scale_pool(self, component: ComponentLike, workers: int) -> Pool:
        """Changes the number of workers until the node restarts, which takes that of its config again."""
        return await self._connection.call(node.scale_pool(component, workers))

    async def pause_pool(self, component: ComponentLike) -> Pool:
        """Starts nothing new in the pool; what runs goes on."""
        return await self._connection.call(node.pause_pool(component))

    async def resume_pool(self, component: ComponentLike) -> Pool:
        """Lets a paused pool start what it has queued."""
        return await self._connection.call(node.resume_pool(component))

    # --- the cluster; without one: FailedPrecondition

    async def cluster(self) -> ClusterInfo:
        """The cluster as the node sees it that answers; the leader knows most."""
        return await self._connection.call(cluster.info())

    async def add_member(self, node_id: str, address: str, *, timeout: Duration = CATCH_UP) -> None:
        """Adds a node that runs already, with `join` in its config; returns when it has caught up and counts.

        address: "host:port" where the other nodes reach it. Repeats safely.
        """
        await self._connection.run(cluster.add_member(node_id, address, timeout))

    async def remove_member(self, node_id: str) -> None:
        """Removes a node, whether it runs or not. Not the leader: transfer the leadership first. Repeats safely."""
        await self._connection.call(cluster.remove_member(node_id))

    async def transfer_leadership(self, to: str | None = None) -> str:
        """Hands the leadership over, and returns the id of the node that leads now.

        to: id of the node that is to lead; None: whoever has most of the log.
        """
        return await self._connection.call(cluster.transfer_leadership(to))
