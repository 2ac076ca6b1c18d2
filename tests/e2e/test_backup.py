"""The store of a node that works is backed up, verified and put back, by the commands that an operator has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tempolite_sdk import ExecutionStatus, NotFound

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, execution, until_status

COMMAND = str(Path(sys.executable).with_name("tempolite-node"))


def store(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "store", *map(str, arguments)], capture_output=True, text=True)


def test_a_backup_of_a_node_that_works_is_put_back_and_its_executions_go_on(node: Start, tmp_path: Path) -> None:
    daemon = node("recovering:listen", "recovering:quick")
    backup, data = tmp_path / "copy.db", daemon.directory / "data"
    with daemon.client() as client:
        waiting = client.options(id="waiting").enqueue("listen")
        until_status(client, "waiting", ExecutionStatus.WAITING)
        client.enqueue_many("quick", [(number,) for number in range(500)])

        backed_up = store("backup", backup, *daemon.arguments())
        assert backed_up.returncode == 0, backed_up.stderr
        client.options(id="later").execute("quick")
        used = store("verify", data / "store.db")
        assert used.returncode == 1
        assert "another daemon uses this data directory" in used.stderr
        assert (data / "address").exists()

        assert store("verify", backup).stdout.startswith(f"{backup}: sound")
        refused = store("restore", backup, *daemon.arguments())
        assert refused.returncode == 1
        daemon.kill()
        for file in data.glob("store.db*"):
            file.unlink()
        restored = store("restore", backup, *daemon.arguments())
        assert restored.returncode == 0, restored.stderr
        assert "begins a new history" in restored.stdout
        daemon.start()

        with pytest.raises(NotFound):
            execution(client, "later")
        waiting.send_signal("word", "heard")
        assert waiting.result(PATIENCE_S) == "heard"
        assert daemon.effects()["waiting before"] == 1
    daemon.stop()
    assert store("verify", data / "store.db").returncode == 0


def test_a_store_that_another_program_wrote_to_is_repaired_once_that_is_accepted(node: Start) -> None:
    daemon: Daemon = node("recovering:quick")
    with daemon.client() as client:
        client.options(id="there").execute("quick")
    daemon.kill()
    file = daemon.directory / "data" / "store.db"
    written = subprocess.run(
        [sys.executable, "-c", f"import sqlite3; sqlite3.connect({str(file)!r}).execute('PRAGMA wal_checkpoint')"],
        capture_output=True,
        text=True,
    )
    assert written.returncode == 0, written.stderr

    named = store("repair", *daemon.arguments())
    assert named.returncode == 1
    assert "does not match its checksum" in named.stderr
    accepted = store("repair", "--accept", *daemon.arguments())
    assert accepted.returncode == 0, accepted.stderr
    assert "every page has its checksum" in accepted.stdout
    assert store("verify", file).returncode == 0
    daemon.start()
    with daemon.client() as client:
        assert execution(client, "there").status is ExecutionStatus.COMPLETED


def test_a_store_is_compacted_while_its_node_is_down(node: Start) -> None:
    daemon = node("recovering:quick")
    with daemon.client() as client:
        client.options(id="there").execute("quick")
    refused = store("compact", *daemon.arguments())
    assert refused.returncode == 1
    daemon.stop()

    compacted = store("compact", *daemon.arguments())

    assert compacted.returncode == 0, compacted.stderr
    assert "bytes now" in compacted.stdout
    assert store("verify", daemon.directory / "data" / "store.db").returncode == 0
    daemon.start()
    with daemon.client() as client:
        assert execution(client, "there").status is ExecutionStatus.COMPLETED
