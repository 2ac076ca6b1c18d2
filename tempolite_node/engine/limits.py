"""How large the journal of an execution may get. See docs/design/journals-in-pieces.md.

Each replay goes through the whole journal, and a worker host holds it in memory. A handler that goes on and on ends its
run in time, and begins the next one with an empty journal.
"""

from __future__ import annotations

from typing import NamedTuple

from tempolite_node.engine.effects import JournalGrown
from tempolite_node.engine.model import Component, Execution, Failure, Options
from tempolite_node.engine.work import Work

_WARNED_AT = 10  #: a warning at one in so many of what is allowed


class JournalSize(NamedTuple):
    operations: int
    bytes: int  #: of inputs, results and failures


def size_of(work: Work, execution: Execution) -> JournalSize:
    return JournalSize(*work.journal_size(execution.row))


def exceeded(work: Work, execution: Execution, before: JournalSize) -> Failure | None:
    """Why the execution must not go on; None: it may. Told of once, when it comes to a tenth of what is allowed.

    before: its size before the decision that is being made.
    """
    now = size_of(work, execution)
    if now == before or not _goes_on(work.execution_at(execution.row), execution):
        return None
    options = execution.options
    if now.operations > options.max_operations:
        return _too_large(f"{now.operations:,} operations, and max_operations is {options.max_operations:,}")
    if now.bytes > options.max_journal_bytes:
        return _too_large(f"{now.bytes:,} bytes, and max_journal_bytes is {options.max_journal_bytes:,}")
    if _large(now, execution) and not _large(before, execution):
        work.emit(
            JournalGrown(execution_id=execution.id, execution=execution, operations=now.operations, bytes=now.bytes)
        )
    return None


def _goes_on(now: Execution, before: Execution) -> bool:
    """Whether its attempt does. What is being undone is undone to the end."""
    return now.attached and now.epoch == before.epoch and now.pool is not Component.COMPENSATION


def _large(size: JournalSize, execution: Execution) -> bool:
    options = execution.options
    return (
        size.operations * _WARNED_AT >= options.max_operations or size.bytes * _WARNED_AT >= options.max_journal_bytes
    )


def roomy(options: Options) -> tuple[int, int]:
    """Operations and bytes of a journal from which on its handler had better continue as new."""
    return options.max_operations // _WARNED_AT, options.max_journal_bytes // _WARNED_AT


def _too_large(has: str) -> Failure:
    advice = "a handler that goes on and on ends its run in time by ctx.continue_as_new, which begins with an empty one"
    return Failure(type="JournalTooLarge", message=f"its journal has {has}: {advice}", non_retryable=True)
