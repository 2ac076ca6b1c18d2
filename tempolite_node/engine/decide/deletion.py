"""How executions that have ended are deleted, in two steps: what they recorded, and then they themselves.

Who asks has looked at the whole tree, and goes through it from below, in commands that are small enough for one
commit. What is decided here is what must hold whatever has come in between: nothing goes that has not ended, or that
another one hangs on. See docs/design/retention.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import formats, lifecycle
from tempolite_node.engine.commands import ClearExecutions, DeleteExecutions
from tempolite_node.engine.effects import Deleted, Reason, Rejection
from tempolite_node.engine.kept_arguments import kept_arguments
from tempolite_node.engine.model import KEPT_SEPARATOR, Execution, Failure, Options, Status
from tempolite_node.engine.work import Work

#: After its end a late word of an execution may still be on its way: as long as a host that is replaced may go on.
LATE_WORDS_MS = 86_400_000


def clear_executions(work: Work, command: ClearExecutions) -> Deleted | Rejection:
    if work.format < formats.DELETION:
        return _too_early()
    kept: list[str] = []
    for execution_id in command.execution_ids:
        execution = work.execution(execution_id)
        if execution is None or execution.journal_deleted_ms is not None:
            continue
        if why := _why_kept(work, execution):
            kept.append(why)
        else:
            _clear(work, execution, in_steps=command.in_steps, at_ms=command.at_ms)
    return Deleted(kept=tuple(kept))


def _clear(work: Work, execution: Execution, *, in_steps: bool, at_ms: int) -> None:
    """What is left tells how it ended, and whether a request for it is repeated."""
    cleared = replace(
        execution,
        arguments=kept_arguments(execution.arguments),
        options=Options(),
        failure=_without_tracebacks(execution.failure),
        heartbeat=None,
        compensating=None,
        journal_deleted_ms=at_ms,
    )
    if in_steps:
        work.clear_in_steps(cleared)
        work.set_timer(execution.row, lifecycle.CLEARING, at_ms)
    else:
        work.clear(cleared, mailbox=mailbox_is_over(work, execution))


def mailbox_is_over(work: Work, execution: Execution) -> bool:
    """Whether the signals are its own, and no run takes any of them any more."""
    return execution.mailbox is None and work.last_run(execution).closed


def _without_tracebacks(failure: Failure | None) -> Failure | None:
    if failure is None:
        return None
    return replace(failure, traceback="", bases=(), cause=_without_tracebacks(failure.cause))


def delete_executions(work: Work, command: DeleteExecutions) -> Deleted | Rejection:
    if work.format < formats.DELETION:
        return _too_early()
    kept: list[str] = []
    for execution_id in command.execution_ids:
        execution = work.execution(execution_id)
        if execution is None:
            continue
        if why := _why_kept(work, execution) or _what_hangs_on(work, execution):
            kept.append(why)
        else:
            _delete(work, execution, at_ms=command.at_ms)
    return Deleted(kept=tuple(kept))


def _delete(work: Work, execution: Execution, *, at_ms: int) -> None:
    """An execution that gets the id soon must not be told by epochs that the one before it had."""
    assert execution.closed_ms is not None, f"{execution.id} has not ended"
    until_ms = execution.closed_ms + LATE_WORDS_MS
    late = at_ms < until_ms
    work.delete(execution, lowest_epoch=execution.epoch if late else 0, until_ms=until_ms if late else 0)


def _why_kept(work: Work, execution: Execution) -> str:
    """Why neither it nor what it recorded can go; "": it can."""
    if not execution.closed:
        return f"execution {execution.id} has not ended ({execution.status})"
    parent = None if execution.parent_row is None else work.kept_at(execution.parent_row)
    if parent is not None and not parent.closed:
        return f"execution {execution.id} is a child of {parent.id}, which has not ended ({parent.status})"
    if execution.status is Status.CONTINUED_AS_NEW:
        return ""  # what comes after it has a journal of its own
    own_id, separator, _ = execution.id.partition(KEPT_SEPARATOR)
    later = work.execution(own_id) if separator else None
    if later is not None and not later.closed:
        return f"execution {execution.id} is an earlier run of {later.id}, which has not ended ({later.status})"
    return ""


def _what_hangs_on(work: Work, execution: Execution) -> str:
    if work.has_children(execution.row):
        return f"execution {execution.id} has children"
    if execution.mailbox is None and work.continuing(execution.row):
        return f"execution {execution.id} has the signals of the runs that go on with it"
    return ""


def _too_early() -> Rejection:
    message = "executions are deleted once all nodes of the cluster know how: upgrade them"
    return Rejection(Reason.WRONG_STATE, message)
