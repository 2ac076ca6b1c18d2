"""What the operating system does for a node's processes. What is Linux's own stands here alone, beside a portable twin.

The twins are what a node runs on where the call is missing: on macOS, or on an old kernel.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # the keeper of a host is to be small
    import asyncio
    import subprocess

READABLE, WRITABLE = select.POLLIN, select.POLLOUT  #: those of epoll have the same numbers

#: Sent to a whole process group or control group (Ctrl-C, systemd, a terminal that closes), where the node alone
#: decides what they mean.
GROUP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  #: prctl(2)
_PR_FUTEX_HASH, _PR_FUTEX_HASH_SET_SLOTS = 78, 1  #: the same, of Linux 6.16 and later

#: Threads that may wait, at most and at least (those of the workers are among them); the table takes 64 bytes for each.
_WAITING_MAX, _WAITING_LEAST = 100_000, 1_000

#: For how long it is tried to end what is left of a process (what waits for a disk may not end), and how often.
_ENDING_S, _LOOKS_AGAIN_S = 5.0, 0.002


# --- sockets


class Poller(Protocol):
    """Waits for sockets. One thread waits; any thread may watch others meanwhile, and wake it."""

    @property
    def poll(self) -> Callable[[float | None], list[tuple[int, int]]]:
        """Waits for so many seconds at most, None: without a limit. Gives descriptors with what they are ready for.

        A wake gives a descriptor that nobody watches.
        """
        ...

    closed: bool

    def watch(self, descriptor: int, events: int) -> None: ...

    def change(self, descriptor: int, events: int) -> None:
        """FileNotFoundError: it is not watched."""
        ...

    def forget(self, descriptor: int) -> None: ...

    def wake(self) -> None:
        """The thread that waits, or the next wait if none does."""
        ...

    def close(self) -> None: ...


def poller() -> Poller:
    return _Epoll() if hasattr(select, "epoll") and hasattr(os, "eventfd") else _Poll()


class _Epoll:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self.poll = self._epoll.poll
        # Nobody reads it: edge-triggered, it tells of each write, whatever it has come to.
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN | select.EPOLLET)
        self.watch = self._epoll.register
        self.change = self._epoll.modify
        self.forget = self._epoll.unregister
        self.closed = False

    def wake(self) -> None:
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self.closed = True
        self._epoll.close()
        os.close(self._wake)


class _Poll:
    """The twin: a change of what is watched is seen by the next poll(2) only, so it ends the one under way."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._woken, self._wake = os.pipe()
        for end in (self._woken, self._wake):
            os.set_blocking(end, False)
        self._poll.register(self._woken, select.POLLIN)
        self.forget = self._poll.unregister
        self.closed = False

    def poll(self, timeout_s: float | None) -> list[tuple[int, int]]:
        ready = self._poll.poll(None if timeout_s is None else timeout_s * 1_000)
        if any(descriptor == self._woken for descriptor, _ in ready):
            with suppress(BlockingIOError):
                os.read(self._woken, 65_536)
        return ready

    def watch(self, descriptor: int, events: int) -> None:
        self._poll.register(descriptor, events)
        self.wake()

    def change(self, descriptor: int, events: int) -> None:
        self._poll.modify(descriptor, events)
        self.wake()

    def wake(self) -> None:
        with suppress(BlockingIOError):  # so many wakes are in it that one more would tell nothing
            os.write(self._wake, b"!")

    def close(self) -> None:
        self.closed = True
        os.close(self._woken)
        os.close(self._wake)


# --- processes


def watch_exit(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: Callable[[int], None]) -> None:
    """Reaps the process when it has ended and calls `ended` with its exit code (-n: signal n), in the loop."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # an old kernel has none, and some containers forbid it
        name = f"exit-of-{process.pid}"
        threading.Thread(target=_wait_for_exit, args=(process, loop, ended), name=name, daemon=True).start()
        return
    loop.add_reader(descriptor, partial(_reap, process, loop, descriptor, ended))


def _reap(
    process: subprocess.Popen[bytes],
    loop: asyncio.AbstractEventLoop,
    descriptor: int,
    ended: Callable[[int], None],
) -> None:
    loop.remove_reader(descriptor)
    os.close(descriptor)
    ended(process.wait())


def _wait_for_exit(
    process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: Callable[[int], None]
) -> None:
    code = process.wait()
    with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
        loop.call_soon_threadsafe(ended, code)


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, even while C code holds the GIL here.

    parent: its process id. Where the system can't, the process must find its parent's end by itself.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(0)


def adopt_orphans() -> None:
    """Has what loses its parent below this process become its child; the first process's, where the system can't."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def end_descendants(group: int) -> None:
    """Kills what is left below this process, which adopts orphans, and reaps it.

    group: of a process that has just been reaped. All that there is to go by where orphans can't be adopted: what has
    left the group, there, goes on.
    """
    until_s = time.monotonic() + _ENDING_S
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    with suppress(ChildProcessError):  # there is no child left
        while time.monotonic() < until_s:
            for child in _children():
                with suppress(ProcessLookupError, PermissionError):  # it has ended, or has another user's rights by now
                    os.kill(child, signal.SIGKILL)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            time.sleep(_LOOKS_AGAIN_S)


def _children() -> list[int]:
    """Those of this process, which has one thread."""
    return _children_of("self", os.getpid())


def _children_of(process: int | str, thread: int | str) -> list[int]:
    try:
        with open(f"/proc/{process}/task/{thread}/children") as children:
            return [int(child) for child in children.read().split()]
    except OSError:  # there is no such list, or no such thread any more
        return []


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def tells_memory() -> bool:
    """Whether `memory_of_descendants` is known on this system."""
    return os.path.exists("/proc/self/statm")


def memory_of_descendants() -> int:
    """Memory that all that is below this process holds, in bytes. What its processes share may count for each."""
    return sum(_resident_bytes(process) for process in _descendants())


def memory_of_descendants_in_shares() -> int:
    """The same, but what n processes share counts for each as an n-th. The kernel walks through all of it."""
    return sum(_proportional_bytes(process) for process in _descendants())


def _descendants() -> list[int]:
    found = _children()
    for process in found:  # which grows meanwhile
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                found += _children_of(process, thread)
    return found


def _resident_bytes(process: int) -> int:
    try:
        with open(f"/proc/{process}/statm", "rb") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0  # it has ended


def _proportional_bytes(process: int) -> int:
    try:
        with open(f"/proc/{process}/smaps_rollup", "rb") as rollup:
            return next(int(line.split()[1]) for line in rollup if line.startswith(b"Pss:")) * 1024
    except (OSError, StopIteration):  # it has ended, or another user's rights by now
        return _resident_bytes(process)


def make_room_for_waiting(threads: int) -> None:
    """Lets the kernel find one of so many threads that wait for a lock without a look at all the others.

    Since 6.16 Linux keeps the locks that a process waits for in a table of that process's own, sized by the machine's
    processors. With thousands of waiting threads each wake of one walks past hundreds. An earlier kernel has one large
    table for all processes, and refuses the call.
    """
    slots = 1 << min(max(threads, _WAITING_LEAST), _WAITING_MAX).bit_length()
    _prctl(_PR_FUTEX_HASH, _PR_FUTEX_HASH_SET_SLOTS, slots, 0, 0)


def _prctl(*arguments: int) -> None:
    """Does nothing where there is no such call."""
    call: Any = getattr(ctypes.CDLL(None), "prctl", None)
    if call is not None:
        call(arguments[0], *map(ctypes.c_ulong, arguments[1:]))


def hold_back(number: signal.Signals) -> None:
    """Until `let_through`, for this thread and those that it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})


def let_through(number: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


class Terminals:
    """Those that the process was started in. Who closes one wants what runs there to end."""

    def __init__(self, descriptors: Sequence[int] = (0, 1, 2)) -> None:
        self._open = [descriptor for descriptor in descriptors if os.isatty(descriptor)]

    @property
    def closed(self) -> bool:
        """Whether one of them is gone."""
        return not all(map(os.isatty, self._open))


# --- files


def sync_file(descriptor: int) -> None:
    """Returns when what was written to the file is on disk. OSError: it may not be."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # of macOS, whose fsync leaves it in the disk's own cache
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTSUP, errno.EINVAL):  # a file system without it
                raise
    getattr(os, "fdatasync", os.fsync)(descriptor)
