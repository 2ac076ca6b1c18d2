"""Types that need no user code to be told apart: how a worker host describes those of a handler's parameters, and how
the core has them again, so that it checks arguments itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from msgspec import Struct

from tempolite_sdk.signatures import Signature


class PlainType(Struct, gc=False, frozen=True, omit_defaults=True):
    name: str  #: a key of `_SCALARS` or `_CONTAINERS`, or "union"
    of: tuple[PlainType, ...] = ()  #: what it holds; the members of a union


class PlainParameter(Struct, gc=False, frozen=True, omit_defaults=True):
    name: str
    type: PlainType
    kind: int = inspect.Parameter.POSITIONAL_OR_KEYWORD
    required: bool = True


_SCALARS: Mapping[str, Any] = {
    "any": Any,
    "none": NoneType,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
}
_CONTAINERS: Mapping[str, Any] = {"list": list, "dict": dict}


def described(signature: Signature) -> tuple[PlainParameter, ...] | None:
    """The parameters of a handler; None: one of them has a type of its own."""
    parameters = []
    for parameter in signature.parameters:
        of = described_type(signature.types[parameter.name])
        if of is None:
            return None
        required = parameter.default is parameter.empty
        parameters.append(PlainParameter(parameter.name, of, int(parameter.kind), required))
    return tuple(parameters)


def described_type(type: Any) -> PlainType | None:
    """None: it is a type of its own, or holds one."""
    if type is None:
        return PlainType("none")
    origin = get_origin(type)
    of = tuple(described_type(each) for each in get_args(type))
    whole = tuple(each for each in of if each is not None)
    name = "union" if origin in (UnionType, Union) else _name(origin or type)
    return None if name is None or len(whole) < len(of) else PlainType(name, whole)


def _name(type: Any) -> str | None:
    return next((name for name, known in (*_SCALARS.items(), *_CONTAINERS.items()) if known is type), None)


def signature(handler: str, parameters: tuple[PlainParameter, ...]) -> Signature:
    """What checks arguments just as the handler's own signature does. Its defaults are not the handler's."""
    types = {each.name: plain(each.type) for each in parameters}
    return Signature(
        name=handler,
        function="",
        description="",
        context_type=None,
        return_type=Any,
        constrained_return_type=Any,
        parameters=tuple(_parameter(each) for each in parameters),
        types=types,
        bare_types=types,
    )


def _parameter(described: PlainParameter) -> inspect.Parameter:
    default = inspect.Parameter.empty if described.required else None
    return inspect.Parameter(described.name, inspect._ParameterKind(described.kind), default=default)


def plain(described: PlainType) -> Any:
    of = [plain(each) for each in described.of]
    if described.name == "union":
        return reduce(or_, of)
    if described.name in _SCALARS:
        return _SCALARS[described.name]
    container = _CONTAINERS[described.name]
    return container[*of] if of else container
