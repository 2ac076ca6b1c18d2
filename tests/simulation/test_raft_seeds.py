"""The replicated log under whatever a seed comes up with: python -m tests.simulation.raft runs thousands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tempolite_node.log.raft.core import RaftCore
from tempolite_node.log.raft.guards import GuardedRaft
from tempolite_node.log.raft.log_store import Phase
from tempolite_node.log.raft.proposals import Proposals
from tempolite_node.log.raft.recovery import Recovery
from tests.simulation.raft.disks import Consumer
from tests.simulation.raft.plan import plan_of
from tests.simulation.raft.world import World

SEEDS = 32  #: what a commit needs; `scripts/campaign simulation` runs as many as you like


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_log_keeps_its_promises(seed: int) -> None:
    run(seed)


def run(seed: int, **changes: Any) -> World:
    world = World(seed, replace(plan_of(seed), **changes))
    try:
        world.run()
    except Exception as error:
        trace = "\n".join(world.trace(30))
        raise AssertionError(f"replay: python -m tests.simulation.raft --seeds {seed}\n{trace}") from error
    return world


def test_a_seed_replays_exactly_whatever_the_process() -> None:
    def digest(hash_seed: str) -> str:
        command = [sys.executable, "-m", "tests.simulation.raft", "--seeds", "57"]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        root = Path(__file__).parents[2]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[0]

    first = digest("1")
    assert first.startswith("digest ")
    assert digest("2") == first


# --- the simulation is as good as what it finds


def without_conflict_check(patch: pytest.MonkeyPatch) -> None:
    """G2: everything behind the previous entry is cut off, also what matches."""
    patch.setattr(GuardedRaft, "_count_matching", lambda *_: 0)


def with_a_commit_index_for_everything(patch: pytest.MonkeyPatch) -> None:
    """G1: a leader's commit index is believed for entries that may not be the leader's."""
    hear: Callable[..., None] = GuardedRaft._hear_commit_index
    patch.setattr(GuardedRaft, "_hear_commit_index", lambda self, peer, term, _: hear(self, peer, term, 1 << 40))


def with_messages_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """G7: acknowledgements and votes leave before what they promise is durable."""

    def flush(core: RaftCore) -> None:
        outbox, core._outbox = core._outbox, []
        core._let_out(outbox)
        core.journal.sync()

    patch.setattr(RaftCore, "flush", flush)


def with_an_amnesiac_that_votes(patch: pytest.MonkeyPatch) -> None:
    def before_tick(recovery: Recovery) -> None:
        if not recovery.is_proven:
            recovery._journal.update(phase=Phase.PROVEN)

    patch.setattr(Recovery, "before_tick", before_tick)


def with_proposals_taken_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proposals, "_remember", lambda *_: None)


def with_a_store_that_is_behind_the_journal(patch: pytest.MonkeyPatch) -> None:
    """Entries are compacted away that the store would lose with the power."""
    patch.setattr(Consumer, "sync", lambda _: None)


@pytest.mark.parametrize(
    ("flaw", "trouble"),
    [
        (without_conflict_check, {"wild": True, "duplicate": 0.3}),
        (with_a_commit_index_for_everything, {"partitions_per_s": 1.0}),
        (with_messages_before_the_disk, {"crashes_per_s": 1.0, "crash_points_per_s": 2.0}),
        (with_an_amnesiac_that_votes, {"wipes_per_s": 0.5}),
        (with_proposals_taken_twice, {"wild": True, "duplicate": 0.3}),
        (with_a_store_that_is_behind_the_journal, {"crashes_per_s": 1.0}),
    ],
)
def test_a_missing_guard_is_noticed(
    flaw: Callable[[pytest.MonkeyPatch], None], trouble: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flaw(monkeypatch)
    with pytest.raises(AssertionError, match="replay"):
        run_all(60, trouble)


def run_all(seeds: int, trouble: dict[str, Any]) -> None:
    for seed in range(seeds):
        run(seed, **trouble)
