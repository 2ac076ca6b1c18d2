"""Scopes: which call a context belongs to, and the keys that operations get in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar, copy_context
from itertools import count
from threading import get_ident
from typing import TypeVar

from tempolite_node.engine.model import KEY_SEPARATOR, OperationKind, prefix_of
from tempolite_node.worker_host.key_uses import KeyUses
from tempolite_sdk.errors import ContextMisuse

T = TypeVar("T")

_KEY_MAX = 200
_AGAIN = "#again"

#: The innermost scope of the code that runs: a side effect's body may use the context of the handler around it.
_current: ContextVar[Scope | None] = ContextVar("current_scope", default=None)


class Scope:
    """A call of user code: the attempt itself, a side effect, a transaction, a compensation."""

    __slots__ = (
        "_again",
        "_counts",
        "_used",
        "asked",
        "beside",
        "frame",
        "interrupted",
        "key_uses",
        "open",
        "parent",
        "prefix",
        "side_effect_failures",
        "thread",
    )

    def __init__(
        self, *, parent: Scope | None = None, prefix: str = "", frame: str = "", side_effect_failures: int = 0
    ) -> None:
        self.parent = parent
        self.prefix = prefix  #: of every key in it
        self.frame = frame  #: key of the innermost side effect; "" outside of any
        self.side_effect_failures = side_effect_failures  #: failed attempts of the side effects around it
        self.thread = 0  #: that runs it
        self.open = False
        self.interrupted = False  #: its body was cancelled, whatever it made of that
        self.asked = False  #: something of the node, in it or inside of it
        self.beside: bool = parent is not None and parent.beside  #: the code of the attempt goes on meanwhile
        self._counts: dict[tuple[str, str], int] | None = None  #: few scopes of side effects have operations
        self._used: set[tuple[str, str]] | None = None
        self._again: dict[tuple[str, str], int] | None = None  #: keys that were taken leave of, and how often
        self.key_uses: KeyUses | None = None  #: of its side effects; None: it has had none

    def __enter__(self) -> Scope:
        self.thread = get_ident()
        self.open = True
        _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        _current.set(self.parent)

    def inner(self, kind: OperationKind, key: str, *, side_effect_attempt: int | None = None) -> Scope:
        """Of an operation inside of this one.

        key: of the operation, with its prefix.
        side_effect_attempt: its number, of a side effect; None for others, which run in the frame around them.
        """
        return Scope(
            parent=self,
            prefix=prefix_of(kind, key),
            frame=self.frame if side_effect_attempt is None else key,
            side_effect_failures=self.side_effect_failures + ((side_effect_attempt or 1) - 1),
        )

    def innermost(self) -> Scope:
        """The scope that an operation asked for through this one's context belongs to. ContextMisuse: to none."""
        current = _current.get()
        scope = current if current is not None and current.is_within(self) else self
        if not scope.open:
            raise ContextMisuse("the context was used after its call had ended")
        if scope.thread != get_ident():
            raise ContextMisuse("the context was used in another thread than its call's")
        return scope

    def is_within(self, other: Scope) -> bool:
        scope: Scope | None = self
        while scope is not None and scope is not other:
            scope = scope.parent
        return scope is other

    def outwards(self) -> Iterator[Scope]:
        """This one, and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def root(self) -> Scope:
        """The outermost one around it: the attempt's."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def asks(self) -> None:
        scope: Scope | None = self
        while scope is not None and not scope.asked:
            scope.asked = True
            scope = scope.parent

    @property
    def goes_on(self) -> bool:
        """Whether its call, and those around it, have not ended."""
        scope: Scope | None = self
        while scope is not None and scope.open:
            scope = scope.parent
        return scope is None

    # --- keys

    def key_of(self, kind: OperationKind, name: str, key: str | None) -> str:
        """The caller's key, or "<name>#n", counted per kind and name. Each may be used once."""
        local = self.counted(kind, name) if key is None else self.again(kind, checked_key(key))
        if self._used is None:
            self._used = set()
        if (kind, local) in self._used:
            raise ContextMisuse(f"the key {local!r} is used for two operations of kind {kind}")
        self._used.add((kind, local))
        return self.prefix + local

    def again(self, kind: OperationKind, local: str) -> str:
        """The key, or, after it was given up or cancelled, another one: it begins anew, and both are recorded."""
        times = None if self._again is None else self._again.get((kind, local))
        return local if times is None else f"{local}{_AGAIN}{times}"

    def leave_key(self, kind: OperationKind, local: str) -> None:
        """What was asked for under the key was given up, or cancelled."""
        if self._again is None:
            self._again = {}
        place = kind, local.rpartition(_AGAIN)[0] or local
        self._again[place] = self._again.get(place, 1) + 1

    def counted(self, kind: str, name: str) -> str:
        if self._counts is None:
            self._counts = {}
        number = self._counts[kind, name] = self._counts.get((kind, name), 0) + 1
        return f"{name}#{number}"


def keys_again(key: str) -> Iterator[str]:
    """Under which an operation is recorded that was begun anew, time after time."""
    return (f"{key}{_AGAIN}{times}" for times in count(2))


def call_in(scope: Scope, function: Callable[[], T]) -> T:
    """Calls it as code of the scope, beside what runs now."""
    context = copy_context()
    context.run(_current.set, scope)
    return context.run(function)


def current_scope() -> Scope | None:
    """The innermost scope of the code that asks, in whatever thread or task; None: no attempt's code asks."""
    return _current.get()


def scope_in(context: Context) -> Scope | None:
    """The innermost scope of code that runs in the context."""
    return context.get(_current)


def checked_key(key: str) -> str:
    if not isinstance(key, str) or not 1 <= len(key) <= _KEY_MAX or not key.isprintable() or KEY_SEPARATOR in key:
        raise ContextMisuse(f"a key is 1 to {_KEY_MAX} printable characters without {KEY_SEPARATOR!r}, not {key!r}")
    return key


def checked_id(execution_id: str) -> str:
    if not isinstance(execution_id, str) or not 1 <= len(execution_id) <= 240 or not execution_id.isprintable():
        raise ContextMisuse(f"{execution_id!r} is not the id of an execution")
    return execution_id


def local_key(key: str) -> str:
    """A key without the prefix of its scope."""
    return key.rpartition(KEY_SEPARATOR)[2]


def scope_prefix(key: str) -> str:
    """The prefix of the scope that an operation's key belongs to; "" for the handler itself."""
    around, separator, _ = key.rpartition(KEY_SEPARATOR)
    return around + separator
