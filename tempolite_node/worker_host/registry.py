"""The handlers of the node's config as callables: imported, detected, and checked before anything runs."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, get_args, get_origin

from tempolite_node.engine.model import Component
from tempolite_node.errors import HandlerMistake
from tempolite_node.protocol import messages, plain_types
from tempolite_node.worker_host.python_path import extend, hidden_by_standard_library
from tempolite_sdk.async_contexts import AsyncHandlerContext, AsyncSagaContext
from tempolite_sdk.contexts import HandlerContext, SagaContext
from tempolite_sdk.errors import ContextMisuse, InvalidArgument
from tempolite_sdk.names import did_you_mean
from tempolite_sdk.payload import decode
from tempolite_sdk.signatures import Signature, signature_of

#: By the annotation of the first parameter: what the function is, and whether it is to be an `async def`.
_CONTEXTS: dict[Any, tuple[Component, bool]] = {
    HandlerContext: (Component.HANDLER, False),
    SagaContext: (Component.SAGA, False),
    AsyncHandlerContext: (Component.HANDLER, True),
    AsyncSagaContext: (Component.SAGA, True),
}


@dataclass(frozen=True, slots=True)
class Handler:
    spec: messages.HandlerSpec
    function: Callable[..., Any]
    signature: Signature
    component: Component
    asynchronous: bool
    params: Any

    def describe(self) -> messages.HandlerDescription:
        return messages.HandlerDescription(
            name=self.spec.name,
            function=self.signature.function,
            component=self.component,
            asynchronous=self.asynchronous,
            arguments_schema=self.signature.arguments_schema(),
            result_schema=self.signature.result_schema(),
            description=self.signature.description,
            parameters=plain_types.described(self.signature),
            signals=tuple(
                messages.SignalDescription(name, self.signature.signal_schema(name), plain_types.described_type(type))
                for name, type in self.signature.signals.items()
            ),
        )


class LoadError(Exception):
    """A handler can't be served; says why.

    setting: of the handler, where the mistake is.
    """

    def __init__(self, description: str, *, setting: str = "target") -> None:
        self.setting = setting
        super().__init__(description)


class UnimportableModule(LoadError):
    """None of the module's handlers can be served."""


class Registry:
    def __init__(self, handlers: Iterable[Handler]) -> None:
        self.handlers = {handler.spec.name: handler for handler in handlers}
        self._names: dict[Any, list[str]] = {}
        for name, handler in self.handlers.items():
            self._names.setdefault(handler.function, []).append(name)

    def resolve(self, handler: Callable[..., Any] | str) -> tuple[str, Signature | None]:
        """The name of a handler to be enqueued, and its signature where it is known here.

        ContextMisuse: the function is served under several names.
        """
        if isinstance(handler, str):
            known = self.handlers.get(handler)
            return handler, known.signature if known is not None else None
        signature = signature_of(handler)
        names = self._names.get(handler, [signature.name])
        if len(names) > 1 and signature.name not in names:
            raise ContextMisuse(f"{signature.name} is served as {', '.join(names)}: enqueue it by one of these names")
        return (names[0] if len(names) == 1 else signature.name), signature

    def check_signal(self, handler: str, name: str, payload: bytes) -> tuple[messages.Violation, ...]:
        """What is wrong with the payload of a signal that the handler declares."""
        known = self.handlers.get(handler)
        if known is None or name not in known.signature.signals:
            return ()
        return messages.payload_violations(payload, known.signature.signals[name])

    def update(self, specs: Iterable[messages.HandlerSpec]) -> None:
        """Other settings for the attempts that start from here on."""
        for spec in specs:
            if (handler := self.handlers.get(spec.name)) is not None:
                self.handlers[spec.name] = replace(handler, spec=spec)

    def check_arguments(self, handler: str, arguments: bytes) -> tuple[messages.Violation, ...]:
        known = self.handlers.get(handler)
        if known is None:
            return (messages.Violation("", f"no handler {handler!r} in this worker host"),)
        return messages.violations(known.signature, arguments)


def load(message: messages.Load) -> tuple[Registry, tuple[HandlerMistake, ...]]:
    """The handlers that could be loaded, and what is wrong with the others; with a module that can't be, once."""
    extend(message.python_path)
    handlers: list[Handler] = []
    mistakes: list[HandlerMistake] = []
    unimportable: set[str] = set()
    for spec in message.handlers:
        module = spec.target.partition(":")[0]
        if module in unimportable:
            continue
        try:
            handlers.append(_load(spec))
        except LoadError as error:
            hidden = hidden_by_standard_library(module, message.python_path)
            hint = f"; {hidden} is hidden by a module of the standard library: rename it" if hidden else ""
            mistakes.append(HandlerMistake(spec.name, spec.target, error.setting, f"{error}{hint}"))
            if isinstance(error, UnimportableModule):
                unimportable.add(module)
    return Registry(handlers), tuple(mistakes)


def _load(spec: messages.HandlerSpec) -> Handler:
    function = import_target(spec.target)
    if not inspect.isfunction(function):
        raise LoadError(f"is a {type(function).__name__}, not a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise LoadError("is a generator: a handler returns its result")
    try:
        signature = signature_of(function)
        signature.check()
    except InvalidArgument as error:
        raise LoadError(f"{error} (at {function.__code__.co_filename}:{function.__code__.co_firstlineno})") from error
    component, asynchronous = _kind_of(function, signature)
    return Handler(
        spec=spec,
        function=function,
        signature=signature,
        component=component,
        asynchronous=asynchronous,
        params=_params(spec, signature),
    )


def import_target(target: str) -> Any:
    """What "module:qualified.name" names. LoadError: there is no such thing, or its module can't be imported."""
    module_name, _, qualified_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # a module may raise anything, SystemExit too
        near = _near_module(module_name, error)
        raise UnimportableModule(f"the module {module_name} can't be imported: {_told(error)}{near}") from error
    try:
        return reduce(getattr, qualified_name.split("."), module)
    except AttributeError as error:
        near = did_you_mean(qualified_name, [name for name, value in vars(module).items() if inspect.isfunction(value)])
        raise LoadError(f"the module {module_name} ({module.__file__}) has no {qualified_name}{near}") from error


def _near_module(module_name: str, error: BaseException) -> str:
    """The module that may be meant, where it is the one asked for, or a package around it, that is not there."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None or not f"{module_name}.".startswith(f"{missing}."):
        return ""
    package, _, name = missing.rpartition(".")
    path = getattr(sys.modules.get(package), "__path__", ()) if package else sys.path
    return did_you_mean(name, [each.name for each in pkgutil.iter_modules(path)])


def _told(error: BaseException) -> str:
    frames_of_error = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames_of_error if "importlib" not in frame.filename]
    place = f" (at {own[-1].filename}:{own[-1].lineno})" if len(own) > 1 else ""
    return f"{type(error).__name__}: {error}{place}"


def _kind_of(function: Callable[..., Any], signature: Signature) -> tuple[Component, bool]:
    annotated = signature.context_type
    context = get_origin(annotated) or annotated
    if context not in _CONTEXTS:
        found = "has no annotation" if annotated is None else f"is annotated with {annotated!r}"
        known = ", ".join(known.__name__ for known in _CONTEXTS)
        raise LoadError(f"its first parameter {found}: it must be one of {known}, which says what the handler is")
    component, asynchronous = _CONTEXTS[context]
    if inspect.iscoroutinefunction(function) != asynchronous:
        twin = context.__name__.removeprefix("Async") if asynchronous else f"Async{context.__name__}"
        raise LoadError(
            f"takes an {context.__name__} but is no `async def`: make it one, or take a {twin}"
            if asynchronous
            else f"is an `async def` but takes a {context.__name__}: take an {twin}"
        )
    return component, asynchronous


def _params(spec: messages.HandlerSpec, signature: Signature) -> Any:
    types = get_args(signature.context_type)
    try:
        return decode(spec.params, types[0] if types else Any)
    except InvalidArgument as error:
        violation = next(iter(error.violations), None)
        place = f"params.{violation.field}" if violation is not None and violation.field else "params"
        raise LoadError(str(error) if violation is None else violation.description, setting=place) from error
