"""Tells in the log what becomes of executions: a line for each that did not go well, and a start's for what it found.

The driver only leaves word here, once the disk has what it tells of. The lines are made in the thread that writes them,
and no more of a kind than somebody may read: the rest is counted, and told of in one line.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

from tempolite_node.driver.outputs import Happening
from tempolite_node.driver.runs import AttemptStep
from tempolite_node.engine.effects import Halted, HostCrashed, JournalGrown, NodeDied, Registered, SignalSetAside
from tempolite_node.engine.model import Execution, Failure, Status
from tempolite_node.logger.lines import Line
from tempolite_node.logger.writer import LogWriter

_WAITING_MAX = 10_000  #: words that wait to become lines
_SINGLY_MAX = 100  #: lines of a kind in a window; the rest of it is one more
_WINDOW_S = 10.0
_ERROR_MAX = 500  #: characters of an error's message; `info()` of the execution has all of it


class _Kind(Enum):
    """What happened: of one execution, and of several."""

    FAILED = "an execution failed", "executions failed"
    TIMED_OUT = "an execution timed out", "executions timed out"
    TERMINATED = "an execution was terminated", "executions were terminated"
    CANCELLED = "an execution was cancelled", "executions were cancelled"
    COMPENSATED = "a saga failed and was compensated", "sagas failed and were compensated"
    STUCK = "a saga is stuck: a compensation failed for good", "sagas are stuck"
    SUSPENDED = "an execution was suspended: its code is not what was recorded", "executions were suspended"
    DEADLY = (
        "an execution was set aside: its node died each time soon after it was started; resume it once that can't be",
        "executions were set aside, of which their node died",
    )
    NODE_DIED = (
        "an execution's node died again soon after it was started: it is tried alone, for up to 60 s others wait",
        "executions are tried alone, since their node died again soon after they were started",
    )
    CRASHED = "an execution's worker host died while its code ran", "executions' worker hosts died while their code ran"
    SET_ASIDE = (
        "a signal was set aside: its payload is not what the handler reads; the execution waits for another one",
        "signals were set aside",
    )
    GROWN = (
        "an execution's journal has come to a tenth of what it may have: let its handler continue as new",
        "executions' journals have come to a tenth of what they may have",
    )
    STARTED = "an attempt started", "attempts started"
    ENDED = "an attempt ended", "attempts ended"
    REQUEUED = "this start queued executions again that ran before", "starts queued executions again"

    def __init__(self, one: str, several: str) -> None:
        self.one = one
        self.several = several

    @property
    def level(self) -> str:
        match self:
            case _Kind.STARTED | _Kind.ENDED:
                return "debug"
            case _Kind.DEADLY | _Kind.NODE_DIED:
                return "warning"  # it takes everybody else with it
            case _Kind.SET_ASIDE:
                return "warning"  # somebody sends what nobody reads
            case _Kind.GROWN:
                return "warning"  # it will fail
            case _:
                return "info"


#: Of executions that ended. Those that completed are not told of.
_ENDS = {
    Status.FAILED: _Kind.FAILED,
    Status.TIMED_OUT: _Kind.TIMED_OUT,
    Status.TERMINATED: _Kind.TERMINATED,
    Status.CANCELLED: _Kind.CANCELLED,
    Status.COMPENSATED: _Kind.COMPENSATED,
}


class _Word(NamedTuple):
    at_s: float
    kind: _Kind
    handler: str
    fields: dict[str, Any]


class _Window:
    """Of one kind: how many lines it still has, and what had to do without."""

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self.told = 0
        self.untold: Counter[str] = Counter()  #: by handler


class ExecutionLog:
    """Any thread may leave word; of a cluster's nodes, only the owner of an execution tells of it."""

    def __init__(
        self,
        node_id: str,
        log: LogWriter,
        *,
        clock_s: Callable[[], float] = time.monotonic,
        waiting_max: int = _WAITING_MAX,
    ) -> None:
        self._node_id = node_id
        self._log = log
        self._clock_s = clock_s
        self._waiting_max = waiting_max
        self._waiting: deque[_Word] = deque()
        self._overflow: Counter[tuple[_Kind, str]] = Counter()  #: words that found no room, by kind and handler
        self._lock = threading.RLock()  #: reentrant: a collected object may log meanwhile
        self._windows: dict[_Kind, _Window] = {}  #: the writing thread's
        log.add(self)

    def published(self, closed: Sequence[Execution], happened: Iterable[Happening]) -> None:
        """What is on disk by now. Never waits."""
        words = [_ended(execution) for execution in closed if execution.status in _ENDS and self._owns(execution)]
        for each in happened:
            match each:
                case AttemptStep():
                    words.append(_step(each))
                case Registered():
                    if each.requeued:
                        words.append(_requeued(each))
                case Halted() | HostCrashed() | NodeDied() | JournalGrown() | SignalSetAside():
                    if self._owns(each.execution):
                        words.append(_of_execution(each))
        if words:
            self._leave(words)

    def _owns(self, execution: Execution) -> bool:
        return execution.owner == self._node_id

    def _leave(self, words: list[_Word]) -> None:
        with self._lock:
            room = self._waiting_max - len(self._waiting)
            self._waiting.extend(words[:room])
            for word in words[room:]:
                self._overflow[word.kind, word.handler] += 1
        self._log.wake()

    # --- the thread that writes

    def take(self, now_s: float, *, last: bool) -> list[Line]:
        with self._lock:
            words, self._waiting = self._waiting, deque()
            overflow, self._overflow = self._overflow, Counter()
        lines = self._close_windows(now_s, every=False)
        for word in words:
            window = self._windows.setdefault(word.kind, _Window(now_s))
            if word.kind.level == "debug" or window.told < _SINGLY_MAX:
                window.told += 1
                lines.append(Line(word.at_s, word.kind.level, "executions", word.kind.one, word.fields))
            else:
                window.untold[word.handler] += 1
        for (kind, handler), count in overflow.items():
            self._windows.setdefault(kind, _Window(now_s)).untold[handler] += count
        return lines + self._close_windows(now_s, every=last)

    def next_s(self, now_s: float) -> float | None:
        if self._waiting or self._overflow:
            return 0.0
        ends = [window.began_s + _WINDOW_S for window in self._windows.values() if window.untold]
        return max(0.0, min(ends) - now_s) if ends else None

    def _close_windows(self, now_s: float, *, every: bool) -> list[Line]:
        lines: list[Line] = []
        for kind, window in list(self._windows.items()):
            lasted_s = now_s - window.began_s
            if not every and lasted_s < _WINDOW_S:
                continue
            del self._windows[kind]
            if window.untold:
                lines.append(_rest(kind, window.untold, lasted_s))
        return lines


def _rest(kind: _Kind, untold: Counter[str], lasted_s: float) -> Line:
    count = untold.total()
    what = f"{count:,} more {kind.several}" if count > 1 else kind.one.replace(kind.one.split()[0], "1 more", 1)
    event = f"{what} in the last {max(1, round(lasted_s))} s"
    return Line(time.time(), kind.level, "executions", event, {"count": count, "handlers": dict(untold)})


# --- words


def _word(kind: _Kind, execution: Execution, **more: Any) -> _Word:
    fields = {"execution_id": execution.id, "handler": execution.handler, "attempt": execution.attempt}
    return _Word(time.time(), kind, execution.handler, {**fields, **{k: v for k, v in more.items() if v is not None}})


def _ended(execution: Execution) -> _Word:
    terminated = execution.status is Status.TERMINATED
    failure = None if terminated else execution.failure
    reason = (execution.reason or None) if terminated else None
    return _word(_ENDS[execution.status], execution, error=_error(failure), why=execution.retry_state, reason=reason)


def _of_execution(happened: Halted | HostCrashed | NodeDied | JournalGrown | SignalSetAside) -> _Word:
    match happened:
        case Halted():
            return _halted(happened)
        case HostCrashed():
            return _crashed(happened)
        case NodeDied():
            return _word(_Kind.NODE_DIED, happened.execution, deaths=happened.execution.node_deaths)
        case JournalGrown():
            return _grown(happened)
        case SignalSetAside():
            return _set_aside(happened)


def _halted(halted: Halted) -> _Word:
    execution = halted.execution
    if execution.set_aside:
        return _word(_Kind.DEADLY, execution, error=_error(halted.failure))
    if execution.status is Status.SUSPENDED:
        return _word(_Kind.SUSPENDED, execution, error=_error(halted.failure))
    return _word(_Kind.STUCK, execution, compensation=execution.compensating, error=_error(halted.failure))


def _crashed(crashed: HostCrashed) -> _Word:
    execution = crashed.execution
    return _word(
        _Kind.CRASHED,
        execution,
        compensation=execution.compensating,
        error=_error(crashed.failure),
        crashes=execution.crashes,
        max_crashes=execution.options.max_crashes,
    )


def _grown(grown: JournalGrown) -> _Word:
    options = grown.execution.options
    return _word(
        _Kind.GROWN,
        grown.execution,
        operations=grown.operations,
        max_operations=options.max_operations,
        journal_bytes=grown.bytes,
        max_journal_bytes=options.max_journal_bytes,
    )


def _set_aside(aside: SignalSetAside) -> _Word:
    signal = aside.signal
    return _word(
        _Kind.SET_ASIDE,
        aside.execution,
        signal=signal.name,
        sequence=signal.seq,
        sender=signal.sender or None,
        error=_shortened(signal.set_aside or ""),
    )


def _requeued(registered: Registered) -> _Word:
    count = sum(registered.requeued.values())
    return _Word(time.time(), _Kind.REQUEUED, "", {"count": count, "handlers": registered.requeued})


def _step(step: AttemptStep) -> _Word:
    fields: dict[str, Any] = {
        "execution_id": step.execution_id,
        "handler": step.handler,
        "attempt": step.attempt,
        "host": step.host,
    }
    if step.compensation:
        fields["compensation"] = step.compensation
    if step.end is None:
        return _Word(time.time(), _Kind.STARTED, step.handler, fields)
    fields["end"] = step.end
    if step.failure is not None:
        fields["error"] = _error(step.failure)
    return _Word(time.time(), _Kind.ENDED, step.handler, fields)


def _error(failure: Failure | None) -> str | None:
    if failure is None:
        return None
    message = _shortened(failure.message)
    return f"{failure.type}: {message}" if message else failure.type


def _shortened(message: str) -> str:
    return message if len(message) <= _ERROR_MAX else f"{message[:_ERROR_MAX]} …"
