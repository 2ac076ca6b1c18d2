"""The daemon, which kills itself with SIGKILL around a commit: python -m tests.e2e.killing_daemon --config …

KILL_AT: before or after the commit that records an operation as completed: "before:step:Charge#1"; that takes a signal:
"after:signal"; that sets one aside: "after:set_aside"; that is the n-th to delete something: "before:deletion:2"; or
that is the n-th one: "before:3". After: the commit is on
disk, and nobody has been told. Several operations may be recorded in one commit, so how many commits something takes
depends on the machine. Commits that are of nodes alone, like the registration at the start, don't count.
KILL_OF: the id of an execution: commits that change nothing of it, or of what came of it, don't count either.
"""

from __future__ import annotations

import os
import signal

from tempolite_node.cli.main import main
from tempolite_node.engine.model import OperationStatus
from tempolite_node.engine.work import Work
from tempolite_node.store.writer import StoreWriter

_moment, _, _what = os.environ["KILL_AT"].partition(":")
_of = os.environ.get("KILL_OF")
_commits = _deletions = 0
_save = StoreWriter.save


def _counts(work: Work) -> bool:
    rows = {*work.executions, *work.operations}
    return any(_of is None or _root(work, row) == _of for row in rows)


def _root(work: Work, row: int) -> str:
    """The id of the execution that it came of."""
    execution = work.execution_at(row)
    return execution.id if execution.parent_row is None else _root(work, execution.parent_row)


def _is_it(work: Work) -> bool:
    """Whether it is the commit."""
    if _what.startswith("deletion:"):
        return bool(work.deleted or work.cleared or work.clearings) and _what == f"deletion:{_deletions}"
    if _what.isdigit():
        return int(_what) == _commits
    signals = [signal for of_one in work.inbox.values() for signal in of_one.values()]
    if _what in ("signal", "set_aside"):
        return any(_what == "signal" or each.set_aside is not None for each in signals)
    operations = (operation for of_one in work.operations.values() for operation in of_one.values())
    return any(f"{each.kind}:{each.key}" == _what and each.status is OperationStatus.COMPLETED for each in operations)


def _save_or_die(executions: StoreWriter, work: Work, index: int) -> None:
    global _commits, _deletions
    _deletions += bool(work.deleted or work.cleared or work.clearings)
    counts = _counts(work) or _what.startswith("deletion:")
    _commits += counts
    dies = counts and _is_it(work)
    if dies and _moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    _save(executions, work, index)
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)


StoreWriter.save = _save_or_die  # type: ignore[method-assign]
main(prog_name="tempolite-node")
