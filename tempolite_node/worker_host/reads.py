"""What the body of a handler reads of its context beside operations: the same in each replay of its attempt.

Nobody waits for what is recorded here. It is said before all that the body asks for once it knows it, by the same way:
so it is on disk before anything that could hang on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, Protocol, get_args

import msgspec
from msgspec import Struct

from tempolite_node.engine.commands import AnyRequest, RecordMarker
from tempolite_node.engine.model import READ_MARKER, OperationKind, shown
from tempolite_node.protocol import messages
from tempolite_node.worker_host.journal import Journal
from tempolite_node.worker_host.registry import Handler
from tempolite_node.worker_host.scopes import Scope
from tempolite_sdk.errors import InvalidArgument
from tempolite_sdk.payload import decode

_PARAMS = "params"
_CANCELLED = "cancelled"
_UNREAD: Any = object()

_Place = tuple[str | int, ...]


class _FirstParams(Struct, frozen=True):
    """Of the first start, without what came from the environment."""

    params: Any
    secrets: tuple[_Place, ...] = ()


class Reader(Protocol):
    """The attempt whose code reads."""

    run: messages.RunHandler | messages.RunCompensation
    handler: Handler
    journal: Journal
    records_all: bool
    over: bool
    cancel_requested: bool

    @property
    def scope(self) -> Scope: ...

    def send(self, request: AnyRequest, scope: Scope, waiter: None, /) -> int: ...

    def suspend(self, kind: OperationKind, key: str, *, expected: str, actual: str, what: str = "") -> NoReturn: ...


class Reads:
    """Of one attempt. Used by its code alone."""

    def __init__(self, attempt: Reader) -> None:
        self._attempt = attempt
        self._params: Any = _UNREAD
        self._params_of_node: Any = _UNREAD
        self._cancel_seen = False
        self._cancel_reads = 0
        self._beats = False
        self._number = 0

    def _remember(self, name: str, value: bytes) -> None:
        attempt = self._attempt
        if not attempt.over:
            attempt.send(RecordMarker(key=self._key(name), value=value), attempt.scope, None)

    def _recorded(self, name: str) -> bytes | None:
        return self._attempt.journal.marker(self._key(name)) if self._attempt.records_all else None

    def _key(self, name: str) -> str:
        return f"{self._attempt.scope.prefix}{READ_MARKER}{name}"

    # --- the attempt

    @property
    def number(self) -> int:
        """Of the attempt, as it was when the body first asked: one that replays it has another."""
        if self._number == 0:
            name = f"attempt:{self._attempt.run.generation}"
            recorded = self._recorded(name)
            self._number = self._attempt.run.attempt if recorded is None else int(recorded)
            if recorded is None and self._attempt.records_all:
                self._remember(name, str(self._number).encode())
        return self._number

    # --- parameters

    def begin(self) -> None:
        """Before the body runs: what it may read later is that of the first start, whenever it reads it."""
        spec = self._attempt.handler.spec
        if self._attempt.records_all and spec.params != b"{}" and self._recorded(_PARAMS) is None:
            params = msgspec.json.decode(spec.params)
            for place in spec.secret_params:
                _put(params, place, None)
            self._remember(_PARAMS, msgspec.json.encode(_FirstParams(params, spec.secret_params)))

    @property
    def params(self) -> Any:
        """As on the first start; what comes from the environment is that of now."""
        if self._params is _UNREAD:
            self._params = self._first_params()
        return self._params

    @property
    def params_of_node(self) -> Any:
        """As the config of this node has them."""
        if self._params_of_node is _UNREAD:
            self._params_of_node = self._decoded(self._attempt.handler.spec.params)
        return self._params_of_node

    def _first_params(self) -> Any:
        attempt = self._attempt
        written = self._recorded(_PARAMS)
        if written is None:
            return self._decoded(attempt.handler.spec.params)
        first = msgspec.json.decode(written, type=_FirstParams)
        spec = attempt.handler.spec
        params = with_secrets(first.params, msgspec.json.decode(spec.params), (*first.secrets, *spec.secret_params))
        try:
            return self._decoded(msgspec.json.encode(params))
        except InvalidArgument as error:
            attempt.suspend(
                OperationKind.MARKER,
                READ_MARKER + _PARAMS,
                expected=shown(msgspec.json.encode(first.params)),
                actual=f"a type that they are not: {error}",
                what="parameters of the first start",
            )

    def _decoded(self, params: bytes) -> Any:
        types = get_args(self._attempt.handler.signature.context_type)
        return decode(params, types[0] if types else Any)

    # --- heartbeats

    @property
    def heartbeat(self) -> bytes | None:
        """Details of the last heartbeat before the attempt began."""
        run = self._attempt.run
        if isinstance(run, messages.RunCompensation):
            return None
        if not run.journal:
            return run.heartbeat
        began = self._recorded(_heartbeat(run))
        return run.heartbeat if began is None else (None if began == b"null" else began)

    def beat(self) -> None:
        """Before a heartbeat leaves. With what the attempt began is recorded: the node keeps the last one alone."""
        run = self._attempt.run
        if not self._attempt.records_all or isinstance(run, messages.RunCompensation) or self._beats:
            return
        self._beats = True
        if self._recorded(_heartbeat(run)) is None:
            self._remember(_heartbeat(run), run.heartbeat or b"null")

    # --- cancel

    @property
    def cancelled(self) -> bool:
        """By the body: the first read that says True is recorded, and counted from its beginning."""
        attempt = self._attempt
        if not attempt.records_all:
            return attempt.cancel_requested
        if self._cancel_seen:
            return True
        self._cancel_reads += 1
        first = self._recorded(_CANCELLED)
        if first is not None:
            self._cancel_seen = self._cancel_reads >= int(first)
        elif attempt.cancel_requested and not attempt.journal.goes_again_in(attempt.scope):
            self._cancel_seen = True
            self._remember(_CANCELLED, str(self._cancel_reads).encode())
        return self._cancel_seen

    def meet_cancel(self) -> None:
        """It is raised here: every later read knows of it."""
        self._cancel_seen = True


def _heartbeat(run: messages.RunHandler) -> str:
    return f"heartbeat:{run.generation}"


def with_secrets(params: Any, current: Any, secrets: Iterable[_Place]) -> Any:
    """The parameters with the current values at those places, as far as there are any."""
    for place in secrets:
        try:
            value = current
            for step in place:
                value = value[step]
        except (LookupError, TypeError):
            continue
        _put(params, place, value)
    return params


def _put(params: Any, place: _Place, value: Any) -> None:
    """At the place, unless what is around it is not there."""
    *around, last = place
    try:
        for step in around:
            params = params[step]
        params[last] = value
    except (LookupError, TypeError):
        return
