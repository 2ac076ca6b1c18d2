"""What a seed decides before anything happens: how many nodes, how bad the world is, how small the bounds are."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tempolite_node.log.raft.timing import Limits, Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    nodes: int
    seconds: float = 20.0  #: of faults; then the world heals
    sqlite: bool  #: the journal is a real file
    wild: bool  #: messages arrive late, twice, in another order, also across reconnects and restarts
    sync_apply: bool  #: the consumer applies in the call that hands over
    drop: float
    duplicate: float
    slow: float
    crashes_per_s: float
    crash_points_per_s: float
    partitions_per_s: float
    wipes_per_s: float
    changes_per_s: float
    transfers_per_s: float
    proposals_per_s: float
    disk_s: float  #: the longest that a usual write takes
    stall: float  #: chance that a write takes up to a second
    apply_s: float
    timing: Timing
    limits: Limits


def plan_of(seed: int, nodes: int | None = None) -> Plan:
    rng = random.Random(f"plan {seed}")
    pick = rng.choice
    keep = pick([5, 20, 100, 2_000])
    return Plan(
        nodes=nodes or pick([3, 3, 3, 5]),
        sqlite=rng.random() < 0.15,
        wild=rng.random() < 0.5,
        sync_apply=rng.random() < 0.4,
        drop=pick([0, 0.01, 0.05, 0.15]),
        duplicate=pick([0, 0.02, 0.1, 0.3]),
        slow=pick([0, 0.01, 0.05, 0.2]),
        crashes_per_s=pick([0, 0.2, 0.6]),
        crash_points_per_s=pick([0, 0.3, 1.0]),
        partitions_per_s=pick([0, 0.2, 0.6, 1.0]),
        wipes_per_s=pick([0, 0, 0.15]),
        changes_per_s=pick([0, 0, 0.3]),
        transfers_per_s=pick([0, 0, 0.3]),
        proposals_per_s=pick([5, 20, 80]),
        disk_s=pick([0.0, 0.002, 0.02]),
        stall=pick([0, 0, 0.01]),
        apply_s=pick([0.0, 0.01, 0.1]),
        timing=Timing(heartbeat_s=0.1, election_min_s=0.5, election_max_s=1.0, tick_s=0.05),
        limits=Limits(
            append_entries=pick([1, 5, 1_000]),
            append_bytes=pick([60, 2_000, 1 << 20]),
            window_messages=pick([1, 4, 64]),
            window_bytes=pick([200, 1 << 20]),
            uncommitted_entries=pick([10, 4_096]),
            handed_ahead=pick([4, 4_096]),
            handed_at_once=pick([3, 1_024]),
            keep_entries=keep,
            chunk_bytes=pick([16, 64, 1_000]),
            chunks_in_flight=pick([1, 4]),
        ),
    )
