"""Stacks that wait: how many are kept, and for how long. One that is given up is unwound, and replayed later."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol


class Parked(Protocol):
    def unwind(self, call: int) -> None:
        """Gives up the stack that waits in the call, unless the call is over by now."""
        ...


class _Stack:
    """One that waits, in one call or, with several tasks, in many."""

    __slots__ = ("calls", "since_s")

    def __init__(self) -> None:
        self.calls: dict[int, None] = {}  #: oldest first
        self.since_s = 0.0  #: since when it has neither begun a wait nor got an answer


class Parking:
    """Counts stacks, not their waits. Any thread may call it."""

    def __init__(self, *, parked_max: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._parked_max = parked_max
        self._ttl_s = ttl_s
        self._clock = clock
        self._stacks: OrderedDict[Parked, _Stack] = OrderedDict()  #: that which has waited longest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._stacks)

    def add(self, parked: Parked, call: int) -> None:
        """A stack waits. Beyond the maximum the oldest is unwound."""
        with self._lock:
            self._put(parked, (call,))
            surplus = self._oldest() if len(self._stacks) > self._parked_max else None
        if surplus is not None:
            surplus[0].unwind(surplus[1])

    def keep(self, parked: Parked, calls: Iterable[int]) -> None:
        """It was to be unwound, and something of it runs beside its waits: it is looked at again later."""
        with self._lock:
            self._put(parked, calls)

    def _put(self, parked: Parked, calls: Iterable[int]) -> None:
        stack = self._stacks.get(parked)
        if stack is None:
            stack = self._stacks[parked] = _Stack()
        stack.calls.update(dict.fromkeys(calls))
        self._touch(parked, stack)

    def _touch(self, parked: Parked, stack: _Stack) -> None:
        stack.since_s = self._clock()
        self._stacks.move_to_end(parked)

    def remove(self, parked: Parked, call: int) -> None:
        """Its wait is over."""
        with self._lock:
            stack = self._stacks.get(parked)
            if stack is None:
                return
            stack.calls.pop(call, None)
            if stack.calls:
                self._touch(parked, stack)
            else:
                del self._stacks[parked]

    def unwind_expired(self) -> float | None:
        """Unwinds those that wait too long. Returns the seconds until the next one will; None: nobody waits."""
        while True:
            with self._lock:
                if not self._stacks:
                    return None
                left = next(iter(self._stacks.values())).since_s + self._ttl_s - self._clock()
                if left > 0:
                    return left
                parked, call = self._oldest()
            parked.unwind(call)

    def drain(self) -> None:
        """Unwinds all that wait now, and from now on whatever begins to."""
        with self._lock:
            self._parked_max = 0
            waiting = [self._oldest() for _ in range(len(self._stacks))]
        for parked, call in waiting:
            parked.unwind(call)

    def _oldest(self) -> tuple[Parked, int]:
        parked, stack = self._stacks.popitem(last=False)
        return parked, next(iter(stack.calls))
