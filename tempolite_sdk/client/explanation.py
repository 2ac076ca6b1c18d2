"""Why an execution does not move, and how that reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from html import escape

from tempolite_sdk.client.display import Displayed
from tempolite_sdk.client.info import ExecutionStatus
from tempolite_sdk.errors import FailureInfo


class CauseKind(StrEnum):
    """What holds an execution back, or what becomes of it."""

    NO_QUORUM = "no_quorum"  #: of its cluster: nothing is decided
    NO_NODE = "no_node"  #: no node serves its handler
    NODES_DOWN = "nodes_down"  #: those that serve it are down
    DRAINING = "draining"  #: its node stops
    CATCHING_UP = "catching_up"  #: its node has started, and is not as far as the others
    NO_HOST = "no_host"  #: its node has no worker host that takes work
    DELAY = "delay"  #: it is not due yet
    CONCURRENCY_KEY = "concurrency_key"  #: others hold its key
    POOL_FULL = "pool_full"
    POOL_PAUSED = "pool_paused"
    RATE_LIMIT = "rate_limit"  #: of its pool
    CODE_GOES_ON = "code_goes_on"  #: of an attempt that has ended: the next one must not overtake it
    TRIAL = "trial"  #: an execution that nodes may have died of is tried alone
    ABOUT_TO_START = "about_to_start"  #: nothing holds it back
    RUNNING = "running"
    SIDE_EFFECT_SLOT = "side_effect_slot"  #: its side effect waits for a slot
    BACKOFF = "backoff"  #: after a failed attempt, of its own or of an operation
    SIGNAL = "signal"  #: it waits for a signal
    TIMER = "timer"
    EXECUTION = "execution"  #: it waits for the end of another one
    COMPENSATING = "compensating"
    CANCEL_REQUESTED = "cancel_requested"  #: and its code goes on
    SUSPENDED = "suspended"
    STUCK = "stuck"
    ENDED = "ended"
    UNKNOWN = "unknown"  #: one that this SDK does not know: `text` says it


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Cause(Displayed):
    """One thing that an execution waits for, or that it does."""

    _in_line = ("kind", "text", "since", "until", "names")

    kind: CauseKind
    text: str  #: goes on a sentence that begins with the execution
    since: datetime | None = None  #: None: not known
    until: datetime | None = None  #: when it is over by itself
    operation_id: str = ""  #: that it is about
    name: str = ""  #: of the pool, node, handler, key, signal or execution
    names: tuple[str, ...] = ()  #: who holds it, or what there is instead: executions, nodes, signals; the first few
    ahead: int | None = None  #: how many are before it in its queue; counted up to 10,000
    failure: FailureInfo | None = None
    actions: tuple[str, ...] = ()  #: what can be done
    awaited: Explanation | None = None  #: of the execution that is waited for


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TimeSpent(Displayed):
    """Where the time of an execution went, as far as its records tell."""

    queued: timedelta = timedelta()  #: before its first attempt, a delay included
    running: timedelta = timedelta()  #: attempts, without what they waited
    waiting: timedelta = timedelta()  #: for signals, timers and executions, while no side effect or step ran
    backing_off: timedelta = timedelta()  #: between attempts, with the queueing after it
    replaying: timedelta = timedelta()  #: of its current attempt, before its first new operation; a part of `running`
    partial: bool = False  #: it has more operations than were looked at


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Explanation(Displayed):
    """Why an execution does not move: since when, what is next, what can be done. As text, it is all of that."""

    _in_line = ("execution_id", "status", "sentence")

    execution_id: str
    handler: str
    status: ExecutionStatus
    sentence: str
    causes: tuple[Cause, ...] = ()  #: what weighs most first; never empty
    next: str = ""  #: what comes by itself
    next_time: datetime | None = None
    actions: tuple[str, ...] = ()  #: what can be done, of all causes down to the root
    time_spent: TimeSpent | None = None  #: of the execution that was asked for

    @property
    def since(self) -> datetime | None:
        """Since when it is as the sentence says."""
        return self.causes[0].since if self.causes else None

    @property
    def root(self) -> Cause:
        """The first cause, of the last execution in the chain of those that wait for each other."""
        cause = self.causes[0]
        while cause.awaited is not None and cause.awaited.causes:
            cause = cause.awaited.causes[0]
        return cause

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        """For notebooks."""
        first, *others = _lines(self)
        return f"<p><b>{escape(first)}</b></p><pre>{escape(chr(10).join(others))}</pre>"


def _lines(explanation: Explanation) -> Iterator[str]:
    yield explanation.sentence
    if len(explanation.causes) > 1 or explanation.causes[0].awaited is not None:
        yield from _cause_lines(explanation, "  ")
    if explanation.next:
        yield f"  next: {explanation.next}"
    for action in explanation.actions:
        yield f"  to do: {action}"
    if explanation.time_spent is not None and (spent := _spent(explanation.time_spent)):
        yield f"  time: {spent}"


def _cause_lines(explanation: Explanation, indent: str) -> Iterator[str]:
    for cause in explanation.causes:
        since = "" if cause.since is None else f", since {cause.since.isoformat(' ', 'seconds')}"
        yield f"{indent}- {cause.text}{since}"
        if cause.awaited is not None:
            yield f"{indent}  {cause.awaited.handler} {cause.awaited.execution_id}:"
            yield from _cause_lines(cause.awaited, f"{indent}    ")


def _spent(spent: TimeSpent) -> str:
    parts = {
        "queued": spent.queued,
        "running": spent.running,
        "waiting": spent.waiting,
        "backing off": spent.backing_off,
        "of which replaying": spent.replaying,
    }
    told = ", ".join(f"{name} {_length(length)}" for name, length in parts.items() if length)
    return f"{told} (of its first 10,000 records)" if told and spent.partial else told


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    return f"{seconds:.3g} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
