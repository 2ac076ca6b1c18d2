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
        self._heap: list[tuple[Order, str]] = []
        self._suspects: list[tuple[Order, str]] = []  #: that a crash isolated: they start only while there is room
        self._horizon: Order | None = None  #: behind it, the store knows more than the window; None: it does not

    def push(self, order: Order, execution_id: str, *, suspect: bool = False) -> None:
        if self._horizon is not None and order > self._horizon:
            return
        heapq.heappush(self._suspects if suspect else self._heap, (order, execution_id))
        if len(self._heap) + len(self._suspects) > 2 * self._window_max:
            self._keep_front()

    def _keep_front(self) -> None:
        front = heapq.nsmallest(self._window_max, [*self._heap, *self._suspects])
        self._horizon = front[-1][0]
        self._heap = [each for each in self._heap if each[0] <= self._horizon]
        self._suspects = [each for each in self._suspects if each[0] <= self._horizon]
        heapq.heapify(self._heap)
        heapq.heapify(self._suspects)

    def pop(self) -> str:
        """The first of all that are no suspects."""
        return heapq.heappop(self._heap)[1]

    def pop_suspect(self) -> str:
        return heapq.heappop(self._suspects)[1]

    @property
    def empty(self) -> bool:
        """Of those that are no suspects."""
        return not self._heap

    @property
    def suspects(self) -> int:
        return len(self._suspects)

    @property
    def suspect_first(self) -> bool:
        return bool(self._suspects) and (not self._heap or self._suspects[0] < self._heap[0])

    @property
    def wants_refill(self) -> bool:
        return not self._heap and not self._suspects and self._horizon is not None

    def refill(self, first: Iterable[tuple[Order, str]], suspects: Collection[str] = ()) -> None:
        """Takes the front of the stored queue: as many as `window_max`, or all there are."""
        front = sorted(first)
        self._horizon = front[-1][0] if len(front) >= self._window_max else None
        self._suspects = [each for each in front if each[1] in suspects]
        self._heap = [each for each in front if each[1] not in suspects] if suspects else front


class RateLimit:
    """A token bucket: `rate` starts per second on average, one second's worth at once."""

    def __init__(self, rate: float, now_s: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate)
        self._tokens = self._burst
        self._filled_s = now_s

    @property
    def limits(self) -> bool:
        return self._rate > 0

    def take(self, now_s: float) -> float:
        """0 when a start is free to go; else the seconds until one is."""
        if self._rate <= 0:
            return 0.0
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._filled_s) * self._rate)
        self._filled_s = now_s
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

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
        return bool(self.waking or self.starting or not self.ready.empty)

    def take(self) -> None:
        self.busy += 1

    def release(self) -> None:
        assert self.busy > 0, "a slot was released twice"
        self.busy -= 1
