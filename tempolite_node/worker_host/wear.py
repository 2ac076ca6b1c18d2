"""When a worker host has run long enough: after so many attempts, with so much memory, or at its age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tempolite_node.protocol.messages import RecycleAfter, WornOut
from tempolite_node.system import resident_bytes


class Wear:
    """Any thread may call it."""

    def __init__(
        self,
        limits: RecycleAfter,
        tell: Callable[[WornOut], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = resident_bytes,
    ) -> None:
        """tell: called once, when the host is to be replaced; and once more, should it be full of memory after that."""
        self._limits = limits
        self._tell = tell
        self._clock = clock
        self._memory = memory
        self._began_s = clock()
        self._attempts = 0
        self._told: WornOut | None = None
        self._lock = threading.Lock()

    def attempt_ended(self) -> None:
        with self._lock:
            self._attempts += 1
        self.look()

    def look(self) -> None:
        """Looks whether a limit is reached: after each attempt, and now and then while nothing ends."""
        worn = self._worn()
        if worn is None:
            return
        with self._lock:
            if self._told is not None and (self._told.full or not worn.full):
                return
            self._told = worn
        self._tell(worn)

    def _worn(self) -> WornOut | None:
        limits, told = self._limits, self._told
        if told is not None and told.full:
            return None
        if limits.memory is not None and (memory := self._memory()) >= limits.memory:
            return WornOut(reason=f"it takes {memory:,} bytes of memory", full=True)
        if told is not None:
            return None
        if limits.attempts is not None and self._attempts >= limits.attempts:
            return WornOut(reason=f"it has run {self._attempts:,} attempts")
        if limits.age_ms is not None and (age_s := self._clock() - self._began_s) * 1_000 >= limits.age_ms:
            return WornOut(reason=f"it has run for {age_s:,.0f} s")
        return None
