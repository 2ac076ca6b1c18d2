"""Requests to change state: all that the log carries.

A command names everything that its decision needs from the moment it was made: time, new ids, jitter, resolved
options. What an attempt asks for travels inside `FromAttempt`, fenced by its epoch.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from tempolite_node.engine.model import (
    STORED_NAMES,
    Component,
    Failure,
    OperationKind,
    Options,
    RetryPolicy,
    ServedHandler,
)


class IdReuse(StrEnum):
    """When the id belongs to an execution that has ended."""

    REJECT_DUPLICATE = "reject_duplicate"
    ALLOW_DUPLICATE = "allow_duplicate"
    ALLOW_DUPLICATE_FAILED_ONLY = "allow_duplicate_failed_only"


class IdConflict(StrEnum):
    """When the id belongs to an execution that has not ended."""

    FAIL = "fail"
    USE_EXISTING = "use_existing"
    TERMINATE_EXISTING = "terminate_existing"


class Resolution(StrEnum):
    RETRY = "retry"
    SKIP = "skip"
    MARK_DONE = "mark_done"


class DeletionCause(StrEnum):
    REQUESTED = "requested"  #: somebody asked for it
    KEPT_LONG_ENOUGH = "kept_long_enough"
    STORE_FULL = "store_full"  #: the store is larger than it may be


class Command(Struct, gc=False, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    at_ms: int


# --- from clients and operators


class Enqueue(Command, frozen=True, kw_only=True):
    execution_id: str
    handler: str
    component: Component
    arguments: bytes
    options: Options
    priority: int = 0
    delay_ms: int = 0
    max_duration_ms: int | None = None
    request_id: str | None = None
    concurrency_key: str | None = None
    id_reuse: IdReuse = IdReuse.REJECT_DUPLICATE
    id_conflict: IdConflict = IdConflict.FAIL


class EnqueueBatch(Command, frozen=True, kw_only=True):
    """All of them, or none."""

    commands: tuple[Enqueue, ...]


class SendSignal(Command, frozen=True, kw_only=True):
    execution_id: str
    name: str
    payload: bytes
    request_id: str | None = None
    sender: str = ""  #: "client <address>"


class Cancel(Command, frozen=True, kw_only=True):
    execution_id: str
    reason: str = ""


class Terminate(Command, frozen=True, kw_only=True):
    execution_id: str
    reason: str = ""


class Resume(Command, frozen=True, kw_only=True):
    """Lets an execution go on that is SUSPENDED. From format 3 on."""

    execution_id: str


class ResolveCompensation(Command, frozen=True, kw_only=True):
    execution_id: str
    resolution: Resolution
    reason: str = ""
    request_id: str | None = None


class ClearExecutions(Command, frozen=True, kw_only=True):
    """Deletes what ended executions recorded, and leaves how they ended. From format 4 on, as below.

    in_steps: it is more than one commit may delete: a timer of each goes on until it is done.
    """

    execution_ids: tuple[str, ...]
    cause: DeletionCause
    in_steps: bool = False


class DeleteExecutions(Command, frozen=True, kw_only=True):
    """Deletes ended executions, each after what is below it. Others of them stay as they are."""

    execution_ids: tuple[str, ...]
    cause: DeletionCause


# --- from nodes


class RegisterNode(Command, frozen=True, kw_only=True, rename=STORED_NAMES):
    """A node started, or came back: what it ran before is queued again."""

    node_id: str
    boot_id: str
    handlers: tuple[ServedHandler, ...]
    slots: dict[Component, int]
    address: str = ""
    format: int = 1  #: the latest that its version knows
    last_alive_ms: int | None = None  #: of its process before, if that died without a word
    hash_seed: int | None = None  #: by which its worker hosts run; the first one of all holds for every node


class DrainNode(Command, frozen=True, kw_only=True, rename=STORED_NAMES):
    """A node is about to stop: what waits for a slot there goes elsewhere, and so does what it unwinds."""

    node_id: str
    boot_id: str


class LoseNode(Command, frozen=True, kw_only=True, rename=STORED_NAMES):
    """A node is dead, as far as the leader can tell, or says itself that it ends. Its executions may go elsewhere."""

    node_id: str
    boot_id: str


class RemoveNode(Command, frozen=True, kw_only=True):
    """A node is no part of the cluster any more."""

    node_id: str


class PlaceExecutions(Command, frozen=True, kw_only=True):
    """Gives executions whose owner can't run them to nodes that can. The others of them stay where they are."""

    execution_ids: tuple[str, ...]


class StartAttempt(Command, frozen=True, kw_only=True):
    """A slot of the pool is free: the execution's next attempt, resume or compensation takes it."""

    execution_id: str
    node_id: str
    pool: Component


class CrashAttempt(Command, frozen=True, kw_only=True):
    """The worker host that held the attempt is gone.

    suspect: its code was running, so it may be what killed the host; a parked attempt is innocent.
    """

    execution_id: str
    epoch: int
    suspect: bool
    jitter: float  #: in [-1, 1)
    message: str = "worker host died"
    out_of_memory: bool = False  #: it took more than it may: its attempt has failed. From format 3 on


class NoteRest(Command, frozen=True, kw_only=True):
    """The code of an execution that a node may have died of only waits now. From format 3 on."""

    execution_id: str
    epoch: int


class FireTimer(Command, frozen=True, kw_only=True):
    execution_id: str
    name: str
    due_ms: int
    jitter: float  #: in [-1, 1)


# --- from attempts


class Request(Struct, gc=False, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """What an attempt asks for."""


class EnqueueChild(Request, frozen=True, kw_only=True):
    key: str
    digest: bytes
    execution_id: str
    handler: str
    component: Component
    arguments: bytes
    options: Options
    priority: int = 0
    delay_ms: int = 0
    max_duration_ms: int | None = None
    concurrency_key: str | None = None


class WaitForExecution(Request, frozen=True, kw_only=True):
    key: str
    execution_id: str
    timeout_ms: int | None = None
    beside: bool = False  #: see `model.Operation.beside`; here and below from format 3 on


class ReceiveSignal(Request, frozen=True, kw_only=True):
    key: str
    name: str
    timeout_ms: int | None = None
    beside: bool = False


class SetSignalAside(Request, frozen=True, kw_only=True):
    """The wait took a signal whose payload the code can't read: it waits on, for another one."""

    key: str  #: of the wait
    name: str
    error: str  #: what is wrong with the payload, naming the field
    timeout_ms: int | None = None  #: of the wait, from its beginning
    replayed: bool = False  #: the signal comes from the journal: an earlier attempt may have read it


class Sleep(Request, frozen=True, kw_only=True):
    key: str
    duration_ms: int
    beside: bool = False


class BeginSideEffect(Request, frozen=True, kw_only=True):
    """Answered when a slot of the side-effect pool is taken for it. Recorded only when it ends."""

    key: str
    digest: bytes
    fresh: bool = False  #: nothing that holds is recorded under the key: a slot is all it needs, and no decision


class CompleteSideEffect(Request, frozen=True, kw_only=True):
    key: str
    digest: bytes
    result: bytes
    started_ms: int


class FailSideEffect(Request, frozen=True, kw_only=True):
    key: str
    digest: bytes
    failure: Failure
    retry: RetryPolicy
    started_ms: int
    has_run: bool = False  #: it ended well, and its value can't be stored: it is never run again. From format 3 on
    beside: bool = False


class BeginStep(Request, frozen=True, kw_only=True):
    key: str
    target: str  #: class of the step, "module:qualified name"
    input: bytes
    digest: bytes


class CompleteStep(Request, frozen=True, kw_only=True):
    key: str
    data: bytes


class FailStep(Request, frozen=True, kw_only=True):
    key: str
    data: bytes
    failure: Failure
    compensate: bool  #: it may have taken effect
    has_run: bool = False  #: it ended well, and its data can't be stored: it is never run again. From format 3 on


class RecordMarker(Request, frozen=True, kw_only=True):
    key: str
    value: bytes


class SendSignalFromAttempt(Request, frozen=True, kw_only=True):
    key: str
    name: str
    payload: bytes
    digest: bytes
    to: str | None = None  #: id of another execution; None: to the clients that follow this one


class CancelFromAttempt(Request, frozen=True, kw_only=True):
    """Requests the cancel of another execution. From format 3 on."""

    key: str
    execution_id: str
    reason: str = ""
    digest: bytes


class RecordRefusal(Request, frozen=True, kw_only=True):
    """An operation that its node refused before the log was asked: recorded, so that replay is refused it too.

    What the log has under the key already stays as it is, and is the answer.
    """

    kind: OperationKind
    key: str
    target: str = ""
    digest: bytes = b""
    reason: str  #: name of an `effects.Reason`
    message: str


class GiveUp(Request, frozen=True, kw_only=True):
    """The code has given up a wait, open or over. A signal that it took goes back to the front of its line."""

    kind: OperationKind  #: WAIT, SIGNAL or TIMER
    key: str


class DeliverCancel(Request, frozen=True, kw_only=True):
    """The cancel request is about to be raised at a context call; recorded, so that replay raises it there too."""

    key: str


class Heartbeat(Request, frozen=True, kw_only=True):
    details: bytes | None = None


class CompleteAttempt(Request, frozen=True, kw_only=True):
    result: bytes | None = None


class ContinueAsNew(Request, frozen=True, kw_only=True):
    """The run ends here, and the next one begins under the same id."""

    arguments: bytes
    #: Waits that the code has had no answer of. A signal that was taken for one of them was never seen, and stays.
    waits: tuple[tuple[OperationKind, str], ...] = ()
    cancels: int = 0  #: of the execution, that the attempt had released, if its code takes them in their order


class FailAttempt(Request, frozen=True, kw_only=True):
    failure: Failure
    cancelled: bool = False  #: the error is the cancel that was delivered


class TimedSideEffect(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """A side effect with a timeout, whose body is given up in the middle and run again by replay."""

    key: str
    digest: bytes
    started_ms: int
    due_ms: int  #: end of its time
    side_effect_failures: int = 0  #: as of `FromAttempt`


class UnwindAttempt(Request, frozen=True, kw_only=True):
    """The stack was given up while waiting; the attempt goes on by replay when one of its waits is over."""

    #: Calls without an answer when the stack was given up: waits, and side effects in backoff. If an answer was on its
    #: way to one of them, the attempt goes on at once. Empty: not told, which will do for a stack with one call.
    waits: tuple[tuple[OperationKind, str], ...] = ()
    timed: tuple[TimedSideEffect, ...] = ()  #: from format 3 on
    cancels: int = 0  #: of its execution, that the attempt had released; from format 3 on


class SuspendAttempt(Request, frozen=True, kw_only=True):
    """Replay met another operation than was recorded, or what the code can't take."""

    kind: OperationKind
    key: str
    expected: str
    actual: str
    #: Of its arguments, parameters or a step's data, and not of an operation: what it is; from format 3 on.
    what: str = ""
    misuse: str = ""  #: or what the code did that no replay could do again; then nothing else is told


AnyRequest = (
    EnqueueChild
    | WaitForExecution
    | ReceiveSignal
    | SetSignalAside
    | Sleep
    | BeginSideEffect
    | CompleteSideEffect
    | FailSideEffect
    | BeginStep
    | CompleteStep
    | FailStep
    | RecordMarker
    | SendSignalFromAttempt
    | CancelFromAttempt
    | RecordRefusal
    | GiveUp
    | DeliverCancel
    | Heartbeat
    | CompleteAttempt
    | ContinueAsNew
    | FailAttempt
    | UnwindAttempt
    | SuspendAttempt
)


class FromAttempt(Command, frozen=True, kw_only=True):
    """What a running attempt asks for. Refused as stale unless the epoch is the execution's."""

    execution_id: str
    epoch: int
    jitter: float  #: in [-1, 1)
    side_effect_failures: int = 0  #: failed attempts of the side effects inside which it asks
    request: AnyRequest


AnyCommand = (
    Enqueue
    | EnqueueBatch
    | SendSignal
    | Cancel
    | Terminate
    | Resume
    | ResolveCompensation
    | ClearExecutions
    | DeleteExecutions
    | RegisterNode
    | DrainNode
    | LoseNode
    | RemoveNode
    | PlaceExecutions
    | StartAttempt
    | CrashAttempt
    | NoteRest
    | FireTimer
    | FromAttempt
)


class Batch(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True, rename=STORED_NAMES):
    """What a node proposes to a log that several nodes share: one entry of it.

    The log may have an entry twice, when its outcome was unclear and it was proposed again: the number tells.
    """

    format: int = 1  #: that was in use when it was made; a node stops rather than apply what it does not know
    node_id: str
    boot_id: str
    sequence: int  #: counts the batches of the process, from 1
    at_ms: int  #: by the node's own clock, whether it leads or not
    commands: tuple[AnyCommand, ...] = ()


def ids_of_new(commands: Iterable[AnyCommand]) -> list[str]:
    """Under which new executions are asked for. An execution may have each of them already."""
    ids: list[str] = []
    for command in commands:
        if isinstance(command, FromAttempt):
            if isinstance(command.request, EnqueueChild):
                ids.append(command.request.execution_id)
        elif isinstance(command, Enqueue):
            ids.append(command.execution_id)
        elif isinstance(command, EnqueueBatch):
            ids += [each.execution_id for each in command.commands]
    return ids
