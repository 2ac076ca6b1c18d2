"""Handlers as their callers see them: names, arguments and results, by the functions' annotations."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

from tempolite_sdk.errors import FieldViolation, InvalidArgument
from tempolite_sdk.payload import decoder, encode, violation
from tempolite_sdk.signals import declared


@dataclass(frozen=True)
class Signature:
    """A handler as its callers see it: its name, its arguments after the context, its result."""

    name: str
    function: str  #: see `function_of`
    description: str  #: first line of the docstring
    context_type: Any  #: annotation of the first parameter; None without one
    return_type: Any
    parameters: tuple[inspect.Parameter, ...]
    types: Mapping[str, Any] = field(repr=False)
    signals: Mapping[str, Any] = field(default_factory=dict, repr=False)  #: types of those declared, by name

    def named_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Each argument under its parameter's name. InvalidArgument: the handler can't be called so."""
        if not kwargs and self._positional is not None and len(args) == len(self._positional):
            return dict(zip(self._positional, args, strict=True))  # as nearly every call is; a tenth of the cost
        try:
            bound = inspect.Signature(self.parameters).bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self.name}: {error}") from error
        named: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in bound.arguments:
                value = bound.arguments[parameter.name]
                named |= value if parameter.kind is parameter.VAR_KEYWORD else {parameter.name: value}
        return named

    def encode_arguments(self, named: Mapping[str, Any]) -> bytes:
        """As a JSON object by name. InvalidArgument names every argument that does not fit."""
        encoded = encode(named)
        if violations := self.violations(encoded):
            told = "; ".join(f"{each.field}: {each.description}" for each in violations)
            raise InvalidArgument(f"{self.name}: {told}", violations)
        return encoded

    def violations(self, data: bytes) -> tuple[FieldViolation, ...]:
        """What is wrong with the data of arguments, an array or an object by name."""
        return () if self._fits(data) else self.decode_arguments(data)[2]

    def _fits(self, data: bytes) -> bool:
        """Whether one look at the whole tells that nothing is wrong, as with nearly all data."""
        if self._whole is None:
            return False
        try:
            self._whole.decode(data)
        except Exception:  # of a model's own validation: anything
            return False
        return True

    @cached_property
    def _whole(self) -> msgspec.json.Decoder[Any] | None:
        """Of an object that has the arguments by name; None: not all of them have a name."""
        if any(parameter.kind in _VARIADIC for parameter in self.parameters):
            return None
        required = [(p.name, self.types.get(p.name, Any)) for p in self.parameters if p.default is p.empty]
        optional = [(p.name, self.types.get(p.name, Any), None) for p in self.parameters if p.default is not p.empty]
        try:
            return decoder(msgspec.defstruct("Arguments", [*required, *optional], forbid_unknown_fields=True))
        except (InvalidArgument, TypeError, ValueError):
            return None  # a type that can't be told in a look, or a name that a struct can't have

    @cached_property
    def _positional(self) -> tuple[str, ...] | None:
        """All names, when each argument may go by position."""
        if any(parameter.kind not in _POSITIONAL for parameter in self.parameters):
            return None
        return tuple(parameter.name for parameter in self.parameters)

    def decode_arguments(self, data: bytes) -> tuple[Sequence[Any], Mapping[str, Any], tuple[FieldViolation, ...]]:
        """Positional and keyword arguments, and what is wrong with the data, which is an array or an object by name."""
        try:
            given = _raw_arguments.decode(data)
        except msgspec.DecodeError as error:
            return (), {}, (FieldViolation("", str(error)),)
        found, violations = self._of_array(given) if isinstance(given, list) else self._of_object(given)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in found:
                value = self._value(parameter, found[parameter.name], violations)
            elif parameter.kind in _VARIADIC:
                continue
            elif parameter.default is not parameter.empty:
                value = parameter.default
            else:
                violations.append(FieldViolation(parameter.name, "is required"))
                continue
            match parameter.kind:
                case parameter.VAR_POSITIONAL:
                    args += value
                case parameter.VAR_KEYWORD:
                    kwargs |= value
                case parameter.KEYWORD_ONLY:
                    kwargs[parameter.name] = value
                case _:
                    args.append(value)
        return args, kwargs, tuple(violations)

    def _of_array(self, given: list[msgspec.Raw]) -> tuple[dict[str, Any], list[FieldViolation]]:
        """Which parameter each element of an array belongs to."""
        found: dict[str, Any] = {}
        for place, parameter in enumerate(self.parameters):
            if parameter.kind is parameter.VAR_POSITIONAL:
                found[parameter.name] = given[place:]
                return found, []
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) or place >= len(given):
                break
            found[parameter.name] = given[place]
        surplus = range(len(found), len(given))
        return found, [FieldViolation(f"[{place}]", "is one argument too many") for place in surplus]

    def _of_object(self, given: Mapping[str, msgspec.Raw]) -> tuple[dict[str, Any], list[FieldViolation]]:
        found: dict[str, Any] = {}
        violations: list[FieldViolation] = []
        rest = dict(given)
        for parameter in self.parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                found[parameter.name], rest = rest, {}
            elif parameter.name in rest:
                found[parameter.name] = rest.pop(parameter.name)
                if parameter.kind is parameter.VAR_POSITIONAL:
                    try:
                        found[parameter.name] = _raw_list.decode(found[parameter.name])
                    except msgspec.DecodeError:
                        violations.append(FieldViolation(parameter.name, "must be an array"))
                        del found[parameter.name]
        violations += [FieldViolation(name, f"is no argument of {self.name}") for name in rest]
        return found, violations

    def _value(self, parameter: inspect.Parameter, raw: Any, violations: list[FieldViolation]) -> Any:
        name = parameter.name
        if isinstance(raw, dict):
            return {key: self._decoded(key, name, each, violations) for key, each in raw.items()}
        if isinstance(raw, list):
            return [self._decoded(f"{name}[{place}]", name, each, violations) for place, each in enumerate(raw)]
        return self._decoded(name, name, raw, violations)

    def _decoded(self, field: str, name: str, raw: msgspec.Raw, violations: list[FieldViolation]) -> Any:
        try:
            return decoder(self.types.get(name, Any)).decode(raw)
        except msgspec.DecodeError as error:
            violations.append(violation(str(error), within=field))
        except (ValueError, TypeError) as error:  # of a model's own validation
            violations.append(FieldViolation(field, str(error)))
        return None

    def arguments_schema(self) -> str:
        """JSON Schema of the arguments, as an object by name."""
        properties = {p.name: self._schema(self._whole_type(p)) for p in self.parameters if p.kind is not p.VAR_KEYWORD}
        required = [p.name for p in self.parameters if p.default is p.empty and p.kind not in _VARIADIC]
        schema = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": any(p.kind is p.VAR_KEYWORD for p in self.parameters),
        }
        return msgspec.json.encode(schema).decode()

    def check(self) -> None:
        """InvalidArgument: an argument, the result or a signal has a type that no JSON can be read into."""
        signals = ((f"signal {name!r}", type) for name, type in self.signals.items())
        for place, type in (*self.types.items(), ("the result", self.return_type), *signals):
            try:
                decoder(type)
            except InvalidArgument as error:
                raise InvalidArgument(f"{self.name}: {place}: {error}") from error

    def result_schema(self) -> str:
        return msgspec.json.encode(self._schema(self.return_type)).decode()

    def signal_schema(self, name: str) -> str:
        """JSON Schema of the payload of a signal that the handler declares."""
        return msgspec.json.encode(self._schema(self.signals[name])).decode()

    def _whole_type(self, parameter: inspect.Parameter) -> Any:
        of_one = self.types.get(parameter.name, Any)
        return list[of_one] if parameter.kind is parameter.VAR_POSITIONAL else of_one  # type: ignore[valid-type]

    @staticmethod
    def _schema(type: Any) -> dict[str, Any]:
        try:
            return msgspec.json.schema(type, schema_hook=_schema_of_model)
        except (TypeError, NotImplementedError):
            return {}  # anything goes: a type that only its own validation knows


def _schema_of_model(type: Any) -> dict[str, Any]:
    if hasattr(type, "model_json_schema"):
        schema: dict[str, Any] = type.model_json_schema()
        return schema
    raise NotImplementedError  # msgspec's way to say that a hook does not know the type


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_raw_arguments = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw])
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


@lru_cache(maxsize=4_096)
def signature_of(handler: Callable[..., Any]) -> Signature:
    """InvalidArgument: not a function whose annotations can be resolved, or one without a context."""
    name = getattr(handler, "__name__", "")
    if not name or not inspect.isfunction(handler):
        raise InvalidArgument(f"a handler is a function, or its name; {handler!r} is neither")
    try:
        hints = get_type_hints(handler)
        annotated = get_type_hints(handler, include_extras=True)
    except Exception as error:
        raise InvalidArgument(f"{name}: an annotation can't be resolved: {error}") from error
    parameters = tuple(inspect.signature(handler).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise InvalidArgument(f"{name}: a handler's first parameter is its context, e.g. ctx: HandlerContext")
    documentation = inspect.getdoc(handler) or ""
    returned = hints.get("return", Any)
    return Signature(
        name=name,
        function=function_of(handler),
        description=documentation.strip().split("\n")[0],
        context_type=hints.get(parameters[0].name),
        return_type=None if returned is type(None) else returned,
        parameters=parameters[1:],
        types={parameter.name: hints.get(parameter.name, Any) for parameter in parameters[1:]},
        signals=_signals(name, annotated.get(parameters[0].name)),
    )


def _signals(name: str, context: Any) -> Mapping[str, Any]:
    try:
        return declared(context)
    except InvalidArgument as error:
        raise InvalidArgument(f"{name}: {error}") from error


def function_of(handler: Callable[..., Any]) -> str:
    """What the function is, wherever it was imported from: "module:qualified name", e.g. "shop.orders:fulfil".

    Of a program's main module only its file tells a name, and of that the last part: ".orders:fulfil" for what
    `python shop/orders.py` runs. "" where there is no file either, as in an interactive session.
    """
    module = handler.__module__
    if module in _MAIN_MODULES:
        module = _name_of_main(sys.modules.get(module))
    return f"{module}:{handler.__qualname__}" if module else ""


#: What a program runs, in its own process and in those that `multiprocessing` starts.
_MAIN_MODULES = ("__main__", "__mp_main__")


def _name_of_main(main: ModuleType | None) -> str:
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name not in _MAIN_MODULES:
        return str(spec.name)  # of `python -m shop.orders`
    return f".{Path(file).stem}" if file else ""


def is_function(given: str, known: str) -> bool:
    """Whether what a caller says of a function may be the one that is known in full; both as `function_of` tells."""
    return given == known or (given.startswith(".") and f".{known}".endswith(given))
