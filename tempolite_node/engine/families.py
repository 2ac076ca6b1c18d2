"""Who waits for whom: executions for each other's end, and a saga that gave up for that of its children."""

from __future__ import annotations

from collections.abc import Iterator

from tempolite_node.engine import formats
from tempolite_node.engine.model import ClosePolicy, Execution, OperationKind, OperationStatus, Status
from tempolite_node.engine.work import Work


def is_cancelled_with(parent: Execution, child: Execution) -> bool:
    """Whether a cancel of the parent is one of the child too, or its failure is, when that is to be undone."""
    policy = child.options.close_policy
    return policy is ClosePolicy.REQUEST_CANCEL or (policy is None and child.awaited and parent.cancel_requested)


def has_to_wait(work: Work, saga: Execution) -> bool:
    """Whether a saga that gives up has children that go on, and that are to end before anything is undone.

    Not for those that wait for the saga themselves: nothing would move on.
    """
    return any(way_back(work, saga, child) is None for child in _stopped_children(work, saga))


def _stopped_children(work: Work, saga: Execution) -> list[Execution]:
    """Those that end since it gives up. A run that began since then knows nothing of that: from format 4 on."""
    stopped = [child for child in work.open_children(saga.row) if is_cancelled_with(saga, child)]
    return [child for child in stopped if child.cancel_requested or work.format < formats.CONTINUED_CHILDREN]


def waits_for_children(work: Work, saga: Execution) -> bool:
    """Whether it is to be undone, and has not begun with it, as there are children that go on."""
    if saga.status is not Status.COMPENSATING or saga.attached or saga.ready_at is not None or saga.due_ms is not None:
        return False
    assert saga.compensating is not None, f"{saga.id} undoes no step"
    compensation = work.operation(saga.row, OperationKind.COMPENSATION, saga.compensating)
    return compensation is not None and compensation.status is OperationStatus.PENDING


def way_back(work: Work, waiting: Execution, target: Execution) -> list[str] | None:
    """The way from the target back to the one that wants to wait for it, if there is one; also through nested waits."""
    paths = [[waiting.id, target.id]]
    seen = {target.row}
    if target.row == waiting.row:
        return paths[0]
    rows = [target.row]
    while rows:
        row, path = rows.pop(), paths.pop()
        for following_row, following_id in _waited_for(work, work.execution_at(row)):
            following = [*path, following_id]
            if following_row == waiting.row:
                return following
            if following_row not in seen:
                seen.add(following_row)
                rows.append(following_row)
                paths.append(following)
    return None


def _waited_for(work: Work, execution: Execution) -> Iterator[tuple[int, str]]:
    """Rows, and ids as they were when the wait began."""
    if execution.pending:
        for wait in work.pending(execution.row):
            if wait.kind is OperationKind.WAIT and wait.target_row is not None:
                yield wait.target_row, wait.target
    elif waits_for_children(work, execution):
        for child in _stopped_children(work, execution):
            yield child.row, child.id
