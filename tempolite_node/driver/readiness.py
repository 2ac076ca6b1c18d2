"""How nodes stand with each other: whether the others can count on this one, and what becomes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import Enum, auto

import structlog

from tempolite_node.engine import formats
from tempolite_node.engine.model import NodeState
from tempolite_node.ids import new_run

logger = structlog.get_logger("nodes")


class Stage(Enum):
    """On its way up, a node goes through all of them, in this order."""

    BEHIND = auto()  #: its store may lack what the others have
    CATCHING_UP = auto()  #: it has asked the log how far that is
    CAUGHT_UP = auto()  #: it may register
    REGISTERED = auto()  #: the log knows this process, and what an earlier one ran is queued again


class Readiness:
    """Of this process of the node. Others give it work as soon as it has registered, and it can't run what it has not
    heard of: it catches up first."""

    def __init__(self) -> None:
        self.stage = Stage.BEHIND
        self.run = new_run()  #: names this process, among all that the node has had
        self.live = False  #: and registered: what is given to it is not given to others

    @property
    def registered(self) -> bool:
        return self.stage is Stage.REGISTERED

    def caught_up(self) -> None:
        if self.stage is Stage.CATCHING_UP:
            self.stage = Stage.CAUGHT_UP

    def follow(self, own: NodeState | None) -> None:
        """Whether the others know this process. If not, or if they took it for dead, it registers again.

        One that stops has told them so, and is not to be counted on again.
        own: what is known of the node.
        """
        known = own if own is not None and own.run == self.run else None
        self.live = known is not None and known.live
        if known is not None and (known.live or known.draining):
            self.stage = Stage.REGISTERED
        elif self.registered:
            self.stage = Stage.BEHIND

    def begin_anew(self) -> None:
        """What it ran may have been given away unseen: it comes back as another process."""
        self.run, self.live = new_run(), False
        if self.stage is not Stage.CATCHING_UP:
            self.stage = Stage.BEHIND


def tell_changes(own_id: str, before: Mapping[str, NodeState], after: Mapping[str, NodeState]) -> None:
    """Operators want to read in the log of any node what becomes of the others."""
    for node_id in sorted({*before, *after} - {own_id}):
        was, now = (None if node is None else _word(node) for node in (before.get(node_id), after.get(node_id)))
        if was != now:
            logger.info("a node has changed", node=node_id, was=was or "unknown", now=now or "removed")
    _tell_format(before.values(), after.values())


def _word(node: NodeState) -> str:
    return "up" if node.takes_work else "stopping" if node.live else "down"


def _tell_format(before: Collection[NodeState], after: Collection[NodeState]) -> None:
    """And during an upgrade, what it still lacks."""
    used, former = formats.in_use(after), formats.in_use(before)
    older, were_older = ([node.id for node in nodes if node.format < formats.FORMAT] for nodes in (after, before))
    if used > former and before:  # a new store begins with the first format, and nobody wants to hear of that
        logger.info("all nodes know a later format of the log: it is in use now", format=used)
    if older and older != were_older:
        logger.info("the log stays in its format until these nodes are upgraded", format=used, older=older)
