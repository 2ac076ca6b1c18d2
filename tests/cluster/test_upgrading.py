"""Nodes of two versions in one cluster: the later one's format of the log is used when all of them know it."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from tempolite_node.engine.formats import FORMAT
from tempolite_sdk.errors import TempoliteError
from tests.e2e.daemon import PATIENCE_S

from .cluster import Cluster, Node
from .conftest import Found
from .test_stopping import POOLS, Load, load

NEXT = (sys.executable, "-m", "tests.cluster.next_daemon")
NODES = {"a": {}, "b": {}, "c": {}, "d": {"join": True}}
IN_USE = "all nodes know a later format of the log: it is in use now"
TOO_OLD = f"the log is in format {FORMAT + 1}, and this version of node {{}} knows up to {FORMAT}: upgrade it"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def three(cluster: Found) -> Cluster:
    """Nobody is held for dead for being silent. Not started."""
    handlers = ("recovering:work", "recovering:add")
    return cluster(*handlers, nodes=NODES, pools=POOLS, cluster={"node_timeout": "5m"}, start=False)


def swap(three: Cluster, node: Node, callers: Load, *command: str) -> None:
    """Stops it in peace and starts it in another version."""
    assert node.stop() == 0
    callers.until_it_goes_on()
    node.start(*command)
    three.until_all_live()
    callers.until_it_goes_on()


def logged(node: Node, event: str) -> bool:
    return any(line["event"] == event for line in node.log)


def test_three_nodes_upgraded_one_after_the_other_under_load_fail_no_call(three: Cluster) -> None:
    nodes = three.start().founders
    with load(three, callers=4) as callers:
        callers.until_it_goes_on()
        # when: one after the other is upgraded, and one back and forth: until all are, that is allowed
        swap(three, nodes[0], callers, *NEXT)
        swap(three, nodes[0], callers)
        swap(three, nodes[0], callers, *NEXT)
        swap(three, nodes[1], callers, *NEXT)
        # then: what the third one does not know is not used yet
        waits = nodes[1].until_logged("the log stays in its format until these nodes are upgraded")
        assert (waits["format"], waits["older"]) in [(FORMAT, [nodes[2].id]), (FORMAT, [nodes[1].id, nodes[2].id])]
        assert not any(logged(node, IN_USE) or logged(node, "a note was applied") for node in nodes)
        # and when it is upgraded, it is used
        swap(three, nodes[2], callers, *NEXT)
        for node in nodes:
            assert node.until_logged(IN_USE)["format"] == FORMAT + 1
            assert node.until_logged("a note was applied")["format"] == FORMAT + 1
        callers.until_it_goes_on()
    assert callers.errors == []
    assert all(result == [number, number + 1, number] for number, result in callers.results)
    # both versions have made the same of every entry, and the new rule began for all of them at one place
    three.check_equal_stores()
    priorities = [
        row[0] for row in nodes[0].query("SELECT priority FROM executions WHERE parent_row IS NULL ORDER BY row")
    ]
    assert priorities == sorted(priorities)
    assert set(priorities) == {0, 1}


def test_there_is_no_way_back_from_a_format_that_is_in_use_and_no_way_in_without_knowing_it(three: Cluster) -> None:
    # given: all nodes are of the next version
    old = three.start(*NEXT).follower()
    old.until_logged("a note was applied")
    old.stop()
    # when one is started in the earlier version, then it says what to do
    old.spawn()
    assert old.wait() == 1
    assert any(TOO_OLD.format(old.id) in str(line["event"]) for line in old.log)
    old.start(*NEXT)
    three.until_all_live()
    # and so does one that comes new
    new = three["d"]
    new.spawn()
    with three.client() as client:
        with suppress(TempoliteError):  # it may be gone before it counts
            client.add_member("d", three.entries["d"]["peers"], timeout=PATIENCE_S)
    assert new.wait() == 1
    assert any(TOO_OLD.format("d") in f"{line['event']} {line.get('error')}" for line in new.log)
    new.start(*NEXT)
    with three.client() as client:
        assert client.execute("work", 7) == [7, 8, 7]
