"""Takes what is logged in the worker host to the node, by a pipe of its own: results never wait behind it.

A line is made whole here, with the attempt that logged it, and the node only passes it on. Nobody waits for room in the
pipe: lines that it has none for are kept, as many as may be, and a thread sends them on when it has.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from tempolite_node.engine.model import OperationKind, prefix_of
from tempolite_node.logger.lines import Line, LineFormat, render
from tempolite_node.logger.records import line_of, set_level
from tempolite_node.protocol import messages
from tempolite_node.worker_host.journal import Journal
from tempolite_node.worker_host.running_code import RunningCode
from tempolite_node.worker_host.scopes import Scope, current_scope

_BACKLOG_BYTES_MAX = 1024 * 1024  #: that wait for room in the pipe
_NEARLY_SENT_BYTES = 64 * 1024  #: of what waits: then lines that were dropped are told, whenever they were told last
_TELL_EACH_S = 1.0  #: of lines that were dropped, while more are


class LogPipe:
    """The way of lines to the node. Any thread may send, and none ever waits."""

    def __init__(self, descriptor: int, format: LineFormat, *, backlog_bytes_max: int = _BACKLOG_BYTES_MAX) -> None:
        os.set_blocking(descriptor, False)
        os.set_inheritable(descriptor, False)  # programs that handlers start have no part in it
        self._descriptor = descriptor
        self._format = format
        self._backlog_bytes_max = backlog_bytes_max
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Also in a process that user code forked: what waits is for the one that it was forked from to send."""
        # Reentrant, like the queues: a collected object may log while a line of the same thread is on its way.
        self._lock = threading.RLock()
        self._unsent = b""  #: goes first: the pipe may have taken the beginning of a line
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._dropped = 0
        self._told_s = -_TELL_EACH_S
        self._sender: threading.Thread | None = None  #: once something had to wait
        self._sends_on = False  #: the thread, until nothing waits
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._flushed: list[SimpleQueue[None]] = []  #: of those who wait until nothing waits

    @property
    def _waits(self) -> bool:
        return bool(self._unsent or self._backlog or self._dropped)

    def send(self, line: Line) -> None:
        encoded = render(line, self._format)
        with self._lock:
            if self._waits:
                self._keep(encoded)
            else:
                self._unsent = self._write(encoded)
                if not self._unsent:
                    return
            if self._sends_on:
                return
            self._sends_on = True
        self._wake_sender()

    def flush(self, timeout_s: float) -> None:
        """Waits until the node can read all that was logged, for so long at most."""
        flushed: SimpleQueue[None] = SimpleQueue()
        with self._lock:
            if not self._waits:
                return
            self._flushed.append(flushed)
        with suppress(Empty):
            flushed.get(timeout=timeout_s)

    def _keep(self, encoded: bytes) -> None:
        """Drops the oldest for it if need be: the last words before a crash are the ones to have."""
        self._backlog.append(encoded)
        self._backlog_bytes += len(encoded)
        while self._backlog_bytes > self._backlog_bytes_max:
            self._backlog_bytes -= len(self._backlog.popleft())
            self._dropped += 1

    def _write(self, data: bytes) -> bytes:
        """What the pipe had no room for."""
        try:
            return data[os.write(self._descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the node is gone, and this process will be in a moment

    def _wake_sender(self) -> None:
        try:
            if self._sender is None:
                sender = threading.Thread(target=self._send_on, name="log", daemon=True)
                sender.start()
                self._sender = sender
        except RuntimeError:  # there are too many threads: the next line tries again
            self._sends_on = False
        else:
            self._wake.put(None)

    def _send_on(self) -> None:
        room = select.poll()
        room.register(self._descriptor, select.POLLOUT)
        while True:
            self._wake.get()
            while self._sends_on:
                room.poll()
                with self._lock:
                    self._send_some()

    def _send_some(self) -> None:
        if not self._unsent:
            self._unsent = self._next()
        self._unsent = self._write(self._unsent)
        if not self._waits:
            self._sends_on = False
            waiting, self._flushed = self._flushed, []
            for flushed in waiting:
                flushed.put(None)

    def _next(self) -> bytes:
        """As many whole lines as the pipe takes or refuses as one, and how many are missing before them.

        So lines of a process that user code forked come between these, and not into the middle of one. (One that is
        longer than PIPE_BUF may be cut.)
        """
        taken: list[bytes] = []
        now_s = time.monotonic()
        if self._dropped and (now_s - self._told_s >= _TELL_EACH_S or self._backlog_bytes < _NEARLY_SENT_BYTES):
            taken.append(render(_dropped_line(self._dropped), self._format))
            self._dropped, self._told_s = 0, now_s
        size = len(taken[0]) if taken else 0
        while self._backlog and (not taken or size + len(self._backlog[0]) <= select.PIPE_BUF):
            taken.append(self._backlog.popleft())
            size += len(taken[-1])
            self._backlog_bytes -= len(taken[-1])
        return b"".join(taken)


def _dropped_line(count: int) -> Line:
    what = "a log line of this worker host was" if count == 1 else f"{count:,} log lines of this worker host were"
    event = f"{what} dropped: they came faster than they could be written"
    return Line(time.time(), "warning", "log", event, {"dropped": count, "pid": os.getpid()})


class AttemptScope(Scope):
    """The scope of an attempt itself. What is logged in it, or in one inside of it, tells of the attempt."""

    __slots__ = ("_journal", "_run", "code", "task_path", "unwinding")

    def __init__(
        self, run: messages.RunHandler | messages.RunCompensation, journal: Journal, code: RunningCode
    ) -> None:
        undoes = run.key if isinstance(run, messages.RunCompensation) else None
        super().__init__(prefix="" if undoes is None else prefix_of(OperationKind.COMPENSATION, undoes))
        self._run = run
        self._journal = journal
        self.code = code  #: that runs in it, and in scopes inside of it
        self.unwinding = False  #: its stack is given up, and the execution goes on by replay
        self.task_path: Callable[[], str] | None = None  #: of the task that runs, where keys are counted by task

    def counted(self, kind: str, name: str) -> str:
        path = "" if self.task_path is None else self.task_path()
        return super().counted(kind, f"{name}@{path}" if path else name)

    def log_fields(self) -> dict[str, Any]:
        run = self._run
        fields = {"execution_id": run.execution_id, "handler": run.handler, "attempt": run.attempt}
        if isinstance(run, messages.RunCompensation):
            fields["compensation"] = run.key
        return fields

    def silent_in(self, scope: Scope) -> bool:
        """Whether code of a scope inside of this one has said what it says, or will say it when it comes here again."""
        return self.unwinding or self._journal.goes_again_in(scope)

    def holds_back(self, scope: Scope, say: Callable[[], None]) -> bool:
        """Whether what code of the scope says waits until it is known that it was not said before."""
        return self._journal.holds_back(scope, say)


class NodeLogHandler(logging.Handler):
    """Of all loggers. Code of an attempt is silent while it is replayed, and while its stack is given up."""

    def __init__(self, pipe: LogPipe) -> None:
        super().__init__()
        self._pipe = pipe

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of its kind: threads need not wait for each other's formatting."""
        passed = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        scope = current_scope()
        attempt = scope.root() if scope is not None else None
        if scope is None or not isinstance(attempt, AttemptScope):
            self._pipe.send(line_of(record, {}))
        elif not attempt.silent_in(scope):
            line = line_of(record, attempt.log_fields())
            if not attempt.holds_back(scope, partial(self._pipe.send, line)):
                self._pipe.send(line)


def configure_logging(pipe: LogPipe, level: str) -> None:
    logging.getLogger().handlers = [NodeLogHandler(pipe)]
    set_level(level)
