"""Logs what becomes of the other nodes, and of the format that all of them know."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import structlog

from tempolite_node.engine import formats
from tempolite_node.engine.model import NodeState

logger = structlog.get_logger("nodes")


def log_node_changes(own_id: str, before: Mapping[str, NodeState], after: Mapping[str, NodeState]) -> None:
    """Operators want to read in the log of any node what becomes of the others."""
    for node_id in sorted({*before, *after} - {own_id}):
        was, now = (None if node is None else _word(node) for node in (before.get(node_id), after.get(node_id)))
        if was != now:
            logger.info("a node has changed", node=node_id, was=was or "unknown", now=now or "removed")
    _log_format(before.values(), after.values())


def _word(node: NodeState) -> str:
    return "up" if node.takes_work else "stopping" if node.live else "down"


def _log_format(before: Collection[NodeState], after: Collection[NodeState]) -> None:
    """And during an upgrade, what it still lacks."""
    used, former = formats.in_use(after), formats.in_use(before)
    older, were_older = ([node.id for node in nodes if node.format < formats.FORMAT] for nodes in (after, before))
    if before and used > former:
        logger.info("all nodes know a later format of the log: it is in use now", format=used)
    if older and older != were_older:
        logger.info("the log stays in its format until these nodes are upgraded", format=used, older=older)
