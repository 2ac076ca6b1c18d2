"""Journals of before the ends of operations had an order: whether what they hold has one all the same.

Asynchronous code that had one operation open at a time goes the same way in every replay. Of code that had several,
nobody recorded which answer came first. See docs/design/versions.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from tempolite_node.engine.model import KEY_SEPARATOR, Operation, OperationKind

_WAITS = (OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER)
_LASTS = (OperationKind.SIDE_EFFECT, OperationKind.STEP)


def open_together(operations: Iterable[Operation]) -> tuple[Operation, Operation] | None:
    """A wait, and an operation that was recorded while it was open; None: as far as can be told there is no such pair.

    operations: in the order in which they were recorded.

    All times are those of the log: of a side effect that of its end, since its beginning was told by another clock. Two
    side effects that ran beside each other can't be told from two in turn.
    """
    latest: dict[str, Operation] = {}  #: by scope: of its waits, the one that was open for the longest
    for operation in operations:
        scope = _scope_of(operation.key)
        wait = latest.get(scope)
        if operation.kind is OperationKind.COMPENSATION:
            continue
        if wait is not None and _was_open_at(wait, _recorded_ms(operation)):
            return wait, operation
        if operation.kind in _WAITS and (wait is None or not _was_open_at(wait, operation.closed_ms)):
            latest[scope] = operation
    return None


def _scope_of(key: str) -> str:
    """The operation that it is inside of: what code in there does, it does while its operation is open."""
    return key.rpartition(KEY_SEPARATOR)[0]


def _recorded_ms(operation: Operation) -> int | None:
    """By when it was recorded: of a side effect or a step its end; None: that is yet to come."""
    return operation.closed_ms if operation.kind in _LASTS else operation.started_ms


def _was_open_at(wait: Operation, at_ms: int | None) -> bool:
    """Whether it had begun, and not ended, by then. Within a millisecond nobody can tell."""
    if wait.closed_ms is None:
        return at_ms is None or wait.started_ms <= at_ms
    return at_ms is not None and wait.started_ms <= at_ms < wait.closed_ms
