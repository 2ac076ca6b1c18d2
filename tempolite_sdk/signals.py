"""Signals with the types of their payloads: what a handler declares, and what both ends of a signal are checked by."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, overload

from tempolite_sdk.errors import FieldViolation, InvalidArgument
from tempolite_sdk.names import did_you_mean, listed
from tempolite_sdk.payload import decode, encode
from tempolite_sdk.values.shapes import shape_of
from tempolite_sdk.values.written import encode_as, encode_for_reader, tell_once, validate

T = TypeVar("T")


class Signal(Generic[T]):
    """A signal by its name, and the type of its payload.

    A handler declares the signals that it receives beside its context: `ctx: Annotated[HandlerContext, ANSWER]`, with
    `ANSWER = Signal("answer", str)` in its module. From then on another name, or a payload that does not fit, is
    refused when it is sent. Both ends use the object in place of the name: `ctx.receive_signal(ANSWER)` is a `str`.
    """

    __slots__ = ("name", "type")

    @overload
    def __init__(self, name: str, type: builtins.type[T]) -> None: ...
    @overload
    def __init__(self, name: str, type: Any = Any) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:
        if not isinstance(name, str) or not 1 <= len(name) <= 200 or not name.isprintable():
            raise InvalidArgument(f"the name of a signal is 1 to 200 printable characters, not {name!r}")
        self.name = name
        self.type: Any = type

    def __repr__(self) -> str:
        return f"Signal({self.name!r}, {getattr(self.type, '__name__', self.type)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signal) and (self.name, self.type) == (other.name, other.type)

    def __hash__(self) -> int:
        return hash(self.name)


def name_and_type(signal: Signal[Any] | str, type: Any) -> tuple[str, Any]:
    """What is to be received. type: of a signal that is given by its name."""
    if isinstance(signal, str):
        return signal, type
    if type is not Any:
        raise InvalidArgument(f"{signal} has the type of its payload; another one can't be asked for")
    return signal.name, signal.type


def to_send(signal: Signal[Any] | str, payload: Any, *, checked: bool = True) -> tuple[str, bytes]:
    """Name and payload. InvalidArgument names the field of the payload that is not as the signal has it.

    checked: what would come back different is refused too, as it is of executions that were enqueued since there is
        that rule.
    """
    if isinstance(signal, str):
        return signal, _untyped(payload, checked=checked)
    return signal.name, _typed(signal, payload) if checked else _readable(signal, payload)


def _untyped(payload: Any, *, checked: bool) -> bytes:
    return encode_for_reader(payload) if checked else encode(payload)


def _typed(signal: Signal[Any], payload: Any) -> bytes:
    if signal.type is Any:
        return _untyped(payload, checked=True)  # whoever receives it may say more
    try:
        encoded, _, change = encode_as(signal.type, payload)
    except InvalidArgument as error:
        raise _refused(signal, error.violations or (FieldViolation("", str(error)),)) from error
    tell_once(f"the payload of signal {signal.name!r}", change)
    return encoded


def _readable(signal: Signal[Any], payload: Any) -> bytes:
    encoded = encode(payload)
    if violations := violations_of(encoded, signal.type):
        raise _refused(signal, violations)
    return encoded


def _refused(signal: Signal[Any], violations: tuple[FieldViolation, ...]) -> InvalidArgument:
    told = "; ".join(": ".join(filter(None, (each.field, each.description))) for each in violations)
    return InvalidArgument(f"signal {signal.name!r}: {told}", violations)


def violations_of(payload: bytes, type: Any) -> tuple[FieldViolation, ...]:
    """What is wrong with a payload that is to be of the type."""
    try:
        validate(shape_of(type), decode(payload, type))
    except InvalidArgument as error:
        return error.violations or (FieldViolation("", str(error)),)
    except Exception as error:  # of a model's own validation: anything
        return (FieldViolation("", f"{builtins.type(error).__name__}: {error}"),)
    return ()


def declared(context: Any) -> Mapping[str, Any]:
    """The types of the signals that the annotation of a handler's context declares, by name.

    InvalidArgument: two have the same name, or one is no object of its own.
    """
    found: dict[str, Any] = {}
    for each in get_args(context)[1:] if get_origin(context) is Annotated else ():
        if _is_meant_as_signals(each):
            raise InvalidArgument(
                f"{each!r} declares no signal: name each object beside the context, as in "
                'Annotated[HandlerContext, ANSWER, OTHER] with ANSWER = Signal("answer", str)'
            )
        if isinstance(each, Signal):
            if each.name in found:
                raise InvalidArgument(f"the signal {each.name!r} is declared twice")
            found[each.name] = each.type
    return found


def _is_meant_as_signals(annotation: Any) -> bool:
    """The class in place of an object, or several in a container: what is left alone would declare nothing."""
    if isinstance(annotation, list | tuple | set | frozenset):
        return any(isinstance(each, Signal) or _is_meant_as_signals(each) for each in annotation)
    if isinstance(annotation, Mapping):
        return _is_meant_as_signals(list(annotation.values()))
    return annotation is Signal or get_origin(annotation) is Signal


def not_declared(handler: str, name: str, names: Collection[str]) -> str:
    """What to say of a signal that a handler, which declares its signals, does not take."""
    return f"{handler} takes no signal {name!r}, but {listed(names)}{did_you_mean(name, names)}"
