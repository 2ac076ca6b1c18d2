"""The daemon itself, as a process of its own: started, asked, killed and started again by tests."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import apsw

from tempolite_sdk import Client, ExecutionInfo, ExecutionStatus, NotFound, OperationInfo, OperationStatus

HANDLERS = Path(__file__).parent / "handlers"
DAEMON = [sys.executable, "-m", "tempolite_node"]
PATIENCE_S = 60  #: of whoever waits: far more than anything takes, also on a machine that is busy with other things


class Gate:
    """Stops the handlers that come to it (`world.pass_gate`), until it is opened."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class World:
    """What handlers did outside of their nodes: they write it to a file, a line an effect (`world.happened`)."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.world = directory / "world"
        self.world.touch()
        self._gates: list[Gate] = []
        os.mkfifo(f"{self.world}.bell")
        self._bell = os.open(f"{self.world}.bell", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def effects(self) -> Counter[str]:
        """How often each effect on the world happened."""
        return Counter(self.world.read_text().splitlines())

    def until(self, effect: str, count: int = 1) -> None:
        """Until the effect has happened so often."""
        self.until_world(lambda: self.effects()[effect] >= count)

    def until_world(self, predicate: Callable[[], bool]) -> None:
        """Until it holds; asked again after each effect."""
        deadline = time.monotonic() + PATIENCE_S
        while not predicate():
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"waited in vain; what happened: {self.effects()}"
            select.select([self._bell], [], [], left_s)
            with contextlib.suppress(BlockingIOError):
                os.read(self._bell, 65_536)

    @contextlib.contextmanager
    def gate(self, name: str) -> Iterator[Gate]:
        """Closed until it is opened, at the latest when the block ends."""
        gate = Gate(Path(f"{self.world}.{name}.gate"))
        self._gates.append(gate)
        try:
            yield gate
        finally:
            gate.open()

    def open_gates(self) -> None:
        for gate in self._gates:
            gate.open()


class Process:
    """One process after the other, of one daemon."""

    def __init__(self, world: Path) -> None:
        """world: where its handlers write what they do."""
        self.log: list[dict[str, Any]] = []
        self.address = ""
        self._world = world
        self._logged = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def arguments(self) -> Sequence[str]:
        """For the next start."""
        raise NotImplementedError

    def start(self, *command: str, **environment: str) -> Self:
        """Returns when it serves. command: in the place of the daemon's own."""
        served = self.spawn(*command, **environment)
        if not served.wait(PATIENCE_S) or not self.running:
            raise AssertionError(f"the daemon did not start: {self.log}")
        return self

    def spawn(self, *command: str, **environment: str) -> threading.Event:
        """Returns at once. The event comes when it serves, or has ended. command: in the place of the daemon's own."""
        assert self._process is None, "it runs"
        self._process = subprocess.Popen(
            [*(command or DAEMON), *self.arguments()],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "WORLD": str(self._world), **environment},
        )
        served = threading.Event()
        self._reader = threading.Thread(target=self._read_log, args=(self._process, served), daemon=True)
        self._reader.start()
        return served

    def _read_log(self, process: subprocess.Popen[str], served: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": line.rstrip()}
            with self._logged:
                self.log.append(entry)
                self._logged.notify_all()
            if entry.get("event") == "the node serves":
                self.address = entry["address"]
                served.set()
        served.set()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: it gets no chance to save anything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM: it drains. Returns its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended by itself."""
        assert self._process is not None
        code = self._process.wait(PATIENCE_S)
        assert self._reader is not None
        self._reader.join(PATIENCE_S)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.kill()
                self.wait()

    def until_logged(self, event: str) -> dict[str, Any]:
        """The first line of its log with this in its event."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.log if event in str(line.get("event"))), None)

        with self._logged:
            line = self._logged.wait_for(found, PATIENCE_S)
        assert line is not None, f"not logged: {event!r}; but: {self.log}"
        return line

    def client(self, **options: Any) -> Client:
        return Client(self.address, timeout=options.pop("timeout", PATIENCE_S), **options)


class Daemon(Process, World):
    """One node on one data directory, in a world of its own."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        World.__init__(self, directory)
        Process.__init__(self, self.world)
        self.config_file = directory / "node.yaml"
        self.config = config

    def configure(self, **config: Any) -> None:
        """For the starts from now on, in the place of the sections that it had. JSON is YAML."""
        self.config = {**self.config, **config}

    def arguments(self) -> Sequence[str]:
        config = self.config
        whole = {
            "node": {"id": "n1", "data_dir": str(self.directory / "data"), "drain_timeout": "20s"},
            "api": {"listen": self.address or "127.0.0.1:0"},  # from the first start on, the address that it got
            **config,
        }
        whole["hosts"] = {"python_path": [str(HANDLERS)], **config.get("hosts", {})}
        self.config_file.write_text(json.dumps(whole))
        return "--config", str(self.config_file)

    def empty(self) -> None:
        """Takes away all that an earlier run stored and did."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        self.world.write_text("")

    def close(self) -> None:
        self.open_gates()
        super().close()

    def recorded(self) -> set[str]:
        """Of the store of a node that is down."""
        return recorded_in(self.directory / "data")


def recorded_in(data_dir: Path) -> set[str]:
    """Ids of the side effects and steps that are recorded as completed, in the store of a node that is down."""
    connection = apsw.Connection(str(data_dir / "store.db"), apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute(
        """SELECT executions.id || '/' || kind || '/' || key FROM operations
           JOIN executions ON executions.row = operations.execution_row
           WHERE kind IN ('side_effect', 'step', 'compensation') AND operations.status = 'completed'"""
    )
    return {row[0] for row in rows}


def until(client: Client, predicate: Callable[[], bool]) -> None:
    """Until it holds; asked again after each commit of the node."""
    client.wait(lambda _stats: predicate(), interval=0, timeout=PATIENCE_S)


def until_status(client: Client, id: str, status: ExecutionStatus) -> ExecutionInfo:
    """Of an execution that is there, or will be."""
    until(client, lambda: _status(client, id) is status)
    return execution(client, id)


def until_operation(client: Client, id: str, status: OperationStatus) -> OperationInfo:
    """Of an operation that is recorded, or will be."""
    until(client, lambda: _status(client, id) is status)
    return operation(client, id)


def until_recorded(client: Client, id: str) -> OperationInfo:
    until(client, lambda: _status(client, id) is not None)
    return operation(client, id)


def _status(client: Client, id: str) -> ExecutionStatus | OperationStatus | None:
    with contextlib.suppress(NotFound):
        return client.get(id).status
    return None


def execution(client: Client, id: str) -> ExecutionInfo:
    info = client.get(id)
    assert isinstance(info, ExecutionInfo)
    return info


def operation(client: Client, id: str) -> OperationInfo:
    info = client.get(id)
    assert isinstance(info, OperationInfo)
    return info
