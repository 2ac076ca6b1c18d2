"""What synchronous code begins and goes on beside, and how it waits for several. Asynchronous code has tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, overload

from tempolite_sdk import operations
from tempolite_sdk.durations import Duration, seconds_of
from tempolite_sdk.errors import ContextMisuse
from tempolite_sdk.handlers import ChildHandle, RetryPolicy, Waitable
from tempolite_sdk.operations import Beside, Runtime
from tempolite_sdk.signals import Signal, name_and_type

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Begun(Waitable[T_co]):
    """A side effect, a wait for a signal, or a timer, which the attempt of a handler has begun."""

    __slots__ = ("_begun", "_beside", "_what")

    def __init__(self, beside: Beside, operation: operations.Operation, what: str) -> None:
        self._beside = beside
        self._begun = beside.begin(operation)
        self._what = what

    def result(self) -> T_co:
        """What it comes to; waits for it first, if it has not ended. The same whenever it is asked.

        Raises what the operation raises when it is not begun but waited for: `SideEffectFailed`, `WaitTimeout`.
        """
        result: T_co = self._beside.result(self._begun)
        return result

    def __repr__(self) -> str:
        return f"Begun({self._what})"


Waited = TypeVar("Waited", bound=Waitable[Any])


class SideEffectLike(Protocol[T_co]):
    """A `SideEffect`."""

    def run(self, ctx: Any, /) -> T_co: ...


class AsyncBegins:
    """Asynchronous code needs none of this: it has tasks, and `asyncio.wait`."""


class SyncBegins:
    """What the contexts of synchronous handlers and saga handlers can do beside all else."""

    _runtime: Runtime

    @overload
    def start_side_effect(
        self,
        key: str,
        effect: SideEffectLike[T] | Callable[[], T] | Callable[[Any], T],
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> Begun[T]: ...
    @overload
    def start_side_effect(
        self,
        key: str,
        effect: Callable[[], Any] | Callable[[Any], Any],
        /,
        type: type[T],
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> Begun[T]: ...
    def start_side_effect(
        self,
        key: str,
        effect: Any,
        /,
        type: Any = None,
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
    ) -> Begun[Any]:
        """Begins a side effect, as `side_effect` runs one, and goes on. It runs in a thread of its own.

        When the handler returns, it is waited for. Its key may be used again once it was waited for or given up.
        """
        if timeout is not None:
            seconds_of("timeout", timeout)
        operation = operations.RunSideEffect(key, effect, type, retry, timeout)
        return Begun(self._runtime.beside, operation, f"side effect {key!r}")

    @overload
    def start_signal(
        self, name: Signal[T], /, *, timeout: Duration | None = None, key: str | None = None
    ) -> Begun[T]: ...
    @overload
    def start_signal(
        self, name: str, /, type: type[T], *, timeout: Duration | None = None, key: str | None = None
    ) -> Begun[T]: ...
    @overload
    def start_signal(
        self, name: str, /, type: Any = Any, *, timeout: Duration | None = None, key: str | None = None
    ) -> Begun[Any]: ...
    def start_signal(
        self,
        name: Signal[Any] | str,
        /,
        type: Any = Any,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> Begun[Any]:
        """Begins to wait for the next signal of that name, as `receive_signal` does, and goes on.

        From here on it takes the signal that is next in line. Given up, it gives that back.
        """
        name, type = name_and_type(name, type)
        return Begun(self._runtime.beside, operations.ReceiveSignal(name, type, timeout, key), f"signal {name!r}")

    def start_timer(self, duration: Duration, /, *, key: str | None = None) -> Begun[None]:
        """Begins to sleep, as `sleep` does, and goes on."""
        return Begun(self._runtime.beside, operations.Sleep(duration, key), "timer")

    def wait_any(
        self, waited: Iterable[Waited], /, *, timeout: Duration | None = None, key: str | None = None
    ) -> Waited:
        """The first of them to end, however it ends: what was begun, or a child. In each replay the same one.

        What comes of it is asked of it, `result()`, or of a child `wait_for_completion`. The others stay open until
        they are waited for or given up. One that has ended before, and is waited for again, is the first at once.
        key: of the timer, default "wait_any#n".
        Raises `WaitTimeout` when none has ended in time.
        """
        beside, several = self._runtime.beside, _several(waited)
        return several[beside.wait_any(_known(several), timeout, key)]

    def wait_all(
        self,
        waited: Iterable[Waitable[T]],
        /,
        *,
        timeout: Duration | None = None,
        key: str | None = None,
    ) -> list[T]:
        """What all of them come to, in their order.

        Raises the error of the first that has one, as soon as it has; the others stay open. key: as of `wait_any`.
        Raises `WaitTimeout` when they have not all ended in time.
        """
        beside, several = self._runtime.beside, _several(waited)
        return beside.wait_all(_known(several), timeout, key)

    def give_up(self, which: Waitable[Any], /) -> None:
        """Waits for it no more. Nothing comes of it for one that was given back by a wait.

        A signal that was taken for it is the next wait's. A side effect gets no further attempt: it ends when the body
        that runs has, and what it returns is recorded. A child goes on.
        """
        beside, [one] = self._runtime.beside, _known(_several([which]))
        beside.give_up(one)


def _several(waited: Iterable[Waited]) -> list[Waited]:
    """ContextMisuse: they can't be waited for."""
    several = list(waited)
    if not several:
        raise ContextMisuse("there is nothing to wait for: the list is empty")
    seen: set[Any] = set()
    for each in several:
        if not isinstance(each, Begun | ChildHandle):
            raise ContextMisuse(f"what can be waited for is what `ctx.start_…` and `ctx.enqueue` return, not {each!r}")
        known = each.id if isinstance(each, ChildHandle) else each
        if known in seen:
            raise ContextMisuse(f"{each!r} is in the list twice")
        seen.add(known)
    return several


def _known(several: Iterable[Waitable[Any]]) -> list[Any]:
    """As the host knows them."""
    return [each._begun if isinstance(each, Begun) else each for each in several]
