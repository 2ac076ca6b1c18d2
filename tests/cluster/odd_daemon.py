"""The daemon with an oddity: python -m tests.cluster.odd_daemon --config …

CLOCK_AHEAD_S: its wall clock is so many seconds ahead of the machine's.
KEEP_ENTRIES: its raft journal keeps so few entries for nodes that were away.
DIES_INSTALLING: it kills itself with SIGKILL when it opens, moves or removes its n-th file while it puts a snapshot in
the place of its store; "end": when it has, and its log does not know it yet.
APPLIES_AFTER: it applies nothing of its log before it has passed this gate, and says so when it stands there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tempolite_node import clock
from tempolite_node.cli.main import main
from tempolite_node.log.raft.entries import Entry
from tempolite_node.log.replicated import ReplicatedLog
from tempolite_node.node import raft_config
from tempolite_node.store.snapshots import StoreSnapshots
from tests.e2e.handlers.world import pass_gate

_ahead_ms = int(float(os.environ.get("CLOCK_AHEAD_S", "0")) * 1000)
_wall_clock_ms = clock.wall_clock_ms

clock.wall_clock_ms = lambda: _wall_clock_ms() + _ahead_ms
if "KEEP_ENTRIES" in os.environ:
    raft_config.Limits = partial(raft_config.Limits, keep_entries=int(os.environ["KEEP_ENTRIES"]))  # type: ignore


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_installing(moment: str) -> None:
    install = StoreSnapshots.install

    def die_in_it(snapshots: StoreSnapshots, snapshot: Path) -> None:
        left = 0 if moment == "end" else int(moment)

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in ("open", "os.remove", "os.rename") and str(snapshot.parent.parent) in str(arguments[0]):
                left -= 1
                if left == 0:
                    _die()

        sys.addaudithook(count)
        install(snapshots, snapshot)
        _die()

    StoreSnapshots.install = die_in_it  # type: ignore[method-assign]


if "DIES_INSTALLING" in os.environ:
    _die_installing(os.environ["DIES_INSTALLING"])
if "APPLIES_AFTER" in os.environ:
    _deliver = ReplicatedLog.delivered

    def _deliver_after_the_gate(log: ReplicatedLog, entries: Sequence[Entry]) -> None:
        print(json.dumps({"event": "stands at the gate"}), file=sys.stderr, flush=True)
        pass_gate(os.environ["APPLIES_AFTER"])
        _deliver(log, entries)

    ReplicatedLog.delivered = _deliver_after_the_gate  # type: ignore
main(prog_name="tempolite-node")
