"""What a config that is read again changes in a running node, and what it says of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tempolite_node.config import Address, Config, load_config
from tempolite_node.errors import StartError
from tempolite_node.node import reloadable
from tempolite_node.node.reload import Part, Prepared, Reload, merged

FILE = """
node: {{id: n1, data_dir: ./var}}
api: {{listen: "{listen}"{api}}}
hosts: {{processes: {processes}}}
pools: {{handler: {{workers: {workers}}}}}
handlers:
  - {{target: "shop:greet", priority: {priority}}}
  - {{target: "{target}"}}
"""
DEFAULTS = {
    "listen": "127.0.0.1:0",
    "api": "",
    "processes": 1,
    "workers": 1,
    "priority": 0,
    "target": "shop:pack",
}


class Node:
    """A config file, and a part that takes what it may."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "node.yaml"
        self.write()
        self.taken: list[Config] = []
        self.reload = Reload(self.read(), self.read, [reloadable.executions(self._take)])

    def write(self, **settings: object) -> None:
        self.path.write_text(FILE.format(**DEFAULTS | settings))

    def read(self) -> Config:
        return load_config(self.path, {})

    async def _take(self, _running: Config, config: Config) -> None:
        self.taken.append(config)

    async def hang_up(self) -> dict[str, Any]:
        """What the log says of it."""
        with capture_logs() as lines:
            self.reload.request()
            task = self.reload._task
            assert task is not None
            await task
        (line,) = lines
        return dict(line)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


async def test_what_can_change_changes_and_the_rest_is_said_to_need_a_restart(node: Node) -> None:
    node.write(workers=4, priority=7, processes=2, target="shop.packing:pack")

    line = await node.hang_up()

    assert (line["log_level"], line["event"]) == ("warning", "the config was read again"), "some of it is not in force"
    assert line["changed"] == ["pools.handler.workers", "handlers.greet.priority"]
    assert line["needs_restart"] == ["hosts.processes", "handlers.pack.target"]
    (config,) = node.taken
    assert (config.pools.handler.workers, config.handlers[0].priority) == (4, 7)
    assert (config.hosts.processes, config.handlers[1].target) == (1, "shop:pack"), "it still runs with these"


async def test_what_needs_a_restart_is_said_each_time_until_there_is_one(node: Node) -> None:
    node.write(processes=2)

    lines = [await node.hang_up() for _ in range(2)]

    assert [line["needs_restart"] for line in lines] == [["hosts.processes"]] * 2


async def test_a_file_that_is_as_before_changes_nothing(node: Node) -> None:
    line = await node.hang_up()

    assert (line["changed"], line["needs_restart"], node.taken) == ([], [], [])
    assert line["log_level"] == "info"


@pytest.mark.parametrize("break_it", [lambda path: path.write_text("pools: ["), Path.unlink])
async def test_a_bad_file_changes_nothing_and_its_mistakes_are_told(
    node: Node, break_it: Callable[[Path], None]
) -> None:
    break_it(node.path)

    line = await node.hang_up()

    assert (line["log_level"], line["event"]) == ("error", "the config is wrong; nothing was changed")
    assert len(line["problems"]) == 1
    assert "node.yaml" in line["problems"][0]
    assert node.taken == []
    node.write(workers=3)
    assert (await node.hang_up())["changed"] == ["pools.handler.workers"], "the next one is read as ever"


async def test_a_file_of_one_part_that_is_wrong_keeps_every_part_from_changing(node: Node) -> None:
    def prepare(_running: Config, _config: Config) -> Prepared:
        raise StartError("can't read server.pem: Permission denied")

    node.reload = Reload(node.read(), node.read, [reloadable.executions(node._take), Part((), prepare)])
    node.write(workers=4)

    line = await node.hang_up()

    assert line["problems"] == ["can't read server.pem: Permission denied"]
    assert node.taken == []


async def test_what_is_asked_while_a_file_is_read_has_it_read_once_more(node: Node) -> None:
    node.write(workers=2)
    with capture_logs() as lines:
        node.reload.request()
        await asyncio.sleep(0)  # the first is under way
        node.reload.request()
        assert node.reload._task is not None
        await node.reload._task

    assert [line["changed"] for line in lines] == [["pools.handler.workers"], []]


def test_tokens_are_not_taken_away_from_an_address_that_only_a_restart_would_change(tmp_path: Path) -> None:
    """The file as it is now would be safe; what would run, half of either, would be open to everyone."""
    node = Node(tmp_path)
    safe = node.read()
    tokens = ', tokens: [{name: ci, role: admin, sha256: "%s"}]' % ("0" * 64)
    node.write(api=tokens)
    with_tokens = node.read()
    anywhere = with_tokens.api.model_copy(update={"listen": Address("0.0.0.0", 8367)})
    public = with_tokens.model_copy(update={"api": anywhere})
    parts = [Part(("api.tokens*",), lambda _running, _config: None)]

    assert merged(with_tokens, safe, parts)[1] == ["api.tokens"]
    with pytest.raises(StartError, match=r"api.listen needs a restart to change, and until then an address that"):
        merged(public, safe, parts)
