"""A node to be measured: a daemon of its own on a directory of its own, and what it takes of the machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
_TICKS_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

HANDLERS = (
    "noop",
    "echo",
    "side_effects",
    "side_effects_async",
    "saga",
    "parent",
    "parent_async",
    "wait_for_signal",
    "slow",
)


class Node:
    def __init__(self, directory: Path, sections: Mapping[str, Any], node_id: str = "bench") -> None:
        self.id = node_id
        self.data_dir = directory / f"data-{node_id}"
        self._config = directory / f"{node_id}.yaml"
        self._process: subprocess.Popen[bytes] | None = None
        config = {
            "node": {"id": node_id, "data_dir": str(self.data_dir)},
            "api": {"listen": "127.0.0.1:0"},
            "handlers": [{"target": f"benchmarks.handlers:{name}"} for name in HANDLERS],
            "hosts": {"python_path": [str(ROOT)]},
            "log": {"level": "warning"},
            **sections,
        }
        self._config.write_text(json.dumps(config))

    def start(self) -> float:
        """Returns the seconds until it served."""
        began = time.monotonic()
        self._process = subprocess.Popen([sys.executable, "-m", "tempolite_node", "--config", str(self._config)])
        while not self._address_file.exists():
            if self._process.poll() is not None:
                raise RuntimeError("the node did not start; its log is above")
            time.sleep(0.005)
        return time.monotonic() - began

    @property
    def _address_file(self) -> Path:
        return self.data_dir / "address"

    @property
    def address(self) -> str:
        return self._address_file.read_text().strip()

    @property
    def pids(self) -> list[int]:
        """The node's process, and those of its worker hosts and their keepers."""
        assert self._process is not None
        found = [self._process.pid]
        for pid in found:
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def cpu_s(self) -> list[float]:
        """Seconds of processor time, of each process."""
        return [_cpu_s(pid) for pid in self.pids]

    def memory_bytes(self) -> int:
        """Resident, of all processes. Pages that they share count for each."""
        return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES for pid in self.pids)

    def forget_everything(self) -> None:
        """Loses its disk."""
        shutil.rmtree(self.data_dir)

    def disk_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.data_dir.iterdir())

    def kill(self) -> None:
        self._end(signal.SIGKILL)
        self._address_file.unlink(missing_ok=True)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_S


def workers(count: int) -> dict[str, Any]:
    """As many workers in every pool."""
    return {"pools": {name: {"workers": count} for name in ("handler", "saga", "compensation", "side_effect")}}


@contextmanager
def a_node(sections: Mapping[str, Any], *, started: bool = True) -> Iterator[Node]:
    directory = Path(tempfile.mkdtemp(prefix="tempolite-bench-"))
    node = Node(directory, sections)
    try:
        if started:
            node.start()
        yield node
    finally:
        node.kill()
        shutil.rmtree(directory)


@contextmanager
def a_cluster(sections: Mapping[str, Any], count: int = 3) -> Iterator[list[Node]]:
    """So many nodes of one cluster, each with everything that `sections` gives it."""
    directory = Path(tempfile.mkdtemp(prefix="tempolite-bench-"))
    ids = [chr(ord("a") + place) for place in range(count)]
    ports = _free_ports(2 * count)
    cluster = {
        "name": "bench",
        "nodes": [
            {"id": node_id, "peers": f"127.0.0.1:{ports[2 * place]}", "listen": f"127.0.0.1:{ports[2 * place + 1]}"}
            for place, node_id in enumerate(ids)
        ],
    }
    nodes = [Node(directory, {"api": {}, "cluster": cluster, **sections}, node_id) for node_id in ids]
    try:
        with ThreadPoolExecutor(count) as starting:
            list(starting.map(Node.start, nodes))
        yield nodes
    finally:
        for node in nodes:
            node.kill()
        shutil.rmtree(directory)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
