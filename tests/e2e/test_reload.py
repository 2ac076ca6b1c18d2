"""SIGHUP: a node that runs takes what it can of its config, and says what it did."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tempolite_sdk import ExecutionFailed, RetryPolicy, Unauthenticated

from .conftest import Start
from .daemon import Daemon


def tokens(*names: str) -> dict[str, Any]:
    return {
        "listen": "127.0.0.1:0",
        "tokens": [
            {"name": name, "role": "admin", "sha256": hashlib.sha256(name.encode()).hexdigest()} for name in names
        ],
    }


def hang_up(daemon: Daemon, event: str) -> dict[str, Any]:
    """What it says then."""
    daemon.log.clear()
    daemon.signal(signal.SIGHUP)
    return daemon.until_logged(event)


def test_a_node_that_is_hung_up_while_it_starts_reads_its_config_again_once_it_serves(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {"handlers": [{"target": "processes:whisper"}]})
    try:
        arguments = daemon.arguments()
        config = daemon.config_file.read_text()
        daemon.config_file.unlink()
        os.mkfifo(daemon.config_file)
        daemon.arguments = lambda: arguments  # type: ignore[method-assign]
        daemon.spawn()
        with daemon.config_file.open("w") as pipe:  # it is there to read it
            daemon.config_file.unlink()
            daemon.config_file.write_text(config)

            daemon.signal(signal.SIGHUP)
            pipe.write(config)

        assert daemon.until_logged("the config was read again")["changed"] == []
    finally:
        daemon.close()


def test_a_node_takes_what_it_can_of_a_config_that_has_changed_and_nothing_of_a_wrong_one(node: Start) -> None:
    daemon = node("processes:whisper", "processes:fail_in_a_side_effect", api=tokens("old"))
    with daemon.client(token="old") as client:
        client.execute("whisper", "unheard")
        daemon.configure(
            api={**tokens("new"), "listen": daemon.address},
            log={"level": "debug"},
            pools={"handler": {"workers": 3}, "side_effect": {"retry": {"maximum_attempts": 1}}},
            hosts={"ping_interval": "1s"},
        )
        daemon.arguments()  # writes the file

        line = hang_up(daemon, "the config was read again")

        assert set(line["changed"]) == {
            "api.tokens",
            "log.level",
            "pools.handler.workers",
            "pools.side_effect.retry.maximum_attempts",
        }
        assert line["needs_restart"] == ["api.listen", "hosts.ping_interval"]
        with pytest.raises(Unauthenticated):
            client.node_info()

    with daemon.client(token="new") as client:
        assert client.pool("handler").workers == 3
        client.execute("whisper", "heard")
        assert daemon.until_logged("heard")["level"] == "debug"
        with pytest.raises(ExecutionFailed, match="after 1 attempts"):
            client.options(retry=RetryPolicy(maximum_attempts=1)).execute("fail_in_a_side_effect")

        daemon.config_file.write_text("pools: {handler: {workers: 0}}")
        line = hang_up(daemon, "the config is wrong; nothing was changed")

        assert any("pools.handler.workers: must be at least 1" in problem for problem in line["problems"])
        assert client.pool("handler").workers == 3
