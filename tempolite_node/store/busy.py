"""What the node does while another program holds a lock of the store: it waits, says so, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import structlog

logger = structlog.get_logger("store")

WAIT_S = 60.0  #: longer than a backup or an operator's look takes; what holds the lock for longer has hung
_WARN_S = 1.0
_SLEEPS_S = (0.001, 0.002, 0.005, 0.010, 0.020, 0.050)  #: between two tries, as they go on


class BusyHandler:
    """For SQLite: called each time that the lock is found taken. The thread that wants it waits here."""

    def __init__(
        self,
        path: Path,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path
        self._clock_s = clock_s
        self._sleep = sleep
        self._since_s = 0.0
        self._warned = False

    def __call__(self, tries: int) -> bool:
        """Whether to try again. tries: how often it did for this lock before; 0: it is a new wait."""
        if tries == 0:
            self._since_s, self._warned = self._clock_s(), False
        waited_s = self._clock_s() - self._since_s
        if waited_s >= WAIT_S:
            return False
        if waited_s >= _WARN_S and not self._warned:
            self._warned = True
            logger.warning(
                f"another program holds a lock of the store: the node waits until it lets go, for {WAIT_S:g} s at most",
                store=str(self._path),
            )
        self._sleep(_SLEEPS_S[min(tries, len(_SLEEPS_S) - 1)])
        return True
