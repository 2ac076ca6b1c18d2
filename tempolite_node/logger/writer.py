"""The thread that writes the log. Whoever has a line only puts it into a queue, or into a pipe, and goes on.

Standard error may be a terminal, a file on a busy disk or a pipe that nobody reads: whoever writes to it waits, and
that is this thread alone. Meanwhile the queues and pipes fill up. What they have no room for is dropped, counted, and
told of once lines are written again.
"""

from __future__ import annotations

import os
import select
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from tempolite_node.logger.lines import LINE_BYTES_MAX, Line, LineFormat, render

_LINES_MAX = 5_000  #: of the node itself that wait to be written
_TURN_LINES = 500  #: of them that are written before the pipes have their turn
_READ_BYTES = 64 * 1024  #: of each pipe in a turn: one that is always full leaves room for the others
_PIPE_BYTES = 256 * 1024  #: of lines of a child that wait here; Linux gives an ordinary user 64 MiB in all
_LAST_READS = 16  #: of each pipe when the log ends: a child that goes on writing does not hold it up


class LineSource(Protocol):
    """Makes lines of what happened when they are wanted, in the thread that writes them."""

    def take(self, now_s: float, *, last: bool) -> list[Line]:
        """What is to be written now. last: nothing follows. now_s: monotonic."""
        ...

    def next_s(self, now_s: float) -> float | None:
        """In how many seconds there is something, if nothing is put in meanwhile; None: then there is nothing."""
        ...


class LogWriter:
    def __init__(
        self,
        format: LineFormat,
        *,
        descriptor: int = 2,
        clock_s: Callable[[], float] = time.monotonic,
        lines_max: int = _LINES_MAX,
    ) -> None:
        """descriptor: where to, standard error as a rule."""
        self.format = format
        self._descriptor = descriptor
        self._clock_s = clock_s
        self._lines_max = lines_max
        self._lines: deque[Line] = deque()
        self._dropped = 0  #: of the node's own lines
        #: Held for the moment that a line takes. Reentrant: a collected object may log meanwhile.
        self._putting = threading.RLock()
        self._unwritten = 0  #: lines that came to nothing where they were written to
        self._write_error = ""
        self._sources: list[LineSource] = []
        self._pipes: dict[int, bytes] = {}  #: by descriptor: the beginning of a line that has not come whole
        self._selector = selectors.DefaultSelector()
        self._sleeps = False
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # --- any thread

    def put(self, line: Line) -> None:
        """Never waits. When too many lines are there already, the oldest goes: the last words are the ones to have."""
        with self._putting:
            if len(self._lines) >= self._lines_max:
                self._lines.popleft()
                self._dropped += 1
            self._lines.append(line)
        self.wake()

    def add(self, source: LineSource) -> None:
        """Asks it from now on; it calls `wake` when it has something."""
        self._sources = [*self._sources, source]
        self.wake()

    def wake(self) -> None:
        if self._sleeps:
            self._sleeps = False
            with suppress(OSError):  # it is awake, or has ended
                os.write(self._wake_write, b"\0")

    @contextmanager
    def pipe(self) -> Iterator[int]:
        """The end that a child process inherits: the lines that it writes there are written here, as they are.

        The child must not wait for room in it. It is read until everyone who has that end has closed it.
        """
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        _enlarge(theirs)
        self._pipes[ours] = b""
        self._selector.register(ours, selectors.EVENT_READ)
        self.wake()  # a selector that sleeps need not see what is new in it
        try:
            yield theirs
        finally:
            os.close(theirs)

    def stop(self, timeout_s: float) -> bool:
        """Writes what is there and ends. False: that was not done in time, and what is left is lost."""
        with self._putting:
            self._stopping = True
        self._sleeps = True
        self.wake()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    # --- its thread

    def _run(self) -> None:
        while not self._stopping:
            self._write_own()
            for descriptor in self._ready():
                if descriptor == self._wake_read:
                    _drain(descriptor)
                else:
                    self._read(descriptor)
        self._write_last()

    def _ready(self) -> list[int]:
        # In this order, and `put` in the other: what is put is seen here, or this thread is seen to sleep.
        self._sleeps = True
        timeout_s = 0.0 if self._lines or self._stopping else self._next_s()
        ready = [key.fd for key, _ in self._selector.select(timeout_s)]
        self._sleeps = False
        return ready

    def _next_s(self) -> float | None:
        now_s = self._clock_s()
        return min((due_s for source in self._sources if (due_s := source.next_s(now_s)) is not None), default=None)

    def _write_own(self, *, last: bool = False) -> None:
        lines: list[Line] = []
        with self._putting:
            while self._lines and (last or len(lines) < _TURN_LINES):
                lines.append(self._lines.popleft())
            dropped, self._dropped = self._dropped, 0
        if dropped:
            what = "a log line of the node was" if dropped == 1 else f"{dropped:,} log lines of the node were"
            event = f"{what} dropped: they came faster than they could be written"
            lines.insert(0, Line(time.time(), "warning", "log", event, {"dropped": dropped}))
        for source in self._sources:
            lines += source.take(self._clock_s(), last=last)
        if lines:
            self._write(b"".join([render(line, self.format) for line in lines]))

    def _read(self, descriptor: int) -> bool:
        """Writes the whole lines that came. False: there is nothing to be read now."""
        try:
            data = os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        begun = self._pipes[descriptor]
        if not data:
            self._selector.unregister(descriptor)
            del self._pipes[descriptor]
            os.close(descriptor)
            if begun:
                self._write_begun(begun)
            return False
        end = data.rfind(b"\n") + 1
        whole, rest = data[:end], data[end:]
        if not end and len(begun) + len(rest) > 2 * LINE_BYTES_MAX:
            whole, rest = rest + b"\n", b""  # it is no line of ours
        if whole:
            self._pipes[descriptor] = rest
            self._write(begun + whole)
        else:
            self._pipes[descriptor] = begun + rest
        return True

    def _write_last(self) -> None:
        self._write_own(last=True)
        for descriptor in list(self._pipes):
            for _ in range(_LAST_READS):
                if not self._read(descriptor):
                    break
        for begun in self._pipes.values():
            if begun:
                self._write_begun(begun)
        self._write_own(last=True)

    def _write_begun(self, begun: bytes) -> None:
        """As a line that can be read: whoever wrote it died in the middle."""
        fields = {"line": begun.decode(errors="backslashreplace")}
        event = "a worker host ended in the middle of a line"
        self._write(render(Line(time.time(), "warning", "log", event, fields), self.format))

    def _write(self, data: bytes) -> None:
        """Waits for as long as it takes. What can't be written is counted, and told of once something can be again."""
        if self._unwritten:
            what = "a log line" if self._unwritten == 1 else f"{self._unwritten:,} log lines"
            event = f"{what} could not be written ({self._write_error})"
            notice = render(Line(time.time(), "warning", "log", event, {"dropped": self._unwritten}), self.format)
            if self._unwritten_after(notice) is not None:
                self._unwritten += data.count(b"\n")
                return
            self._unwritten = 0
        rest = self._unwritten_after(data)
        if rest is not None:
            self._unwritten += rest.count(b"\n")

    def _unwritten_after(self, data: bytes) -> bytes | None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:  # whoever gave it to us, or shares it with us, has set it so
                select.select((), (self._descriptor,), ())
            except OSError as error:
                self._write_error = error.strerror or str(error)
                return bytes(rest)
        return None


def _drain(descriptor: int) -> None:
    with suppress(BlockingIOError):
        while os.read(descriptor, 4_096):
            pass


def _enlarge(pipe: int) -> None:
    try:
        from fcntl import F_SETPIPE_SZ, fcntl  # Linux alone has it
    except ImportError:
        return
    with suppress(OSError):  # more than this user may have: it stays as it is
        fcntl(pipe, F_SETPIPE_SZ, _PIPE_BYTES)
