"""What the node's log tells of executions and of what handlers log, and that it stalls nobody."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tempolite_sdk import Client, ExecutionCancelled, ExecutionError, ExecutionStatus

from .conftest import Start
from .daemon import DAEMON, PATIENCE_S, Daemon, until_status

HANDLERS = [f"logging_:{name}" for name in ("quick", "tell", "tell_async", "tell_saga", "fail", "stay", "flood")]
CRASHES = {"target": "logging_:crash", "max_crashes": 1}


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    """No stack waits: each wait ends in a replay."""
    return shared_node(*HANDLERS, CRASHES, hosts={"max_parked": 0}, pools={"handler": {"workers": 2}})


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def until_told(daemon: Daemon, execution_id: str, event: str) -> dict[str, Any]:
    with daemon._logged:
        line = daemon._logged.wait_for(
            lambda: next((line for line in of(daemon, execution_id) if event in line["event"]), None), PATIENCE_S
        )
    assert line is not None, f"{event!r} is not told of {execution_id}: {of(daemon, execution_id)}"
    return line


def of(daemon: Daemon, execution_id: str) -> list[dict[str, Any]]:
    """What is logged of an execution."""
    return [line for line in daemon.log if line.get("execution_id") == execution_id]


# --- what handlers log


def test_a_handler_logs_each_line_once_with_its_ids_however_often_it_is_replayed(
    daemon: Daemon, client: Client
) -> None:
    handle = client.options(id="told").enqueue("tell")
    for _ in range(2):
        until_status(client, "told", ExecutionStatus.WAITING)
        handle.send_signal("go")
    handle.result(PATIENCE_S)
    until_told(daemon, "told", "after the second signal")

    assert [line["event"] for line in of(daemon, "told")] == [
        "it begins",
        "in a side effect",
        "in a thread of its own",
        "before the signal",
        "by the context",
        "after the first signal",
        "after the second signal",
    ]
    first = of(daemon, "told")[0]
    assert (first["handler"], first["attempt"], first["sku"], first["logger"]) == ("tell", 1, "x", "shop")
    assert {(line["handler"], line["attempt"]) for line in of(daemon, "told")} == {("tell", 1)}


def test_an_async_handler_does_too_and_so_do_its_tasks_and_threads(daemon: Daemon, client: Client) -> None:
    handle = client.options(id="told-async").enqueue("tell_async")
    until_status(client, "told-async", ExecutionStatus.WAITING)
    handle.send_signal("go")
    handle.result(PATIENCE_S)
    until_told(daemon, "told-async", "after the signal")

    assert [line["event"] for line in of(daemon, "told-async")] == [
        "it begins",
        "in a side effect",
        "in a side effect",
        "after the signal",
    ]


def test_transactions_and_compensations_do_too_and_the_saga_is_told_of(daemon: Daemon, client: Client) -> None:
    handle = client.options(id="saga").enqueue("tell_saga")
    with pytest.raises(ExecutionError):
        handle.result(PATIENCE_S)
    until_told(daemon, "saga", "a saga failed and was compensated")

    lines = of(daemon, "saga")
    assert [line["event"] for line in lines if line["logger"] == "shop"] == [
        "reserving",
        "before the wait of the compensation",
        "after the wait of the compensation",
    ]
    assert [line["compensation"] for line in lines if "compensation" in line["event"]][:2] == ["Reserve#1"] * 2


def test_what_is_logged_outside_of_executions_has_no_ids(daemon: Daemon) -> None:
    line = daemon.until_logged("the module is imported")

    assert {"execution_id", "handler", "attempt"}.isdisjoint(line)


def test_what_is_logged_right_before_a_crash_comes_out_and_the_crash_is_told(daemon: Daemon, client: Client) -> None:
    with pytest.raises(ExecutionError):
        client.options(id="crashes").enqueue("crash").result(PATIENCE_S)

    assert until_told(daemon, "crashes", "the last word")["level"] == "error"
    crashed = until_told(daemon, "crashes", "an execution's worker host died while its code ran")
    assert (crashed["level"], crashed["crashes"], crashed["max_crashes"]) == ("info", 1, 1)
    assert until_told(daemon, "crashes", "an execution failed")["why"] == "crashed_too_often"


# --- what the node tells of executions


def test_executions_that_fail_are_told_and_those_that_complete_are_not(daemon: Daemon, client: Client) -> None:
    client.options(id="fine").execute("quick")
    with pytest.raises(ExecutionError):
        client.options(id="broken").execute("fail")

    line = until_told(daemon, "broken", "an execution failed")
    assert (line["handler"], line["attempt"], line["error"]) == ("fail", 1, "NonRetryable: no such sku")
    assert of(daemon, "fine") == []


def test_a_start_tells_what_it_queued_again_and_at_debug_every_attempt_is_told(node: Start) -> None:
    daemon = node("logging_:stay", "logging_:quick", log={"level": "debug"}, pools={"handler": {"workers": 2}})
    with daemon.gate("long"), daemon.client() as client:
        client.options(id="long").enqueue("stay")
        daemon.until("long runs")
        daemon.kill()
        daemon.start()
        requeued = daemon.until_logged("this start queued executions again that ran before")
        client.options(id="short").execute("quick")
        until_told(daemon, "short", "an attempt ended")

    assert (requeued["count"], requeued["handlers"]) == (1, {"stay": 1})
    told = [line for line in of(daemon, "short") if line["logger"] == "executions"]
    assert [(line["event"], line["level"], line.get("end")) for line in told] == [
        ("an attempt started", "debug", None),
        ("an attempt ended", "debug", "completed"),
    ]


# --- and that it stalls nobody


def test_handlers_that_log_without_end_and_a_log_that_nobody_reads_stall_nobody(tmp_path: Path) -> None:
    daemon = Daemon(
        tmp_path, {"handlers": [{"target": name} for name in HANDLERS], "pools": {"handler": {"workers": 8}}}
    )
    process = subprocess.Popen(
        [*DAEMON, *daemon.arguments()], stderr=subprocess.PIPE, env={**os.environ, "WORLD": str(daemon.world)}
    )
    try:
        with Client(_address(tmp_path / "data" / "address"), timeout=PATIENCE_S) as client:
            floods = [client.options(id=f"flood-{number}").enqueue("flood") for number in range(4)]
            for flood in floods:
                daemon.until(f"{flood.id} has flooded")
            assert [client.execute("quick", number) for number in range(20)] == list(range(20))
            for flood in floods:
                flood.cancel()
            for flood in floods:
                with contextlib.suppress(ExecutionCancelled):
                    flood.result(PATIENCE_S)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        lines = [json.loads(line) for line in process.stderr]  # somebody reads, at last
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
    assert sum(line.get("dropped", 0) for line in lines) > 0
    assert "the node has stopped" in [line["event"] for line in lines]


def _address(file: Path) -> str:
    """What the node listens on, once it does."""
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        assert time.monotonic() < deadline, "the node does not start"
        time.sleep(0.01)
    return file.read_text().strip()
