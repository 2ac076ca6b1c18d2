"""The commands that look at files and make secrets. Running a node is tested end to end."""

import hashlib
import json
import logging
import stat
import subprocess
import sys

import pytest
import structlog

from tempolite_node.cli.logging import configure_logging
from tempolite_node.config import LogConfig, Role, load_config
from tempolite_node.store.database import open_writer
from tempolite_node.store.writer import claim_store

from ..command_line import run

GOOD = "node: {id: node-1, data_dir: ./var}\nhandlers:\n  - target: shop:fulfil\n"


def test_a_good_config_is_told_to_be_fine(tmp_path):
    (tmp_path / "node.yaml").write_text(GOOD)

    result = run("config", "check", "--no-handlers", "--config", str(tmp_path / "node.yaml"))

    assert result.exit_code == 0
    assert "fine. Node node-1 serves fulfil." in result.stdout


@pytest.mark.parametrize("command", [["config", "check", "--config"], ["--config"]])
def test_a_system_that_no_node_runs_on_is_told_so_in_one_line(tmp_path, monkeypatch, command):
    path = tmp_path / "node.yaml"
    path.write_text(GOOD)
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("platform.system", lambda: "Windows")

    result = run(*command, str(path))

    (line,) = result.stderr.splitlines()
    assert result.exit_code == 1
    assert "a node runs on Linux, and on macOS for development; this is Windows, where the client works" in line


def test_a_config_that_nodes_share_is_checked_for_one_of_them(tmp_path):
    path = tmp_path / "cluster.yaml"
    path.write_text(
        "node: {id: '${TEMPOLITE_NODE_ID}', data_dir: var}\n"
        "cluster:\n"
        "  name: shop\n"
        "  nodes: [{id: a, peers: 'localhost:1'}, {id: b, peers: 'localhost:2', listen: 'localhost:3'}]\n"
        "handlers: [{target: 'shop:fulfil'}]\n"
    )

    fine = run("config", "check", "--no-handlers", "--config", str(path), "--node-id", "b")
    stranger = run("--config", str(path), "--node-id", "x")

    assert "fine. Node b of cluster shop serves fulfil." in fine.stdout
    assert (stranger.exit_code, "is not in cluster.nodes, which has a, b" in stranger.stderr) == (2, True)


@pytest.mark.parametrize("command", [["config", "check", "--config"], ["--config"]])
def test_every_mistake_is_told_and_the_exit_code_is_2(tmp_path, command):
    path = tmp_path / "node.yaml"
    path.write_text(GOOD.replace("node-1", "'bad id'").replace("shop:fulfil", "nope"))

    result = run(*command, str(path))

    assert result.exit_code == 2
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == [f"{path}:1:12:", f"{path}:3:13:", "2"]


SHOP = """
import socket
from dataclasses import dataclass
from tempolite_sdk import HandlerContext

@dataclass
class Region:
    name: str
    limit: int = 0

def fulfil(ctx: HandlerContext[Region], order: str, retries: socket.socket | None = None) -> str:
    return order

def listen(ctx: HandlerContext, connections: list[socket.socket]) -> None: ...
"""

MISTAKEN = """\
node: {id: node-1, data_dir: ./var}
hosts: {processes: 3}
handlers:
  - target: shop:fulfill
    name: fulfil
  - target: shop:fulfil
    name: limited
    params: {name: eu,
             limit: many}
  - target: shop:listen
  - target: shp:fulfil
    name: elsewhere
  - target: shp:listen
    name: elsewhere_too
"""


def test_each_mistake_of_a_handler_is_told_once_where_it_stands_with_what_may_be_meant(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(MISTAKEN)
    (tmp_path / "shop.py").write_text(SHOP)

    # As a process of its own: a worker host is given its standard error.
    command = [sys.executable, "-m", "tempolite_node", "config", "check", "--config", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    module = tmp_path / "shop.py"
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"{path}:4:13: handlers[0].target: the module shop ({module}) has no fulfill; did you mean fulfil?",
        f"{path}:9:21: handlers[1].params.limit: Expected `int`, got `str`",
        f"{path}:10:13: handlers[2].target: listen: connections: a socket.socket can't be read from JSON;"
        f" take what identifies it, or make it a dataclass (at {module}:14)",
        f"{path}:11:13: handlers[3].target: the module shp can't be imported:"
        " ModuleNotFoundError: No module named 'shp'; did you mean shop?",
        "4 mistakes in the config",
    ]


def test_the_data_directory_of_another_node_is_a_mistake(tmp_path):
    path = tmp_path / "node.yaml"
    path.write_text(GOOD)
    (tmp_path / "var").mkdir()
    store = open_writer(tmp_path / "var/store.db")
    claim_store(store, "node-2")
    store.close()

    result = run("config", "check", "--no-handlers", "--config", str(path))

    told = f"{path}:1:30: node.data_dir: the store belongs to node 'node-2', not to 'node-1'"
    assert (result.exit_code, result.stderr.splitlines()) == (2, [told, "1 mistake in the config"])
    path.write_text(GOOD.replace("node-1", "node-2"))
    assert run("config", "check", "--no-handlers", "--config", str(path)).exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--config", "/nonexistent"], ["config", "check"], ["nonsense"]])
def test_wrong_usage_exits_with_2(arguments):
    assert run(*arguments).exit_code == 2


def test_a_new_token_is_what_its_entry_lets_in(tmp_path):
    token, entry = run("token", "--name", "ci", "--role", "admin").stdout.splitlines()
    (tmp_path / "node.yaml").write_text(f"{GOOD}api:\n  tokens:\n  {entry}\n")

    [known] = load_config(tmp_path / "node.yaml").api.tokens

    assert len(token) > 40
    assert (known.name, known.role) == ("ci", Role.ADMIN)
    assert known.sha256 == hashlib.sha256(token.encode()).hexdigest()


def test_a_token_is_an_operators_unless_another_role_is_named():
    assert "role: operator" in run("token").stdout


def test_certificates_have_private_keys_and_an_authority_is_kept(tmp_path):
    first = run("certs", "--out", str(tmp_path / "c"), "--client", "ops")
    authority = (tmp_path / "c/ca.pem").read_bytes()
    second = run("certs", "--out", str(tmp_path / "c"), "--client", "other")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (tmp_path / "c/ca.pem").read_bytes() == authority
    assert (tmp_path / "c/client-other.pem").exists()
    assert {stat.S_IMODE(key.stat().st_mode) for key in (tmp_path / "c").glob("*.key")} == {0o600}


def test_log_lines_are_json_objects_without_local_variables(capfd):
    root, before = logging.getLogger(), (logging.getLogger().handlers, logging.getLogger().level)
    try:
        log = configure_logging(LogConfig(level="info"))
        secret = "hush" + "hush"
        try:
            raise ValueError(len(secret))
        except ValueError:
            structlog.get_logger("tempolite_node.test").exception("it failed", attempt=1)
        logging.getLogger("grpc").warning("of the %s", "standard library", extra={"peer": "n2"})
        logging.getLogger("grpc").debug("below the level")
    finally:
        root.handlers, root.level = before
        structlog.reset_defaults()
    assert log.stop(60)

    ours, theirs = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (ours["event"], ours["level"], ours["attempt"]) == ("it failed", "error", 1)
    assert "ValueError: 8" in ours["exception"]
    assert "hushhush" not in ours["exception"]
    assert (theirs["event"], theirs["logger"], theirs["peer"]) == ("of the standard library", "grpc", "n2")
