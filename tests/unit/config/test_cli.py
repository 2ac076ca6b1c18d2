"""The commands that look at files and make secrets. Running a node is tested end to end."""

import hashlib
import json
import logging
import stat

import pytest
import structlog
from click.testing import CliRunner

from tempolite_node.cli.logging import configure_logging
from tempolite_node.cli.main import main
from tempolite_node.config import LogConfig, Role, load_config

GOOD = "node: {id: node-1, data_dir: ./var}\nhandlers:\n  - target: shop:fulfil\n"


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


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
