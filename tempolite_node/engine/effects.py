"""What a decision asks the owner of an execution to do once it is on disk, and how it answers."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from tempolite_node.engine.model import Component, Execution, Failure, OperationKind, Signal, Status

# --- answers: what a call of an attempt gets back. They cross to the worker host as they are.


class Answer(Struct, gc=False, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What became of an operation."""


class Value(Answer, frozen=True, kw_only=True):
    """It is recorded; the payload is its result (an execution id as JSON string for a child)."""

    payload: bytes | None = None


class Ended(Answer, frozen=True, kw_only=True):
    """The execution waited for has ended."""

    execution_id: str
    status: Status
    result: bytes | None = None
    failure: Failure | None = None


class Granted(Answer, frozen=True, kw_only=True):
    """The slot is taken: run it."""

    attempt: int
    data: bytes | None = None  #: of a step in doubt: what an earlier attempt of it has left


class Failed(Answer, frozen=True, kw_only=True):
    """The side effect is out of retries."""

    failure: Failure
    attempts: int


class TimedOut(Answer, frozen=True, kw_only=True):
    """The wait's timeout passed."""


class Interrupted(Answer, frozen=True, kw_only=True):
    """A cancel request ended the wait."""

    reason: str = ""


class Refused(Answer, frozen=True, kw_only=True):
    """The request can't be met. From format 3 on that is recorded, but where the code is not what was recorded."""

    reason: str  #: name of a Reason
    message: str


AnyAnswer = Value | Ended | Granted | Failed | TimedOut | Interrupted | Refused


# --- batches of a log that several nodes share


class Admission(StrEnum):
    NEW = "new"  #: to be applied
    REPEATED = "repeated"  #: applied before: its outcome was unclear, and it was proposed again
    OUTDATED = "outdated"  #: from a process of its node that is not the present one, or of a node that was removed


# --- rejections


class Reason(StrEnum):
    """Why a command changed nothing."""

    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    CLOSED = "closed"
    STALE_EPOCH = "stale_epoch"
    QUEUE_FULL = "queue_full"
    WAIT_CYCLE = "wait_cycle"
    NON_DETERMINISM = "non_determinism"
    WRONG_STATE = "wrong_state"
    INVALID_ARGUMENT = "invalid_argument"


class Rejection(Struct, gc=False, frozen=True):
    """The caller's mistake or a lost race: a value, equal on every replica. Nothing was changed."""

    reason: Reason
    message: str


# --- what clients and operators are told


class Enqueued(Struct, gc=False, frozen=True, kw_only=True):
    execution_id: str
    component: Component
    existing: bool = False  #: it was there before


class EnqueuedBatch(Struct, gc=False, frozen=True, kw_only=True):
    enqueued: tuple[Enqueued, ...]


class SignalStored(Struct, gc=False, frozen=True, kw_only=True):
    sequence: int  #: in the execution's inbox, 1-based


class Accepted(Struct, gc=False, frozen=True, kw_only=True):
    """The request is recorded, or had been before."""

    status: Status | None = None  #: of the execution now


class Registered(Struct, gc=False, frozen=True, kw_only=True):
    """The node is known."""

    requeued: dict[str, int]  #: by handler: executions that its earlier process held, and that are queued again


class Deleted(Struct, gc=False, frozen=True, kw_only=True):
    """What became of executions that were to be deleted, or cleared."""

    kept: tuple[str, ...] = ()  #: why those stay that do, a sentence each


class AttemptOver(Struct, gc=False, frozen=True):
    """What the attempt asked for has ended it: an Abandon effect tells its worker host, and there is no answer."""


#: What a command comes to. None: the operation is pending, and a Wake effect tells its end.
AnyOutcome = (
    Enqueued
    | EnqueuedBatch
    | SignalStored
    | Accepted
    | Deleted
    | Registered
    | AnyAnswer
    | AttemptOver
    | Rejection
    | None
)


# --- effects: carried out by the owner, after the commit


class Effect(Struct, gc=False, frozen=True, kw_only=True):
    execution_id: str


class Ready(Effect, frozen=True, kw_only=True):
    """It waits for a slot of the pool. Those that resume go ahead of those that start."""

    owner: str
    pool: Component
    handler: str
    order: tuple[bool, int, int]  #: place in the queue: smaller first; see `model.Execution.queue_order`
    suspect: bool = False  #: it gets a process of its own, of which there are few
    alone: bool = False  #: nothing else is given out beside it


class RunAttempt(Effect, frozen=True, kw_only=True):
    """Hand the handler to a worker host, with its journal."""

    owner: str
    epoch: int


class RunCompensation(Effect, frozen=True, kw_only=True):
    """Hand the step's compensation to a worker host."""

    owner: str
    epoch: int
    key: str


class Wake(Effect, frozen=True, kw_only=True):
    """A pending operation of an attached attempt is over."""

    epoch: int
    kind: OperationKind
    key: str
    answer: AnyAnswer
    end_seq: int = 0  #: of the operation; 0: it goes on, or is of an earlier format
    at_ms: int = 0  #: when it was over


class RequestCancel(Effect, frozen=True, kw_only=True):
    """Tell the attempt that its cancel was requested."""

    epoch: int
    reason: str
    cancel_seq: int = 0  #: its place among the answers of the attempt; 0: of an earlier format
    at_ms: int = 0


class Abandon(Effect, frozen=True, kw_only=True):
    """The attempt lost its right to run; whatever it still sends is stale."""

    epoch: int


class Closed(Effect, frozen=True, kw_only=True):
    """It has ended: tell those who wait for it."""

    execution: Execution


class Halted(Effect, frozen=True, kw_only=True):
    """It can't go on by itself, stuck or suspended. For those who watch over the node."""

    execution: Execution
    failure: Failure  #: why


class HostCrashed(Effect, frozen=True, kw_only=True):
    """Its worker host died while its code ran, which may be why. For those who watch over the node."""

    execution: Execution  #: with that crash counted
    failure: Failure


class NodeDied(Effect, frozen=True, kw_only=True):
    """Its node has died again soon after it was given out: it is tried alone. For those who watch over the node."""

    execution: Execution  #: with that death counted


class Trusted(Effect, frozen=True, kw_only=True):
    """It was tried alone, and has recorded something since, or only waits: others may be given out beside it."""


class JournalGrown(Effect, frozen=True, kw_only=True):
    """Its journal has come to a tenth of what it may have. For those who watch over the node."""

    execution: Execution
    operations: int
    bytes: int


class SignalSent(Effect, frozen=True, kw_only=True):
    """A signal for the clients that follow it."""


class SignalSetAside(Effect, frozen=True, kw_only=True):
    """A signal was set aside: its payload is not what the code reads. For those who watch over the node."""

    execution: Execution
    signal: Signal


AnyEffect = (
    Ready
    | RunAttempt
    | RunCompensation
    | Wake
    | RequestCancel
    | Abandon
    | Closed
    | Halted
    | HostCrashed
    | NodeDied
    | Trusted
    | JournalGrown
    | SignalSent
    | SignalSetAside
)
