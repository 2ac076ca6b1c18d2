"""The processes of a node: what signals do to them, and who ends with whom."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempolite_node.system import tells_memory
from tempolite_sdk import Client, ExecutionStatus, OperationStatus

from .conftest import Start
from .daemon import DAEMON, PATIENCE_S, Daemon, until_operation, until_status

LONG = [
    {"target": "processes:run_long"},
    {"target": "processes:run_long", "name": "run_long_isolated", "isolation": "process"},
]


def pid_of(daemon: Daemon, name: str, attempt: int = 1) -> int:
    """Of the process that runs it."""
    prefix = f"{name} runs in "

    def lines() -> list[str]:
        effects = daemon.world.read_text().splitlines()
        return [effect for effect in effects if effect.startswith(prefix)]

    daemon.until_world(lambda: len(lines()) >= attempt)
    return int(lines()[attempt - 1].removeprefix(prefix))


def signal_all(daemon: Daemon, hosts: list[int], number: signal.Signals) -> None:
    """As systemd does to a control group: the hosts first, which is the worse order."""
    for pid in [*hosts, daemon.pid]:
        os.kill(pid, number)


# --- the node stops, and everything is told to


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_of_the_node_drains_it(node: Start, number: signal.Signals) -> None:
    daemon = node(*LONG, pools={"handler": {"workers": 2}})
    with daemon.gate("shared") as shared, daemon.gate("isolated") as isolated:
        with daemon.client() as client:
            ids = [client.enqueue("run_long", "shared").id, client.enqueue("run_long_isolated", "isolated").id]
        hosts = [pid_of(daemon, "shared"), pid_of(daemon, "isolated")]
        signal_all(daemon, hosts, number)
        daemon.until_logged("draining")
        shared.open()
        isolated.open()
        assert daemon.wait() == 0

    with daemon.start().client() as client:
        handles = [client.handle(id) for id in ids]
        assert [handle.result(PATIENCE_S) for handle in handles] == [1, 1], "each ended in its first attempt"


def test_a_stack_that_waits_is_unwound_when_what_runs_beside_it_has_ended(node: Start) -> None:
    daemon = node("processes:wait_beside_a_side_effect")
    with daemon.gate("effect") as gate:
        with daemon.client() as client:
            id = client.enqueue("wait_beside_a_side_effect").id
        daemon.until("the side effect runs")
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        gate.open()
        assert daemon.wait() == 0
    assert "stopping with attempts under way; they run again after the next start" not in [
        line["event"] for line in daemon.log
    ]

    with daemon.start().client() as client:
        handle = client.handle(id)
        handle.send_signal("go", "on")
        assert handle.result(PATIENCE_S) == ["on", "done"]
        assert daemon.effects()["the side effect runs"] == 1


def test_a_node_that_is_told_to_stop_while_it_starts_does_so_at_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {"handlers": [{"target": "slow_import:serve"}]})
    try:
        with daemon.gate("import"):
            daemon.spawn()
            daemon.until("slow_import is imported")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        assert [line["event"] for line in daemon.log] == ["the node was stopped before it served"]
    finally:
        daemon.close()


def test_restarts_in_which_every_process_gets_a_sigterm_are_nobodys_crash(node: Start) -> None:
    daemon = node(
        *LONG, node={"id": "n1", "data_dir": "data", "drain_timeout": "0s"}, pools={"handler": {"workers": 2}}
    )
    with daemon.gate("shared") as shared, daemon.gate("isolated") as isolated:
        with daemon.client() as client:
            ids = [client.enqueue("run_long", "shared").id, client.enqueue("run_long_isolated", "isolated").id]
        restarts = 5  # as many crashes as fail an execution for good
        for attempt in range(1, restarts + 1):
            hosts = [pid_of(daemon, "shared", attempt), pid_of(daemon, "isolated", attempt)]
            signal_all(daemon, hosts, signal.SIGTERM)
            assert daemon.wait() == 0
            daemon.start()
        shared.open()
        isolated.open()
        with daemon.client() as client:
            handles = [client.handle(id) for id in ids]
            assert [handle.result(PATIENCE_S) for handle in handles] == [restarts + 1] * 2
            assert [handle.info().crashes for handle in handles] == [0, 0]


def test_a_host_that_is_killed_while_its_node_stops_is_nobodys_crash(node: Start) -> None:
    daemon = node(*LONG)
    with daemon.gate("shared") as gate:
        with daemon.client() as client:
            id = client.enqueue("run_long", "shared").id
        host = pid_of(daemon, "shared")
        daemon.signal(signal.SIGTERM)
        daemon.until_logged("draining")
        os.kill(host, signal.SIGKILL)
        assert daemon.wait() == 0
        gate.open()

    with daemon.start().client() as client:
        assert client.handle(id).result(PATIENCE_S) == 2
        assert client.handle(id).info().crashes == 0


def test_hosts_end_with_a_node_that_is_killed(node: Start) -> None:
    daemon = node(*LONG, pools={"handler": {"workers": 2}})
    with daemon.gate("shared"), daemon.gate("isolated"):
        with daemon.client() as client:
            client.enqueue("run_long", "shared")
            client.enqueue("run_long_isolated", "isolated")
        hosts = [os.pidfd_open(pid_of(daemon, name)) for name in ("shared", "isolated")]
        daemon.kill()
        for host in hosts:
            assert select.select([host], [], [], PATIENCE_S)[0], "a host outlives its node"
            os.close(host)


# --- what a handler starts ends with its process


def started_in(daemon: Daemon, name: str) -> tuple[int, list[int]]:
    """The process of the handler, and pidfds of it and of all that it has started."""
    prefix = f"{name} runs in "
    daemon.until_world(lambda: prefix in daemon.world.read_text())
    line = next(line for line in daemon.world.read_text().splitlines() if line.startswith(prefix))
    host, _, programs = line.removeprefix(prefix).partition(" with ")
    return int(host), [os.pidfd_open(int(pid)) for pid in (host, *programs.split())]


def until_gone(processes: list[int]) -> None:
    for process in processes:
        assert select.select([process], [], [], PATIENCE_S)[0], "what a handler started outlives its process"
        os.close(process)


def test_what_a_handler_starts_ends_with_its_process_however_that_ends(node: Start) -> None:
    once = {"retry": {"maximum_attempts": 1}}
    daemon = node(
        {"target": "processes:start_programs", "name": "start_programs_isolated", "isolation": "process", **once},
        {"target": "processes:start_programs", **once},
        pools={"handler": {"workers": 2}},
    )
    with daemon.gate("isolated"), daemon.gate("shared"), daemon.gate("node"), daemon.client() as client:
        terminated = client.enqueue("start_programs_isolated", "isolated")
        _, processes = started_in(daemon, "isolated")
        terminated.terminate("not wanted any more")
        until_gone(processes)

        crashed = client.enqueue("start_programs", "shared")
        host, processes = started_in(daemon, "shared")
        os.kill(host, signal.SIGKILL)
        until_gone(processes)
        crashed.terminate("its next attempt is nobody's matter")

        client.enqueue("start_programs", "node")
        _, processes = started_in(daemon, "node")
        daemon.kill()
        until_gone(processes)


@pytest.mark.skipif(not tells_memory(), reason="this system does not tell how much memory a process holds")
def test_an_attempt_that_takes_more_memory_than_it_may_fails_and_is_retried(node: Start) -> None:
    limited = {"isolation": "process", "memory_limit": "200MiB", "retry": {"initial_interval": "10ms"}}
    daemon = node({"target": "processes:take_memory", **limited}, pools={"handler": {"workers": 3}})
    with daemon.client() as client:
        ways = ("itself", "in a program", "little")
        handles = {how: client.enqueue("take_memory", how) for how in ways}
        results = {how: handle.result(PATIENCE_S) for how, handle in handles.items()}
        infos = {how: handle.info() for how, handle in handles.items()}
    assert results == {
        "itself": ["recorded", "2"],
        "in a program": ["recorded", "2"],
        "little": ["recorded", "1"],
    }
    assert {how: info.crashes for how, info in infos.items()} == dict.fromkeys(ways, 0)
    for how in ("itself", "in a program"):
        [failed] = infos[how].attempts
        assert failed.failure is not None
        assert failed.failure.type == "OutOfMemory"
        told = re.fullmatch(
            r".* took ([\d,]+) bytes of memory; its memory_limit is 209,715,200", failed.failure.message
        )
        assert told is not None, failed.failure.message
        assert int(told[1].replace(",", "")) > 200 * 1024**2


# --- what follows an attempt waits for the end of its code


def test_a_refund_waits_for_the_charge_and_the_next_body_for_the_last(node: Start) -> None:
    daemon = node("processes:charge", "processes:time_out_once")
    with daemon.client() as client:
        with daemon.gate("charge") as gate:
            id = client.options(max_duration=0.5).enqueue("charge").id
            daemon.until("the charge begins")
            until_status(client, id, ExecutionStatus.COMPENSATING)
            gate.open()
            until_status(client, id, ExecutionStatus.COMPENSATED)
        with daemon.gate("body") as gate:
            handle = client.enqueue("time_out_once")
            until_operation(client, f"{handle.id}/side_effect/run", OperationStatus.RETRYING)
            gate.open()
            assert handle.result(PATIENCE_S) == "body 2"

    assert daemon.world.read_text().splitlines() == [
        *("the charge begins", "the charge ends", "the refund"),
        *("body 1 begins", "body 1 ends", "body 2 begins", "body 2 ends"),
    ]


# --- the first process of a container


CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def test_the_first_process_of_a_container_reaps_orphans_and_stops_on_a_sigterm(node: Start) -> None:
    if subprocess.run([*CONTAINER, "true"], capture_output=True).returncode:
        pytest.skip("process namespaces are not to be had here; they need root")
    daemon = node("processes:leave_orphans")
    daemon.stop()
    daemon.start(*CONTAINER, *DAEMON)
    with daemon.client() as client:
        assert client.execute("leave_orphans") == []
        assert client.node_info().hosts[0].starts == 1, "its own children are left to who waits for them"

    (first,) = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
    os.kill(int(first), signal.SIGTERM)
    assert daemon.wait() == 0


# --- a node that runs


@pytest.fixture(scope="module")
def running(shared_node: Start) -> Daemon:
    names = ("terminate_children", "wait_through_signals")
    return shared_node(
        *({"target": f"processes:{name}"} for name in names),
        *({"target": f"processes:{name}", "name": f"{name}_isolated", "isolation": "process"} for name in names),
    )


@pytest.fixture
def client(running: Daemon) -> Iterator[Client]:
    with running.client() as client:
        yield client


@pytest.mark.parametrize("kind", ["", "_isolated"])
def test_a_handler_can_terminate_what_it_starts(client: Client, kind: str) -> None:
    ended = client.execute(f"terminate_children{kind}")

    assert ended == {"started": -signal.SIGTERM, "forked": -signal.SIGTERM}


@pytest.mark.parametrize("kind", ["", "_isolated"])
def test_signals_to_a_host_disturb_no_code_that_waits_in_it(running: Daemon, client: Client, kind: str) -> None:
    name = f"waiting{kind}"
    with running.gate(name) as gate:
        handle = client.enqueue(f"wait_through_signals{kind}", name)
        host = pid_of(running, name)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(host, number)
        gate.open()
    assert handle.result(PATIENCE_S) == 3
    assert handle.info().attempt == 1
