"""Errors of user code as the node records them, and what was recorded as an error again."""

from __future__ import annotations

import asyncio
import math
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any

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
_LOOKED_AT_MAX = 1_000  #: errors of one, behind `from` and in groups
_NAMES_MAX = 200
_CAUSES_MAX = 5  #: of those that Python has chained; the root is kept besides
_LEVELS_MAX = 10  #: of what was recorded elsewhere too
_INNER_TRACEBACK_MAX = 1_000  #: of what is neither the error itself nor the root

_GAP = re.compile(r" ?\(with ([\d,]+) errors between, which are left out\)$")

#: Errors that stand for a failure which is recorded elsewhere: what holds for that one holds for them.
_WRAPPERS = (ExecutionError, SideEffectFailed, StepFailed)

_SPENT_INSIDE = "_spent"  #: in a StepFailed

#: Errors of what has spent its own retries. A step has none: what its transaction raised tells.
_SPENT = (ExecutionError, SideEffectFailed)


def failure_of(error: BaseException, *, depth: int = 0) -> Failure:
    """What the node records of an error. Never raises, whatever the error's own methods and fields do."""
    try:
        failure = _failure_of(error, depth)
        return failure if depth else cut(failure)
    except BaseException as broken:
        message = f"(what it says can't be told: {_name(type(broken))})"
        return Failure(type=_name(type(error)), message=message)


def is_cancelled(error: BaseException) -> bool:
    """Whether it is the cancel of the execution that goes on, alone or beside and behind other errors."""
    return any(is_a(each, Cancelled) for each in _stands_for(error))


def is_a(error: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """`isinstance` without a question to the error itself: its `__class__` may raise."""
    return issubclass(type(error), kind)


def _failure_of(error: BaseException, depth: int) -> Failure:
    recorded = _recorded(error)
    told = list(_stands_for(error))
    failures = [failure for failure in map(_recorded, told) if failure is not None]
    return Failure(
        type=_name(type(error)),
        message=_text(error),
        traceback=_traceback(error) if depth == 0 else "",
        non_retryable=any(is_a(each, NonRetryable) for each in told) or any(each.non_retryable for each in failures),
        retry_after_ms=max((_retry_after_ms(each) for each in told if is_a(each, RetryAfter)), default=None),
        bases=tuple(_unique(chain.from_iterable(map(_names, told)))),
        cause=_as_failure(recorded) if recorded is not None else _cause(error, depth),
        spent=any(map(_is_spent, told)),
        cancelled=any(is_a(each, Cancelled) for each in told),
    )


def _is_spent(error: BaseException) -> bool:
    return is_a(error, _SPENT) or (is_a(error, StepFailed) and error.__dict__.get(_SPENT_INSIDE, False))


def _stands_for(error: BaseException) -> Iterator[BaseException]:
    """The error, those that it was raised from, and those of a group: what holds for one of them holds for it.

    RetryAfter says itself what is to follow, whatever it was raised from.
    """
    seen: set[int] = set()
    ahead = [error]
    while ahead and len(seen) < _LOOKED_AT_MAX:
        each = ahead.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if not is_a(each, RetryAfter):
            ahead.extend(reversed(_inside(each)))


def _inside(error: BaseException) -> list[BaseException]:
    cause = _explicit_cause(error)
    members = list(_members(error)) if is_a(error, BaseExceptionGroup) else []
    return members if cause is None else [*members, cause]


def around(error: BaseException) -> list[BaseException]:
    """Those of a group, and those from which it was raised or that were being handled."""
    members = _members(error) if is_a(error, BaseExceptionGroup) else ()
    before = (_explicit_cause(error), None if _suppresses_context(error) else _context(error))
    return [each for each in (*members, *before) if each is not None]


def _field(owner: type[BaseException], name: str) -> Callable[[BaseException], Any]:
    """Reads the field as Python itself does, past a property of that name in the error's class."""
    read: Callable[[BaseException], Any] = owner.__dict__[name].__get__
    return read


_explicit_cause = _field(BaseException, "__cause__")
_context = _field(BaseException, "__context__")
_suppresses_context = _field(BaseException, "__suppress_context__")
_members = _field(BaseExceptionGroup, "exceptions")
_name_of_class = type.__dict__["__name__"].__get__
_mro_of_class = type.__dict__["__mro__"].__get__


def _name(kind: type) -> str:
    return _storable(_name_of_class(kind))


def _names(error: BaseException) -> list[str]:
    """By which `non_retryable_errors` knows it: of its class and its bases, and those of what it stands for."""
    names = [_name(base) for base in _mro_of_class(type(error)) if base not in (object, BaseException)]
    recorded = _recorded(error)
    return names if recorded is None else [*names, recorded.type, *recorded.bases]


def _recorded(error: BaseException) -> FailureInfo | None:
    """The failure that it stands for, which is recorded elsewhere."""
    if not is_a(error, _WRAPPERS):
        return None
    try:
        failure = error.failure  # type: ignore[attr-defined]
    except BaseException:  # of a class of the user that is made of ours
        return None
    return failure if type(failure) is FailureInfo else None


def _retry_after_ms(error: BaseException) -> int:
    try:
        delay = error.delay  # type: ignore[attr-defined]
        return math.ceil(min(float(delay) * 1_000, DURATION_MS_MAX))
    except BaseException:
        return 0  # it is to be tried again, and does not say when


def _cause(error: BaseException, depth: int) -> Failure | None:
    raised = _raised_from(error)
    if raised is None or depth > _CAUSES_MAX:
        return None
    if depth < _CAUSES_MAX:
        return failure_of(raised, depth=depth + 1)
    root, between = _root(raised)
    return _with_gap(failure_of(root, depth=depth + 1), between)


def _raised_from(error: BaseException) -> BaseException | None:
    raised: BaseException | None = _explicit_cause(error) or (None if _suppresses_context(error) else _context(error))
    return raised if raised is not None and is_a(raised, (Exception, Cancelled)) else None


def _root(error: BaseException) -> tuple[BaseException, int]:
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
    return list(islice(dict.fromkeys(names), _NAMES_MAX))


def _text(error: BaseException) -> str:
    try:
        text = _storable(str(error))
    except BaseException as broken:
        text = f"(its text could not be made: {_name(type(broken))})"
    return text if len(text) <= _MESSAGE_MAX else text[: _MESSAGE_MAX - 1] + "…"


def _traceback(error: BaseException) -> str:
    """As Python prints it; of a long one its end, where the error was raised."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException:
        return ""
    return _storable(text if len(text) <= _TRACEBACK_MAX else "…" + text[-_TRACEBACK_MAX:])


def _storable(text: str) -> str:
    """Lone surrogates, as file names bring them, have no UTF-8; and a subclass of `str` may do as it likes."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


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


class EarlierCancelled(Cancelled, TempoliteError):
    """In executions from before it was no `Exception`: their code may have caught it as one, and goes on so."""


EarlierCancelled.__name__ = EarlierCancelled.__qualname__ = Cancelled.__name__


def cancelled(reason: str, *, exact: bool) -> Cancelled:
    """exact: the execution was enqueued in `formats.EXACT_REPLAY` or later."""
    return Cancelled(reason) if exact else EarlierCancelled(reason)


def failed_side_effect(key: str, failed: Failed, *, exact: bool) -> BaseException:
    return _cancelled(failed.failure, exact=exact) or SideEffectFailed(key, info_of(failed.failure), failed.attempts)


def failed_step(key: str, failure: Failure, *, exact: bool) -> BaseException:
    if (cancelled := _cancelled(failure, exact=exact)) is not None:
        return cancelled
    error = StepFailed(key, info_of(failure))
    if failure.spent:
        error.__dict__[_SPENT_INSIDE] = True
    return error


def _cancelled(failure: Failure, *, exact: bool) -> BaseException | None:
    """The cancel was raised inside of it, and goes on to whoever is around it."""
    if failure.type == CANCELLED_BODY:
        return asyncio.CancelledError(*filter(None, [failure.message]))
    was = failure.cancelled if exact else failure.type == Cancelled.__name__
    return cancelled(failure.message, exact=exact) if was else None


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
