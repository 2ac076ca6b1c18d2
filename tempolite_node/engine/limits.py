"""How large the journal of an execution may get. See docs/design/journals-in-pieces.md.

Each replay goes through the whole journal, and a worker host holds it in memory. A handler that goes on and on ends its
run in time, and begins the next one with an empty journal.
"""

from __future__ import annotations

from tempolite_node.engine.effects import JournalGrown
from tempolite_node.engine.model import Component, Execution, Failure, Options
from tempolite_node.engine.work import Work

WARNED_AT = 10  #: a warning at one in so many of what is allowed


def exceeded(work: Work, execution: Execution, before: tuple[int, int], has: tuple[int, int]) -> Failure | None:
    """Why the execution must not go on; None: it may. Told of once, when it comes to a tenth of what is allowed.

    before: `Work.growth` of its journal before the decision that is being made, which has recorded something.
    has: the size of its journal after it: a tenth of what is allowed, or more.
    """
    options = execution.options
    operations, size = has
    now = work.execution_at(execution.row)
    if not now.attached or now.epoch != execution.epoch or now.pool is Component.COMPENSATION:
        return None  # its attempt is over anyway; and what is being undone is undone to the end
    if operations > options.max_operations:
        return _too_large(f"{operations:,} operations, and max_operations is {options.max_operations:,}")
    if size > options.max_journal_bytes:
        return _too_large(f"{size:,} bytes, and max_journal_bytes is {options.max_journal_bytes:,}")
    more, more_bytes = work.growth[execution.row]
    had, had_bytes = operations - (more - before[0]), size - (more_bytes - before[1])
    if had * WARNED_AT < options.max_operations and had_bytes * WARNED_AT < options.max_journal_bytes:
        work.emit(JournalGrown(execution_id=now.id, execution=now, operations=operations, bytes=size))
    return None


def roomy(options: Options) -> tuple[int, int]:
    """Operations and bytes of a journal from which on its handler had better continue as new."""
    return options.max_operations // WARNED_AT, options.max_journal_bytes // WARNED_AT


def _too_large(has: str) -> Failure:
    advice = "a handler that goes on and on ends its run in time by ctx.continue_as_new, which begins with an empty one"
    return Failure(type="JournalTooLarge", message=f"its journal has {has}: {advice}", non_retryable=True)
