"""A node as a daemon of its own, to be started, killed and started again on the same data directory and port."""

from __future__ import annotations

import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from examples.progress import Display
from tempolite_sdk import Client, Unavailable

REPOSITORY = Path(__file__).parents[1]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
#: Below what Linux gives to outgoing connections, so that the port is still free after a restart.
_PORTS = range(20_000, 32_000)


class DaemonFailed(Exception):
    """The node did not start; what it said is in its log."""


class Daemon:
    """Runs one node. As a context manager it leaves no process behind: neither the node nor its worker hosts.

    settings: environment variables that the config refers to. TEMPOLITE_ADDRESS is added: what the node listens on.
    """

    def __init__(self, config: Path, directory: Path, settings: Mapping[str, str]) -> None:
        self.address = f"127.0.0.1:{_free_port()}"
        self.log = directory / "node.log"
        self.starts = 0
        self._command = [_beside_python("tempolite-node"), "--config", str(config)]
        self._environment = {**os.environ, **settings, "TEMPOLITE_ADDRESS": self.address}
        self._process: subprocess.Popen[bytes] | None = None
        self._hosts: list[ProcessHandle] = []

    def __enter__(self) -> Daemon:
        try:
            self.start()
        except BaseException:
            self._leave_nothing_behind()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.stop()
        self._leave_nothing_behind()

    def _leave_nothing_behind(self) -> None:
        self.kill()
        for host in self._hosts:
            if not host.wait_gone(STOP_TIMEOUT_S):
                host.kill()
            host.close()

    def start(self) -> None:
        """Returns when the node answers. DaemonFailed: it ended before that."""
        self.starts += 1
        with self.log.open("ab") as log, _signals_held_back():
            # A session of its own, so that Ctrl-C reaches us alone and we decide in which order things end.
            self._process = subprocess.Popen(
                self._command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_it_answers(self._process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        with Client(self.address, timeout=1.0) as client:
            for _ in range(round(START_TIMEOUT_S)):
                try:
                    hosts = client.node_info().hosts
                except Unavailable:
                    if process.poll() is not None:
                        break
                else:
                    self._hosts += [ProcessHandle(host.pid) for host in hosts if ProcessHandle.exists(host.pid)]
                    return
        raise DaemonFailed(f"the node did not start; the end of {self.log}:\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])

    def kill(self) -> None:
        """SIGKILL, as the kernel does when memory runs out. The worker hosts notice by themselves, and end."""
        if self._process is not None:
            with _signals_held_back():
                self._process.kill()
                self._process.wait()

    def stop(self) -> None:
        """SIGTERM: what runs may end."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)


class KillOnce:
    """Follows progress, and once it has come so far kills the daemon and starts it again.

    at: the part that is done by then, from 0 to 1.
    """

    def __init__(self, daemon: Daemon, display: Display, *, at: float) -> None:
        self._daemon = daemon
        self._display = display
        self._at = at
        self.killed = False

    def __call__(self, done: int, total: int) -> None:
        self._display.update(done, total)
        if self.killed or done < self._at * total:
            return
        self.killed = True
        self._daemon.kill()
        killed_s = time.monotonic()
        self._display.say(f"killed the node (SIGKILL) at {done} of {total}")
        self._daemon.start()
        self._display.say(f"started it again on the same data; it answers after {time.monotonic() - killed_s:.1f} s")


class ProcessHandle:
    """A process that is no child of ours. The handle never means another one that got the same pid later."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)

    @staticmethod
    def exists(pid: int) -> bool:
        return Path(f"/proc/{pid}").exists()

    def wait_gone(self, timeout_s: float) -> bool:
        readable, _, _ = select.select([self._descriptor], [], [], timeout_s)
        return bool(readable)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def close(self) -> None:
        os.close(self._descriptor)


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Ctrl-C comes after the block: never between the start of a process and the moment when we know of it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    held_back: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: held_back.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for held in held_back:
            signal.raise_signal(held)


def _beside_python(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _free_port() -> int:
    for port in random.sample(_PORTS, 100):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port
    raise DaemonFailed("none of 100 ports is free")
