"""What entries of the log hold, and how they are decided, while nodes of several versions work on them.

A format is all that a version needs to know to make the same of an entry as the others: the commands, their fields, and
the rules by which they are decided. Nodes register the latest one that they know; what all of them know is in use. It
never goes back. See docs/design/versions.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from tempolite_node.engine.model import (
    MAX_JOURNAL_BYTES,
    MAX_OPERATIONS,
    NodeState,
    Options,
    RetryPolicy,
    ServedHandler,
)

#: The latest that this version knows; it knows all before it.
#:
#: 2: an execution keeps the format in which it was enqueued. Nodes tell which function a handler is, and its signals. A
#: repeated request, and an execution that is used in place of a new one, are compared by handler and arguments. A wait
#: has the number of the signal that it took, and gives it back when the code can't read it; a signal has its sender.
#:
#: 3: what replays is what ran. The ends of an execution's operations have an order, and so has its cancel; refused
#: operations, and waits that were given up, are recorded. The journal of an execution has a limit, and so have the
#: attempts that are kept. Runs of an id are counted, may continue each other; a request is looked up in the run before
#: as well. A signal notes which run took it. An execution that its nodes die of is set aside. The worker hosts of all
#: nodes have one hash seed.
#:
#: 4: executions that have ended are deleted, in two steps. A wait for one of another tree keeps its answer. A saga that
#: gives up goes on when a child continues as new that was cancelled for it.
FORMAT = 4

#: The values of an execution that was enqueued in this format or later are checked where they are written, and its keys
#: where they are used: see docs/design/values.md.
CHECKED_VALUES = 2

#: Of an execution that was enqueued in this format or later, all that its code decides by is recorded.
EXACT_REPLAY = 3

#: Deaths of nodes are counted of an execution that was enqueued in this format or later.
TRIALS = 3

#: Of the format in use: what has ended can be deleted, and so leaves its answer with those who waited for it.
DELETION = 4

#: Of the format in use: a saga that gives up does not wait for a run that began after its child was cancelled.
CONTINUED_CHILDREN = 4

#: Of the format in use: only the first and the last attempts are kept.
CAPPED_ATTEMPTS = 3


def in_use(nodes: Iterable[NodeState | None]) -> int:
    """What all nodes know, whether they are up or not. None: one that was removed."""
    return min((node.format for node in nodes if node is not None), default=1)


def in_use_with(others: Iterable[NodeState]) -> int:
    """What is in use once this version has joined the other nodes."""
    return min([FORMAT, *(node.format for node in others)])


def hash_seed(nodes: Iterable[NodeState | None]) -> int | None:
    """By which the worker hosts of all nodes run; None: it is not decided. Each node that registers has it."""
    return next((node.hash_seed for node in nodes if node is not None and node.hash_seed is not None), None)


def handlers_in(format: int, handlers: Sequence[ServedHandler]) -> tuple[ServedHandler, ...]:
    """What a node tells of its handlers while the format is in use."""
    if format < 2:
        handlers = [replace(handler, function="", signals=()) for handler in handlers]
    if format < EXACT_REPLAY:
        handlers = [replace(each, options=options_in(format, each.options), stepped=False) for each in handlers]
    return tuple(handlers)


def options_in(format: int, options: Options) -> Options:
    """What is recorded of the options of an execution while the format is in use."""
    if format >= EXACT_REPLAY:
        return options
    return replace(
        options,
        retry=_told_before_3(options.retry),
        compensation_retry=_told_before_3(options.compensation_retry),
        max_operations=MAX_OPERATIONS,
        max_journal_bytes=MAX_JOURNAL_BYTES,
    )


def _told_before_3(policy: RetryPolicy) -> RetryPolicy:
    return policy if policy.retry_spent is UNSET else replace(policy, retry_spent=UNSET)


def too_old(node_id: str, known: int, used: int) -> str:
    """What to say of a node that can't go on with the others."""
    return f"the log is in format {used}, and this version of node {node_id} knows up to {known}: upgrade it"
