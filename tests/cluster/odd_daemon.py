"""The daemon with an oddity: python -m tests.cluster.odd_daemon --config …

CLOCK_AHEAD_S: its wall clock is so many seconds ahead of the machine's.
KEEP_ENTRIES: its raft journal keeps so few entries for nodes that were away.
"""

from __future__ import annotations

import os
from functools import partial

from tempolite_node import clock
from tempolite_node.cli import main
from tempolite_node.log import raft_settings

_ahead_ms = int(float(os.environ.get("CLOCK_AHEAD_S", "0")) * 1000)
_wall_clock_ms = clock.wall_clock_ms

clock.wall_clock_ms = lambda: _wall_clock_ms() + _ahead_ms
if "KEEP_ENTRIES" in os.environ:
    raft_settings.Limits = partial(raft_settings.Limits, keep_entries=int(os.environ["KEEP_ENTRIES"]))  # type: ignore
main(prog_name="tempolite-node")
