"""What handlers are made of, beside their contexts: retry policies and handles of children.

Side effects and saga steps stand beside the contexts that they are given, in `contexts` and `async_contexts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Generic, TypeVar, get_type_hints

from tempolite_sdk.durations import Duration, seconds_of
from tempolite_sdk.errors import InvalidArgument

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff. What is left out is taken from the next level: call, handler, pool, default.

    Source of the fields and their defaults: Temporal's RetryPolicy.
    """

    maximum_attempts: int | None = None  #: default 3, of compensations 10; 0: no limit
    initial_interval: Duration | None = None  #: before the second attempt; default 1 s
    backoff_coefficient: float | None = None  #: each delay is so many times the one before; default 2; at least 1
    maximum_interval: Duration | None = None  #: default 100 s
    jitter: float | None = None  #: the delay is drawn from 1 - jitter to 1 + jitter; default 0.2; 0 to 1
    non_retryable_errors: tuple[str, ...] | None = None  #: class names, matched along the error's bases
    #: Also where the error comes from a child, side effect or step that has spent its own retries; default no, of
    #: compensations yes.
    retry_spent: bool | None = None

    def __post_init__(self) -> None:
        if self.maximum_attempts is not None and self.maximum_attempts < 0:
            raise InvalidArgument(f"retry.maximum_attempts must be at least 0, not {self.maximum_attempts}")
        if self.backoff_coefficient is not None and not self.backoff_coefficient >= 1:
            raise InvalidArgument(f"retry.backoff_coefficient must be at least 1, not {self.backoff_coefficient}")
        if self.jitter is not None and not 0 <= self.jitter <= 1:
            raise InvalidArgument(f"retry.jitter must be from 0 to 1, not {self.jitter}")
        for name in ("initial_interval", "maximum_interval"):
            if (interval := getattr(self, name)) is not None and seconds_of(f"retry.{name}", interval) == 0:
                raise InvalidArgument(f"retry.{name} must be more than 0 seconds")


class Waitable(Generic[T_co]):
    """What `ctx.wait_any` and `ctx.wait_all` wait for: children, and what a handler has begun."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ChildHandle(Waitable[T_co]):
    """An execution that this one enqueued. Its handler's return type is that of `wait_for_completion`."""

    id: str
    key: str  #: of the operation that recorded it
    result_type: Any


def result_type_of(function: Any) -> Any:
    """The type that a side effect's function returns, by its annotation; Any without one that can be resolved.

    That of a `functools.partial` is its function's, that of a class the class, that of an object its `__call__`'s.
    """
    if type(function) is FunctionType:  # most are, and the question is a quick one
        return annotated_result_type_of(function) if annotations_of(function) else Any
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, type):
        return function
    if not isinstance(function, FunctionType | MethodType) and isinstance(type(function).__call__, FunctionType):
        function = type(function).__call__
    return annotated_result_type_of(function)


def annotated_result_type_of(function: Any) -> Any:
    """Of functions and methods alone, as executions from before values were checked have it."""
    plain = function.__func__ if isinstance(function, MethodType) else function
    annotations = annotations_of(plain)
    if "return" not in annotations:
        return Any
    key = (code_of(plain), annotations["return"])
    try:
        if key not in _result_types:
            if len(_result_types) > 10_000:  # of functions made anew at each reload
                _result_types.clear()
            _result_types[key] = _resolved_result_type(plain)
        return _result_types[key]
    except TypeError:  # an annotation that can't be hashed
        return _resolved_result_type(plain)


_result_types: dict[Any, Any] = {}


def annotations_of(function: Any) -> Mapping[str, Any]:
    """None as well when they name what only the type checker knows: Python 3.14 evaluates them when it is asked."""
    try:
        annotations = function.__annotations__
    except (AttributeError, NameError):
        return {}
    return annotations if isinstance(annotations, dict) else {}


def code_of(function: Any) -> Any:
    """By which functions are known that are made again at each call: what a decorator makes, by what it wraps."""
    while isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return getattr(function, "__code__", None)


def _resolved_result_type(function: Any) -> Any:
    try:
        returned = get_type_hints(function, include_extras=True)["return"]
    except Exception:
        return Any  # of names that exist for the type checker alone; its result is read as plain JSON
    return Any if isinstance(returned, TypeVar) else returned
