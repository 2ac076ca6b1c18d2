"""The daemon itself, as a process of its own: started, asked, killed and started again by tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from tempolite_sdk import Client

HANDLERS = Path(__file__).parent / "handlers"
DAEMON = [sys.executable, "-m", "tempolite_node"]


class Daemon:
    """One node on one data directory. Its handlers write what they do outside of it to `world`, a line an effect."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        self.directory = directory
        self.world = directory / "world"
        self.config_file = directory / "node.yaml"
        self.log: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.address = ""
        self._config = config

    def configure(self, config: Mapping[str, Any]) -> None:
        """For the starts from now on. JSON is YAML."""
        self._config = config
        whole = {
            "node": {"id": "n1", "data_dir": str(self.directory / "data"), "drain_timeout": "20s"},
            "api": {"listen": self.address or "127.0.0.1:0"},
            **config,
        }
        whole["hosts"] = {"python_path": [str(HANDLERS)], **config.get("hosts", {})}
        self.config_file.write_text(json.dumps(whole))

    # --- the process

    def start(self, *command: str, **environment: str) -> Daemon:
        """Returns when it serves. command: in the place of the daemon's own."""
        assert self._process is None, "it runs"
        self.configure(self._config)  # the address of the first start, from then on
        self._process = subprocess.Popen(
            [*(command or DAEMON), "--config", str(self.config_file)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "WORLD": str(self.world), **environment},
        )
        served = threading.Event()
        self._reader = threading.Thread(target=self._read_log, args=(self._process, served), daemon=True)
        self._reader.start()
        served.wait(60)
        if not self.address:
            raise AssertionError(f"the daemon did not start: {self.log}")
        return self

    def _read_log(self, process: subprocess.Popen[str], served: threading.Event) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            try:
                entry = json.loads(line)
            except ValueError:
                entry = {"event": line.rstrip()}
            self.log.append(entry)
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

    def stop(self) -> int:
        """SIGTERM: it drains. Returns its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Until it has ended by itself."""
        assert self._process is not None
        code = self._process.wait(60)
        assert self._reader is not None
        self._reader.join(60)
        self._process = None
        return code

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def empty(self) -> None:
        """Takes away all that an earlier run stored and did."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        self.world.unlink(missing_ok=True)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process is not None:
                self._process.kill()
                self.wait()

    # --- what it did

    def client(self, **options: Any) -> Client:
        return Client(self.address, timeout=options.pop("timeout", 60), **options)

    def effects(self) -> Counter[str]:
        """How often each effect on the world happened."""
        return Counter(self.world.read_text().splitlines()) if self.world.exists() else Counter()

    def recorded(self) -> set[str]:
        """Ids of the side effects and steps that are recorded as completed, in the store of a node that is down."""
        connection = apsw.Connection(str(self.directory / "data" / "store.db"))
        rows = connection.execute(
            """SELECT executions.id || '/' || kind || '/' || key FROM operations
               JOIN executions ON executions.row = operations.execution_row
               WHERE kind IN ('side_effect', 'step', 'compensation') AND operations.status = 'completed'"""
        )
        return {row[0] for row in rows}
