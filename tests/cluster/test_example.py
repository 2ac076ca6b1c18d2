"""The example's cluster on real processes, as whoever tries it out would use it."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tempolite_sdk import Client, ClusterInfo

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SCRIPT = [sys.executable, "-m", "examples.cluster"]


class Running(NamedTuple):
    client: Client
    directory: Path
    command: Callable[..., str]  #: scripts/cluster; what it says


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """The nodes a, b and c; d waits to be added."""
    config = tmp_path / "cluster.yaml"
    config.write_text(on_free_ports(tmp_path))
    arguments = ["--config", str(config)]

    def command(*given: str) -> str:
        done = subprocess.run([*SCRIPT, *given, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{given}: {done.stdout}{done.stderr}"
        return done.stdout

    process = subprocess.Popen([*SCRIPT, "start", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        [address] = [line.partition("=")[2] for line in until("Ctrl-C stops them", process) if "ADDRESS=" in line]
        with Client(address.strip(), timeout=60) as client:
            yield Running(client, tmp_path, command)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    assert process.returncode == 0


def on_free_ports(directory: Path) -> str:
    text = (ROOT / "cluster.example.yaml").read_text().replace("var/cluster", str(directory))
    with ExitStack() as taken:
        for port in set(re.findall(r"127\.0\.0\.1:(\d+)", text)):
            free = taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
    return f"{text}\nhosts: {{python_path: ['{ROOT}']}}\n"


def until(said: str, process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if said in line:
            return
    raise AssertionError(f"it ended with {process.wait()}")


def cluster(client: Client) -> ClusterInfo:
    client.cluster()  # tells the client where the leader is
    return client.cluster()


def measure(client: Client) -> None:
    client.execute("measure_file", str(ROOT), "tempolite_sdk/client/sync_client.py")


def test_nodes_are_killed_added_removed_and_replaced_while_the_cluster_works(running: Running) -> None:
    client, _, command = running
    measure(client)

    leader = cluster(client).leader
    assert leader is not None
    command("kill", leader)
    measure(client)
    command("start", leader)
    command("add", "d")
    assert [member.node_id for member in cluster(client).members if member.votes] == ["a", "b", "c", "d"]

    command("remove", "d")
    command("replace", "b")
    measure(client)

    after = cluster(client)
    assert [(member.node_id, member.votes, member.live) for member in after.members] == [
        (node_id, True, True) for node_id in "abc"
    ]
    assert client.count(handler="measure_file", status="completed") == 3
    assert f"cluster example: {after.leader} leads" in command("status")


def test_a_node_that_lost_its_disk_recovers_by_itself(running: Running) -> None:
    client, directory, command = running
    measure(client)

    command("stop", "b")
    for file in (directory / "b").rglob("*"):
        if file.is_file():
            file.unlink()
    command("start", "b")

    b = next(str(member.api_address) for member in cluster(client).members if member.node_id == "b")
    with Client(b, timeout=60) as recovered:
        assert recovered.count(handler="measure_file") == 1
        assert recovered.cluster().member("b") is not None


def test_a_node_that_is_removed_while_it_runs_notices_and_ends(running: Running) -> None:
    client, directory, command = running
    command("add", "d")
    removed = os.pidfd_open(int((directory / "d.pid").read_text()))

    client.remove_member("d")

    gone, _, _ = select.select([removed], [], [], 30)
    os.close(removed)
    assert gone
    assert "node d was removed from its cluster" in (directory / "d.log").read_text()
    measure(client)
