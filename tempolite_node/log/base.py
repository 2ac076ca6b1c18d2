"""The contract of a log: commands go in, come out in one order, and are applied once to each store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tempolite_node.engine.commands import AnyCommand


class StateMachine(Protocol):
    """What the log's commands are applied to."""

    @property
    def applied_index(self) -> int:
        """The entry that the store is at. The log gives again, after a restart, only what comes behind it."""
        ...

    def apply(self, commands: Sequence[AnyCommand]) -> Sequence[AnyCommand]:
        """Decides the commands in order, without saving. Returns commands that follow from them on this node.

        Never raises for bad input; an AssertionError means a broken invariant and ends the process.
        """
        ...

    def save(self, index: int) -> None:
        """Saves what was applied since the last save, together with the index, in one transaction."""
        ...


class Log(Protocol):
    """Called by the driver's thread alone."""

    def propose(self, commands: Sequence[AnyCommand]) -> None:
        """Puts the commands in order. They are applied, in that order and exactly once, then saved."""
        ...
