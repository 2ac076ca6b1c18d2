"""Counts of what the node holds and does, as `GetStats` shows them."""

from __future__ import annotations

from collections import Counter

from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.engine.model import FINAL, Component, Status
from tempolite_node.store.writer import StoreWriter
from tempolite_node.views import ComponentStats, Stats

Counts = Counter[tuple[Component, Status]]


def stats_of(executions: StoreWriter, dispatch: Dispatch) -> Stats:
    """To be called in the driver's thread, between two rounds."""
    counts = executions.counts()
    return Stats(
        revision=executions.applied_index,
        handler=_of_executions(Component.HANDLER, counts, dispatch),
        saga=_of_executions(Component.SAGA, counts, dispatch),
        compensation=_of_compensations(counts, dispatch),
        side_effect=_of_side_effects(dispatch),
    )


def _of_executions(component: Component, all_counts: Counts, dispatch: Dispatch) -> ComponentStats:
    counts = {status: all_counts[component, status] for status in Status}
    completed = counts[Status.COMPLETED]
    pool = dispatch.pools[component]
    return ComponentStats(
        active=sum(count for status, count in counts.items() if status not in FINAL),
        scheduled=counts[Status.SCHEDULED],
        queued=counts[Status.QUEUED],
        running=counts[Status.RUNNING],
        waiting=counts[Status.WAITING],
        completed=completed,
        failed=sum(counts[status] for status in FINAL) - completed - counts[Status.CONTINUED_AS_NEW],
        workers=pool.workers,
        busy=pool.busy,
    )


def _of_compensations(counts: Counts, dispatch: Dispatch) -> ComponentStats:
    """A saga undoes one step at a time, so it counts for one compensation."""
    compensating = counts[Component.SAGA, Status.COMPENSATING]
    pool = dispatch.pools[Component.COMPENSATION]
    return ComponentStats(
        active=compensating + counts[Component.SAGA, Status.STUCK],
        queued=compensating - min(pool.busy, compensating),
        running=pool.busy,
        completed=dispatch.ended[Component.COMPENSATION, True],
        failed=dispatch.ended[Component.COMPENSATION, False],
        workers=pool.workers,
        busy=pool.busy,
    )


def _of_side_effects(dispatch: Dispatch) -> ComponentStats:
    """Those that run, as far as is known, or wait for a slot; see `worker_host/leased_slots.py`.

    One that waits for its next attempt belongs to its execution alone.
    """
    pool = dispatch.pools[Component.SIDE_EFFECT]
    queued, busy = len(pool.starting), pool.busy - dispatch.leased
    return ComponentStats(
        active=busy + queued,
        queued=queued,
        running=busy,
        completed=dispatch.ended[Component.SIDE_EFFECT, True],
        failed=dispatch.ended[Component.SIDE_EFFECT, False],
        workers=pool.workers,
        busy=busy,
    )
