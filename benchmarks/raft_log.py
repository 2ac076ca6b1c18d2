"""The replicated log alone: three processes on loopback with mutual TLS, a consumer that only counts.

    python benchmarks/raft_log.py [--entries 20000] [--bytes 200] [--window 1000] [--failovers 5]

Prints, for proposals at the leader and at a follower, the latency of one at a time, and entries per second with many
under way; then for how long a killed leader is missed. The driver puts a batch of commands into one entry, so commands
per second are a multiple of entries per second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tempolite_node.cli.certificates import make_certificates
from tempolite_node.log.raft.entries import Entry, Member, RequestId
from tempolite_node.log.raft.outcomes import Committed, Outcome
from tempolite_node.log.raft.peering import PeerSecurity
from tempolite_node.log.raft.raft_log import RaftConfig, RaftLog


class Counter:
    """A consumer without a store: what is measured is the log."""

    applied_index = 0

    def deliver(self, entries: Sequence[Entry]) -> None:
        self.applied_index = entries[-1].index

    def sync(self) -> None:
        """There is no disk."""

    def make_snapshot(self, path: Path) -> int:
        path.write_bytes(b"")
        return self.applied_index

    def install_snapshot(self, _path: Path, index: int) -> None:
        self.applied_index = index


# --- in the process of a node


def node(config: RaftConfig, orders: Connection) -> None:
    log = RaftLog(config, Counter(), on_failure=lambda _: os._exit(70))
    log.start()
    while True:
        try:
            order, arguments = orders.recv()
        except EOFError:
            os._exit(0)
        orders.send(_ORDERS[order](log, *arguments))


def leads(log: RaftLog) -> bool:
    return log.is_leader


def propose(log: RaftLog, size: int, told: Callable[[Outcome], None], timeout_s: float = 60.0) -> None:
    log.propose(bytes(size), request_id=RequestId(secrets.token_bytes(16)), timeout_s=timeout_s, on_outcome=told)


def commits(log: RaftLog, timeout_s: float) -> bool:
    outcomes: SimpleQueue[Outcome] = SimpleQueue()
    propose(log, 10, outcomes.put, timeout_s)
    return isinstance(outcomes.get(), Committed)


def latency(log: RaftLog, count: int, size: int) -> dict[str, float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        propose(log, size, outcomes.put)
        outcomes.get()
        took.append((time.perf_counter() - began) * 1_000)
    took.sort()
    return {"p50_ms": round(took[count // 2], 2), "p99_ms": round(took[int(count * 0.99)], 2)}


def rate(log: RaftLog, count: int, size: int, window: int) -> dict[str, float]:
    slots, ended = threading.Semaphore(window), threading.Semaphore(0)
    failed: list[Outcome] = []

    def told(outcome: Outcome) -> None:
        if not isinstance(outcome, Committed):
            failed.append(outcome)
        slots.release()
        ended.release()

    began = time.perf_counter()
    for _ in range(count):
        slots.acquire()
        propose(log, size, told)
    for _ in range(count):
        ended.acquire()
    return {"entries_per_s": round(count / (time.perf_counter() - began)), "failed": len(failed)}


_ORDERS: dict[str, Callable[..., Any]] = {"leads": leads, "latency": latency, "rate": rate, "commits": commits}


# --- around the nodes


class Cluster:
    def __init__(self, directory: Path) -> None:
        names = ["n1", "n2", "n3"]
        make_certificates(directory / "certificates", hosts=["localhost"], clients=[], peers=names)
        self._directory = directory
        self._members = tuple(Member(name, f"127.0.0.1:{free_port()}") for name in names)
        self._processes: dict[str, tuple[BaseProcess, Connection]] = {}
        for member in self._members:
            self.start(member.node_id)

    def start(self, name: str) -> None:
        """With an empty directory: the consumer keeps nothing, so the log must not either."""
        shutil.rmtree(self._directory / name, ignore_errors=True)
        certificates = self._directory / "certificates"
        config = RaftConfig(
            cluster="benchmark",
            node_id=name,
            listen=next(member.address for member in self._members if member.node_id == name),
            directory=self._directory / name,
            members=self._members,
            security=PeerSecurity(
                certificate=(certificates / f"peer-{name}.pem").read_bytes(),
                key=(certificates / f"peer-{name}.key").read_bytes(),
                authority=(certificates / "ca.pem").read_bytes(),
            ),
        )
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=node, args=(config, theirs), daemon=True)
        process.start()
        self._processes[name] = (process, ours)

    def ask(self, name: str, order: str, *arguments: Any) -> Any:
        connection = self._processes[name][1]
        connection.send((order, arguments))
        return connection.recv()

    def kill(self, name: str) -> None:
        process, connection = self._processes.pop(name)
        process.kill()
        process.join()
        connection.close()

    def leader(self) -> str:
        while True:
            for name in list(self._processes):
                if self.ask(name, "leads") and self.ask(name, "commits", 3.0):
                    return name
            time.sleep(0.005)

    def follower(self) -> str:
        leader = self.leader()
        return next(name for name in self._processes if name != leader)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--bytes", type=int, default=200)
    parser.add_argument("--window", type=int, default=1_000)
    parser.add_argument("--failovers", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster(Path(directory))
        for where, name in (("leader", cluster.leader()), ("follower", cluster.follower())):
            cluster.ask(name, "rate", 1_000, arguments.bytes, 100)
            print(where, "one at a time", json.dumps(cluster.ask(name, "latency", 500, arguments.bytes)), flush=True)
            print(
                where,
                f"{arguments.window} under way",
                json.dumps(cluster.ask(name, "rate", arguments.entries, arguments.bytes, arguments.window)),
                flush=True,
            )
            print(
                where, "20 of 100 KB under way", json.dumps(cluster.ask(name, "rate", 1_000, 100_000, 20)), flush=True
            )
        missed = []
        for _ in range(arguments.failovers):
            leader = cluster.leader()
            began = time.perf_counter()
            cluster.kill(leader)
            cluster.leader()
            missed.append(time.perf_counter() - began)
            cluster.start(leader)
            time.sleep(4.0)  # it recovers from the others, so that the next time there are two to vote
        if missed:
            print(f"leader killed: median {statistics.median(missed):.2f} s, longest {max(missed):.2f} s", flush=True)


if __name__ == "__main__":
    main()
