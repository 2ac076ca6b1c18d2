"""The contract of a log: batches of commands go in, come out in one order, and are applied once to each store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tempolite_node.engine.commands import AnyCommand, Batch
from tempolite_node.engine.effects import Admission
from tempolite_node.errors import NodeError


class StateMachine(Protocol):
    """What the log's batches are applied to. It belongs to the driver's thread, where nothing else is said."""

    @property
    def applied_index(self) -> int:
        """The entry that the store is at. The log gives again, after a restart, only what comes behind it."""
        ...

    @property
    def format(self) -> int:
        """What all nodes know of entries, as of those that were applied."""
        ...

    def apply(self, commands: Sequence[AnyCommand], *, own: bool) -> None:
        """Decides the commands in order, without saving. own: they are the ones that this node proposed last.

        Never raises for bad input; an AssertionError means a broken invariant and ends the process.
        """
        ...

    def admit(self, batch: Batch) -> Admission:
        """Whether a batch of a node is to be applied; notes that it is."""
        ...

    def forget(self) -> None:
        """What this node proposed last was applied, and nobody can tell any more what it came to."""
        ...

    def fail_pending(self, *, under_way: NodeError, waiting: NodeError) -> None:
        """Answers the clients whose commands this node proposed last, and those whose commands wait behind them."""
        ...

    def requeue(self) -> None:
        """What this node proposed last was not ordered and never will be. It proposes again what nobody gave up."""
        ...

    @property
    def live_boot_ids(self) -> Mapping[str, str]:
        """By node: the process of it that is registered and held to be live, as of what is saved. From any thread."""
        ...

    def lost(self, node_id: str, boot_id: str) -> None:
        """This process of a node has been silent for too long."""
        ...

    def reset(self, *, unclear: NodeError) -> None:
        """The store has been replaced by that of another node."""
        ...


class Log(Protocol):
    """Called by the driver's thread alone, where nothing else is said."""

    def start(self) -> None:
        """Before the driver is. StartError: it can't work here."""
        ...

    def stop(self) -> None:
        """After the driver. Everything that was saved is on disk when it returns. StorageFailed: it may not be."""
        ...

    @property
    def idle(self) -> bool:
        """It takes a batch. A node has one batch under way at a time, which keeps the order of its commands."""
        ...

    def round_max(self, waiting: int) -> int:
        """Commands that one round proposes at most, of so many, besides the starts that they make room for."""
        ...

    @property
    def leads(self) -> bool:
        """Fires timers and looks after the nodes are this node's tasks now."""
        ...

    @property
    def is_current(self) -> bool:
        """No other node can have been given what this one runs: what it asks for may start without asking the log."""
        ...

    @property
    def index(self) -> int:
        """What the store is at when everything that was applied is saved."""
        ...

    def now_ms(self) -> int:
        """Unix milliseconds, by the clock that decides what is due. From any thread."""
        ...

    def propose(self, commands: Sequence[AnyCommand]) -> int:
        """Puts the first of the commands in order. Returns how many: an entry has its limits."""
        ...

    def renew(self) -> None:
        """Makes the log current again, if it is not: the node has something to start."""
        ...

    def saved(self) -> None:
        """What was applied is in the store."""
        ...

    def when_durable(self, act: Callable[[], None], *, idle: bool) -> None:
        """Calls it, from any thread, as soon as no failure can undo what was saved; in the order in which it was asked.

        idle: the driver has nothing else to do meanwhile. StorageFailed: it never will.
        """
        ...

    def catch_up(self, caught_up: Callable[[], None]) -> None:
        """Calls back, in the driver's thread, once all is applied here that was acknowledged before, by any node.

        However long that takes: meanwhile those who wait are given up in time.
        """
        ...

    def barrier(self, answer: Callable[[NodeError | None], None]) -> None:
        """Answers when everything that was acknowledged before, by any node, is applied here; or why it can't be."""
        ...
