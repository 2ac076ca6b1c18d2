"""What the node and its worker hosts say to each other. What hosts log has a pipe of its own: `logger/writer.py`.

Every `Call` gets exactly one `Reply` or, when the attempt lost its right to run, an `AbandonAttempt`; but the call
that ends an attempt gets none, unless it may be refused, and neither does word of a side effect that runs in a slot
that was leased.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Struct

from tempolite_node.engine.commands import AnyRequest
from tempolite_node.engine.effects import AnyAnswer, Refused
from tempolite_node.engine.model import (
    DURATION_MS_MAX,
    MAX_JOURNAL_BYTES,
    MAX_OPERATIONS,
    PRIORITY_MAX,
    ClosePolicy,
    Component,
    Failure,
    OperationKind,
    OperationStatus,
    RetryPolicy,
    Status,
)
from tempolite_node.errors import HandlerMistake
from tempolite_node.protocol.plain_types import PlainParameter, PlainType
from tempolite_sdk.signals import violations_of
from tempolite_sdk.signatures import Signature


class Message(Struct, gc=False, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    pass


# --- node to worker host


class HandlerSpec(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """A handler of the node's config."""

    name: str
    target: str  #: "module:function"
    params: bytes = b"{}"  #: JSON object; validated against the parameter type of the handler's context
    secret_params: tuple[tuple[str | int, ...], ...] = ()  #: places in it whose values come from the environment
    side_effect_retry: RetryPolicy = RetryPolicy()  #: resolved from handler, pool and default
    side_effect_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    memory_limit: int | None = None  #: in bytes, of an attempt that has a process of its own


class RecycleAfter(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """When a worker host has run long enough. None: that is no reason."""

    attempts: int | None = None
    memory: int | None = None  #: bytes
    age_ms: int | None = None


class Load(Message, frozen=True, kw_only=True):
    """First message: import the handlers. Answered by Loaded."""

    handlers: tuple[HandlerSpec, ...]
    python_path: tuple[str, ...] = ()
    max_parked: int
    park_ttl_ms: int
    payload_bytes_max: int
    log_level: str = "info"
    log_format: str = "json"  #: a `logger.lines.LineFormat`
    recycle_after: RecycleAfter | None = None  #: the host then says that it is WornOut
    clock_ahead_ms: int = 0  #: of the wall clock; see `clock.SteadyClock`


class Record(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """A recorded operation, as replay needs it."""

    kind: OperationKind
    key: str
    status: OperationStatus
    target: str = ""
    digest: bytes = b""
    generation: int = 0
    attempt: int = 0
    input: bytes | None = None
    result: bytes | None = None
    failure: Failure | None = None
    ended: Status | None = None  #: of the execution waited for, when a wait is COMPLETED
    in_backoff: bool = False  #: the next attempt of a side effect is not due yet
    end_seq: int = 0  #: its place in the order in which answers are released; 0: as in `model.Operation`
    closed_ms: int = 0  #: when it was over
    refusal: Refused | None = None  #: of one that is REFUSED
    due_ms: int = 0  #: end of the time of a side effect that is RUNNING; 0: it is past
    lasted_ms: int = 0  #: from its beginning to its end, of what code takes leave of, or may


class RunHandler(Message, frozen=True, kw_only=True):
    """Run a handler, answering recorded operations from the journal."""

    execution_id: str
    epoch: int
    handler: str
    arguments: bytes
    attempt: int
    generation: int
    journal: tuple[Record, ...] = ()
    more: bool = False  #: the journal follows, in parts
    parent_id: str | None = None
    deadline_ms: int | None = None
    cancel_requested: bool = False
    cancel_delivered: bool = False
    cancel_reason: str = ""
    cancel_seq: int | None = None  #: place of the cancel among the ends of operations, from format 3 on
    cancelled_ms: int = 0  #: when it was requested, from format 3 on
    heartbeat: bytes | None = None  #: details of the last heartbeat of an earlier attempt
    started_ms: int = 0  #: of the execution's first attempt
    isolated: bool = False
    format: int = 1  #: of the log, in use when the execution was enqueued: by the rules of its time it goes on
    run: int = 1  #: see `Execution.run`
    #: Operations and bytes from which on its code had better continue as new.
    roomy: tuple[int, int] = (MAX_OPERATIONS // 10, MAX_JOURNAL_BYTES // 10)


class RunCompensation(Message, frozen=True, kw_only=True):
    """Run the compensation of a step from its recorded data."""

    execution_id: str
    epoch: int
    handler: str
    key: str
    target: str
    data: bytes
    attempt: int
    generation: int
    journal: tuple[Record, ...] = ()
    more: bool = False  #: as in `RunHandler`
    isolated: bool = False
    format: int = 1  #: as in `RunHandler`, and `run`
    run: int = 1


class JournalPart(Message, frozen=True, kw_only=True):
    """Of the journal of an attempt that is to run. It runs when it has the last one; a later record goes before one
    that was sent of the same operation."""

    execution_id: str
    epoch: int
    records: tuple[Record, ...]
    more: bool = False


class AskForMore(Message, frozen=True, kw_only=True):
    """There may be more to run, or of a journal, than was sent by now. Answered by SendMore when this was read."""


class Reply(Message, frozen=True, kw_only=True):
    """Those of one frame leave in the order of their `end_seq`."""

    execution_id: str
    epoch: int
    call: int
    answer: AnyAnswer
    #: Place of the operation's end, at which its answer is to be released, as in replay. 0: it has not ended (Granted),
    #: is of an execution of an earlier format, or is refused for code that is not what was recorded.
    end_seq: int = 0
    at_ms: int = 0  #: when it ended


class LeaseSlots(Message, frozen=True, kw_only=True):
    """Slots of the side-effect pool, for side effects that are new. What is not used comes back as ReturnSlots."""

    slots: int


class CancelAttempt(Message, frozen=True, kw_only=True):
    """Its cancel was requested: raised at its next context call, or released in its place among the answers."""

    execution_id: str
    epoch: int
    reason: str
    cancel_seq: int = 0  #: as `Reply.end_seq`
    at_ms: int = 0


class AbandonAttempt(Message, frozen=True, kw_only=True):
    """It lost its right to run: stop it as far as possible, and say nothing more of it but its CodeEnded."""

    execution_id: str
    epoch: int


class CheckArguments(Message, frozen=True, kw_only=True):
    """Are these arguments what the handlers take? Answered by Checked."""

    call: int
    calls: tuple[tuple[str, bytes], ...]  #: handlers, each with its arguments


class CheckSignal(Message, frozen=True, kw_only=True):
    """Is this the payload of a signal that the handler declares? Answered by Checked, of one call."""

    call: int
    handler: str
    name: str
    payload: bytes


class Ping(Message, frozen=True, kw_only=True):
    """Are you alive? Answered by Pong from the loop that reads the socket."""


class FlushLog(Message, frozen=True, kw_only=True):
    """Have what was logged leave this process, which is about to be ended. Answered by LogFlushed."""

    timeout_ms: int


class Drain(Message, frozen=True, kw_only=True):
    """Unwind what waits, let the rest end; the node closes the socket when it has waited long enough."""


class UpdateSettings(Message, frozen=True, kw_only=True):
    """The config was read again: for the attempts that start from here on."""

    handlers: tuple[HandlerSpec, ...]  #: those that are loaded, with the same targets and params
    log_level: str


ToHost = (
    Load
    | RunHandler
    | RunCompensation
    | JournalPart
    | AskForMore
    | Reply
    | LeaseSlots
    | CancelAttempt
    | AbandonAttempt
    | CheckArguments
    | CheckSignal
    | Ping
    | FlushLog
    | Drain
    | UpdateSettings
)


# --- worker host to node


class SignalDescription(Struct, gc=False, frozen=True, omit_defaults=True):
    """A signal that a handler declares."""

    name: str
    payload_schema: str
    type: PlainType | None = None  #: None: only a worker host can check a payload


class HandlerDescription(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    function: str = ""  #: "module:qualified name", as the function says itself
    component: Component
    #: Its attempts, from format 3 on, run on a loop that is stepped: they say when it is `Quiet`, and take a cancel in
    #: its place among the answers.
    asynchronous: bool
    arguments_schema: str
    result_schema: str
    description: str = ""
    parameters: tuple[PlainParameter, ...] | None = None  #: None: only a worker host can check arguments
    signals: tuple[SignalDescription, ...] = ()  #: none: it declares none, and takes any


class Loaded(Message, frozen=True, kw_only=True):
    """Every handler is imported, or the mistakes say why not."""

    pid: int = 0  #: of the process that runs them: its parent is its keeper, which the node has started
    handlers: tuple[HandlerDescription, ...] = ()
    mistakes: tuple[HandlerMistake, ...] = ()


_Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=DURATION_MS_MAX)]


class CallOptions(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """What a call sets; None: the handler's, the pool's, the default."""

    maximum_attempts: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    initial_interval_ms: _Milliseconds | None = None
    backoff_coefficient: Annotated[float, msgspec.Meta(ge=1, le=1_000)] | None = None
    maximum_interval_ms: _Milliseconds | None = None
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    non_retryable_errors: tuple[str, ...] | None = None
    retry_spent: bool | None = None
    attempt_timeout_ms: _Milliseconds | None = None
    max_duration_ms: _Milliseconds | None = None
    queue_timeout_ms: _Milliseconds | None = None
    heartbeat_timeout_ms: _Milliseconds | None = None
    priority: Annotated[int, msgspec.Meta(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = 0
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=DURATION_MS_MAX)] = 0


class ChildRequest(Struct, gc=False, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """Enqueue a child. The node resolves its options and makes it an EnqueueChild; answered with the child's id."""

    key: str
    digest: bytes
    handler: str
    function: str = ""  #: that the caller means, as "module:qualified name"; "": whichever has the name
    arguments: bytes
    options: CallOptions = CallOptions()
    close_policy: ClosePolicy | None = None
    concurrency_key: str | None = None
    execution_id: str | None = None  #: the caller's choice; None: a new one


class AttemptCall(Message, frozen=True, kw_only=True):
    """What an attempt asks for. The frame is the side effect inside which it was asked, "" outside of any."""

    execution_id: str
    epoch: int
    call: int  #: unique within the attempt
    request: AnyRequest | ChildRequest
    frame: str = ""
    side_effect_failures: int = 0  #: failed attempts of the side effects inside which it was asked
    #: The side effect that it is about runs, or ran, in a slot that was leased. Of one that runs it is told, not asked:
    #: there is no Reply.
    leased: bool = False
    quiet: int | None = None  #: on the last call of a burst: what `Quiet` says, with its `released`


BUSY = -1  #: see `Quiet.released`


class Quiet(Message, frozen=True, kw_only=True):
    """Nothing of the attempt's own code can go on by itself: it waits for answers.

    The frame of the attempt gives up its slot when the host is through with all that was sent to it, and nothing that
    it asked for is yet to be decided. Told of asynchronous handlers, also with the word that a side effect runs in a
    slot that was leased; and of synchronous ones from when they begin something and go on beside it.
    """

    execution_id: str
    epoch: int
    #: `Reply.end_seq` of the last answer that was released, or dropped because nobody waits for it any more; or the
    #: place of the cancel. 0: none was. `BUSY`: it is not quiet, and says when it is from here on.
    released: int


class ReturnSlots(Message, frozen=True, kw_only=True):
    """Slots that were leased, and that no side effect took."""

    slots: int


class CodeLingers(Message, frozen=True, kw_only=True):
    """The time of a side effect is up and its body goes on, in a thread. Followed by CodeEnded."""

    execution_id: str
    epoch: int


class CodeEnded(Message, frozen=True, kw_only=True):
    """The answer to AbandonAttempt: no code of the attempt runs here any more. And what follows CodeLingers."""

    execution_id: str
    epoch: int
    abandoned: bool = True  #: False: no side effect's body whose time was up goes on; the attempt itself may


class WornOut(Message, frozen=True, kw_only=True):
    """The host has run long enough (RecycleAfter) and goes on until its successor is up."""

    reason: str
    full: bool = False  #: of memory: it is to get nothing new meanwhile


class SendMore(Message, frozen=True, kw_only=True):
    """It has taken what it was sent to run."""


#: What the driver hears; see `supervisor.connection`.
ForDriver = AttemptCall | Quiet | ReturnSlots | SendMore | CodeLingers | CodeEnded | WornOut


class Violation(Struct, gc=False, frozen=True):
    field: str  #: path of the value, e.g. "order.quantity"
    description: str


def violations(signature: Signature, arguments: bytes) -> tuple[Violation, ...]:
    """What is wrong with the arguments of a handler that has the signature."""
    return tuple([Violation(each.field, each.description) for each in signature.violations(arguments)])


def payload_violations(payload: bytes, type: Any) -> tuple[Violation, ...]:
    """What is wrong with a payload that is to be of the type."""
    return tuple([Violation(each.field, each.description) for each in violations_of(payload, type)])


class Checked(Message, frozen=True, kw_only=True):
    call: int
    violations: tuple[tuple[Violation, ...], ...]  #: of each call


class LogFlushed(Message, frozen=True, kw_only=True):
    """The node has what was logged, or the time was up."""


class Pong(Message, frozen=True, kw_only=True):
    parked: int = 0  #: stacks that wait


FromHost = Loaded | ForDriver | Checked | LogFlushed | Pong
