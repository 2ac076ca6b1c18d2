"""Which side effect a key was used for first, in one run of some code: for another one it may not be used again.

A function is another one when its code is, or when something that it captured is: the variables of its closure, its
defaults, the arguments of a `functools.partial`, the object of a method. See docs/design/values.md.
"""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from tempolite_sdk.errors import ContextMisuse

#: What was captured is held to be compared, up to so many bytes of a run as `_weight_of` guesses them: a loop over all
#: of a table must not keep every batch of it. Of what is older, code alone is compared.
_HELD_BYTES_MAX = 4 * 1024 * 1024

_DEPTH_MAX = 8  #: functions that capture functions


#: A side effect, as far as it tells itself from others: its code (or what has none: a class, a builtin, an object that
#: can be called), what it captured, and the names of that where the code does not tell them. A plain tuple: one is made
#: for each side effect.
_Use = tuple[Any, Sequence[Any] | None, Sequence[str]]

_FORGOTTEN: Sequence[Any] = []


def may_capture(code: CodeType) -> bool:
    """Whether a function of that code can be another one than one of the same code."""
    return bool(code.co_freevars or code.co_argcount or code.co_kwonlyargcount)


class KeyUses:
    """Of one run of some code: the attempt of a handler, or that of a side effect."""

    __slots__ = ("_first", "_held", "_weight")

    def __init__(self) -> None:
        self._first: dict[str, Any] = {}  #: a `_Use`; of a function that captures nothing its code alone
        self._held: deque[tuple[str, int]] = deque()  #: keys whose captured values have a weight
        self._weight = 0

    def meet(self, key: str, effect: Any, input_digest: bytes) -> None:
        """ContextMisuse: the key was used in this run, for another side effect.

        input_digest: of the fields of a `SideEffect`; empty for functions.
        """
        use = _use_of(effect, input_digest)
        first = self._first.setdefault(key, use)
        if first is not use:
            _check_same(key, first, use)
        elif type(use) is tuple and (weight := _weight_of(use[1])):
            self._held.append((key, weight))
            self._weight += weight
            if self._weight > _HELD_BYTES_MAX:
                self._forget()

    def meet_code(self, key: str, code: CodeType) -> None:
        """The same, for a function that captures nothing."""
        first = self._first.setdefault(key, code)
        if first is not code:
            _check_same(key, first, code)

    def _forget(self) -> None:
        while self._weight > _HELD_BYTES_MAX and len(self._held) > 1:
            oldest, freed = self._held.popleft()
            self._weight -= freed
            what, _captured, names = self._first[oldest]
            self._first[oldest] = (what, _FORGOTTEN, names)


def _check_same(key: str, first: Any, use: Any) -> None:
    if (difference := _difference(first, use)) is not None:
        raise ContextMisuse(_told(key, difference))


def _told(key: str, difference: str) -> str:
    return (
        f"the key {key!r} was used in this run for another side effect: {difference}. It would get the value that was "
        f'recorded first. Give each a key of its own (f"{key}-{{item}}"), or run it once, keep the value in a variable '
        "and use that"
    )


def _use_of(effect: Any, input_digest: bytes) -> Any:
    if type(effect) is FunctionType:
        closure, defaults, by_keyword = effect.__closure__, effect.__defaults__, effect.__kwdefaults__
        captured: tuple[Any, ...] = _contents(closure) if closure is not None else ()
        if defaults is not None:
            captured = (*captured, *defaults) if captured else defaults
        if by_keyword is not None:
            captured = (*captured, *by_keyword.values())
        return (effect.__code__, captured, ()) if captured else effect.__code__
    if input_digest:
        return type(effect), (input_digest,), (_FIELDS,)
    if isinstance(effect, partial):
        names = [f"argument {place}" for place in range(1, len(effect.args) + 1)]
        captured = (effect.func, *effect.args, *effect.keywords.values())
        return partial, captured, ("its function", *names, *effect.keywords)
    if isinstance(effect, MethodType):
        return effect.__func__, (effect.__self__,), ("its object",)
    return type(effect), (effect,), ("the object",)


def _contents(closure: tuple[CellType, ...]) -> tuple[Any, ...]:
    try:
        if len(closure) == 1:
            return (closure[0].cell_contents,)
        return tuple([cell.cell_contents for cell in closure])
    except ValueError:  # one is not bound yet
        return tuple([_content(cell) for cell in closure])


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _UNBOUND


_UNBOUND = object()
_FIELDS = "its fields"


def _names_of(use: _Use) -> Sequence[str]:
    code, captured, names = use
    if not isinstance(code, CodeType) or captured is None:
        return names
    with_default = len(captured) - len(code.co_freevars)
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (*code.co_freevars, *arguments[len(arguments) - with_default :])


# --- what differs


def _difference(first: Any, second: Any) -> str | None:
    """How the second side effect is another one; None: it is the same."""
    one, other = _as_use(first), _as_use(second)
    if one[0] is not other[0] and one[0] != other[0]:
        return f"it was {_name(one[0])}, and is {_name(other[0])} now"
    if one[1] is _FORGOTTEN:
        return None
    captured, captured_now = one[1] or (), other[1] or ()
    if len(captured) != len(captured_now):
        return "it has other arguments now"
    for name, before, now in zip(_names_of(other), captured, captured_now, strict=True):
        if not _is_alike(before, now, 0) and name not in _rebound_by(other[0]):
            told = f"{name} was {_shown(before)}, and is {_shown(now)} now"
            return "its fields had other values" if name == _FIELDS else told
    return None


def _as_use(use: Any) -> _Use:
    return use if type(use) is tuple else (use, None, ())


def _rebound_by(code: Any) -> frozenset[str]:
    """Captured variables that the function itself assigns to: they tell how often it ran, not which one it is."""
    if not isinstance(code, CodeType):
        return frozenset()
    return frozenset(each.argval for each in dis.get_instructions(code) if each.opname == "STORE_DEREF")


def _is_alike(one: Any, other: Any, depth: int) -> bool:
    """Whether they are the same object, or equal. Arrays are when all of their elements are.

    Functions are when they have the same code and captured alike: one that is made inside of another is made again at
    each call. Where `==` gives no answer, or raises, there is no equality.
    """
    if one is other:
        return True
    if depth < _DEPTH_MAX and type(one) is type(other) and isinstance(one, FunctionType | MethodType | partial):
        mine, others = _use_of(one, b""), _use_of(other, b"")
        return _are_alike(_parts(mine), _parts(others), depth + 1)
    try:
        return _is_true(one == other, one, other)
    except Exception:  # of user code, and of arrays in containers
        return depth < _DEPTH_MAX and type(one) is type(other) and _elements_are_alike(one, other, depth + 1)


def _parts(use: Any) -> Iterator[Any]:
    what, captured, _names = _as_use(use)
    yield what
    yield from captured or ()


def _are_alike(ones: Iterable[Any], others: Iterable[Any], depth: int) -> bool:
    mine, theirs = list(ones), list(others)
    return len(mine) == len(theirs) and all(
        _is_alike(one, other, depth) for one, other in zip(mine, theirs, strict=True)
    )


def _elements_are_alike(one: Any, other: Any, depth: int) -> bool:
    if isinstance(one, list | tuple):
        return _are_alike(one, other, depth)
    if isinstance(one, dict):
        return list(one) == list(other) and _are_alike(one.values(), other.values(), depth)
    return False


def _is_true(answer: Any, one: Any, other: Any) -> bool:
    """What `==` says: of arrays it is an array, which is all true when they are equal."""
    if isinstance(answer, bool):
        return answer
    if getattr(one, "shape", None) != getattr(other, "shape", None):
        return False  # else one would be stretched to the other
    for _ in range(2):  # of a table: one of each column, then of all
        answer = answer.all() if getattr(answer, "shape", ()) != () else answer
    return bool(answer)


def _name(what: Any) -> str:
    if isinstance(what, CodeType):
        return f"{what.co_qualname} (line {what.co_firstlineno})"
    return getattr(what, "__qualname__", None) or repr(what)


def _shown(value: Any) -> str:
    if value is _UNBOUND:
        return "unbound"
    try:
        text = repr(value)
    except Exception:  # of user code
        text = f"a {type(value).__qualname__}"
    return text if len(text) <= 80 else f"{text[:79]}…"


# --- what is held


def _weight_of(captured: Sequence[Any]) -> int:
    """A guess of the bytes that are kept alive with it, without a look inside; 0: too few to matter."""
    weight = 0
    for value in captured:
        of_kind = _WEIGHTS.get(type(value))
        if of_kind is None:
            of_kind = _weigh(type(value))
        weight += of_kind if of_kind >= 0 else -of_kind * len(value)
    return weight


#: Of types: bytes, or the negative of the bytes of each element.
_WEIGHTS: dict[type[Any], int] = {
    **dict.fromkeys((type(None), bool, int, float), 0),
    **dict.fromkeys((str, bytes), -1),
    **dict.fromkeys((list, tuple, dict, set, frozenset, deque), -512),
}


def _weigh(kind: type[Any]) -> int:
    if len(_WEIGHTS) > 10_000:  # of classes made anew at each reload
        return 1024
    return _WEIGHTS.setdefault(kind, 64 * 1024 if hasattr(kind, "__len__") else 1024)
