"""The log of a single node. There is no second copy to agree with, so the store's transaction is the entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tempolite_node.engine.commands import AnyCommand
from tempolite_node.errors import NodeError
from tempolite_node.log.base import StateMachine


class LocalLog:
    """Applies what is proposed at once. What follows in the same round joins it, so that both are one commit."""

    idle = True
    #: Many enough to share a commit. What came in at once must not stay together, though: while the driver commits
    #: some of it, the worker hosts run what it committed before, and clients are told of what ended before that.
    round_max = 128
    leads = True
    is_current = True

    def __init__(self, machine: StateMachine, now_ms: Callable[[], int]) -> None:
        self._machine = machine
        self.now_ms = now_ms

    @property
    def index(self) -> int:
        return self._machine.applied_index + 1

    def propose(self, commands: Sequence[AnyCommand]) -> int:
        self._machine.apply(commands, own=True)
        return len(commands)

    def renew(self) -> None:
        """It is always current."""

    def saved(self) -> None:
        """Nobody waits for it."""

    def barrier(self, answer: Callable[[NodeError | None], None]) -> None:
        answer(None)
