"""The states of executions and operations, and their legal moves.

The engine's values are immutable and point at nothing that could point back, so none is ever part of a cycle:
`gc=False` spares the collector a look at each.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType

DURATION_MS_MAX = 3650 * 86_400_000  #: ten years; longer is a mistake in the unit
PRIORITY_MAX = 1_000


class Component(StrEnum):
    """Each component has its own pool, with its own workers."""

    HANDLER = "handler"
    SAGA = "saga"
    COMPENSATION = "compensation"
    SIDE_EFFECT = "side_effect"


class Status(StrEnum):
    """Of an execution."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPENSATING = "compensating"
    STUCK = "stuck"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    COMPENSATED = "compensated"
    CONTINUED_AS_NEW = "continued_as_new"


_GIVEN_UP = frozenset({Status.CANCELLED, Status.TERMINATED, Status.TIMED_OUT, Status.COMPENSATING})
_NO_ATTEMPT_FOLLOWS = _GIVEN_UP | {Status.FAILED}

#: From each status, those that may follow; from None, those of a new execution. A final status is followed by none.
#: `Work.create` and `Work.put` look every change up here. docs/design/moves.md draws it: scripts/generate_moves.
EXECUTION_MOVES: Mapping[Status | None, frozenset[Status]] = {
    None: frozenset({Status.SCHEDULED, Status.QUEUED}),
    Status.SCHEDULED: _GIVEN_UP | {Status.QUEUED},
    Status.QUEUED: _GIVEN_UP | {Status.RUNNING, Status.SCHEDULED},
    Status.RUNNING: _NO_ATTEMPT_FOLLOWS
    | {Status.WAITING, Status.QUEUED, Status.SCHEDULED, Status.SUSPENDED, Status.COMPLETED, Status.CONTINUED_AS_NEW},
    Status.WAITING: _NO_ATTEMPT_FOLLOWS
    | {Status.RUNNING, Status.QUEUED, Status.SCHEDULED, Status.SUSPENDED, Status.COMPLETED, Status.CONTINUED_AS_NEW},
    Status.SUSPENDED: _GIVEN_UP | {Status.QUEUED},
    Status.COMPENSATING: frozenset({Status.STUCK, Status.COMPENSATED, Status.TERMINATED}),
    Status.STUCK: frozenset({Status.COMPENSATING, Status.COMPENSATED, Status.TERMINATED}),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.TERMINATED: frozenset(),
    Status.TIMED_OUT: frozenset(),
    Status.COMPENSATED: frozenset(),
    Status.CONTINUED_AS_NEW: frozenset(),
}

FINAL: frozenset[Status] = frozenset(
    status for status, following in EXECUTION_MOVES.items() if status is not None and not following
)


class OperationKind(StrEnum):
    SIDE_EFFECT = "side_effect"
    STEP = "step"
    COMPENSATION = "compensation"
    CHILD = "child"
    WAIT = "wait"
    SIGNAL = "signal"
    SIGNAL_SENT = "signal_sent"
    TIMER = "timer"
    MARKER = "marker"
    CANCEL = "cancel"


#: Between the id of an execution and a number, in the id that it is kept under when another run has its id.
KEPT_SEPARATOR = "~"


def operation_id(execution_id: str, run: int, kind: OperationKind, key: str) -> str:
    """What an operation is known by outside of its execution. From the second run on, it names the run.

    execution_id: also as it is kept when a later run has it.
    """
    own_id = execution_id.partition(KEPT_SEPARATOR)[0]
    return f"{own_id}/{kind}/{key}" if run == 1 else f"{own_id}/{run}/{kind}/{key}"


class OperationStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    REFUSED = "refused"
    GIVEN_UP = "given_up"


_WAIT_IS_OVER = frozenset({OperationStatus.COMPLETED, OperationStatus.TIMED_OUT, OperationStatus.CANCELLED})
_GIVEN_UP_WAIT = frozenset({OperationStatus.GIVEN_UP})
_FIRST_OF_WAIT = frozenset(
    {
        OperationStatus.PENDING,
        OperationStatus.COMPLETED,
        OperationStatus.FAILED,
        OperationStatus.CANCELLED,
        OperationStatus.REFUSED,
    }
)
_FIRST_OF_SIGNAL = _WAIT_IS_OVER | {OperationStatus.PENDING}
_FIRST_OF_TIMER = frozenset({OperationStatus.PENDING, OperationStatus.CANCELLED})
_TRIED = frozenset({OperationStatus.COMPLETED, OperationStatus.FAILED, OperationStatus.RETRYING})
_DONE_OR_REFUSED = frozenset({OperationStatus.COMPLETED, OperationStatus.REFUSED})

#: Of each kind of operation: from each status, those that may be recorded next; from None, the first ones, and those
#: of an operation that is done again in a later generation (see `Operation.holds`). `Work.put_operation` looks every
#: record up here, also one that leaves the status as it is.
OPERATION_MOVES: Mapping[OperationKind, Mapping[OperationStatus | None, frozenset[OperationStatus]]] = {
    OperationKind.SIDE_EFFECT: {
        # RUNNING: its stack was given up in one of its waits, and the end of its time is kept.
        None: _TRIED | {OperationStatus.RUNNING},
        OperationStatus.RUNNING: _TRIED | {OperationStatus.RUNNING},
        OperationStatus.RETRYING: _TRIED | {OperationStatus.RUNNING},
        OperationStatus.COMPLETED: frozenset(),
        OperationStatus.FAILED: frozenset(),
    },
    OperationKind.STEP: {
        None: frozenset({OperationStatus.RUNNING}),
        OperationStatus.RUNNING: frozenset(
            {OperationStatus.RUNNING, OperationStatus.COMPLETED, OperationStatus.FAILED}
        ),
        OperationStatus.COMPLETED: frozenset(),
        OperationStatus.FAILED: frozenset(),
    },
    OperationKind.COMPENSATION: {
        None: frozenset({OperationStatus.PENDING}),
        OperationStatus.PENDING: frozenset({OperationStatus.RUNNING}),
        OperationStatus.RUNNING: _TRIED | {OperationStatus.RUNNING},
        OperationStatus.RETRYING: frozenset({OperationStatus.RUNNING}),
        # An operator resolves what is stuck.
        OperationStatus.FAILED: frozenset(
            {OperationStatus.PENDING, OperationStatus.SKIPPED, OperationStatus.COMPLETED}
        ),
        OperationStatus.COMPLETED: frozenset(),
        OperationStatus.SKIPPED: frozenset(),
    },
    OperationKind.CHILD: {
        None: _DONE_OR_REFUSED,
        # It ended badly, and is enqueued anew; or a later generation has it as it is.
        OperationStatus.COMPLETED: _DONE_OR_REFUSED,
        OperationStatus.REFUSED: frozenset(),
    },
    OperationKind.WAIT: {
        None: _FIRST_OF_WAIT,
        # Pending again: what it waits for is continued as new, and it waits for the next run.
        OperationStatus.PENDING: _WAIT_IS_OVER
        | {OperationStatus.FAILED, OperationStatus.GIVEN_UP, OperationStatus.PENDING},
        OperationStatus.COMPLETED: _GIVEN_UP_WAIT,
        OperationStatus.FAILED: _GIVEN_UP_WAIT,
        OperationStatus.TIMED_OUT: _GIVEN_UP_WAIT,
        OperationStatus.CANCELLED: _GIVEN_UP_WAIT,
        OperationStatus.REFUSED: frozenset(),
        OperationStatus.GIVEN_UP: _FIRST_OF_WAIT,  # asked for again under its key
    },
    OperationKind.SIGNAL: {
        None: _FIRST_OF_SIGNAL,
        OperationStatus.PENDING: _WAIT_IS_OVER | {OperationStatus.GIVEN_UP},
        # What it took can't be read, and is set aside: it takes the next one, or waits again.
        OperationStatus.COMPLETED: _FIRST_OF_SIGNAL | {OperationStatus.GIVEN_UP},
        OperationStatus.TIMED_OUT: _GIVEN_UP_WAIT,
        OperationStatus.CANCELLED: _GIVEN_UP_WAIT,
        OperationStatus.GIVEN_UP: _FIRST_OF_SIGNAL,
    },
    OperationKind.TIMER: {
        None: _FIRST_OF_TIMER,
        OperationStatus.PENDING: frozenset(
            {OperationStatus.COMPLETED, OperationStatus.CANCELLED, OperationStatus.GIVEN_UP}
        ),
        OperationStatus.COMPLETED: _GIVEN_UP_WAIT,
        OperationStatus.CANCELLED: _GIVEN_UP_WAIT,
        OperationStatus.GIVEN_UP: _FIRST_OF_TIMER,
    },
    OperationKind.SIGNAL_SENT: {
        None: _DONE_OR_REFUSED,
        OperationStatus.COMPLETED: frozenset(),
        OperationStatus.REFUSED: frozenset(),
    },
    OperationKind.MARKER: {None: frozenset({OperationStatus.COMPLETED}), OperationStatus.COMPLETED: frozenset()},
    OperationKind.CANCEL: {
        None: frozenset({OperationStatus.COMPLETED, OperationStatus.REFUSED}),
        OperationStatus.COMPLETED: frozenset(),
        OperationStatus.REFUSED: frozenset(),
    },
}


class RetryState(StrEnum):
    """Why no further attempt was made."""

    MAXIMUM_ATTEMPTS_REACHED = "maximum_attempts_reached"
    NON_RETRYABLE_FAILURE = "non_retryable_failure"
    TIMEOUT = "timeout"
    CANCEL_REQUESTED = "cancel_requested"
    CRASHED_TOO_OFTEN = "crashed_too_often"


#: Of the journal of one execution, where nothing else is set; see `limits`.
MAX_OPERATIONS = 50_000
MAX_JOURNAL_BYTES = 1024**3


class ClosePolicy(StrEnum):
    """What the end, or a cancel, of the parent does to a child that has not ended."""

    ABANDON = "abandon"
    REQUEST_CANCEL = "request_cancel"
    TERMINATE = "terminate"


class Isolation(StrEnum):
    """Where an attempt runs: beside others in a shared worker host, or in a process of its own."""

    SHARED = "shared"
    PROCESS = "process"


class Failure(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong inside user code, or a limit that stopped it."""

    type: str
    message: str = ""
    traceback: str = ""
    non_retryable: bool = False
    retry_after_ms: int | None = None  #: the error itself says when to try again
    bases: tuple[str, ...] = ()  #: the error's class and its bases, nearest first, and those of what it stands for
    cause: Failure | None = None
    spent: bool = False  #: it comes from what has spent its own retries; from format 3 on
    cancelled: bool = False  #: it is the cancel of the execution that went on; from format 3 on


class RetryPolicy(Struct, gc=False, frozen=True, kw_only=True):
    """Exponential backoff, with every level already resolved."""

    maximum_attempts: int = 3  #: 0: no limit
    initial_interval_ms: int = 1_000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int = 100_000
    jitter: float = 0.2  #: the delay is drawn from [1 - jitter, 1 + jitter]
    non_retryable_errors: tuple[str, ...] = ()
    #: Also after a failure that is `spent`; from format 3 on. Unset: no, but of compensations yes.
    retry_spent: bool | UnsetType = UNSET


class Options(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """How an execution is run: resolved from call, handler, pool and default when its command was made."""

    retry: RetryPolicy = RetryPolicy()
    compensation_retry: RetryPolicy = RetryPolicy(maximum_attempts=10)
    attempt_timeout_ms: int | None = None
    compensation_attempt_timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    isolation: Isolation = Isolation.SHARED
    max_crashes: int = 5
    close_policy: ClosePolicy | None = None  #: None: cancel reaches it when it is waited for, terminate always
    max_operations: int = MAX_OPERATIONS  #: from format 3 on, as is `max_journal_bytes`
    max_journal_bytes: int = MAX_JOURNAL_BYTES


#: Deaths of its node in a row, each soon after it was given out, after which an execution is tried alone.
ALONE_AFTER = 3

#: And after which it is set aside: the last five of them came while it was alone.
SET_ASIDE_AFTER = ALONE_AFTER + 5


class Execution(Struct, gc=False, frozen=True, kw_only=True):
    """One run of a handler or saga handler, start to end. Times are Unix milliseconds."""

    id: str
    row: int  #: key inside the store; never leaves the node
    handler: str
    component: Component  #: HANDLER or SAGA
    status: Status
    owner: str  #: node id
    created_ms: int
    arguments: bytes
    options: Options
    parent_row: int | None = None
    parent_id: str | None = None
    request_id: str | None = None
    priority: int = 0
    epoch: int = 0  #: fence: raised whenever the right to run passes on
    attempt: int = 0  #: number of the current or last attempt, 1-based
    failures: int = 0  #: attempts that ended in failure, of the handler or of the compensation that runs now
    generation: int = 0  #: grows with each failed attempt: what failed in an earlier generation is done again
    crashes: int = 0
    attached: bool = False  #: a worker host holds its stack
    pending: int = 0  #: waits that are not over
    pool: Component  #: whose slot it needs next or holds now
    ready_at: int | None = None  #: since when it waits for a slot; None: it does not
    resumes: bool = False  #: goes ahead of those that start: its stack was lost while it waited or ran
    compensating: str | None = None  #: key of the step being undone
    attempt_started_ms: int | None = None
    started_ms: int | None = None  #: of the first attempt
    closed_ms: int | None = None
    due_ms: int | None = None  #: start of the next attempt, while SCHEDULED
    deadline_ms: int | None = None  #: from max_duration
    result: bytes | None = None
    failure: Failure | None = None
    retry_state: RetryState | None = None
    ending: Status | None = None  #: how it would have ended, had no step needed a compensation
    cancel_requested: bool = False
    cancel_delivered: bool = False
    reason: str = ""  #: of the cancel or terminate request
    waiters: int = 0  #: executions that wait for this one's end
    awaited: bool = False  #: its parent has waited for it
    has_children: bool = False
    inbox: int = 0  #: signals received
    consumed: int = 0  #: signals consumed
    outbox: int = 0  #: signals sent to clients
    #: Place of the cancel among the ends of its operations (see `Operation.end_seq`), from format 3 on.
    cancel_seq: int | None = None
    cancelled_ms: int | None = None  #: when the cancel was requested, from format 3 on
    heartbeat: bytes | None = None
    concurrency_key: str | None = None  #: only so many executions of its handler with the key are under way
    place: int | None = None  #: of its key: the row of the execution that it was given to; see `concurrency`
    format: int = 1  #: that was in use when it was enqueued: by the rules of its time it goes on; see `formats`
    run: int = 1  #: 1-based, of those that had its id in turn, one after the other
    previous: int | None = None  #: row of the run before
    mailbox: int | None = None  #: row of the run whose inbox and outbox it goes on with; None: it has its own
    max_duration_ms: int | None = None  #: as it was enqueued with: each run that is continued as new has it anew
    node_deaths: int = 0  #: of its nodes in a row, each soon after it was given out, from format 3 on; see `trials`
    #: When its journal, attempts and signals were deleted, from format 4 on; of its arguments is left what
    #: `kept_arguments` keeps.
    journal_deleted_ms: int | None = None

    def __post_init__(self) -> None:
        final = self.status in FINAL
        assert (self.closed_ms is not None) == final, f"{self.id}: {self.status} closed at {self.closed_ms}"
        assert not (final and (self.attached or self.ready_at is not None)), f"{self.id}: {self.status} holds on"
        assert self.place is None or not final, f"{self.id}: {self.status} keeps its place"
        assert self.pending >= 0, f"{self.id}: {self.pending} pending waits"

    @property
    def closed(self) -> bool:
        return self.status in FINAL

    @property
    def mailbox_row(self) -> int:
        """Under which the signals are that it receives and sends: those of all runs that continue each other."""
        return self.row if self.mailbox is None else self.mailbox

    @property
    def suspect(self) -> bool:
        """Whether it may have killed a host, and so gets a process of its own that it would not have else."""
        return self.crashes > 0 and self.options.isolation is Isolation.SHARED

    @property
    def tried_alone(self) -> bool:
        """Whether it may be what kills its nodes, so that nothing else is given out beside it."""
        return self.node_deaths >= ALONE_AFTER

    @property
    def set_aside(self) -> bool:
        """Whether it is, as far as can be told, and waits for an operator."""
        return self.status is Status.SUSPENDED and self.node_deaths >= SET_ASIDE_AFTER

    @property
    def queue_order(self) -> tuple[bool, int, int]:
        """Place in its pool's queue, smaller first: those that resume, then by priority, then the oldest.

        By age and not by when it came to the queue: a retry would else wait behind all that was enqueued meanwhile.
        """
        assert self.ready_at is not None
        return (not self.resumes, -self.priority, self.row)

    @property
    def waits_for_place(self) -> bool:
        """Whether others with its key have to end before it may wait for a slot."""
        return self.status is Status.QUEUED and self.ready_at is None

    @property
    def key_order(self) -> tuple[int, int]:
        """Its turn among those with its key, smaller first."""
        return (-self.priority, self.row)


class Operation(Struct, gc=False, frozen=True, kw_only=True):
    """A recorded act inside an execution, under (kind, key)."""

    execution_row: int
    kind: OperationKind
    key: str
    seq: int  #: order of recording
    #: Order in which the log decided how operations end, and in which their answers are released, from format 3 on.
    #: 0: it is not over, or is of an earlier format.
    end_seq: int = 0
    status: OperationStatus
    #: Class of a step, name of a signal, id of a child or of the execution waited for; of a refused child its handler.
    target: str = ""
    target_row: int | None = None
    digest: bytes = b""  #: of the input; another one at the same key is non-determinism
    generation: int = 0  #: in which it was made; see `record_generation`
    attempt: int = 0
    input: bytes | None = None  #: data of a step
    result: bytes | None = None
    failure: Failure | None = None  #: of a REFUSED one: its reason as the type, and the message
    retry_state: RetryState | None = None
    in_doubt: bool = False  #: a step whose transaction may have taken effect although it never completed
    started_ms: int
    closed_ms: int | None = None
    due_ms: int | None = None  #: next attempt while RETRYING; timeout or end of a PENDING wait, or RUNNING side effect
    signal_seq: int | None = None  #: of the signal in the inbox that a COMPLETED wait took; None before format 2
    #: Of a wait, or of a side effect between two attempts: synchronous code goes on beside it, and it is not where that
    #: meets a cancel. From format 3 on.
    beside: bool = False

    @property
    def is_wait(self) -> bool:
        """Whether it is a wait that is not over."""
        return self.status is OperationStatus.PENDING and self.kind is not OperationKind.COMPENSATION

    def holds(self, generation: int) -> bool:
        """Whether it is still believed in a generation; see `record_holds`."""
        return record_holds(self.status, self.generation, generation)


_SHOWN_MAX = 500


def shown(data: bytes | None) -> str:
    """A recorded value, as a message tells it."""
    text = (data or b"null").decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


#: Between the keys of an operation and of another inside of it.
KEY_SEPARATOR = " > "


def prefix_of(kind: OperationKind, key: str) -> str:
    """Of the keys of what is done inside an operation."""
    return f"{kind}:{key}{KEY_SEPARATOR}"


#: Before the kind and key of an operation, in the key of the marker that says that the cancel was raised there.
CANCEL_MARKER = "cancel@"

#: Before the number of a cancel after the first, in the key of the marker whose place it has, of code that takes the
#: cancels of its execution in their order.
CANCEL_AGAIN = f"{CANCEL_MARKER}again#"


def cancel_again(number: int) -> str:
    return f"{CANCEL_AGAIN}{number}"


#: Before the name of what the code has read of its context, in the key of the marker that says what it was.
READ_MARKER = "read@"

_SIDE_EFFECT_FAILURES_MAX = 1_000_000


def record_generation(execution_generation: int, side_effect_failures: int) -> int:
    """Of a record. What failed in an earlier one is done again, what succeeded is kept.

    side_effect_failures: failed attempts of the side effects around it: they too are done again from the top.
    """
    generation = execution_generation * _SIDE_EFFECT_FAILURES_MAX
    return generation + min(side_effect_failures, _SIDE_EFFECT_FAILURES_MAX - 1) if side_effect_failures else generation


def execution_generation(made_in: int) -> int:
    """In which of its execution's a record was made."""
    return made_in // _SIDE_EFFECT_FAILURES_MAX


#: The generation of what has run and is recorded as failed, as what it left can't be stored. It is never done again.
HAS_RUN = 2**62

_DONE_AGAIN = frozenset(
    {
        OperationStatus.FAILED,
        OperationStatus.TIMED_OUT,
        OperationStatus.CANCELLED,
        OperationStatus.REFUSED,
        OperationStatus.GIVEN_UP,
    }
)


def record_holds(status: OperationStatus, made_in: int, generation: int) -> bool:
    """Whether a record is still believed in a generation: what failed in an earlier one is done again.

    made_in: the generation of the record; both as in `record_generation`.
    """
    return made_in >= generation or status not in _DONE_AGAIN


#: Attempts that are kept of an execution, and of each of its operations: from format 3 on, no more than these.
ATTEMPTS_KEPT_FIRST = 10
ATTEMPTS_KEPT_LAST = 40


class EndedAttempt(Struct, gc=False, frozen=True, kw_only=True):
    """An attempt that ended without completing its execution or operation."""

    execution_row: int
    kind: OperationKind | None  #: None: of the execution itself
    key: str
    number: int
    failure: Failure
    started_ms: int
    ended_ms: int
    left_out: int = 0  #: attempts between the one before and this one that are not kept


class Signal(Struct, gc=False, frozen=True, kw_only=True):
    """A signal in an execution's inbox (received) or outbox (sent to clients)."""

    execution_row: int  #: whose mailbox it is in; see `Execution.mailbox_row`
    seq: int  #: 1-based, per mailbox
    name: str
    payload: bytes
    at_ms: int
    request_id: str | None = None
    consumed: bool = False
    sender: str = ""  #: "execution <id>" or "client <address>", from format 2 on
    set_aside: str | None = None  #: why no wait of its name takes it: what is wrong with its payload
    taken_by: int | None = None  #: row of the run that consumed it, from format 3 on

    def __post_init__(self) -> None:
        assert not (self.consumed and self.set_aside is not None), f"signal {self.seq} was taken, and is set aside"

    @property
    def in_line(self) -> bool:
        """Whether the next wait for its name may take it."""
        return not self.consumed and self.set_aside is None


class Timer(Struct, gc=False, frozen=True, kw_only=True):
    execution_row: int
    name: str
    due_ms: int


class ServedHandler(Struct, gc=False, frozen=True, kw_only=True, omit_defaults=True):
    """A handler as its node serves it: how its executions run where the call says nothing else."""

    name: str
    component: Component  #: HANDLER or SAGA
    function: str = ""  #: "module:qualified name", from format 2 on; "": not told
    signals: tuple[str, ...] = ()  #: names of those it declares, from format 2 on; none: it takes any
    stepped: bool = False  #: it takes a cancel in its place among the answers, from format 3 on
    options: Options = Options()
    priority: int = 0
    max_duration_ms: int | None = None
    queue_limit: int = 0  #: of its pool on that node; 0: none
    concurrency_key_limit: int = 1  #: executions with one key that are under way at a time


#: Fields that are stored and sent by another name.
STORED_NAMES: Mapping[str, str] = {"boot_id": "run"}


class NodeState(Struct, gc=False, frozen=True, kw_only=True, rename=STORED_NAMES):
    """A node as all nodes know it. A single node knows itself alone."""

    id: str
    boot_id: str  #: of its process, random: what an earlier process of the node still sends is dropped
    incarnation: int  #: counts its processes
    live: bool = True
    draining: bool = False  #: it stops soon: nothing new is given to it
    handlers: tuple[ServedHandler, ...] = ()
    slots: dict[Component, int] = {}
    address: str = ""  #: of its API, as clients reach it
    format: int = 1  #: the latest that its version knows; see `formats`
    hash_seed: int | None = None  #: of the processes of all worker hosts: the same on each node

    @property
    def takes_work(self) -> bool:
        return self.live and not self.draining

    def serves(self, handler: str) -> bool:
        return any(served.name == handler for served in self.handlers)

    def served(self, handler: str) -> ServedHandler:
        """A handler that the node serves."""
        for served in self.handlers:
            if served.name == handler:
                return served
        raise AssertionError(f"{self.id} does not serve {handler}")
