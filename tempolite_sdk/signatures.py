"""Handlers as their callers see them: names, arguments and results, by the functions' annotations."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec

from tempolite_sdk.errors import FieldViolation, InvalidArgument
from tempolite_sdk.names import did_you_mean
from tempolite_sdk.payload import decode, decoder, encode, unreadable_in
from tempolite_sdk.signals import declared
from tempolite_sdk.values.comparison import ContainerChange
from tempolite_sdk.values.refusals import joined
from tempolite_sdk.values.shapes import constrained_type, shape_of
from tempolite_sdk.values.written import check, encode_as, encode_or_locate, is_same_atom, tell_once, validate


@dataclass(frozen=True)
class Signature:
    """A handler as its callers see it: its name, its arguments after the context, its result."""

    name: str
    function: str  #: see `function_of`
    description: str  #: first line of the docstring
    context_type: Any  #: annotation of the first parameter; None without one
    return_type: Any
    parameters: tuple[inspect.Parameter, ...]
    types: Mapping[str, Any] = field(repr=False)  #: with the constraints of `Annotated`, which new arguments must meet
    bare_types: Mapping[str, Any] = field(repr=False)  #: without: what arguments are read as once they were taken
    constrained_return_type: Any = None  #: with the constraints of `Annotated`, which new results must meet
    signals: Mapping[str, Any] = field(default_factory=dict, repr=False)  #: types of those declared, by name

    def named_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Each argument under its parameter's name. InvalidArgument: the handler can't be called so."""
        if not kwargs and self._positional is not None and len(args) == len(self._positional):
            return dict(zip(self._positional, args, strict=True))  # as nearly every call is; a tenth of the cost
        try:
            bound = inspect.Signature(self.parameters).bind(*args, **kwargs)
        except TypeError as error:
            if unknown := self._unknown(kwargs):
                told = "; ".join(f"{each.field} {each.description}" for each in unknown)
                raise InvalidArgument(f"{self.name}: {told}", unknown) from error
            raise InvalidArgument(f"{self.name}: {error}") from error
        named: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in bound.arguments:
                value = bound.arguments[parameter.name]
                if parameter.kind is parameter.VAR_KEYWORD:
                    self._check_names(value)
                    named |= value
                else:
                    named[parameter.name] = value
        return named

    def _check_names(self, others: Iterable[str]) -> None:
        """InvalidArgument: an argument that no parameter names is called as one is, and both would be stored as one."""
        taken = {parameter.name for parameter in self.parameters if parameter.kind is not parameter.VAR_KEYWORD}
        told = f"is the name of an argument of {self.name} that goes by position alone"
        if twice := [FieldViolation(name, told) for name in others if name in taken]:
            raise self._refused(twice)

    def _unknown(self, names: Iterable[str]) -> tuple[FieldViolation, ...]:
        """Those that no argument has, each with the nearest that one has."""
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in self.parameters):
            return ()
        known = [p.name for p in self.parameters if p.kind in _NAMED]
        return tuple(
            FieldViolation(name, f"is no argument of {self.name}{did_you_mean(name, known)}")
            for name in names
            if name not in known
        )

    def encode_arguments(self, named: Mapping[str, Any]) -> bytes:
        """As a JSON object by name. InvalidArgument names every argument that does not fit, or comes back different."""
        try:
            encoded = encode_or_locate(named)
        except InvalidArgument as error:
            raise self._refused(error.violations or (FieldViolation("arguments", str(error)),)) from error
        read = self._read(encoded)
        violations: list[FieldViolation] = []
        for name, value in named.items():
            violations += self._check(name, value, read)
        if violations:
            raise self._refused(violations)
        return encoded

    def encode_arguments_unchecked(self, named: Mapping[str, Any]) -> bytes:
        """By the rule of executions that were enqueued before values were checked: what fits is taken."""
        encoded = encode(named)
        if violations := self.decode_arguments(encoded)[2]:
            raise self._refused(violations)
        return encoded

    def _refused(self, violations: Sequence[FieldViolation]) -> InvalidArgument:
        told = "; ".join(f"{each.field}: {each.description}" for each in violations)
        return InvalidArgument(f"{self.name}: {told}", tuple(violations))

    def _check(self, name: str, value: Any, read: Any) -> Sequence[FieldViolation]:
        """What is wrong with an argument. read: all of them, as the handler reads them; None: they can't be read."""
        type = self.types.get(name, self._type_of_others)
        if name in self._starred:
            return [
                violation
                for place, each in enumerate(value)
                for violation in self._check_one(f"{name}[{place}]", partial(_change, type, each))
            ]
        if read is None:
            return self._check_one(name, partial(_change, type, value))
        shape, found = shape_of(type), getattr(read, name)
        if is_same_atom(shape, value, found):
            return ()
        return self._check_one(name, partial(check, shape, value, found))

    def _check_one(self, place: str, write: Callable[[], ContainerChange | None]) -> Sequence[FieldViolation]:
        try:
            change = write()
        except InvalidArgument as error:
            violations = error.violations or (FieldViolation("", str(error)),)
            return [FieldViolation(joined(place, each.field), each.description) for each in violations]
        tell_once(f"argument {place} of {self.name}", change)
        return ()

    def violations(self, data: bytes) -> tuple[FieldViolation, ...]:
        """What is wrong with the data of new arguments, an array or an object by name."""
        read = self._read(data)
        if read is None or self._is_validated:
            return self._decode(data, checked=True)[2]
        return ()

    def _read(self, data: bytes) -> Any:
        """All arguments, when one look at the whole tells that they fit, as nearly all do; else None."""
        if self._whole is None:
            return None
        try:
            return self._whole.decode(data)
        except Exception:  # of a model's own validation: anything
            return None

    @cached_property
    def _is_validated(self) -> bool:
        return any(shape_of(type).validate is not None for type in self.types.values())

    @cached_property
    def _starred(self) -> frozenset[str]:
        return frozenset(parameter.name for parameter in self.parameters if parameter.kind is parameter.VAR_POSITIONAL)

    @cached_property
    def _type_of_others(self) -> Any:
        """Of arguments that no parameter names."""
        return next((self.types[p.name] for p in self.parameters if p.kind is p.VAR_KEYWORD), Any)

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

    def decode_arguments(self, data: bytes) -> Decoded:
        """What was taken before is read without asking again whether it meets the constraints of today."""
        return self._decode(data, checked=False)

    def _decode(self, data: bytes, *, checked: bool) -> Decoded:
        try:
            given = _raw_arguments.decode(data)
        except msgspec.DecodeError as error:
            return (), {}, (FieldViolation("", str(error)),)
        found, violations = self._of_array(given) if isinstance(given, list) else self._of_object(given)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.name in found:
                value = self._value(parameter, found[parameter.name], violations, checked=checked)
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
        for index, parameter in enumerate(self.parameters):
            if parameter.kind is parameter.VAR_POSITIONAL:
                found[parameter.name] = given[index:]
                return found, []
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) or index >= len(given):
                break
            found[parameter.name] = given[index]
        surplus = range(len(found), len(given))
        return found, [FieldViolation(f"[{index}]", "is one argument too many") for index in surplus]

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
        return found, [*violations, *self._unknown(rest)]

    def _value(self, parameter: inspect.Parameter, raw: Any, violations: list[FieldViolation], *, checked: bool) -> Any:
        name = parameter.name
        decoded = partial(self._decoded, checked=checked, name=name, violations=violations)
        if isinstance(raw, dict):
            return {key: decoded(key, each) for key, each in raw.items()}
        if isinstance(raw, list):
            return [decoded(f"{name}[{index}]", each) for index, each in enumerate(raw)]
        return decoded(name, raw)

    def _decoded(
        self, place: str, raw: msgspec.Raw, *, checked: bool, name: str, violations: list[FieldViolation]
    ) -> Any:
        type = (self.types if checked else self.bare_types).get(name, Any)
        try:
            value = decode(raw, type)
            if checked:
                validate(shape_of(type), value)
            return value
        except InvalidArgument as error:
            found = error.violations or (FieldViolation("", str(error)),)
            violations += [FieldViolation(joined(place, each.field), each.description) for each in found]
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
        """InvalidArgument: an argument, the result or a signal has a type that no JSON can be read into.

        An argument with a default may have any type: nobody has to give it.
        """
        required = [parameter.name for parameter in self.parameters if parameter.default is parameter.empty]
        for name, type in self.types.items():
            self._check_type(name, type, required=name in required)
        self._check_type("the result", self.constrained_return_type, required=True)
        for name, type in self.signals.items():
            self._check_type(f"signal {name!r}", type, required=True)

    def _check_type(self, place: str, type: Any, *, required: bool) -> None:
        try:
            decoder(type)
        except InvalidArgument as error:
            raise InvalidArgument(f"{self.name}: {place}: {error}") from error
        unreadable = unreadable_in(type) if required else None
        if unreadable is not None:
            raise InvalidArgument(
                f"{self.name}: {place}: a {unreadable.__module__}.{unreadable.__qualname__} can't be read from JSON;"
                " take what identifies it, or make it a dataclass"
            )

    def result_schema(self) -> str:
        return msgspec.json.encode(self._schema(self.constrained_return_type)).decode()

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


def _change(type: Any, value: Any) -> ContainerChange | None:
    return encode_as(type, value)[2]


#: Positional and keyword arguments, and what is wrong with the data, which is an array or an object by name.
Decoded = tuple[Sequence[Any], Mapping[str, Any], tuple[FieldViolation, ...]]

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
_raw_arguments = msgspec.json.Decoder(list[msgspec.Raw] | dict[str, msgspec.Raw])
_raw_list = msgspec.json.Decoder(list[msgspec.Raw])


def signature_of(handler: Callable[..., Any]) -> Signature:
    """InvalidArgument: not a function whose annotations can be resolved, or one without a context."""
    if getattr(handler, "__closure__", None):  # it would be kept in memory with all that it captured
        return _signature_of(handler)
    return _known_signature_of(handler)


def _signature_of(handler: Callable[..., Any]) -> Signature:
    name = getattr(handler, "__name__", "")
    if not name or not inspect.isfunction(handler):
        raise InvalidArgument(f"a handler is a function, or its name; {handler!r} is neither")
    try:
        constrained = get_type_hints(handler, include_extras=True)
        hints = get_type_hints(handler)
    except Exception as error:
        raise InvalidArgument(f"{name}: an annotation can't be resolved: {error}") from error
    parameters = tuple(inspect.signature(handler).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise InvalidArgument(f"{name}: a handler's first parameter is its context, e.g. ctx: HandlerContext")
    documentation = inspect.getdoc(handler) or ""
    returned = hints.get("return", Any)
    constrained_return = constrained_type(constrained.get("return", Any), returned)
    return Signature(
        name=name,
        function=function_of(handler),
        description=documentation.strip().split("\n")[0],
        context_type=hints.get(parameters[0].name),
        return_type=None if returned is type(None) else returned,
        parameters=parameters[1:],
        types={
            name: constrained_type(constrained.get(name, Any), hints.get(name, Any))
            for name in (parameter.name for parameter in parameters[1:])
        },
        bare_types={parameter.name: hints.get(parameter.name, Any) for parameter in parameters[1:]},
        constrained_return_type=None if constrained_return is type(None) else constrained_return,
        signals=_signals(name, constrained.get(parameters[0].name)),
    )


_known_signature_of = lru_cache(maxsize=4_096)(_signature_of)


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
