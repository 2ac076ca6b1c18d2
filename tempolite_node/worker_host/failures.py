"""Errors of user code as the node records them, and what was recorded as an error again."""

from __future__ import annotations

import asyncio
import math
import re
import traceback
from collections.abc import Iterable

from msgspec.structs import replace

from tempolite_node.engine.effects import Ended, Failed, Reason, Refused
from tempolite_node.engine.model import DURATION_MS_MAX, Failure, Status
from tempolite_sdk.errors import (
    AlreadyExists,
    Cancelled,
    ContextMisuse,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionError,
    ExecutionFailed,
    ExecutionTerminated,
    ExecutionTimedOut,
    FailedPrecondition,
    FailureInfo,
    InvalidArgument,
    NonRetryable,
    NotFound,
    QueueFull,
    RetryAfter,
    SideEffectFailed,
    StepFailed,
    TempoliteError,
    WaitCycle,
)

_MESSAGE_MAX = 4_000
_TRACEBACK_MAX = 16_000
_CAUSES_MAX = 5  #: of those that Python has chained; the root is kept besides
_LEVELS_MAX = 10  #: of what was recorded elsewhere too
_INNER_TRACEBACK_MAX = 1_000  #: of what is neither the error itself nor the root

_GAP = re.compile(r" ?\(with ([\d,]+) errors between, which are left out\)$")

#: Errors that stand for a failure which is recorded elsewhere: what holds for that one holds for them.
_WRAPPERS = (ExecutionError, SideEffectFailed, StepFailed)


def failure_of(error: BaseException, *, depth: int = 0) -> Failure:
    """What the node records of an error. Never raises, whatever the error's own methods and fields do."""
    try:
        failure = _failure_of(error, depth)
        return failure if depth else cut(failure)
    except BaseException as broken:
        message = f"(what it says can't be told: {type(broken).__name__})"
        return Failure(type=_storable(type(error).__name__), message=message)


def _failure_of(error: BaseException, depth: int) -> Failure:
    recorded = error.failure if isinstance(error, _WRAPPERS) else None
    cause = _cause(error, recorded, depth)
    bases = [_storable(base.__name__) for base in type(error).__mro__ if base not in (object, BaseException)]
    return Failure(
        type=_storable(type(error).__name__),
        message=_text(error),
        traceback=_traceback(error) if depth == 0 else "",
        non_retryable=isinstance(error, NonRetryable) or (recorded is not None and recorded.non_retryable),
        retry_after_ms=_retry_after_ms(error) if isinstance(error, RetryAfter) else None,
        bases=tuple(_unique([*bases, *((recorded.type, *recorded.bases) if recorded is not None else ())])),
        cause=cause,
    )


def _retry_after_ms(error: RetryAfter) -> int:
    return math.ceil(min(error.delay * 1_000, DURATION_MS_MAX))


def _cause(error: BaseException, recorded: FailureInfo | None, depth: int) -> Failure | None:
    if recorded is not None:
        return _as_failure(recorded)
    raised = _raised_from(error)
    if raised is None or depth > _CAUSES_MAX:
        return None
    if depth < _CAUSES_MAX:
        return failure_of(raised, depth=depth + 1)
    root, between = _root(raised)
    return _with_gap(failure_of(root, depth=depth + 1), between)


def _raised_from(error: BaseException) -> Exception | None:
    raised = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return raised if isinstance(raised, Exception) else None


def _root(error: Exception) -> tuple[Exception, int]:
    """The first of the errors that led to this one, and how many are before it. They may go round in a circle."""
    seen = {id(error)}
    while (raised := _raised_from(error)) is not None and id(raised) not in seen:
        error = raised
        seen.add(id(error))
    return error, len(seen) - 1


def _with_gap(failure: Failure, between: int) -> Failure:
    """The failure, said to be what some others led to that are left out, besides those of which it says so already."""
    if not between:
        return failure
    message = failure.message
    if (told := _GAP.search(message)) is not None:
        message = message[: told.start()]
        between += int(told[1].replace(",", ""))
    return replace(failure, message=f"{message} (with {between:,} errors between, which are left out)".lstrip())


def cut(failure: Failure) -> Failure:
    """A failure with its causes, as far as they are kept: the first and the root, and little of those between.

    Each execution that fails by another one has all of that one's failure as its cause: what is not cut grows with the
    depth of the calls, and is kept once more at each.
    """
    chain = [failure]
    while (cause := chain[-1].cause) is not None:
        chain.append(cause)
    between = len(chain) - _LEVELS_MAX
    if between > 0:
        chain = [*chain[: _LEVELS_MAX - 1], _with_gap(chain[-1], between)]
    last = len(chain) - 1
    kept: Failure | None = None
    for level in range(last, -1, -1):
        lines = _TRACEBACK_MAX if level in (0, last) else _INNER_TRACEBACK_MAX
        kept = replace(
            chain[level],
            message=_end_cut(chain[level].message, _MESSAGE_MAX + 100),
            traceback=_start_cut(chain[level].traceback, lines),
            cause=kept,
        )
    assert kept is not None
    return kept


def _end_cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _start_cut(text: str, most: int) -> str:
    return text if len(text) <= most + 1 else "…" + text[-most:]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as broken:
        text = f"(its text could not be made: {type(broken).__name__})"
    return _storable(text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…")


def _traceback(error: BaseException) -> str:
    """As Python prints it; of a long one its end, where the error was raised."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:
        return ""
    return _storable(text if len(text) <= _TRACEBACK_MAX else "…" + text[-_TRACEBACK_MAX:])


def _storable(text: str) -> str:
    """Lone surrogates, as file names bring them, have no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _as_failure(info: FailureInfo) -> Failure:
    return Failure(
        type=info.type,
        message=info.message,
        traceback=info.traceback,
        non_retryable=info.non_retryable,
        bases=info.bases,
        cause=_as_failure(info.cause) if info.cause is not None else None,
    )


def info_of(failure: Failure) -> FailureInfo:
    return FailureInfo(
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        non_retryable=failure.non_retryable,
        bases=failure.bases,
        cause=info_of(failure.cause) if failure.cause is not None else None,
    )


# --- recorded failures, raised again. The same error each time, so that replay takes the same way


#: Type of the failure of a body that was cancelled by the code that waited for it. No class has such a name.
CANCELLED_BODY = "asyncio.CancelledError"


def failed_side_effect(key: str, failed: Failed) -> BaseException:
    return _cancelled(failed.failure) or SideEffectFailed(key, info_of(failed.failure), failed.attempts)


def failed_step(key: str, failure: Failure) -> BaseException:
    return _cancelled(failure) or StepFailed(key, info_of(failure))


def _cancelled(failure: Failure) -> BaseException | None:
    """The cancel was raised inside of it, and goes on to whoever is around it."""
    if failure.type == CANCELLED_BODY:
        return asyncio.CancelledError(*filter(None, [failure.message]))
    return Cancelled(failure.message) if failure.type == Cancelled.__name__ else None


_ENDINGS: dict[Status, type[ExecutionError]] = {
    Status.FAILED: ExecutionFailed,
    Status.CANCELLED: ExecutionCancelled,
    Status.TERMINATED: ExecutionTerminated,
    Status.TIMED_OUT: ExecutionTimedOut,
    Status.COMPENSATED: ExecutionCompensated,
}


def ended_badly(ended: Ended) -> ExecutionError:
    failure = None if ended.failure is None else info_of(ended.failure)
    return _ENDINGS[ended.status](ended.execution_id, failure)


_REFUSALS: dict[str, type[TempoliteError]] = {
    Reason.NOT_FOUND: NotFound,
    Reason.ALREADY_EXISTS: AlreadyExists,
    Reason.WAIT_CYCLE: WaitCycle,
    Reason.QUEUE_FULL: QueueFull,
    Reason.CLOSED: FailedPrecondition,
    Reason.WRONG_STATE: FailedPrecondition,
    Reason.INVALID_ARGUMENT: InvalidArgument,
    # What was recorded before this attempt was compared here already: the code itself used one key for two things.
    Reason.NON_DETERMINISM: ContextMisuse,
}


def refusal(refused: Refused) -> TempoliteError:
    return _REFUSALS[refused.reason](refused.message)
