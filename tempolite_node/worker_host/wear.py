"""When a worker host has run long enough: after so many attempts, with so much memory, or at its age."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tempolite_node.protocol.messages import RecycleAfter
from tempolite_node.system import resident_bytes


class Wear:
    """Any thread may call it."""

    def __init__(
        self,
        limits: RecycleAfter,
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = resident_bytes,
    ) -> None:
        """tell: called once, with the reason, when the host is to be replaced."""
        self._limits = limits
        self._tell = tell
        self._clock = clock
        self._memory = memory
        self._began_s = clock()
        self._attempts = 0
        self._told = False
        self._lock = threading.Lock()

    def attempt_ended(self) -> None:
        with self._lock:
            self._attempts += 1
        self.look()

    def look(self) -> None:
        """Looks whether a limit is reached: after each attempt, and now and then while nothing ends."""
        reason = None if self._told else self._reason()
        if reason is None:
            return
        with self._lock:
            if self._told:
                return
            self._told = True
        self._tell(reason)

    def _reason(self) -> str | None:
        limits = self._limits
        if limits.attempts is not None and self._attempts >= limits.attempts:
            return f"it has run {self._attempts:,} attempts"
        if limits.age_ms is not None and (age_s := self._clock() - self._began_s) * 1_000 >= limits.age_ms:
            return f"it has run for {age_s:,.0f} s"
        if limits.memory is not None and (memory := self._memory()) >= limits.memory:
            return f"it takes {memory:,} bytes of memory"
        return None
