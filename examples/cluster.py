"""Runs the cluster of a config on this machine, a process for each node: cluster.example.yaml, its data in var/cluster.

start           starts the nodes, shows what they log, and stops them on Ctrl-C; everything else, from another terminal
start ID        starts one again
stop [ID]       stops one, or all: what runs may end
kill ID         SIGKILL, to see what becomes of its work
status          who belongs to the cluster, who leads, how far each node is
add ID          starts a node that has `join` in the file, and makes it a member
remove ID       makes it no member any more, and stops it; if it leads, another one leads first
replace ID      removes it, throws its data away, and adds it again, as after the loss of its disk
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tempolite_node.config import load_config
from tempolite_sdk import Client, Unavailable

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "cluster.example.yaml"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


class Node:
    """One node of the file, whether it runs or not, and whoever started it."""

    def __init__(self, file: Path, node_id: str) -> None:
        config = load_config(file, node_id=node_id)
        assert config.cluster is not None
        entry = config.cluster.node(node_id)
        self.id = node_id
        self.api = str(entry.advertise)
        self.peers = str(entry.peers)
        self.data_dir = config.node.data_dir
        self.log = self.data_dir.with_name(f"{node_id}.log")
        self._pid_file = self.data_dir.with_name(f"{node_id}.pid")
        self._arguments = ["-m", "tempolite_node", "--config", str(file), "--node-id", node_id]

    @property
    def pid(self) -> int | None:
        """None: it does not run. Another process that got its pid meanwhile is not taken for it."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            return pid if arguments[1 : 1 + len(self._arguments)] == self._arguments else None
        return None

    def start(self) -> None:
        if self.pid is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # A session of its own, so that it goes on when the terminal is interrupted, and ends in order.
            process = subprocess.Popen(
                [sys.executable, *self._arguments], cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )
        self._pid_file.write_text(str(process.pid))

    def wait_until_it_answers(self) -> None:
        with Client(self.api, timeout=1.0) as client:
            for _ in range(round(START_TIMEOUT_S)):
                try:
                    client.node_info()
                except Unavailable:
                    if self.pid is None:
                        break
                else:
                    print(f"{self.id} serves at {self.api}")
                    return
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        sys.exit(f"{self.id} did not start; the end of {self.log}:\n" + "\n".join(lines))

    def signal(self, number: signal.Signals) -> None:
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_until_it_is_gone(self) -> None:
        give_up_at = time.monotonic() + STOP_TIMEOUT_S
        while self.pid is not None:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            if time.monotonic() > give_up_at:
                sys.exit(f"{self.id} does not stop; its log is {self.log}")
            time.sleep(0.1)


class Cluster:
    def __init__(self, file: Path) -> None:
        config = load_config(file, node_id="a")
        assert config.cluster is not None, f"{file} has no cluster"
        self.nodes = {entry.id: Node(file, entry.id) for entry in config.cluster.nodes}
        self.starters = [self.nodes[entry.id] for entry in config.cluster.nodes if not entry.join]

    @property
    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.pid is not None]

    def endpoints(self, *, without: Node | None = None) -> str:
        return ",".join(node.api for node in self.running if node is not without) or self.starters[0].api

    def start(self) -> None:
        """All that start the cluster, and then until Ctrl-C what all nodes log."""
        logs = Logs(list(self.nodes.values()))
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for node in self.starters:
                node.start()
            for node in self.starters:
                node.wait_until_it_answers()
            print(f"TEMPOLITE_ADDRESS={self.endpoints()}\nCtrl-C stops them.", flush=True)
            while True:
                logs.show()
                time.sleep(0.2)
        except KeyboardInterrupt:
            print("stopping", flush=True)
        finally:
            stop(self.running)

    def command(self, *arguments: str, without: Node | None = None) -> None:
        """`tempolite-node cluster`; `without`: not asked, since it may not answer."""
        command = [sys.executable, "-m", "tempolite_node", "cluster", *arguments]
        endpoint = ["--endpoint", self.endpoints(without=without)]
        code = subprocess.run([*command, *endpoint], cwd=REPOSITORY, check=False).returncode
        if code:
            sys.exit(code)

    def add(self, node: Node) -> None:
        node.start()
        self.command("add", node.id, node.peers, without=node)
        node.wait_until_it_answers()

    def remove(self, node: Node) -> None:
        with Client(self.endpoints()) as client:
            leads = client.cluster().leader == node.id
        if leads:
            self.command("transfer")
        self.command("remove", node.id, without=node)
        stop([node])

    def replace(self, node: Node) -> None:
        self.remove(node)
        shutil.rmtree(node.data_dir)
        self.add(node)


def stop(nodes: Sequence[Node]) -> None:
    for node in nodes:
        node.signal(signal.SIGTERM)
    for node in nodes:
        node.wait_until_it_is_gone()


class Logs:
    """What nodes log from now on."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._shown = {node.id: node.log.stat().st_size if node.log.exists() else 0 for node in nodes}

    def show(self) -> None:
        for node in self._nodes:
            if not node.log.exists():
                continue
            with node.log.open("rb") as log:
                log.seek(self._shown[node.id])
                text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._shown[node.id] += len(whole)
            for line in whole.decode(errors="replace").splitlines():
                print(f"{node.id}  {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["start", "stop", "kill", "status", "add", "remove", "replace"])
    parser.add_argument("node", nargs="?", metavar="ID")
    parser.add_argument(
        "--config", type=Path, default=EXAMPLE, help="of a cluster with a node a, on loopback addresses"
    )
    given = parser.parse_args()
    cluster = Cluster(given.config.absolute())
    if given.node is not None and given.node not in cluster.nodes:
        parser.error(f"{given.config} has no node {given.node}; it has {', '.join(cluster.nodes)}")
    node = cluster.nodes.get(given.node)
    match given.command, node:
        case "start", None:
            cluster.start()
        case "start", Node():
            node.start()
            node.wait_until_it_answers()
        case "stop", _:
            stop(cluster.running if node is None else [node])
        case "status", _:
            cluster.command("status")
        case "kill", Node():
            node.signal(signal.SIGKILL)
        case "add", Node():
            cluster.add(node)
        case "remove", Node():
            cluster.remove(node)
        case "replace", Node():
            cluster.replace(node)
        case _:
            parser.error(f"{given.command} needs the ID of a node")


if __name__ == "__main__":
    main()
