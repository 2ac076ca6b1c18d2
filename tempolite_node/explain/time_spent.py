"""Where the time of an execution went, told by its records alone.

A record of a wait has its beginning and its end, and one of a side effect or step too, by the clock of its host. What a
a replay takes has no record: it ends with the first operation that was recorded since the stack was made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tempolite_node.engine.model import Execution, OperationKind, Status
from tempolite_node.explain.model import TimeSpent
from tempolite_node.views import Span

#: Operations, and ended attempts, that are looked at.
SPANS_MAX = 10_000

_WAITS = frozenset({OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER})
_RUN = frozenset({OperationKind.SIDE_EFFECT, OperationKind.STEP})


Interval = tuple[int, int]


def time_spent(execution: Execution, spans: Sequence[Span], now_ms: int) -> TimeSpent:
    end_ms = execution.closed_ms or now_ms
    if execution.started_ms is None:
        return TimeSpent(queued=max(0, end_ms - execution.created_ms))
    spans, partial = spans[:SPANS_MAX], len(spans) > SPANS_MAX
    ended = sorted((each.started_ms, each.closed_ms or end_ms) for each in spans if each.kind is None)
    attempts = _union([*ended, *_last_attempt(execution, spans, ended, end_ms)])
    total_ms = max(0, end_ms - execution.started_ms)
    under_way_ms = sum(end - start for start, end in attempts)
    waits = _union((each.started_ms, each.closed_ms or end_ms) for each in spans if each.kind in _WAITS)
    ran = _union((each.started_ms, each.closed_ms or each.started_ms) for each in spans if each.kind in _RUN)
    waiting_ms = _length(_without(_within(waits, attempts), ran))
    return TimeSpent(
        queued=max(0, execution.started_ms - execution.created_ms),
        running=max(0, under_way_ms - waiting_ms),
        waiting=waiting_ms,
        backing_off=max(0, total_ms - under_way_ms),
        replaying=_replay_ms(execution, spans, now_ms),
        partial=partial,
    )


def _last_attempt(
    execution: Execution, spans: Sequence[Span], ended: Sequence[Interval], end_ms: int
) -> list[Interval]:
    """The one that is under way, or that completed the execution: it is not among those that ended."""
    if execution.attempt_started_ms is not None:
        return [(execution.attempt_started_ms, end_ms)]
    if execution.status is not Status.COMPLETED:
        return []
    assert execution.started_ms is not None
    if not ended:
        return [(execution.started_ms, end_ms)]
    # When it began is not kept. Its first operation tells, if it has any.
    before_ms = ended[-1][1]
    begun = [each.started_ms for each in spans if each.kind is not None and each.started_ms > before_ms]
    return [(min(begun, default=before_ms), end_ms)]


def _replay_ms(execution: Execution, spans: Sequence[Span], now_ms: int) -> int:
    started_ms = execution.attempt_started_ms
    if started_ms is None or execution.closed or not any(each.started_ms < started_ms for each in spans if each.kind):
        return 0
    since = [each.started_ms for each in spans if each.kind and each.started_ms >= started_ms]
    return max(0, (min(since) if since else now_ms) - started_ms)


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """In order, and apart from each other."""
    united: list[Interval] = []
    for start, end in sorted(each for each in intervals if each[1] > each[0]):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(end, united[-1][1]))
        else:
            united.append((start, end))
    return united


def _within(intervals: Sequence[Interval], bounds: Sequence[Interval]) -> list[Interval]:
    return [
        (max(start, low), min(end, high))
        for start, end in intervals
        for low, high in bounds
        if max(start, low) < min(end, high)
    ]


def _without(intervals: Sequence[Interval], taken: Sequence[Interval]) -> list[Interval]:
    left: list[Interval] = []
    for start, end in intervals:
        for low, high in taken:
            if high <= start or low >= end:
                continue
            if low > start:
                left.append((start, low))
            start = max(start, high)
            if start >= end:
                break
        if start < end:
            left.append((start, end))
    return left


def _length(intervals: Iterable[Interval]) -> int:
    return sum(end - start for start, end in intervals)
