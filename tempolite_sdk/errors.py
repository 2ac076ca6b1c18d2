"""Errors by whose fault they are. `TempoliteError` is the base of all that a client or a handler may catch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class TempoliteError(Exception):
    """Base of every error that the SDK raises."""


# --- what an execution ended with: raised by `handle.result()` and `ctx.wait_for_completion()`


@dataclass(frozen=True, repr=False)
class FailureInfo:
    """What went wrong inside user code, or a limit that stopped it."""

    type: str  #: name of the error's class
    message: str = ""
    traceback: str = ""
    non_retryable: bool = False  #: no further attempt was to be made
    bases: tuple[str, ...] = ()  #: names of the error's base classes, nearest first
    cause: FailureInfo | None = None

    def __repr__(self) -> str:
        return f"FailureInfo({' '.join(str(self).split())!r})"

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class ExecutionError(TempoliteError):
    """An execution ended otherwise than COMPLETED."""

    def __init__(self, execution_id: str, failure: FailureInfo | None = None, reason: str = "") -> None:
        self.execution_id = execution_id
        self.failure = failure
        self.reason = reason
        detail = str(failure) if failure else reason
        super().__init__(f"execution {execution_id} {self.ending}" + (f": {detail}" if detail else ""))

    ending = "did not complete"


class ExecutionFailed(ExecutionError):
    """Its last attempt raised, or a limit stopped it."""

    ending = "failed"


class ExecutionCancelled(ExecutionError):
    """A cancel was requested, and it ended with that."""

    ending = "was cancelled"


class ExecutionTerminated(ExecutionError):
    """It was ended at once, without running its code."""

    ending = "was terminated"


class ExecutionTimedOut(ExecutionError):
    """One of its timeouts passed; the failure says which."""

    ending = "timed out"


class ExecutionCompensated(ExecutionError):
    """A saga gave up; every step that may have taken effect was undone. The failure is the cause."""

    ending = "was compensated"


# --- raised inside handlers


class SideEffectFailed(TempoliteError):
    """A side effect is out of retries."""

    def __init__(self, key: str, failure: FailureInfo, attempts: int) -> None:
        self.key = key
        self.failure = failure
        self.attempts = attempts
        super().__init__(f"side effect {key!r} failed after {attempts} attempts: {failure}")


class StepFailed(TempoliteError):
    """The transaction of a saga's step raised."""

    def __init__(self, key: str, failure: FailureInfo) -> None:
        self.key = key
        self.failure = failure
        super().__init__(f"step {key!r} failed: {failure}")


class WaitTimeout(TempoliteError, TimeoutError):
    """The timeout of a wait passed."""


class WaitCycle(TempoliteError):
    """The wait would never end: the execution waited for waits, itself or through others, for this one."""


class Cancelled(TempoliteError):
    """Cancel was requested. Raised once, at a context call or wait; clean up, wait if need be, and raise it again."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__(reason or "cancel was requested")


class ContextMisuse(TempoliteError):
    """A context was used outside its call, from a foreign thread, or with bad arguments."""


class NotInHandler(ContextMisuse):
    """The body of an `async def` handler did what belongs in a side effect: I/O, programs, threads.

    An attempt that ends by it is suspended: the code must change.
    """


class NonRetryable(TempoliteError):
    """Raise it to fail without another attempt."""


class RetryAfter(TempoliteError):
    """Raise it to fail and be tried again after `delay` seconds, whatever the backoff says."""

    def __init__(self, delay: float, message: str = "") -> None:
        if not delay >= 0:
            raise ValueError(f"delay must be at least 0 seconds, not {delay}")
        self.delay = delay
        super().__init__(message or f"retry after {delay} s")


# --- the caller's


@dataclass(frozen=True)
class FieldViolation:
    """What is wrong with one value of a request."""

    field: str  #: path of the value, e.g. "order.quantity"
    description: str


class InvalidArgument(TempoliteError, ValueError):
    """The request is malformed. Nothing was stored."""

    def __init__(self, message: str, violations: tuple[FieldViolation, ...] = ()) -> None:
        self.violations = violations
        super().__init__(message)


class NotFound(TempoliteError, LookupError):
    """No such execution, operation, handler or pool."""


class AlreadyExists(TempoliteError):
    """The execution id is taken."""


class FailedPrecondition(TempoliteError):
    """The execution's state does not allow it, e.g. a signal to one that has ended."""


class QueueFull(TempoliteError):
    """The pool's queue limit is reached (or another limit of the node); try again later."""

    def __init__(self, message: str = "", retry_after: float | None = None) -> None:
        self.retry_after = retry_after  #: seconds, where the node says so
        super().__init__(message)


class BatchRefused(TempoliteError):
    """Some executions of a batch were refused; the others are stored."""

    def __init__(self, errors: Mapping[int, TempoliteError], enqueued: Sequence[str | None]) -> None:
        self.errors = errors  #: by index in the batch, from 0
        self.enqueued = enqueued  #: id of each execution of the batch; None: it was refused
        index, first = next(iter(errors.items()))
        super().__init__(f"{len(errors)} of {len(enqueued)} executions were refused; number {index}: {first}")


class Unauthenticated(TempoliteError):
    """No valid token or certificate."""


class PermissionDenied(TempoliteError):
    """The caller's role does not allow it."""


# --- the node's, or the way to it


class Unavailable(TempoliteError, ConnectionError):
    """The node can't be reached or is stopping. What was asked may or may not have happened; repeating is safe."""


class OutcomeUnknown(Unavailable):
    """The cluster took the request, and could not tell whether it is stored. A repeat with its `request_id` tells."""


class DeadlineExceeded(TempoliteError, TimeoutError):
    """The call's own timeout passed."""


class NodeFault(TempoliteError):
    """The node broke a promise; its log says more."""
