"""Slots of the side-effect pool that the node has lent to this process.

A side effect that is new takes one and runs without having asked. The node hears of it when it ends, with its result;
or before that, when it lasts, or when its code asks for something: the node then counts it as any other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from tempolite_node.host.scopes import Scope

#: What runs this long, or is of no use for this long, the node is told of. Twice of it at most.
LOOK_S = 0.025


class Borrower(Protocol):
    """An attempt."""

    def announce(self, key: str, scope: Scope) -> None:
        """Tells the node of a side effect that runs in a lent slot."""
        ...


class LentSlots:
    """Any thread may take a slot and end with it; the one that reads the socket gets them, and looks after them."""

    def __init__(self, give_back: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._give_back = give_back
        self._clock = clock
        self._lock = threading.Lock()
        self._spare = 0
        self._idle = 0  #: spare ones that nobody took since the last look
        self._running: dict[tuple[Borrower, str], tuple[Scope, int]] = {}  #: unannounced, in order, with the last look
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
            self._spare -= 1
            self._idle = min(self._idle, self._spare)
            self._running[attempt, key] = (scope, self._looks)
            return True

    def ends(self, attempt: Borrower, key: str) -> bool:
        """The side effect ends. Whether it ran unannounced: its slot then goes back with the word of its end."""
        with self._lock:
            return self._running.pop((attempt, key), None) is not None

    def keep(self, attempt: Borrower, key: str) -> None:
        """The side effect is over, and nothing was said of it: its attempt is."""
        with self._lock:
            if self._running.pop((attempt, key), None) is not None:
                self._spare += 1

    def announce(self, attempt: Borrower) -> None:
        """Its code asks for something inside of what it began."""
        with self._lock:
            for place, (scope, _) in list(self._running.items()):
                if place[0] is attempt:
                    del self._running[place]
                    attempt.announce(place[1], scope)

    # --- by the thread that reads the socket

    def lent(self, slots: int) -> None:
        with self._lock:
            self._spare += slots

    def look(self) -> float | None:
        """Tells the node of what lasts, and gives back what nobody took. When to look again, in seconds; None: if more
        is lent."""
        if not (self._spare or self._running):
            return None
        left_s = self._looked_s + LOOK_S - self._clock()
        if 0 < left_s <= LOOK_S:
            return left_s
        with self._lock:
            self._announce_lasting()
            if self._idle:
                self._give_back(self._idle)
            self._spare -= self._idle
            self._idle = self._spare
            self._looks += 1
            self._looked_s = self._clock()
        return LOOK_S

    def _announce_lasting(self) -> None:
        for place, (scope, look) in list(self._running.items()):
            if look == self._looks:
                break  # it began since the last look, as did all behind it
            del self._running[place]
            attempt, key = place
            attempt.announce(key, scope)
