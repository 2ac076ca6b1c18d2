"""What contexts ask of the worker host that runs them: plain data, so that one host serves sync and async code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from tempolite_sdk.durations import Duration
from tempolite_sdk.handlers import ChildHandle, RetryPolicy
from tempolite_sdk.options import ChildOptions
from tempolite_sdk.signals import Signal


class EnqueueChild(Struct, frozen=True):
    handler: Callable[..., Any] | str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: ChildOptions


class WaitForCompletion(Struct, frozen=True):
    target: ChildHandle[Any] | str
    type: Any  #: of its result; None: as the child's handler has it
    timeout: Duration | None
    key: str | None


class RunSideEffect(Struct, frozen=True):
    key: str
    effect: Any  #: a SideEffect, an AsyncSideEffect, or a callable with no argument or the side effect's context
    type: Any  #: of its result; None: by annotation
    retry: RetryPolicy | None
    timeout: Duration | None


class RunStep(Struct, frozen=True):
    step: Any
    key: str | None


class ReceiveSignal(Struct, frozen=True):
    name: str
    type: Any
    timeout: Duration | None
    key: str | None


class SendSignal(Struct, frozen=True):
    signal: Signal[Any] | str
    payload: Any
    to: str | None
    key: str | None


class Cancel(Struct, frozen=True):
    target: ChildHandle[Any] | str
    reason: str
    key: str | None


class Sleep(Struct, frozen=True):
    duration: Duration
    key: str | None


class Memoize(Struct, frozen=True):
    """A value that is made once, without a pool: for what takes no time and can't fail."""

    name: str
    make: Callable[[], Any]
    type: Any


class Heartbeat(Struct, frozen=True):
    details: Any


class ContinueAsNew(Struct, frozen=True):
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


Operation = (
    EnqueueChild
    | WaitForCompletion
    | RunSideEffect
    | RunStep
    | ReceiveSignal
    | SendSignal
    | Cancel
    | Sleep
    | Memoize
    | Heartbeat
    | ContinueAsNew
)


class Facts(Struct, frozen=True, kw_only=True):
    """What a context knows without asking."""

    execution_id: str
    attempt: int  #: 1-based: of the execution, or of the operation that the context belongs to
    parent_id: str | None = None
    deadline_ms: int | None = None  #: Unix milliseconds, from max_duration
    operation_id: str = ""  #: see `OperationFacts.operation_id`; empty for a handler's own context
    heartbeat: bytes | None = None  #: details of the last heartbeat of an earlier attempt


class Beside(Protocol):
    """What the body of a synchronous handler has begun, and goes on beside. The host alone knows what it is."""

    def begin(self, operation: Operation) -> Any: ...

    def result(self, begun: Any) -> Any:
        """What it comes to, once it has ended."""
        ...

    def wait_any(self, waited: Sequence[Any], timeout: Duration | None, key: str | None) -> int:
        """The place of the one that ended first. waited: what was begun, and `ChildHandle`s."""
        ...

    def wait_all(self, waited: Sequence[Any], timeout: Duration | None, key: str | None) -> list[Any]: ...

    def give_up(self, which: Any) -> None: ...


class Runtime(Protocol):
    """The worker host, as contexts see it."""

    def perform(self, operation: Operation) -> Any:
        """What the operation comes to; an awaitable of it for asynchronous contexts."""
        ...

    @property
    def beside(self) -> Beside:
        """ContextMisuse: it is not the body of a synchronous handler that asks."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether cancel was requested."""
        ...

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the code has come so far that it had better go on in a new run."""
        ...

    def attempt_in(self, facts: Facts) -> int:
        """The number of the attempt, as the context with these facts tells it."""
        ...

    @property
    def params(self) -> Any:
        """The handler's parameters."""
        ...

    @property
    def unwinding(self) -> bool:
        """Whether the stack is given up, and the execution goes on by replay."""
        ...

    @property
    def silent(self) -> bool:
        """Whether what the code logs now was logged already, or will be."""
        ...
