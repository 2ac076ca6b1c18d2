"""Contexts: what a handler, a step or a side effect may do. Their `async def` twins are in `async_contexts`.

Every method that does something is an operation: it is recorded under its key, and answered from that record when the
code is replayed. A context belongs to its call and to the thread that runs it; used elsewhere it raises ContextMisuse.
"""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from tempolite_sdk import operations
from tempolite_sdk.durations import Duration
from tempolite_sdk.handlers import ChildHandle, RetryPolicy, SagaStep, SideEffect
from tempolite_sdk.operations import ChildOptions, ClosePolicy, Facts, Runtime
from tempolite_sdk.payload import decode
from tempolite_sdk.signals import Signal, name_and_type

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Params = TypeVarWithDefault("Params", default=Any)
else:
    Params = TypeVar("Params")

P = ParamSpec("P")
T = TypeVar("T")
Step = TypeVar("Step", bound=SagaStep)


class BaseContext:
    """What every context tells, in sync and async code alike."""

    def __init__(self, runtime: Runtime, facts: Facts) -> None:
        self._runtime = runtime
        self._facts = facts

    @property
    def execution_id(self) -> str:
        return self._facts.execution_id

    @property
    def attempt(self) -> int:
        """1-based: of the execution, or of the operation that the context belongs to."""
        return self._facts.attempt

    @property
    def deadline(self) -> datetime | None:
        """When the execution times out (max_duration)."""
        deadline_ms = self._facts.deadline_ms
        return None if deadline_ms is None else datetime.fromtimestamp(deadline_ms / 1_000, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether cancel was requested: the next operation raises Cancelled, once."""
        return self._runtime.cancelled

    @property
    def logger(self) -> logging.LoggerAdapter[Any]:
        """Logs with the execution's id, and keeps silent while the code is replayed."""
        return _ContextLogger(logging.getLogger("tempolite.handlers"), self._runtime, self._facts)

    def heartbeat_details(self, type: Any = Any) -> Any:
        """What the last heartbeat of an earlier attempt told; None: there was none."""
        return None if self._facts.heartbeat is None else decode(self._facts.heartbeat, type)


class _ContextLogger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, runtime: Runtime, facts: Facts) -> None:
        super().__init__(logger, {"execution_id": facts.execution_id})
        self._runtime = runtime

    def isEnabledFor(self, level: int) -> bool:
        return not self._runtime.replaying and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class OperationFacts(BaseContext):
    """What the contexts of operations tell beside."""

    @property
    def operation_id(self) -> str:
        """The same for every attempt, and for no other operation: give it to others as idempotency key."""
        return self._facts.operation_id


class ExecutionFacts(BaseContext, Generic[Params]):
    """What the contexts of handlers and saga handlers tell beside."""

    def __init__(self, runtime: Runtime, facts: Facts, params: Params) -> None:
        super().__init__(runtime, facts)
        self._params = params

    @property
    def params(self) -> Params:
        """The handler's parameters, from the node's config."""
        return self._params

    @property
    def parent_id(self) -> str | None:
        return self._facts.parent_id


# --- sync


class EnqueuesChildren:
    """What a context and `ctx.options(...)` share."""

    _runtime: Runtime
    _child_options = operations.NO_OPTIONS

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


class ChildEnqueuer(EnqueuesChildren):
    """`ctx.options(...)`: enqueues with these options."""

    def __init__(self, runtime: Runtime, options: ChildOptions) -> None:
        self._runtime = runtime
        self._child_options = options


class Context(BaseContext, EnqueuesChildren):
    """What every synchronous context can do."""

    def options(
        self,
        *,
        id: str | None = None,
        key: str | None = None,
        close_policy: ClosePolicy | None = None,
        retry: RetryPolicy | None = None,
        attempt_timeout: Duration | None = None,
        max_duration: Duration | None = None,
        queue_timeout: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
        priority: int = 0,
        delay: Duration | None = None,
        concurrency_key: str | None = None,
    ) -> ChildEnqueuer:
        """For one child: `ctx.options(delay=60).enqueue(remind, order)`. See `ChildOptions`."""
        return ChildEnqueuer(
            self._runtime,
            ChildOptions(
                id=id,
                key=key,
                close_policy=close_policy,
                retry=retry,
                attempt_timeout=attempt_timeout,
                max_duration=max_duration,
                queue_timeout=queue_timeout,
                heartbeat_timeout=heartbeat_timeout,
                priority=priority,
                delay=delay,
                concurrency_key=concurrency_key,
            ),
        )

    @overload
    def wait_for_completion(
        self, execution: ChildHandle[T], /, *, timeout: Duration | None = None, key: str | None = None
    ) -> T: ...
    @overload
    def wait_for_completion(
        self, execution: str, /, *, type: type[T], timeout: Duration | None = None, key: str | None = None
    ) -> T: ...
    @overload
    def wait_for_completion(
        self, execution: str, /, *, type: Any = Any, timeout: Duration | None = None, key: str | None = None
    ) -> Any: ...
    def wait_for_completion(
        self,
        execution: ChildHandle[Any] | str,
        /,
        *,
        type: Any = Any,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Any:
        """What the execution returns, a child or any other by its id. Holds no slot while it waits.

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
        *,
        type: type[T],
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    def side_effect(
        self,
        key: str,
        effect: Any,
        /,
        *,
        type: Any = None,
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
    def receive_signal(self, signal: Signal[T], /, *, timeout: Duration | None = None, key: str | None = None) -> T: ...
    @overload
    def receive_signal(
        self, signal: str, type: type[T], /, *, timeout: Duration | None = None, key: str | None = None
    ) -> T: ...
    @overload
    def receive_signal(
        self, signal: str, type: Any = Any, /, *, timeout: Duration | None = None, key: str | None = None
    ) -> Any: ...
    def receive_signal(
        self,
        signal: Signal[Any] | str,
        type: Any = Any,
        /,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Any:
        """The next signal of that name, sent before or after this call; each is received once, in order.

        One whose payload can't be read as the type is set aside, and the wait goes on for the next.
        Raises `WaitTimeout` when the timeout passed; with a timeout of 0 it only looks.
        """
        name, type = name_and_type(signal, type)
        return self._runtime.perform(operations.ReceiveSignal(name, type, timeout, key))

    @overload
    def signals(self, signal: Signal[T], /) -> Iterator[T]: ...
    @overload
    def signals(self, signal: str, type: type[T], /) -> Iterator[T]: ...
    @overload
    def signals(self, signal: str, type: Any = Any, /) -> Iterator[Any]: ...
    def signals(self, signal: Signal[Any] | str, type: Any = Any, /) -> Iterator[Any]:
        """Every signal of that name, one after the other, like a channel that never closes."""
        name, type = name_and_type(signal, type)
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

    def sleep(self, duration: Duration, *, key: str | None = None) -> None:
        """Waits, through any number of restarts, and holds no slot."""
        self._runtime.perform(operations.Sleep(duration, key))

    def now(self) -> datetime:
        """The time (UTC); when the code is replayed, the same as the first time."""
        moment: datetime = self._runtime.perform(operations.Memoize("now", utc_now, datetime))
        return moment

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


class HandlerContext(Context, ExecutionFacts[Params]):
    """What a handler may do. As the first parameter's annotation, it makes a function a handler."""


class SagaContext(Context, ExecutionFacts[Params]):
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


def utc_now() -> datetime:
    return datetime.now(UTC)
