"""The log of a single node. There is no second copy to agree with, so the store's transaction is the entry."""

from __future__ import annotations

from collections.abc import Sequence

from tempolite_node.engine.commands import AnyCommand
from tempolite_node.log.base import StateMachine


class LocalLog:
    """Applies what is proposed at once. What follows from an entry joins it, so that both are one commit."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine

    def propose(self, commands: Sequence[AnyCommand]) -> None:
        while commands:
            commands = self._machine.apply(commands)
        self._machine.save(self._machine.applied_index + 1)
