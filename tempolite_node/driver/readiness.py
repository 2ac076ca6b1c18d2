"""Whether the other nodes can count on this one: what it has to do before they give it work."""

from __future__ import annotations

from enum import Enum, auto

from tempolite_node.engine.model import NodeState
from tempolite_node.ids import new_boot_id


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
        self.boot_id = new_boot_id()  #: names this process, among all that the node has had
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
        known = own if own is not None and own.boot_id == self.boot_id else None
        self.live = known is not None and known.live
        if known is not None and (known.live or known.draining):
            self.stage = Stage.REGISTERED
        elif self.registered:
            self.stage = Stage.BEHIND

    def reset(self) -> None:
        """What it ran may have been given away unseen: it comes back as another process."""
        self.boot_id, self.live = new_boot_id(), False
        if self.stage is not Stage.CATCHING_UP:
            self.stage = Stage.BEHIND
