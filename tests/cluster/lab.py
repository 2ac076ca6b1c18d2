"""Starts, kills and asks nodes that are processes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tempolite_node.cli.certificates import make_certificates

#: Wider than by default: the tests share the machine with others.
TIMING = {"heartbeat_s": 0.1, "election_min_s": 0.8, "election_max_s": 1.6, "tick_s": 0.02}
ROOT = Path(__file__).parents[2]


class Process:
    """One node over all its starts."""

    def __init__(self, lab: Lab, node_id: str, **changes: Any) -> None:
        self.lab = lab
        self.node_id = node_id
        self.changes = changes
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._start_count = 0

    @property
    def directory(self) -> Path:
        return self.lab.directory / str(self.changes.get("directory", self.node_id))

    def start(self) -> None:
        config = self.lab.config_of(self.node_id) | self.changes | {"directory": str(self.directory)}
        self._start_count += 1
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.process", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            cwd=ROOT,
            env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        )
        threading.Thread(target=self._read, args=(self._process, self._start_count), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], start: int) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._news:
                self.events.append(json.loads(line) | {"start": start, "at": time.monotonic()})
                self._news.notify_all()

    def tell(self, do: str, **order: Any) -> None:
        """Nobody hears it when the process is gone."""
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do} | order) + "\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = 30.0, since: int = 0
    ) -> dict[str, Any]:
        """The first such event; `since`: not one of the first so many."""
        end = time.monotonic() + timeout_s
        with self._news:
            while True:
                for event in self.events[since:]:
                    if wanted(event):
                        return event
                if not self._news.wait(end - time.monotonic()):
                    raise AssertionError(f"{self.node_id} did not say so in {timeout_s} s: {self.events[-5:]}")

    def ask(self, do: str, timeout_s: float = 30.0) -> dict[str, Any]:
        since = len(self.events)
        self.tell(do)
        return self.wait_for(lambda event: event["event"] == do, timeout_s, since)

    def is_up(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def exit_code(self, timeout_s: float = 30.0) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)


class Lab:
    def __init__(
        self, directory: Path, names: list[str], *, tls: bool = True, limits: dict[str, int] | None = None
    ) -> None:
        self.directory = directory
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)}
        self.founders = list(names)
        self.limits = limits or {}
        self.tls = tls
        self.certificates = directory / "certificates"
        make_certificates(self.certificates, hosts=["localhost"], clients=[], peers=names)
        self.nodes = {name: Process(self, name) for name in names}
        self._numbers = 0
        self._without_data: set[int] = set()

    def config_of(self, name: str) -> dict[str, Any]:
        return {
            "cluster": "lab",
            "node_id": name,
            "listen": self.addresses.get(name, ""),
            "members": [[member, self.addresses[member]] for member in self.founders],
            "join": name not in self.founders,
            "certificates": self.certificates_of(name) if self.tls else None,
            "timing": TIMING,
            "limits": self.limits,
        }

    def certificates_of(self, name: str, directory: Path | None = None) -> dict[str, str]:
        directory = directory or self.certificates
        return {
            "certificate": str(directory / f"peer-{name}.pem"),
            "key": str(directory / f"peer-{name}.key"),
            "authority": str(directory / "ca.pem"),
        }

    def add_process(self, name: str, **changes: Any) -> Process:
        """A node that is no founder."""
        make_certificates(self.certificates, hosts=["localhost"], clients=[], peers=[name])
        self.addresses.setdefault(name, f"127.0.0.1:{free_ports(1)[0]}")
        process = self.nodes[changes.pop("as_", name)] = Process(self, name, **changes)
        return process

    def start(self) -> None:
        """Returns when the cluster is formed: before that each node needs every other one, and none may be missing."""
        for node in self.nodes.values():
            node.start()
        while any(self._role(node) == "new" for node in self.nodes.values()):
            self.commit(self.leader(), do="barrier")

    def _role(self, node: Process) -> str | None:
        """None: it does not answer."""
        since = len(node.events)
        node.tell("status")
        try:
            return str(node.wait_for(lambda event: event["event"] == "status", 3.0, since)["role"])
        except AssertionError:
            return None

    def next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def leader(self, timeout_s: float = 40.0, *, besides: Process | None = None) -> Process:
        """Who says that it leads and can be believed: it answers a barrier."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            for node in self.nodes.values():
                if node is not besides and node.is_up() and self._leads(node):
                    return node
            time.sleep(0.05)
        raise AssertionError(f"nobody leads after {timeout_s} s: {[node.events[-2:] for node in self.nodes.values()]}")

    def _leads(self, node: Process) -> bool:
        return self._role(node) == "leader" and self.commit(node, do="barrier", timeout_s=3.0) is not None

    def commit(
        self, node: Process, *, do: str = "propose", timeout_s: float = 20.0, **order: Any
    ) -> dict[str, Any] | None:
        number = self.next_number()
        if do != "propose":
            self._without_data.add(number)
        node.tell(do, number=number, timeout_s=timeout_s, **order)
        try:
            outcome = node.wait_for(
                lambda event: event["event"] == "outcome" and event["number"] == number, timeout_s + 2
            )
        except AssertionError:
            return None
        return outcome if outcome["kind"] == "Committed" else None

    def acknowledged(self) -> list[int]:
        """Numbers of the proposals that somebody was told are committed; not those of barriers and the like."""
        return [
            event["number"]
            for node in self.nodes.values()
            for event in list(node.events)
            if event["event"] == "outcome" and event["kind"] == "Committed"
            if event["number"] not in self._without_data
        ]

    def acknowledges(self, more: int, timeout_s: float = 40.0) -> None:
        """Waits until somebody was told of so many more."""
        wanted = len(self.acknowledged()) + more
        end = time.monotonic() + timeout_s
        while (count := len(self.acknowledged())) < wanted:
            assert time.monotonic() < end, f"{wanted - count} of {more} proposals were not committed in {timeout_s} s"
            time.sleep(0.05)

    def same_stores(self, timeout_s: float = 40.0) -> dict[str, Any]:
        """Waits until all that are up hold the same, and returns it."""
        end = time.monotonic() + timeout_s
        dumps: list[dict[str, Any]] = []
        while time.monotonic() < end:
            dumps = [node.ask("dump") for node in self.nodes.values() if node.is_up()]
            if len({(dump["digest"], dump["applied"]) for dump in dumps}) == 1:
                return dumps[0]
            time.sleep(0.1)
        raise AssertionError(f"the stores differ: {[(dump['applied'], len(dump['numbers'])) for dump in dumps]}")

    def close(self) -> None:
        for node in self.nodes.values():
            if node.is_up():
                node.signal(signal.SIGCONT)
            node.kill()


@contextmanager
def lab(directory: Path, names: list[str] | None = None, **options: Any) -> Iterator[Lab]:
    made = Lab(directory, names or ["n1", "n2", "n3"], **options)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Of those that the system gives to nobody by itself, so that they are free still when they are used."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports.append(port)
    return list(dict.fromkeys(ports)) if len(set(ports)) == count else free_ports(count)
