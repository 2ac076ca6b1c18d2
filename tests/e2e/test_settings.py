"""A node at both ends of every setting: it serves, and the example of the brief ends as ever.

The settings are those of the config's model, so that one that is new is tried without being named here. All are tried
in few starts: at their minima, and at their maxima, alone and in a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tempolite_sdk import Client, ExecutionTimedOut, InvalidArgument

from ..cluster.lab import free_ports
from ..settings import ENTRY, Setting, settings
from .conftest import Start
from .test_brief import EXPECTED, HANDLERS

PAYLOADS = ("payloads:hand_on", "payloads:hand_back")
#: The largest payload is an argument, a side effect and a result, each in the log and in the store: a disk may be busy.
PATIENCE_S = 240

pytestmark = pytest.mark.timeout(600)

HURRIED = "hurried"  #: a handler that waits for a signal that nobody sends, so that the least time limits end it

#: A handler whose attempts have a process each, since `memory_limit` needs one.
ISOLATED = "isolated"

TIME_LIMITS = {"attempt_timeout", "max_duration", "queue_timeout", "heartbeat_timeout"}

#: What is tried with another value than the one at that end, and why.
INSTEAD: dict[tuple[str, str], Any] = {
    ("hosts.processes", "maximum"): 3,  # more than a machine for tests has room for
    ("hosts.start_timeout", "minimum"): "1h",  # how fast the machine is would decide
    # Beside the least ping_timeout a busy machine may cost hosts; the example ends all the same, if it may go on.
    ("handlers[].max_crashes", "minimum"): 1_000,
    ("handlers[].max_crashes", "maximum"): 1,
}


def config_at(end: str, *, clustered: bool) -> dict[str, Any]:
    """Of a node that is alone, or the only one of its cluster."""
    config: dict[str, Any] = {
        "node": {"id": "n1", "data_dir": "data"},
        "api": {"listen": "127.0.0.1:0"},
        "handlers": [{"target": target} for target in (*HANDLERS, *PAYLOADS)],
    }
    config["handlers"].append({"name": HURRIED, "target": "brief:handler"})
    config["handlers"].append({"name": ISOLATED, "target": "payloads:hand_back", "isolation": "process"})
    if clustered:
        peers, listen = (f"127.0.0.1:{port}" for port in free_ports(2))
        config["cluster"] = {"name": "settings", "nodes": [{"id": "n1", "peers": peers, "listen": listen}]}
    for setting in settings():
        if setting.path[0] in config or setting.path[0] != "cluster":
            for section, entry in _sections(config, setting.path[:-1]):
                if setting.name != "memory_limit" or entry.get("name") == ISOLATED:
                    section[setting.name] = _value(setting, end, entry)
    return config


def _value(setting: Setting, end: str, entry: Mapping[str, Any]) -> Any:
    if setting.name in TIME_LIMITS and setting.path[0] == "handlers" and entry.get("name") != HURRIED:
        return setting.maximum  # what a handler sets goes before its pool, where the least is tried
    return INSTEAD.get((str(setting), end), setting.minimum if end == "minimum" else setting.maximum)


def _sections(
    config: dict[str, Any], path: tuple[str, ...], entry: dict[str, Any] | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The mappings at the path, made where there are none; each with the entry of a list that it belongs to, or {}."""
    match path:
        case ():
            yield config, entry or {}
        case (name, first, *rest) if first == ENTRY:
            for each in config[name]:
                yield from _sections(each, tuple(rest), each)
        case (name, *rest):
            yield from _sections(config.setdefault(name, {}), tuple(rest), entry)


@pytest.mark.parametrize("end", ["minimum", "maximum"])
@pytest.mark.parametrize("clustered", [False, True], ids=["alone", "in a cluster"])
def test_the_example_ends_as_ever_and_the_largest_payload_passes(node: Start, end: str, clustered: bool) -> None:
    config = config_at(end, clustered=clustered)
    daemon = node(*config.pop("handlers"), **config)
    with daemon.client() as client:
        handle = client.enqueue("handler", 2)
        handle.send_signal("wait-input", "hello")
        assert handle.result(timeout=PATIENCE_S) == EXPECTED
        assert client.enqueue("chain", 10).result(timeout=PATIENCE_S) == 10
        assert client.enqueue(ISOLATED, data="in little room").result(timeout=PATIENCE_S) == "in little room"
        assert set(daemon.effects()) >= {f"{handle.id}/side_effect/unique_key"}
        if end == "minimum":
            with pytest.raises(ExecutionTimedOut):
                client.execute(HURRIED, 2)
        if clustered:
            hand_on_the_largest(client, config["api"]["limits"]["payload_bytes"])
    assert daemon.stop() == 0


def hand_on_the_largest(client: Client, payload_bytes: int) -> None:
    """As an argument, a side effect's result and a result; to a child and as a signal too, unless that takes long."""
    data = "x" * (payload_bytes - len(b'{"data":""}'))
    handle = client.enqueue("hand_back", data=data)
    assert handle.result(timeout=PATIENCE_S) == data
    assert [each.id for each in client.list(handler="hand_back")] == [handle.id]
    with pytest.raises(InvalidArgument, match=f"at most {payload_bytes:,} are allowed"):
        client.enqueue("hand_back", data=data + "x")
    if payload_bytes < 1024**2:
        handle = client.enqueue("hand_on", data=data)
        assert handle.result(timeout=PATIENCE_S) == data
        [signal] = handle.receive_signals("handed on", type=str)
        assert signal.payload == data
