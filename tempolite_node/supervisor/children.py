"""The processes that the node starts and reaps. As the first process of a container, it reaps what others leave behind.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from tempolite_node.system import GROUP_SIGNALS, watch_exit

_IS_INIT = os.getpid() == 1  #: the first process of a container: who loses its parent becomes its child


class ChildProcesses:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        #: By the process id of each that is not reaped: the descriptor whose end has it end; None: it is closed.
        self._running: dict[int, int | None] = {}
        if _IS_INIT:
            self._loop.add_signal_handler(signal.SIGCHLD, self.reap_orphans)

    def spawn(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int],
        environment: Mapping[str, str],
        ended: Callable[[int], None],
    ) -> subprocess.Popen[bytes]:
        """Starts a process in a session of its own, which no signal to the node's process group reaches.

        It begins with GROUP_SIGNALS blocked: what stops a whole control group finds it while it starts, too. Never
        forks without an exec: gRPC's threads would not survive it.
        pass_fds: descriptors that it inherits. Their numbers are its arguments, and after them that of one more; when
        that is at its end it has to end: it is wanted no more, or the node has ended, however that came.
        ended: gets the exit code (-n: signal n) when the process was reaped.
        OSError: it can't be started.
        """
        theirs, ours = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
        try:
            process = subprocess.Popen(
                [*command, *map(str, (*pass_fds, theirs))],
                pass_fds=[*pass_fds, theirs],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),  # what user code prints is not the daemon's answer to anybody
                env=environment,
                start_new_session=True,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._running[process.pid] = ours
        watch_exit(process, self._loop, partial(self._reaped, process.pid, ended))
        return process

    def _reaped(self, pid: int, ended: Callable[[int], None], code: int) -> None:
        self._close(pid)
        del self._running[pid]
        ended(code)
        if _IS_INIT:
            self.reap_orphans()  # this one may have stood before others in the queue

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Has it end, at once and with all that it started. Does nothing once it was reaped."""
        if process.pid in self._running:
            self._close(process.pid)

    def _close(self, pid: int) -> None:
        descriptor, self._running[pid] = self._running[pid], None
        if descriptor is not None:
            os.close(descriptor)

    def reap_orphans(self) -> None:
        """Reaps processes that ended and were nobody's any more: what handlers started and left to the first process.

        Those that were started here are left to who waits for them.
        """
        with suppress(ChildProcessError):  # there is no child at all
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in self._running:
                    return  # the others come when it was reaped
                os.waitpid(ended.si_pid, 0)
