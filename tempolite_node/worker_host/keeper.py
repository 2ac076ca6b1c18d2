"""The first process of a worker host. The host is its child, and so is in the end all that the host's code starts.

It runs no user code, so that it can be relied on: when the host has ended, or the node has, nothing that was started
there is left. Of what handlers leave behind meanwhile it is the parent, and reaps it. It imports little: it is small.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from tempolite_node.system import (
    adopt_orphans,
    end_descendants,
    memory_of_descendants,
    memory_of_descendants_in_shares,
)

#: Between two looks at the memory: more is left, less often. No program writes faster than so many bytes a millisecond.
_LOOKS_MS_LEAST, _LOOKS_MS_MOST, _FASTEST_PER_MS = 5, 100, 4 * 1024**2


class MemoryWatch:
    """Ends a host that holds more memory than it may, with what it has started."""

    def __init__(self, limit: int, report: int) -> None:
        """report: the descriptor that takes how much it was."""
        self._limit = limit
        self._report = report
        self._exceeded = False

    def look(self, host: int) -> int | None:
        """Milliseconds until it is to be looked at again."""
        if self._exceeded:
            return None
        taken = memory_of_descendants()
        if taken > self._limit and (taken := memory_of_descendants_in_shares()) > self._limit:
            self._exceeded = True
            os.write(self._report, str(taken).encode())
            os.kill(host, signal.SIGKILL)
            return None
        left_ms = (self._limit - taken) // _FASTEST_PER_MS
        return max(_LOOKS_MS_LEAST, min(left_ms, _LOOKS_MS_MOST))


def main() -> NoReturn:
    """Started by the node alone, with a limit of memory in bytes (0: there is none), and descriptors.

    Of the socket to the node; of the pipe that takes the lines that the host logs; with a limit, of one that takes how
    much memory it was, if it was too much; of one that is at its end when the host is to end, or the node has.
    """
    limit, connection, log, *report, node = map(int, sys.argv[1:])
    adopt_orphans()
    keeper = os.getpid()
    host = os.fork()
    if host == 0:
        os.setsid()  # a signal of its code to its own process group does not reach the keeper
        for descriptor in (node, *report):
            os.close(descriptor)
        _serve(connection, log, keeper)
    for descriptor in (connection, log):
        os.close(descriptor)  # else nobody would find that the host's are closed
    _end_like(_keep(host, node, MemoryWatch(limit, *report) if limit else None))


def _serve(connection: int, log: int, keeper: int) -> NoReturn:
    from tempolite_node.worker_host.main import serve  # not before the fork

    serve(connection, log_fd=log, parent=keeper)


def _keep(host: int, node: int, memory: MemoryWatch | None) -> int:
    """Returns when nothing of the host is left. Its wait status."""
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(node, 0)  # its end is told unasked
    poll.register(woken, select.POLLIN)
    while (status := _reap(host)) is None:
        for descriptor, _ in poll.poll(None if memory is None else memory.look(host)):
            if descriptor == node:
                poll.unregister(node)
                os.kill(host, signal.SIGKILL)
            else:
                os.read(woken, 65_536)
    end_descendants(host)
    return status


def _reap(host: int) -> int | None:
    """Reaps what has ended. The host's wait status, if it is among it."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == host:
                return status
            if pid == 0:
                return None
    return None


def _end_like(status: int) -> NoReturn:
    """Ends as the host did: the node is told by the exit code."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the host has left a core, where that is wanted
        with suppress(OSError, ValueError):  # SIGKILL keeps its meaning
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
