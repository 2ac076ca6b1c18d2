"""The daemon, which kills itself with SIGKILL around its n-th commit: python -m tests.e2e.killing_daemon --config …

KILL_AT: "before:3", "after:3", or "signal:1", after the commit that takes the first signal. After: the commit is on
disk, and nobody has been told. Commits that are of nodes alone, like the registration at the start, don't count.
"""

from __future__ import annotations

import os
import signal

from tempolite_node.cli.main import main
from tempolite_node.engine.work import Work
from tempolite_node.store.writer import StoreWriter

_moment, _, _number = os.environ["KILL_AT"].partition(":")
_left = int(_number)
_save = StoreWriter.save


def _save_or_die(executions: StoreWriter, work: Work, index: int) -> None:
    global _left
    _left -= bool(work.inbox) if _moment == "signal" else bool(work.executions or work.operations)
    if _left == 0 and _moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    _save(executions, work, index)
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


StoreWriter.save = _save_or_die  # type: ignore[method-assign]
main(prog_name="tempolite-node")
