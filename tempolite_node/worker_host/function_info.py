"""What is known of a function that runs as a side effect. It is looked at once, for all functions of its code."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tempolite_node.worker_host.key_uses import may_capture
from tempolite_sdk.handlers import annotated_result_type_of, annotations_of, result_type_of

#: Annotations that only the type checker can resolve are no matter here; Python 3.14 would resolve them.
_ANY_ANNOTATIONS: dict[str, Any] = {}
if sys.version_info >= (3, 14):
    from annotationlib import Format

    _ANY_ANNOTATIONS["annotation_format"] = Format.FORWARDREF


class FunctionInfo(NamedTuple):
    code: Any  #: held, so that no other gets its id; None: it has none
    asynchronous: bool
    takes_context: bool  #: it has a parameter that must be given
    may_capture: bool  #: see `key_uses.may_capture`
    annotation: Any  #: of its result, as it was written; `_NONE` without one
    result_type: Any


_NONE = object()
_KNOWN_MAX = 10_000  #: of functions made anew at each reload

#: By kind, then by the id of the code: to hash the code itself takes longer than all the rest. A method is not the
#: function that it is of: it has one argument fewer to be given.
_known: dict[Any, dict[int, FunctionInfo]] = {FunctionType: {}, MethodType: {}}

#: Functions of one code may wrap different ones.
_known_wrappers: WeakKeyDictionary[FunctionType, FunctionInfo] = WeakKeyDictionary()


def info_of(run: Callable[..., Any], *, checks_values: bool) -> FunctionInfo:
    """checks_values: the type of what is neither function nor method is looked for; see `handlers.result_type_of`."""
    try:
        info = _known[type(run)][id(run.__code__)]
        if info.annotation is run.__annotations__.get("return", _NONE) and not hasattr(run, "__wrapped__"):
            return info
    except (KeyError, AttributeError, NameError):
        info = None
    return _look_up(run, info, checks_values=checks_values)


def _look_up(run: Any, of_same_code: FunctionInfo | None, *, checks_values: bool) -> FunctionInfo:
    by_code = _known.get(type(run))
    code = getattr(run, "__code__", None)
    if by_code is None or code is None:
        return _look_at(run, result_type_of(run) if checks_values else annotated_result_type_of(run))
    if hasattr(run, "__wrapped__"):
        return _info_of_wrapper(run)
    if of_same_code is not None:
        return of_same_code._replace(result_type=annotated_result_type_of(run))
    if len(by_code) >= _KNOWN_MAX:
        by_code.clear()
    info = by_code[id(code)] = _look_at(run, annotated_result_type_of(run))
    return info


def _info_of_wrapper(run: Callable[..., Any]) -> FunctionInfo:
    if not isinstance(run, FunctionType):
        return _look_at(run, annotated_result_type_of(run))
    info = _known_wrappers.get(run)
    if info is None:
        info = _known_wrappers[run] = _look_at(run, annotated_result_type_of(run))
    return info


def _look_at(run: Any, result_type: Any) -> FunctionInfo:
    return FunctionInfo(
        code=getattr(run, "__code__", None),
        asynchronous=inspect.iscoroutinefunction(run),
        takes_context=_has_required_parameter(run),
        may_capture=not isinstance(run, FunctionType) or may_capture(run.__code__),
        annotation=annotations_of(run).get("return", _NONE),
        result_type=result_type,
    )


def _has_required_parameter(run: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(run, **_ANY_ANNOTATIONS).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not tell
        return False
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
