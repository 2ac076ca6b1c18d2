"""Stacks that wait: how many are kept, and for how long. One that is given up is unwound, and replayed later."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class Parked(Protocol):
    def unwind(self, call: int) -> None:
        """Gives up the stack that waits in the call, unless the call is over by now."""
        ...


class Parking:
    """Any thread may call it."""

    def __init__(self, *, parked_max: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._parked_max = parked_max
        self._ttl_s = ttl_s
        self._clock = clock
        self._waiting: OrderedDict[tuple[Parked, int], float] = OrderedDict()  #: oldest first
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, parked: Parked, call: int) -> None:
        """A stack waits. Beyond the maximum the oldest is unwound."""
        with self._lock:
            self._waiting[parked, call] = self._clock()
            surplus = self._oldest() if len(self._waiting) > self._parked_max else None
        if surplus is not None:
            surplus[0].unwind(surplus[1])

    def remove(self, parked: Parked, call: int) -> None:
        """Its wait is over."""
        with self._lock:
            self._waiting.pop((parked, call), None)

    def unwind_expired(self) -> float | None:
        """Unwinds those that wait too long. Returns the seconds until the next one will; None: nobody waits."""
        while True:
            with self._lock:
                if not self._waiting:
                    return None
                left = next(iter(self._waiting.values())) + self._ttl_s - self._clock()
                if left > 0:
                    return left
                parked, call = self._oldest()
            parked.unwind(call)

    def drain(self) -> None:
        """Unwinds all that wait now, and from now on whatever begins to."""
        with self._lock:
            self._parked_max = 0
            waiting = list(self._waiting)
            self._waiting.clear()
        for parked, call in waiting:
            parked.unwind(call)

    def _oldest(self) -> tuple[Parked, int]:
        return self._waiting.popitem(last=False)[0]
