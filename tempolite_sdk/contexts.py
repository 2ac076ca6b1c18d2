# Generated from async_contexts.py by scripts/generate_sync: change that one.
"""Contexts of `def` handlers: what a handler, a step or a side effect may do.

Every method that does something is an operation: it is recorded under its key, and answered from that record when the
code is replayed. A context belongs to its call and to the thread that runs it; used elsewhere it raises ContextMisuse.
"""

from __future__ import annotations

import random
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from typing import Any, ClassVar, Concatenate, Generic, Literal, NoReturn, ParamSpec, TypeVar, Unpack, overload

from tempolite_sdk import operations
from tempolite_sdk.base_contexts import BaseContext, ExecutionFacts, OperationFacts, Params, utc_now
from tempolite_sdk.begun import SyncBegins
from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import ExecutionError
from tempolite_sdk.handlers import ChildHandle, RetryPolicy
from tempolite_sdk.operations import Runtime
from tempolite_sdk.options import NO_CHILD_OPTIONS, ChildOptions, check_map, check_names
from tempolite_sdk.signals import Signal, name_and_type

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")
T_co = TypeVar("T_co", covariant=True)
Step = TypeVar("Step", bound="SagaStep")


class EnqueuesChildren:
    """What a context and `ctx.options(...)` share."""

    _runtime: Runtime
    _child_options = NO_CHILD_OPTIONS

    @overload
    def enqueue(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> ChildHandle[T]: ...
    @overload
    def enqueue(
        self, handler: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> ChildHandle[T]: ...
    @overload
    def enqueue(self, handler: str, /, *args: Any, **kwargs: Any) -> ChildHandle[Any]: ...
    def enqueue(self, handler: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> ChildHandle[Any]:
        """Starts a child. When it returns, the child and its link to this execution are on disk, in one commit."""
        child: ChildHandle[Any] = self._runtime.perform(
            operations.EnqueueChild(handler, args, kwargs, self._child_options)
        )
        return child

    @overload
    def map(
        self,
        handler: Callable[[Any, Item], Coroutine[Any, Any, T]],
        items: Iterable[Item],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["stop"] = ...,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        handler: Callable[[Any, Item], T],
        items: Iterable[Item],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["stop"] = ...,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        handler: str,
        items: Iterable[Any],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["stop"] = ...,
    ) -> list[Any]: ...
    @overload
    def map(
        self,
        handler: Callable[[Any, Item], Coroutine[Any, Any, T]],
        items: Iterable[Item],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["collect"],
    ) -> list[T | ExecutionError]: ...
    @overload
    def map(
        self,
        handler: Callable[[Any, Item], T],
        items: Iterable[Item],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["collect"],
    ) -> list[T | ExecutionError]: ...
    @overload
    def map(
        self,
        handler: str,
        items: Iterable[Any],
        /,
        *,
        max_in_flight: int = ...,
        on_error: Literal["collect"],
    ) -> list[Any]: ...
    def map(
        self,
        handler: Callable[..., Any] | str,
        items: Iterable[Any],
        /,
        *,
        max_in_flight: int = 20,
        on_error: Literal["stop", "collect"] = "stop",
    ) -> list[Any]:
        """What a child of the handler returns for each of the items, in their order.

        items: each is the one argument of its child. Read as it goes, and the same each time, as replay asks.
        max_in_flight: so many children have not ended at a time. The next one is enqueued when the oldest of them ends.
        on_error: "stop" raises the error of the first item, in their order, whose child did not complete; the children
            that are open then go on. "collect" has the `ExecutionError` in the place of the result.
        """
        check_map(self._child_options, max_in_flight, on_error)
        results: list[Any] = []
        open_children: deque[ChildHandle[Any]] = deque()
        for item in items:
            if len(open_children) == max_in_flight:
                results.append(self._result_of(open_children.popleft(), on_error))
            open_children.append(self.enqueue(handler, item))
        while open_children:
            results.append(self._result_of(open_children.popleft(), on_error))
        return results

    def _result_of(self, child: ChildHandle[Any], on_error: str) -> Any:
        """What it returns, or, if that is collected, how else it ended."""
        try:
            return self._runtime.perform(operations.WaitForCompletion(child, None, None, None))
        except ExecutionError as error:
            if on_error == "stop":
                raise
            return error


class ChildEnqueuer(EnqueuesChildren):
    """`ctx.options(...)`: enqueues with these options."""

    def __init__(self, runtime: Runtime, options: ChildOptions) -> None:
        self._runtime = runtime
        self._child_options = options


class Context(BaseContext, EnqueuesChildren):
    """What every context can do."""

    def options(self, **options: Unpack[ChildOptions]) -> ChildEnqueuer:
        """For one child: `ctx.options(delay=60).enqueue(remind, order)`. Durations: timedelta or seconds.

        Raises TypeError for an unknown option.
        """
        check_names(ChildOptions, options)
        return ChildEnqueuer(self._runtime, options)

    @overload
    def wait_for_completion(
        self, execution: ChildHandle[T], /, *, timeout: Duration | None = None, key: str | None = None
    ) -> T: ...
    @overload
    def wait_for_completion(
        self,
        execution: ChildHandle[Any] | str,
        /,
        type: type[T],
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> T: ...
    @overload
    def wait_for_completion(
        self,
        execution: ChildHandle[Any] | str,
        /,
        type: Any = None,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Any: ...
    def wait_for_completion(
        self,
        execution: ChildHandle[Any] | str,
        /,
        type: Any = None,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Any:
        """What the execution returns, a child or any other by its id. Holds no slot while it waits.

        type: of the result, where no function's annotation tells it. Without either it is plain JSON.
        Raises an `ExecutionError` when it ended otherwise, `WaitTimeout` when the timeout passed, `WaitCycle` when it
        waits for this one.
        """
        return self._runtime.perform(operations.WaitForCompletion(execution, type, timeout, key))

    @overload
    def side_effect(
        self,
        key: str,
        effect: SideEffect[T] | Callable[[], T] | Callable[[SideEffectContext], T],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    def side_effect(
        self,
        key: str,
        effect: Callable[[], Any] | Callable[[SideEffectContext], Any],
        /,
        type: type[T],
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    def side_effect(
        self,
        key: str,
        effect: Any,
        /,
        type: Any = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """What `effect` returns, run once for this key: later calls and later attempts get the recorded value.

        effect: a `SideEffect`, or a function with no argument or the side effect's own context. It runs in the
            side-effect pool, and is retried by its policy.
        type: of the result, where the effect's annotation does not tell it. Without either it is plain JSON.
        timeout: of one attempt.
        Raises `SideEffectFailed` when it is out of retries.
        """
        return self._runtime.perform(operations.RunSideEffect(key, effect, type, retry, timeout))

    @overload
    def receive_signal(self, name: Signal[T], /, *, timeout: Duration | None = None, key: str | None = None) -> T: ...
    @overload
    def receive_signal(
        self, name: str, /, type: type[T], *, timeout: Duration | None = None, key: str | None = None
    ) -> T: ...
    @overload
    def receive_signal(
        self, name: str, /, type: Any = Any, *, timeout: Duration | None = None, key: str | None = None
    ) -> Any: ...
    def receive_signal(
        self,
        name: Signal[Any] | str,
        /,
        type: Any = Any,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Any:
        """The next signal of that name, sent before or after this call; each is received once, in order.

        name: of the signal, or its `Signal`, which has the type.
        type: of its payload; without one it is plain JSON.
        A signal whose payload can't be read as the type is set aside, and the wait goes on for the next.
        Raises `WaitTimeout` when the timeout passed; with a timeout of 0 it only looks.
        """
        name, type = name_and_type(name, type)
        return self._runtime.perform(operations.ReceiveSignal(name, type, timeout, key))

    @overload
    def signals(self, name: Signal[T], /) -> Iterator[T]: ...
    @overload
    def signals(self, name: str, /, type: type[T]) -> Iterator[T]: ...
    @overload
    def signals(self, name: str, /, type: Any = Any) -> Iterator[Any]: ...
    def signals(self, name: Signal[Any] | str, /, type: Any = Any) -> Iterator[Any]:
        """Every signal of that name, one after the other, like a channel that never closes. type: of the payloads."""
        name, type = name_and_type(name, type)
        while True:
            yield self.receive_signal(name, type)

    @overload
    def send_signal(self, name: Signal[T], payload: T, *, to: str | None = None, key: str | None = None) -> None: ...
    @overload
    def send_signal(self, name: str, payload: Any = None, *, to: str | None = None, key: str | None = None) -> None: ...
    def send_signal(
        self, name: Signal[Any] | str, payload: Any = None, *, to: str | None = None, key: str | None = None
    ) -> None:
        """To the clients that follow this execution, or into the inbox of another execution (its id). Sent once.

        Raises `InvalidArgument`, naming the field, when the handler of the other one declares its signals, and this is
        none of them.
        """
        self._runtime.perform(operations.SendSignal(name, payload, to, key))

    def cancel(self, execution: ChildHandle[Any] | str, /, reason: str = "", *, key: str | None = None) -> None:
        """Requests the cancel of a child, or of any other execution by its id. Requested once; it is not waited for.

        What has ended stays as it ended. Raises `NotFound` when there is no such execution.
        """
        self._runtime.perform(operations.Cancel(execution, reason, key))

    def sleep(self, duration: Duration, *, key: str | None = None) -> None:
        """Waits, through any number of restarts, and holds no slot."""
        self._runtime.perform(operations.Sleep(duration, key))

    def now(self) -> datetime:
        """The time (UTC); when the code is replayed, the same as the first time."""
        value: datetime = self._runtime.perform(operations.Memoize("now", utc_now, datetime))
        return value

    def uuid4(self) -> uuid.UUID:
        """A random UUID; when the code is replayed, the same."""
        value: uuid.UUID = self._runtime.perform(operations.Memoize("uuid4", uuid.uuid4, uuid.UUID))
        return value

    def random(self) -> float:
        """From [0, 1); when the code is replayed, the same."""
        value: float = self._runtime.perform(operations.Memoize("random", random.random, float))
        return value

    def heartbeat(self, details: Any = None) -> None:
        """Tells that the attempt is alive and how far it is; the next attempt gets the last details."""
        self._runtime.perform(operations.Heartbeat(details))


class ContinuesAsNew:
    """What the contexts of handlers and saga handlers can do beside that."""

    _runtime: Runtime

    def continue_as_new(self, /, *args: Any, **kwargs: Any) -> NoReturn:
        """Ends this run of the handler and begins the next one under the same id, with these arguments, in one commit.

        Does not return: the code ends here, its `finally` blocks run. Signals that were not received are for the next
        run, and who waits for the execution waits for its last run. Attempts, max_duration, queue_timeout begin anew.
        Raises `InvalidArgument` or TypeError for arguments that the handler does not take, `FailedPrecondition` in a
        saga that has steps to undo; then the run goes on.
        """
        self._runtime.perform(operations.ContinueAsNew(args, kwargs))
        raise AssertionError("the run has ended")


class HandlerContext(Context, ContinuesAsNew, SyncBegins, ExecutionFacts[Params]):
    """What a handler may do. As the first parameter's annotation, it makes a function a handler."""


class SagaContext(Context, ContinuesAsNew, SyncBegins, ExecutionFacts[Params]):
    """What a saga handler may do. As the first parameter's annotation, it makes a function a saga handler."""

    def step(self, step: Step, /, *, key: str | None = None) -> Step:
        """Runs the step's transaction once, and returns the step with its data as recorded.

        key: default "<class>#n". Raises `StepFailed` when the transaction raised. Should the saga give up, the
        compensations of its completed steps run, last first.
        """
        done: Step = self._runtime.perform(operations.RunStep(step, key))
        return done


class SideEffectContext(Context, OperationFacts):
    """What a side effect may do."""


class TransactionContext(Context, OperationFacts):
    """What a step's transaction may do."""


class CompensationContext(Context, OperationFacts):
    """What a step's compensation may do."""


class SideEffect(ABC, Generic[T_co]):
    """A side effect as a class of its own: its fields are its input, its `run` happens once per key.

    Make it a dataclass. Called again under the same key with other fields, it is refused.
    """

    @abstractmethod
    def run(self, ctx: SideEffectContext) -> T_co:
        """Returns what is recorded. An error is retried by the policy of the side-effect pool."""


class SagaStep(ABC):
    """A step of a saga: a transaction, and the compensation that undoes it.

    Make it a dataclass. Its fields are its data: recorded before the transaction and again when it has completed, and
    given to the compensation, in another process and after any number of restarts.
    """

    #: Whether a transaction that raised may have taken effect, so that it is to be undone too.
    compensate_on_failure: ClassVar[bool] = False

    @abstractmethod
    def transaction(self, ctx: TransactionContext) -> None:
        """Does the step. What it raises, the saga handler gets as `StepFailed`."""

    @abstractmethod
    def compensation(self, ctx: CompensationContext) -> None:
        """May be called when the transaction's outcome is unknown, and more than once: must be safe to repeat."""
