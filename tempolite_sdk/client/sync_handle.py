# Generated from async_handle.py by scripts/generate_sync: change that one.
"""An execution, known by its id, for code in threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar, overload

from tempolite_sdk.client.calls import execution, listing
from tempolite_sdk.client.calls.execution import SignalCursor
from tempolite_sdk.client.cluster_info import Consistency, ConsistencyLike
from tempolite_sdk.client.events import ExecutionEvent
from tempolite_sdk.client.explanation import Explanation
from tempolite_sdk.client.info import ExecutionInfo, ExecutionStatus, ResolutionLike, SentSignal
from tempolite_sdk.client.sync_connection import SyncConnection
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.durations import Duration
from tempolite_sdk.signals import Signal, name_and_type

T = TypeVar("T")
S = TypeVar("S")


class ExecutionHandle(Generic[T]):
    """An execution, known by its id. Its handler's return type is that of `result()`."""

    def __init__(self, connection: SyncConnection, id: str, type: Any = Any, *, existing: bool = False) -> None:
        self._connection = connection
        self._type = type
        self.id = id
        #: The id was taken and `id_conflict="use_existing"` chose what was there. True as well for a repeated request.
        self.existing = existing

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @overload
    def result(self, timeout: Duration | None = None) -> T: ...
    @overload
    def result(self, timeout: Duration | None = None, *, type: type[S]) -> S: ...
    @overload
    def result(self, timeout: Duration | None, type: type[S]) -> S: ...
    @overload
    def result(self, timeout: Duration | None = None, type: Any = None) -> Any: ...
    def result(self, timeout: Duration | None = None, type: Any = None) -> Any:
        """What the handler returned, once it has.

        type: of the result, where the handler was given by its name; default: what its function is annotated with.
        Raises an `ExecutionError` (`ExecutionFailed`, `ExecutionCancelled`, …) when it ended otherwise, and
        `DeadlineExceeded` when it has not ended in time, which does not disturb it.
        """
        expected = self._type if type is None else type
        return self._connection.run(execution.result(self.id, expected, timeout))

    def info(self, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE) -> ExecutionInfo:
        """The execution as it is now, with its attempts.

        consistency: "stale" takes what the node has, without asking the rest of its cluster.
        """
        return self._connection.call(execution.info(self.id, consistency))

    def tree(
        self, max_nodes: int | None = None, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE
    ) -> ExecutionTree:
        """The execution with its operations, its children, their operations, and so on.

        max_nodes: executions and operations; default and maximum 10,000. consistency: as for `info`.
        """
        return self._connection.call(execution.tree(self.id, max_nodes, consistency))

    def explain(self, *, consistency: ConsistencyLike = Consistency.LINEARIZABLE) -> Explanation:
        """Why it does not move: since when, what is next, what can be done, down to the root of what it waits for.

        consistency: as for `info`; where the cluster has no quorum, what the node has is taken, and that is said.
        """
        return self._connection.call(execution.explain(self.id, consistency))

    def events(
        self, *, page_size: int | None = None, consistency: ConsistencyLike = Consistency.LINEARIZABLE
    ) -> Iterator[ExecutionEvent]:
        """What happened to it and in it, in order, page by page as they are taken.

        page_size: default 1,000, maximum 10,000; pages are smaller where payloads are large.
        consistency: as for `info`, of each page.
        """
        page = self._connection.call(listing.events(self.id, page_size, "", consistency))
        while True:
            yield from page.events
            if not page.next_token:
                return
            page = self._connection.call(listing.events(self.id, page_size, page.next_token, consistency))

    @overload
    def send_signal(self, name: Signal[S], payload: S, request_id: str | None = None) -> int: ...
    @overload
    def send_signal(self, name: str, payload: Any = None, request_id: str | None = None) -> int: ...
    def send_signal(self, name: Signal[Any] | str, payload: Any = None, request_id: str | None = None) -> int:
        """The signal's sequence number in the execution's inbox, once it is stored there.

        request_id: repeats with it, from wherever, send one signal.
        Raises `InvalidArgument`, naming the field, when the payload is not as the `Signal` has it, or the handler
        declares its signals and this is none of them; `FailedPrecondition` when the execution has ended.
        """
        return self._connection.call(execution.send_signal(self.id, name, payload, request_id))

    @overload
    def receive_signals(self, name: Signal[S], after: int = 0) -> Iterator[SentSignal[S]]: ...
    @overload
    def receive_signals(self, name: str = "", after: int = 0, *, type: type[S]) -> Iterator[SentSignal[S]]: ...
    @overload
    def receive_signals(self, name: str, after: int, type: type[S]) -> Iterator[SentSignal[S]]: ...
    @overload
    def receive_signals(self, name: str = "", after: int = 0, type: Any = Any) -> Iterator[SentSignal[Any]]: ...
    def receive_signals(
        self, name: Signal[Any] | str = "", after: int = 0, type: Any = Any
    ) -> Iterator[SentSignal[Any]]:
        """What the execution sends to its clients, until it ends; none is lost when the connection is.

        name: of the signals wanted, or their `Signal`; "" for all.
        after: sequence number of the last one seen; 0 for all from the first.
        type: of the payloads; without one they are plain JSON.
        """
        name, type = name_and_type(name, type)
        return self._connection.stream(SignalCursor(self.id, name, after, type))

    def cancel(self, reason: str = "") -> ExecutionStatus:
        """Asks it to stop; it sees it at its next context call or wait."""
        return self._connection.call(execution.cancel(self.id, reason))

    def terminate(self, reason: str = "") -> ExecutionStatus:
        """Ends it and its children at once, without running their code."""
        return self._connection.call(execution.terminate(self.id, reason))

    def resume(self) -> ExecutionStatus:
        """Lets it go on if it is SUSPENDED."""
        return self._connection.call(execution.resume(self.id))

    def delete(self) -> bool:
        """Deletes it, all that is below it, and all runs of its id. False: there is none, or it was deleted before.

        Raises `FailedPrecondition`, naming it, while something of that has not ended, or when it is a child.
        """
        return self._connection.call(execution.delete(self.id))

    def resolve_compensation(self, resolution: ResolutionLike, reason: str = "") -> ExecutionStatus:
        """Lets a STUCK saga go on: "retry", "skip" or "mark_done"."""
        return self._connection.call(execution.resolve_compensation(self.id, resolution, reason))
