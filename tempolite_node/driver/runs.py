"""An attempt in a worker host, as the node sees it: its frames, their slots, and its open calls."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from tempolite_node.engine.model import Component, Failure, OperationKind
from tempolite_node.protocol import messages


class Frame(Struct, eq=False):
    """The attempt itself ("" as its key), or a side effect inside it. It holds a slot of its pool unless it waits.

    One that is stepped waits when its host has said that it is quiet; any other, when one of its waits is open. A host
    may have it stepped from some place on.
    """

    key: str
    pool: Component
    parent: Frame | None
    outstanding: int = 0  #: waits that are not over, of one that is not stepped
    slot: bool = False
    waking: Due | None = None  #: its turn in the line for a slot
    answers: list[messages.ToHost] = []  #: go out when it has a slot, in their order
    over: bool = False  #: it ended: what still waits for a slot in its name gets none
    stepped: bool = False
    undecided: int = 0  #: calls that the log has yet to decide
    sent: int = 0  #: place of the last answer that was sent to it; see `model.Operation.end_seq`
    quiet: bool = False  #: all that was sent to it is released, and nothing in it can go on by itself

    @property
    def can_rest(self) -> bool:
        """Whether it needs no slot until there is an answer for it."""
        return self.stepped and self.quiet and not self.undecided and not self.answers

    def is_within(self, other: Frame) -> bool:
        frame: Frame | None = self
        while frame is not None and frame is not other:
            frame = frame.parent
        return frame is other


class OpenCall(Struct, eq=False):
    """A call that is not answered yet."""

    number: int
    frame: Frame


class Handover(Protocol):
    """Of an attempt to its worker host; see `handovers`."""

    def changed(self, place: tuple[OperationKind, str]) -> None:
        """An operation has ended by itself, of which the host may have been sent what was before."""
        ...


class AttemptEnd(StrEnum):
    """How an attempt left its worker host."""

    COMPLETED = "completed"
    CONTINUED_AS_NEW = "continued as new"
    FAILED = "failed"
    SUSPENDED = "suspended"
    UNWOUND = "unwound"  #: its stack alone: it goes on by replay
    ABANDONED = "abandoned"  #: it was ended from outside: a timeout, a terminate, another owner
    LOST = "lost"  #: with its host


class AttemptStep(Struct, gc=False, frozen=True):
    """The start of an attempt in a worker host, or its end there."""

    execution_id: str
    handler: str
    attempt: int
    compensation: str  #: key of the step; "" of a handler's own
    host: int
    end: AttemptEnd | None = None  #: None: it starts
    failure: Failure | None = None


class RunningAttempt(Struct, eq=False):
    execution_id: str
    row: int
    epoch: int
    handler: str
    host: int
    root: Frame
    attempt: int = 0
    compensation: str = ""  #: key of the step
    frames: dict[str, Frame] = {}
    calls: dict[tuple[OperationKind, str], OpenCall] = {}
    over: bool = False  #: it ended or was abandoned
    doubted: bool = False  #: a node may have died of it, and it has not come to rest since
    tried: bool = False  #: alone, in the beginning
    exact: bool = False  #: the ends of its operations have an order
    handover: Handover | None = None  #: until its host was sent all of it

    @property
    def only_waits(self) -> bool:
        """Whether none of its code runs, or is about to."""
        innermost = self._innermost()
        waiting = all(frame.can_rest if frame.stepped else frame.outstanding for frame in innermost)
        return not self.over and waiting and all(frame.waking is None for frame in innermost)

    def _innermost(self) -> list[Frame]:
        around = {id(frame.parent) for frame in self.frames.values()}
        return [frame for frame in self.frames.values() if id(frame) not in around]


class Due(Struct, eq=False):
    """A frame that waits for a slot: its answers go out then, or it may start."""

    run: RunningAttempt
    frame: Frame
