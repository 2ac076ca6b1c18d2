"""Our figures as multiples of the best peer's."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measures import Measure, number

#: a row of benchmarks/throughput.py, and the peers' work that it compares with
_COUNTERPARTS = {
    "executions, 64 in flight, unary": "executions, 64 in flight",
    "executions, 1 in flight, session": "executions, 1 in flight",
    "executions, 64 in flight, session": "executions, 64 in flight",
    "executions, 512 in flight, session": "executions, 512 in flight",
    "side effects, sync, 64 × 10": "steps, 64 × 10",
    "side effects, async, 64 × 10": "steps, 64 × 10",
    "signal sent to handler woken: p50": "message sent to waiter woken: p50",
}


def times_the_best(rows: Sequence[Measure], peers: Sequence[Measure]) -> list[Measure]:
    """Above 1: faster than every peer of this run."""
    compared = []
    for row in rows:
        work = _COUNTERPARTS.get(row.name)
        same = [peer for peer in peers if work is not None and peer.name.endswith(f": {work}")]
        if same:
            compared.append(_times(row, same))
    return compared


def _times(row: Measure, peers: Sequence[Measure]) -> Measure:
    is_time = row.unit == "ms"
    best = min(peers, key=lambda peer: peer.value if is_time else -peer.value)
    return Measure(
        name=f"to the best peer: {row.name}",
        value=best.value / row.value if is_time else row.value / best.value,
        unit="times as fast",
        beside=f"{best.name.split(': ')[1]}: {number(best.value)} {best.unit}",
    )
