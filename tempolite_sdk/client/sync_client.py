"""The synchronous client."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

import grpc

from tempolite_sdk.client.calls import cluster, enqueues, execution, listing, node
from tempolite_sdk.client.calls.cluster import CATCH_UP
from tempolite_sdk.client.calls.enqueues import EnqueueOptions, Progress
from tempolite_sdk.client.calls.execution import SignalCursor
from tempolite_sdk.client.calls.listing import Filter
from tempolite_sdk.client.channel import DEFAULT_TIMEOUT, TLS, resolve_targets
from tempolite_sdk.client.cluster_info import ClusterInfo, Consistency
from tempolite_sdk.client.info import (
    Component,
    ExecutionInfo,
    ExecutionStatus,
    HandlerInfo,
    NodeInfo,
    OperationInfo,
    Pool,
    Resolution,
    SentSignal,
    Stats,
)
from tempolite_sdk.client.sync_connection import SyncConnection
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import TempoliteError
from tempolite_sdk.signals import Signal, name_and_type

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class ExecutionHandle(Generic[T]):
    """An execution, known by its id. Its handler's return type is that of `result()`."""

    def __init__(self, connection: SyncConnection, id: str, result_type: Any = Any, *, existing: bool = False) -> None:
        self._connection = connection
        self._result_type = result_type
        self.id = id
        #: The id was taken and `id_conflict="use_existing"` chose what was there. True as well for a repeated request.
        self.existing = existing

    def __repr__(self) -> str:
        return f"ExecutionHandle({self.id!r})"

    def result(self, timeout: Duration | None = None) -> T:
        """What the handler returned, once it has.

        Raises an `ExecutionError` (`ExecutionFailed`, `ExecutionCancelled`, …) when it ended otherwise, and
        `DeadlineExceeded` when it has not ended in time, which does not disturb it.
        """
        result: T = self._connection.run(execution.result(self.id, self._result_type, timeout))
        return result

    def info(self, *, consistency: Consistency | str = Consistency.LINEARIZABLE) -> ExecutionInfo:
        return self._connection.call(execution.info(self.id, consistency))

    def tree(
        self, max_nodes: int | None = None, *, consistency: Consistency | str = Consistency.LINEARIZABLE
    ) -> ExecutionTree:
        return self._connection.call(execution.tree(self.id, max_nodes, consistency))

    @overload
    def send_signal(self, name: Signal[S], payload: S, request_id: str | None = None) -> int: ...
    @overload
    def send_signal(self, name: str, payload: Any = None, request_id: str | None = None) -> int: ...
    def send_signal(self, name: Signal[Any] | str, payload: Any = None, request_id: str | None = None) -> int:
        """The signal's sequence number in the execution's inbox, once it is stored there.

        Raises `InvalidArgument`, naming the field, when the payload is not as the `Signal` has it, or the handler
        declares its signals and this is none of them.
        """
        return self._connection.call(execution.send_signal(self.id, name, payload, request_id))

    @overload
    def receive_signals(self, name: Signal[S], after: int = 0) -> Iterator[SentSignal[S]]: ...
    @overload
    def receive_signals(self, name: str = "", after: int = 0, *, type: type[S]) -> Iterator[SentSignal[S]]: ...
    @overload
    def receive_signals(self, name: str = "", after: int = 0, *, type: Any = Any) -> Iterator[SentSignal[Any]]: ...
    def receive_signals(
        self, name: Signal[Any] | str = "", after: int = 0, *, type: Any = Any
    ) -> Iterator[SentSignal[Any]]:
        """What the execution sends to its clients, until it ends; none is lost when the connection is.

        name: of the signals wanted; "" for all.
        after: sequence number of the last one seen; 0 for all from the first.
        """
        return self._connection.stream(SignalCursor(self.id, *name_and_type(name, type), after))

    def cancel(self, reason: str = "") -> ExecutionStatus:
        """Asks it to stop; it sees it at its next context call or wait."""
        return self._connection.call(execution.cancel(self.id, reason))

    def terminate(self, reason: str = "") -> ExecutionStatus:
        """Ends it and its children at once, without running their code."""
        return self._connection.call(execution.terminate(self.id, reason))

    def resolve_compensation(self, resolution: Resolution | str, reason: str = "") -> ExecutionStatus:
        """Lets a STUCK saga go on: "retry", "skip" or "mark_done"."""
        return self._connection.call(execution.resolve_compensation(self.id, resolution, reason))


#: That wait for many executions: they end in whatever order, and a wait costs the node nothing.
_WAITING_THREADS = 32


def _outcome_of(handle: ExecutionHandle[T], timeout: Duration | None) -> T | TempoliteError:
    try:
        return handle.result(timeout)
    except TempoliteError as error:
        return error


class Enqueuer:
    """What `Client` and `Client.options(...)` share."""

    def __init__(self, connection: SyncConnection, options: EnqueueOptions) -> None:
        self._connection = connection
        self._options = options

    @overload
    def enqueue(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> ExecutionHandle[T]: ...
    @overload
    def enqueue(
        self, handler: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> ExecutionHandle[T]: ...
    @overload
    def enqueue(self, handler: str, /, *args: Any, **kwargs: Any) -> ExecutionHandle[Any]: ...
    def enqueue(self, handler: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> ExecutionHandle[Any]:
        """Starts the handler with these arguments (the node adds the context). When it returns, that is on disk.

        handler: the function, or its name in the node's config; by name, arguments and result are unchecked here.
        Raises `InvalidArgument` naming the argument that does not fit, `NotFound` for an unknown handler,
        `AlreadyExists` for a taken id, `QueueFull` when the pool's queue is.
        """
        enqueued = self._connection.call(enqueues.enqueue(handler, args, kwargs, self._options))
        return ExecutionHandle(self._connection, enqueued.id, enqueued.result_type, existing=enqueued.existing)

    @overload
    def execute(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...
    @overload
    def execute(self, handler: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def execute(self, handler: str, /, *args: Any, **kwargs: Any) -> Any: ...
    def execute(self, handler: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Any:
        """Enqueues the handler and returns its result: `enqueue(...)` and `result()` in one call to the node.

        Raises what either of them does.
        """
        return self._connection.run(enqueues.execute(handler, args, kwargs, self._options))

    @overload
    def enqueue_many(
        self,
        handler: Callable[Concatenate[Any, ...], Coroutine[Any, Any, T]],
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[ExecutionHandle[T]]: ...
    @overload
    def enqueue_many(
        self,
        handler: Callable[Concatenate[Any, ...], T],
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[ExecutionHandle[T]]: ...
    @overload
    def enqueue_many(
        self,
        handler: str,
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[ExecutionHandle[Any]]: ...
    def enqueue_many(
        self,
        handler: Callable[..., Any] | str,
        arguments: Iterable[Sequence[Any]],
        /,
        *,
        atomic: bool = False,
        progress: Progress | None = None,
    ) -> list[ExecutionHandle[Any]]:
        """Enqueues the handler once for each entry of `arguments`, its positional arguments, in few calls to the node.

        atomic: all or none, in one commit; at most 10,000 that fit a message of 4 MiB.
        progress: called with how many are stored, and of how many.
        Raises `BatchRefused` when some were refused and the others are stored; with `atomic`, what `enqueue` would.
        """
        given = list(arguments)
        batches = enqueues.enqueue_many(handler, given, self._options, atomic=atomic)
        outcomes: list[enqueues.Enqueued | TempoliteError] = []

        def came(outcome: Sequence[enqueues.Enqueued | TempoliteError]) -> None:
            outcomes.extend(outcome)
            if progress is not None:
                progress(len(outcomes), len(given))

        self._connection.pipeline(batches, came)
        return [
            ExecutionHandle(self._connection, each.id, each.result_type, existing=each.existing)
            for each in enqueues.all_enqueued(outcomes)
        ]


class Client(Enqueuer):
    """A node or a cluster, as its clients see it. Safe to share between threads; make it after a fork, not before.

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
        super().__init__(SyncConnection(targets, timeout=timeout, sessions=sessions), {})

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def options(self, **options: Unpack[EnqueueOptions]) -> Enqueuer:
        """For one enqueue: `client.options(priority=5).enqueue(fulfil, order)`. Durations: timedelta or seconds."""
        return Enqueuer(self._connection, options)

    # --- one execution

    @overload
    def handle(self, id: str, result_type: type[T]) -> ExecutionHandle[T]: ...
    @overload
    def handle(self, id: str, result_type: Any = Any) -> ExecutionHandle[Any]: ...
    def handle(self, id: str, result_type: Any = Any) -> ExecutionHandle[Any]:
        """Of an execution that exists already; asks nothing of the node."""
        return ExecutionHandle(self._connection, id, result_type)

    def get(
        self, id: str, *, consistency: Consistency | str = Consistency.LINEARIZABLE
    ) -> ExecutionInfo | OperationInfo:
        """An execution, or one of its operations by "<execution id>/<kind>/<key>".

        consistency: "stale" takes what the node has, without asking the rest of its cluster.
        """
        return self._connection.call(execution.get(id, consistency))

    def tree(
        self, id: str, max_nodes: int | None = None, *, consistency: Consistency | str = Consistency.LINEARIZABLE
    ) -> ExecutionTree:
        """max_nodes: executions and operations; default and maximum 10,000. consistency: as for `get`."""
        return self._connection.call(execution.tree(id, max_nodes, consistency))

    @overload
    def send_signal(self, id: str, name: Signal[S], payload: S, request_id: str | None = None) -> int: ...
    @overload
    def send_signal(self, id: str, name: str, payload: Any = None, request_id: str | None = None) -> int: ...
    def send_signal(self, id: str, name: Signal[Any] | str, payload: Any = None, request_id: str | None = None) -> int:
        return self._connection.call(execution.send_signal(id, name, payload, request_id))

    def cancel(self, id: str, reason: str = "") -> ExecutionStatus:
        return self.handle(id).cancel(reason)

    def terminate(self, id: str, reason: str = "") -> ExecutionStatus:
        return self.handle(id).terminate(reason)

    def resolve_compensation(self, id: str, resolution: Resolution | str, reason: str = "") -> ExecutionStatus:
        return self.handle(id).resolve_compensation(resolution, reason)

    # --- many executions

    def wait_many(
        self,
        executions: Iterable[ExecutionHandle[T]],
        *,
        timeout: Duration | None = None,
        progress: Progress | None = None,
    ) -> builtins.list[T | TempoliteError]:
        """What each of them came to, in their order: its result, or the error that `result()` would raise.

        timeout: of each. progress: called with how many have ended, and of how many.
        """
        handles = [*executions]
        outcomes: builtins.list[T | TempoliteError] = []
        with ThreadPoolExecutor(min(_WAITING_THREADS, len(handles) or 1), "tempolite-wait") as threads:
            for outcome in threads.map(lambda handle: _outcome_of(handle, timeout), handles):
                outcomes.append(outcome)
                if progress is not None:
                    progress(len(outcomes), len(handles))
        return outcomes

    def list(
        self,
        *,
        page_size: int | None = None,
        consistency: Consistency | str = Consistency.LINEARIZABLE,
        **filter: Unpack[Filter],
    ) -> Iterator[ExecutionInfo]:
        """Newest first, page by page as they are taken. status, handler, component: one or several; None: all.

        consistency: as for `get`, of each page.
        """
        return self._pages(listing.execution_filter(filter), page_size, consistency)

    def _pages(self, filter: Any, page_size: int | None, consistency: Consistency | str) -> Iterator[ExecutionInfo]:
        page = self._connection.call(listing.page(filter, page_size, "", consistency))
        yield from page.executions
        while page.next_token:
            page = self._connection.call(listing.page(filter, page_size, page.next_token, consistency))
            yield from page.executions

    def count(self, *, consistency: Consistency | str = Consistency.LINEARIZABLE, **filter: Unpack[Filter]) -> int:
        return self._connection.call(listing.count(listing.execution_filter(filter), consistency))

    # --- the node

    def stats(self) -> Stats:
        return self._connection.call(node.stats())

    def wait(
        self, predicate: Callable[[Stats], bool], interval: Duration = 0.1, timeout: Duration | None = None
    ) -> Stats:
        """The first stats for which the predicate holds; it is asked now, and whenever they have changed.

        interval: at least this long between two questions. Raises `DeadlineExceeded` when the timeout has passed.
        """
        return self._connection.run(node.wait(predicate, interval, timeout))

    def node_info(self) -> NodeInfo:
        return self._connection.call(node.info())

    def handlers(self) -> tuple[HandlerInfo, ...]:
        return self._connection.call(node.handlers())

    def pools(self) -> tuple[Pool, ...]:
        return self._connection.call(node.pools())

    def pool(self, component: Component | str) -> Pool:
        return self._connection.call(node.pool(component))

    def scale_pool(self, component: Component | str, workers: int) -> Pool:
        """Until the node restarts, which takes the number of its config again."""
        return self._connection.call(node.scale_pool(component, workers))

    def pause_pool(self, component: Component | str) -> Pool:
        """Starts nothing new in the pool; what runs goes on."""
        return self._connection.call(node.pause_pool(component))

    def resume_pool(self, component: Component | str) -> Pool:
        return self._connection.call(node.resume_pool(component))

    # --- the cluster; without one: FailedPrecondition

    def cluster(self) -> ClusterInfo:
        """As the node sees it that is asked; the leader knows most."""
        return self._connection.call(cluster.info())

    def add_member(self, node_id: str, address: str, *, timeout: Duration = CATCH_UP) -> None:
        """Adds a node that runs already, with `join` in its config; returns when it has caught up and counts.

        address: "host:port" where the other nodes reach it. Repeats safely.
        """
        self._connection.run(cluster.add_member(node_id, address, timeout))

    def remove_member(self, node_id: str) -> None:
        """Removes a node, whether it runs or not. Not the leader: transfer the leadership first. Repeats safely."""
        self._connection.call(cluster.remove_member(node_id))

    def transfer_leadership(self, to: str | None = None) -> str:
        """The id of the node that leads now. to: None: whoever has most of the log."""
        return self._connection.call(cluster.transfer_leadership(to))
