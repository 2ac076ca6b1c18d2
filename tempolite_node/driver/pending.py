"""Commands on their way through the log: those that wait for their turn, and those of the batch that is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from msgspec import Struct

from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome
from tempolite_node.errors import NodeError, OutcomeUnknown
from tempolite_node.log.base import Log


class PendingCommand(Struct, gc=False):
    """A command, and who is answered."""

    command: AnyCommand
    on_outcome: Callable[[AnyOutcome], None] | None = None
    on_failure: Callable[[NodeError], None] | None = None  #: of a client, who does not wait for ever
    given_up: bool = False


def commands_of_batch(commands: Sequence[AnyCommand], answer: Callable[[Any], None]) -> list[PendingCommand]:
    """Commands of one client, who gets all outcomes, in order, or one error. They may go in several batches."""
    outcomes: list[AnyOutcome] = []
    given_up: list[NodeError] = []

    def decided(outcome: AnyOutcome) -> None:
        outcomes.append(outcome)
        if len(outcomes) == len(commands) and not given_up:
            answer(outcomes)

    def fail(error: NodeError) -> None:
        if not given_up:
            given_up.append(OutcomeUnknown("some of the batch was stored, the rest was not") if outcomes else error)
            answer(given_up[0])

    return [PendingCommand(command, decided, fail) for command in commands]


class PendingCommands:
    """Belongs to the driver's thread, but for their number."""

    def __init__(self) -> None:
        self._waiting: list[PendingCommand] = []
        self._under_way: list[PendingCommand] = []

    def __len__(self) -> int:
        """Of those that wait."""
        return len(self._waiting)

    def add(self, pending: PendingCommand) -> None:
        self._waiting.append(pending)

    def add_all(self, commands: Iterable[PendingCommand]) -> None:
        self._waiting += commands

    def take(self, most: int) -> list[PendingCommand]:
        """The first of those that wait."""
        taken, self._waiting = self._waiting[:most], self._waiting[most:]
        return taken

    def propose(self, commands: list[PendingCommand], log: Log) -> None:
        """What the log does not take waits again, ahead of the others."""
        # Before it is proposed: a log that has nobody to agree with applies it at once.
        self._under_way = commands
        taken = log.propose([pending.command for pending in commands])
        if taken < len(commands):
            self._under_way, self._waiting = commands[:taken], commands[taken:] + self._waiting

    # --- what becomes of the batch that is under way

    def ordered(self) -> list[PendingCommand]:
        """It is, and its commands are being applied: none is under way after that."""
        ordered, self._under_way = self._under_way, []
        return ordered

    def requeue(self) -> None:
        """It was not ordered and never will be: what nobody gave up is proposed again, ahead of the others."""
        self._waiting = [pending for pending in self._under_way if not pending.given_up] + self._waiting
        self._under_way = []

    def fail(self, *, under_way: NodeError, waiting: NodeError) -> None:
        """Tells the clients, each once. What no client waits for goes on, and what is under way may be ordered yet."""
        for commands, error in ((self._under_way, under_way), (self._waiting, waiting)):
            for pending in commands:
                if pending.on_failure is not None and not pending.given_up:
                    pending.given_up = True
                    pending.on_failure(error)
        self._waiting = [pending for pending in self._waiting if not pending.given_up]

    def fail_all(self, error: NodeError) -> None:
        """Nobody is told of the batch that is under way any more, and nothing waits behind it."""
        self.fail(under_way=error, waiting=error)
        self._under_way = [PendingCommand(pending.command, given_up=True) for pending in self._under_way]
        self._waiting = []
