"""The clocks of a node: what a calendar says, and what is due by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SET_MS = 1_000  #: a clock that has moved by so much beside the other was set, or slept
_CATCHES_UP = 0.1  #: of the time that passes


def wall_clock_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SteadyClock:
    """The wall clock, but where that is set: then it goes on as before, and comes to it by a tenth of the time.

    So a pause of a minute is a minute, and no deadline is passed at once, when somebody sets the machine's clock by an
    hour; and ten hours later all is as the calendar says. The clock of a machine that slept was set. Any thread may
    call it.
    """

    def __init__(
        self, wall_ms: Callable[[], int] | None = None, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """wall_ms: `wall_clock_ms`, if not given."""
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._last: tuple[int, float] | None = None  #: of both clocks, when it was asked last
        self._ahead_ms = 0.0  #: of the wall clock

    def __call__(self) -> int:
        """Unix milliseconds, about."""
        with self._lock:
            wall_ms, now_s = (self._wall_ms or wall_clock_ms)(), self._monotonic_s()
            if self._last is not None:
                passed_ms = (now_s - self._last[1]) * 1_000
                self._note(wall_ms - self._last[0] - passed_ms, passed_ms)
            self._last = wall_ms, now_s
            return wall_ms + round(self._ahead_ms)

    def _note(self, set_by_ms: float, passed_ms: float) -> None:
        if self._ahead_ms:
            caught_up_ms = min(abs(self._ahead_ms), passed_ms * _CATCHES_UP)
            self._ahead_ms += caught_up_ms if self._ahead_ms < 0 else -caught_up_ms
        if abs(set_by_ms) >= _SET_MS:
            self._ahead_ms -= set_by_ms

    @property
    def ahead_ms(self) -> int:
        """Of the wall clock, as it is now."""
        return self() - (self._wall_ms or wall_clock_ms)()

    def start(self, ahead_ms: int) -> None:
        """In another process, which goes by the clock of the first one."""
        self()
        with self._lock:
            self._ahead_ms = ahead_ms


#: By which all is due in a node, and in its worker hosts.
node_clock_ms = SteadyClock()
