"""What leaves the driver: the output of a round, and who publishes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from tempolite_node.driver.runs import AttemptStep
from tempolite_node.engine.effects import Halted, HostCrashed, JournalGrown, NodeDied, Registered, SignalSetAside
from tempolite_node.engine.model import Execution
from tempolite_node.protocol import messages

#: What those who watch over the node want to hear of, beside the ends of executions.
Happening = Halted | HostCrashed | NodeDied | JournalGrown | Registered | SignalSetAside | AttemptStep


class RoundOutput(Struct, frozen=True, kw_only=True):
    """Published once no failure can undo what the round saved."""

    frames: Mapping[int, Sequence[messages.ToHost]]  #: by the number of the worker host
    hosts_to_close: Sequence[int]  #: what they hold is not wanted any more: of isolated attempts, or replaced
    hosts_to_replace: Mapping[int, str]  #: with the reason; they go on until their successors are up
    hash_seed: int  #: of hosts that are started from here on
    answers: Sequence[tuple[Callable[[Any], None], Any]]  #: who asked, and what is answered
    closed: Sequence[Execution]
    signalled: Sequence[str]  #: ids of executions that sent a signal to clients
    happened: Sequence[Happening]
    revision: int  #: the applied index of the store


class Outputs(Protocol):
    """Publishes the outputs of rounds. Called in any thread, and must not block."""

    def publish(self, output: RoundOutput) -> None: ...

    def restored(self) -> None:
        """The store was replaced by that of another node: whatever was followed may have moved on unseen."""
        ...

    def removed(self) -> None:
        """This node is no part of the cluster any more."""
        ...

    def driver_failed(self, error: BaseException) -> None: ...
