"""Slots of the side-effect pool that the node has leased to this process.

A side effect that is new takes one and runs without having asked. The node hears of it when it ends, with its result;
or before that, when it lasts, or when its code asks for something: the node then counts it as any other.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from tempolite_node.worker_host.scopes import Scope

#: What runs this long, or is of no use for this long, the node is told of. Twice of it at most.
LOOK_S = 0.025


class Borrower(Protocol):
    """An attempt."""

    def announce(self, key: str, scope: Scope) -> None:
        """Tells the node of a side effect that runs in a leased slot."""
        ...


class LeasedSlots:
    """Any thread may take a slot and end with it; the one that reads the socket gets them, and looks after them.

    Every side effect takes one and ends with it, in many threads. It ends without the lock, which is for what must not
    be seen halfway: a slot that is neither spare nor run in, and a side effect that is no longer unannounced before the
    node is told of it. The word that it runs has to be out before that of its end.
    """

    def __init__(self, give_back: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._give_back = give_back
        self._clock = clock
        self._spare: deque[int] = deque()  #: each as the number of looks when it came; the last one is taken first
        self._running: dict[tuple[Borrower, str], tuple[Scope, int]] = {}  #: unannounced, in order, with the last look
        self._lock = threading.Lock()
        self._looks = 0
        self._looked_s = 0.0

    # --- by the code of attempts

    def take(self, attempt: Borrower, key: str, scope: Scope) -> bool:
        """Whether the side effect may run at once. scope: the one around it."""
        if not self._spare:
            return False
        with self._lock:
            if not self._spare:
                return False
            self._spare.pop()
            self._running[attempt, key] = (scope, self._looks)
            return True

    def ends(self, attempt: Borrower, key: str) -> bool:
        """The side effect ends. Whether it ran unannounced: its slot then goes back with the word of its end."""
        if self._running.pop((attempt, key), None) is not None:
            return True
        with self._lock:  # until whoever announces it has done so
            return False

    def keep(self, attempt: Borrower, key: str) -> None:
        """The side effect is over, and nothing was said of it: its attempt is."""
        if (attempt, key) not in self._running:
            return
        with self._lock:
            if self._running.pop((attempt, key), None) is not None:
                self._spare.append(self._looks)

    def announce(self, attempt: Borrower) -> None:
        """Its code asks for something inside of what it began."""
        for place in list(self._running):
            if place[0] is attempt:
                self._announce(place)

    # --- by the thread that reads the socket

    def leased(self, slots: int) -> None:
        self._spare.extend([self._looks] * slots)

    def look(self) -> float | None:
        """Tells the node of what lasts, and gives back what nobody took. When to look again, in seconds; None: if more
        is leased."""
        with self._lock:
            if not (self._spare or self._running):
                return None
        left_s = self._looked_s + LOOK_S - self._clock()
        if 0 < left_s <= LOOK_S:
            return left_s
        self._announce_lasting()
        if idle := self._take_idle():
            self._give_back(idle)
        self._looks += 1
        self._looked_s = self._clock()
        return LOOK_S

    def _announce_lasting(self) -> None:
        for place in list(self._running):  # of pairs, each would be made, and the others may run meanwhile
            running = self._running.get(place)
            if running is not None and running[1] == self._looks:
                break  # it began since the last look, as did all behind it
            self._announce(place)

    def _announce(self, place: tuple[Borrower, str]) -> None:
        with self._lock:
            if (running := self._running.pop(place, None)) is not None:
                attempt, key = place
                attempt.announce(key, running[0])

    def _take_idle(self) -> int:
        """Those that are there since the last look."""
        idle = 0
        with self._lock:
            while self._spare and self._spare[0] != self._looks:
                self._spare.popleft()
                idle += 1
        return idle
