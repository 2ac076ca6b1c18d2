"""An explanation: what holds an execution back, since when, what is next, what can be done."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from tempolite_node.engine.model import Failure, Status


class CauseKind(StrEnum):
    """What holds an execution back, or what becomes of it."""

    NO_QUORUM = "no_quorum"  #: of its cluster: nothing is decided
    NO_NODE = "no_node"  #: no node serves its handler
    NODES_DOWN = "nodes_down"  #: those that serve it are down or stopping
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
    SIGNAL = "signal"
    TIMER = "timer"
    EXECUTION = "execution"  #: it waits for the end of another one
    COMPENSATING = "compensating"
    CANCEL_REQUESTED = "cancel_requested"  #: and its code goes on
    SUSPENDED = "suspended"
    STUCK = "stuck"
    ENDED = "ended"


class Cause(Struct, frozen=True, kw_only=True):
    """One thing that an execution waits for, or that it does."""

    kind: CauseKind
    text: str  #: goes on a sentence that begins with the execution: 'waits for signal "approved"'
    since_ms: int | None = None
    until_ms: int | None = None  #: when it is over by itself
    operation_id: str = ""  #: that it is about
    name: str = ""  #: of the pool, node, handler, key, signal or execution
    names: tuple[str, ...] = ()  #: who holds it, or what there is instead: executions, nodes or signals; the first few
    ahead: int | None = None  #: how many are before it; the count stops at `AHEAD_MAX`
    failure: Failure | None = None
    actions: tuple[str, ...] = ()  #: what can be done
    awaited: Explanation | None = None  #: of the execution that is waited for


AHEAD_MAX = 10_000


class TimeSpent(Struct, frozen=True, kw_only=True):
    """Where the time of an execution went, in milliseconds, as far as its records tell; see docs/explain.md."""

    queued: int = 0  #: before its first attempt, a delay included
    running: int = 0  #: attempts, without what follows
    waiting: int = 0  #: for signals, timers and executions, while no side effect or step ran
    backing_off: int = 0  #: between attempts, with the queueing after it
    replaying: int = 0  #: the last time that its stack was made again; a part of `running`
    partial: bool = False  #: it has more operations than were looked at


class Explanation(Struct, frozen=True, kw_only=True):
    execution_id: str
    handler: str
    status: Status
    sentence: str
    causes: tuple[Cause, ...]  #: what weighs most first; never empty
    next: str = ""  #: what comes by itself
    next_ms: int | None = None  #: when
    actions: tuple[str, ...] = ()  #: what can be done, of all causes down to the root
    time_spent: TimeSpent | None = None  #: of the execution that was asked for

    @property
    def since_ms(self) -> int | None:
        return self.causes[0].since_ms
