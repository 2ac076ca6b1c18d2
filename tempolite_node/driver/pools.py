"""The pool of one component: its slots, who waits for one, and how fast new work may start."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Collection, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

Order = tuple[bool, int, int]

#: Executions of a pool's queue that are kept in memory; the others stay in the store until these are gone.
WINDOW_MAX = 10_000


class ReadyQueue:
    """The front of a pool's queue of executions. The queue itself is in the store."""

    def __init__(self, window_max: int = WINDOW_MAX) -> None:
        self._window_max = window_max
        self.suspects: list[
            tuple[Order, str]
        ] = []  #: a heap: those that a crash isolated start only while there is room
        self.others: list[tuple[Order, str]] = []  #: the same
        self.alone: list[tuple[Order, str]] = []  #: the same, of those that nothing else is started beside
        self._horizon: Order | None = None  #: behind it, the store knows more than the window; None: it does not

    def push(self, order: Order, execution_id: str, *, suspect: bool = False, alone: bool = False) -> None:
        if self._horizon is not None and order > self._horizon:
            return
        heap = self.alone if alone else self.suspects if suspect else self.others
        heapq.heappush(heap, (order, execution_id))
        if len(self.others) + len(self.suspects) + len(self.alone) > 2 * self._window_max:
            self._keep_front()

    def _keep_front(self) -> None:
        front = heapq.nsmallest(self._window_max, [*self.others, *self.suspects, *self.alone])
        self._horizon = front[-1][0]
        self.others = [each for each in self.others if each[0] <= self._horizon]
        self.suspects = [each for each in self.suspects if each[0] <= self._horizon]
        self.alone = [each for each in self.alone if each[0] <= self._horizon]
        heapq.heapify(self.others)
        heapq.heapify(self.suspects)
        heapq.heapify(self.alone)

    def pop(self) -> str:
        """The first of all that are no suspects."""
        return heapq.heappop(self.others)[1]

    def pop_suspect(self) -> str:
        return heapq.heappop(self.suspects)[1]

    def pop_alone(self) -> str:
        return heapq.heappop(self.alone)[1]

    @property
    def suspect_first(self) -> bool:
        return bool(self.suspects) and (not self.others or self.suspects[0] < self.others[0])

    @property
    def wants_refill(self) -> bool:
        return not (self.others or self.suspects or self.alone) and self._horizon is not None

    def refill(
        self, first: Iterable[tuple[Order, str]], suspects: Collection[str] = (), alone: Collection[str] = ()
    ) -> None:
        """Takes the front of the stored queue: as many as `window_max`, or all there are."""
        front = sorted(first)
        self._horizon = front[-1][0] if len(front) >= self._window_max else None
        self.alone = [each for each in front if each[1] in alone]
        beside = [each for each in front if each[1] not in alone] if alone else front
        self.suspects = [each for each in beside if each[1] in suspects]
        self.others = [each for each in beside if each[1] not in suspects] if suspects else beside


class RateLimit:
    """A token bucket: `rate` starts per second on average, one second's worth at once."""

    def __init__(self, rate: float, now_s: float) -> None:
        self.per_s = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._filled_s = now_s
        self.limits = rate > 0

    def take(self, now_s: float) -> float:
        """0 when a start is free to go; else the seconds until one is."""
        if not self.limits:
            return 0.0
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._filled_s) * self.per_s)
        self._filled_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self.per_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until a start is free to go, of which none is taken."""
        wait_s = self.take(now_s)
        if self.limits and not wait_s:
            self.give_back()
        return wait_s

    def give_back(self) -> None:
        """The start did not take place."""
        self._tokens = min(self._burst, self._tokens + 1)


class Pool(Generic[T]):
    """Slots of one component. T: what waits for a slot with its stack alive.

    Those that wake go ahead of those that start. A paused pool starts nothing, and still wakes.
    """

    def __init__(self, workers: int, rate: float, now_s: float, *, window_max: int = WINDOW_MAX) -> None:
        self.workers = workers
        self.paused = False
        self.busy = 0
        self.rate = RateLimit(rate, now_s)
        self.waking: deque[T] = deque()
        self.starting: deque[T] = deque()  #: side effects; they start inside an attempt that is already here
        self.ready = ReadyQueue(window_max)

    @property
    def free(self) -> bool:
        return self.busy < self.workers

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self.waking or self.starting or self.ready.others)

    def take(self) -> None:
        self.busy += 1

    def release(self) -> None:
        assert self.busy > 0, "a slot was released twice"
        self.busy -= 1
