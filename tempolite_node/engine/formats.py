"""What entries of the log hold, and how they are decided, while nodes of several versions work on them.

A format is all that a version needs to know to make the same of an entry as the others: the commands, their fields, and
the rules by which they are decided. Nodes register the latest one that they know; what all of them know is in use. It
never goes back. See docs/design/versions.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from tempolite_node.engine.model import NodeState

FORMAT = 2  #: the latest that this version knows; it knows all before it

#: From this one on, an execution keeps the format in which it was enqueued. The values of one that was enqueued in it
#: or later are checked where they are written, and its keys where they are used: see docs/design/values.md.
CHECKED_VALUES = 2


def in_use(nodes: Iterable[NodeState | None]) -> int:
    """What all nodes know, whether they are up or not. None: one that was removed."""
    return min((node.format for node in nodes if node is not None), default=1)


def too_old(node_id: str, known: int, used: int) -> str:
    """What to say of a node that can't go on with the others."""
    return f"the log is in format {used}, and this version of node {node_id} knows up to {known}: upgrade it"
