"""Signals with the types of their payloads: what a handler declares, and what both ends of a signal are checked by."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, overload

from tempolite_sdk.errors import FieldViolation, InvalidArgument
from tempolite_sdk.names import did_you_mean, listed
from tempolite_sdk.payload import decode, encode

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
    return (signal.name, signal.type) if isinstance(signal, Signal) else (signal, type)


def to_send(signal: Signal[Any] | str, payload: Any) -> tuple[str, bytes]:
    """Name and payload. InvalidArgument names the field of the payload that is not as the signal has it."""
    encoded = encode(payload)
    if isinstance(signal, str):
        return signal, encoded
    if violations := violations_of(encoded, signal.type):
        told = "; ".join(": ".join(filter(None, (each.field, each.description))) for each in violations)
        raise InvalidArgument(f"signal {signal.name!r}: {told}", violations)
    return signal.name, encoded


def violations_of(payload: bytes, type: Any) -> tuple[FieldViolation, ...]:
    """What is wrong with a payload that is to be of the type."""
    try:
        decode(payload, type)
    except InvalidArgument as error:
        return error.violations or (FieldViolation("", str(error)),)
    except Exception as error:  # of a model's own validation: anything
        return (FieldViolation("", f"{builtins.type(error).__name__}: {error}"),)
    return ()


def declared(context: Any) -> Mapping[str, Any]:
    """The types of the signals that the annotation of a handler's context declares, by name.

    InvalidArgument: two have the same name.
    """
    found: dict[str, Any] = {}
    for each in get_args(context)[1:] if get_origin(context) is Annotated else ():
        if isinstance(each, Signal):
            if each.name in found:
                raise InvalidArgument(f"the signal {each.name!r} is declared twice")
            found[each.name] = each.type
    return found


def not_declared(handler: str, name: str, names: Collection[str]) -> str:
    """What to say of a signal that a handler, which declares its signals, does not take."""
    return f"{handler} takes no signal {name!r}, but {listed(names)}{did_you_mean(name, names)}"
