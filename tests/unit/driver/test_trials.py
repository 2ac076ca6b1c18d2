"""Executions that their node died of again and again, perhaps: nothing else is given out beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tempolite_node.engine.commands import CompleteSideEffect, Resume, Terminate
from tempolite_node.engine.effects import NodeDied
from tempolite_node.engine.model import ALONE_AFTER, SET_ASIDE_AFTER, Component, Execution, Status

from .conftest import complete, enqueue, receive, signal, simulated
from .simulated import SimulatedNode

Nodes = list[SimulatedNode]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """The processes of a node, one after another: the last one is up, with five workers in each pool."""
    with simulated(**dict.fromkeys(Component, 5)) as node:
        node.host_up()
        processes = [node]
        yield processes
        processes[-1].close()


def die(nodes: Nodes, times: int = 1, *, after_ms: int = 1_000) -> SimulatedNode:
    """The node dies without a word, and is started again."""
    for _ in range(times):
        node = nodes[-1]
        node.close()
        again = SimulatedNode(node.path, node.pools, window_max=node.window_max)
        again.now_ms = again.last_alive_ms = node.now_ms + after_ms
        nodes.append(again)
        again.host_up()
    return nodes[-1]


def execution(node: SimulatedNode, execution_id: str) -> Execution:
    found = node.executions.execution(execution_id)
    assert found is not None
    return found


def record(node: SimulatedNode, execution_id: str) -> None:
    attempt = node.attempts[execution_id]
    key = f"done at {node.now_ms}"
    node.say(attempt, "", CompleteSideEffect(key=key, digest=b"", result=b"1", started_ms=node.now_ms))


def test_each_that_ran_is_tried_alone_in_turn(nodes: Nodes) -> None:
    for name in "abc":
        enqueue(nodes[0], name)
    node = die(nodes, ALONE_AFTER - 1)
    assert sorted(node.attempts) == ["a", "b", "c"]

    node = die(nodes)

    assert sorted(node.attempts) == ["a"]
    assert [each.execution_id for each in node.happened if isinstance(each, NodeDied)] == ["a", "b", "c"]
    complete(node, "a")
    assert sorted(node.attempts) == ["b"]
    record(node, "b")
    assert sorted(node.attempts) == ["b", "c"], "it is cleared"


def test_others_wait_meanwhile_and_start_when_all_were_tried(nodes: Nodes) -> None:
    enqueue(nodes[0], "a")
    node = die(nodes, ALONE_AFTER)
    enqueue(node, "new")
    enqueue(node, "saga", Component.SAGA)
    assert sorted(node.attempts) == ["a"]

    record(node, "a")

    assert sorted(node.attempts) == ["a", "new", "saga"]


@pytest.mark.parametrize(
    "over",
    [
        lambda node: complete(node, "a"),
        lambda node: record(node, "a"),
        lambda node: receive(node, "a"),
        lambda node: node.ask(Terminate(at_ms=node.now_ms, execution_id="a", reason="enough")),
        lambda node: pass_s(node, 61),
    ],
    ids=["it completes", "it records", "it waits", "it is terminated", "a minute passes"],
)
def test_the_trial_is_over_when(nodes: Nodes, over: Callable[[SimulatedNode], None]) -> None:
    enqueue(nodes[0], "a")
    node = die(nodes, ALONE_AFTER)
    enqueue(node, "new")
    assert sorted(node.attempts) == ["a"]

    over(node)

    assert "new" in node.attempts


def pass_s(node: SimulatedNode, seconds: float) -> None:
    """By its own clock the driver would look by then."""
    due_s = node.driver._idle_s()
    assert due_s is not None
    assert due_s <= seconds
    node.now_ms += round(seconds * 1_000)
    node.round()


def test_who_kills_the_node_is_set_aside_and_nobody_else(nodes: Nodes) -> None:
    """Nine innocents compute beside it, and record nothing for as long as it takes to kill the node."""
    for number in range(9):
        enqueue(nodes[0], f"innocent-{number}")
    enqueue(nodes[0], "killer")
    node = nodes[0]
    for _ in range(100):
        while "killer" not in node.attempts and node.attempts:
            complete(node, min(node.attempts))
        if "killer" not in node.attempts:
            break
        node = die(nodes)

    assert execution(node, "killer").status is Status.SUSPENDED
    assert {execution(node, f"innocent-{number}").status for number in range(9)} == {Status.COMPLETED}
    assert len(nodes) - 1 == SET_ASIDE_AFTER


def test_those_that_only_wait_are_cleared_in_the_round_in_which_they_come_to_rest(nodes: Nodes) -> None:
    for name in ("a", "b"):
        enqueue(nodes[0], name)
        receive(nodes[0], name)
    node = nodes[0]
    for _ in range(20):
        node = die(nodes)
        assert sorted(node.attempts) == ["a", "b"], "together"
        for name in ("a", "b"):
            receive(node, name)
        assert {execution(node, name).node_deaths for name in ("a", "b")} == {0}

    signal(node, "a")
    complete(node, "a")
    assert execution(node, "a").status is Status.COMPLETED


def test_a_pool_without_a_free_slot_holds_no_other_up(nodes: Nodes) -> None:
    enqueue(nodes[0], "a")
    die(nodes, ALONE_AFTER - 1)
    nodes[-1].close()
    again = SimulatedNode(nodes[-1].path, nodes[-1].pools)
    again.now_ms = again.last_alive_ms = nodes[-1].now_ms + 1_000
    again.dispatch.pools[Component.HANDLER].paused = True
    nodes.append(again)
    again.host_up()

    enqueue(again, "saga", Component.SAGA)

    assert sorted(again.attempts) == ["saga"]
    again.reconfigure(lambda: setattr(again.dispatch.pools[Component.HANDLER], "paused", False))
    enqueue(again, "new")
    assert sorted(again.attempts) == ["saga"], "it may be what the node dies of next"
    complete(again, "saga")
    assert sorted(again.attempts) == ["a"]


def test_what_runs_for_more_than_a_minute_holds_no_trial_up(nodes: Nodes) -> None:
    enqueue(nodes[0], "killer")
    node = die(nodes, SET_ASIDE_AFTER)
    enqueue(node, "long")

    node.ask(Resume(at_ms=node.now_ms, execution_id="killer"))
    enqueue(node, "new")
    assert sorted(node.attempts) == ["long"], "nothing is given out until it has ended, or is free of blame"

    pass_s(node, 61)
    assert sorted(node.attempts) == ["killer", "long"]
    pass_s(node, 61)
    assert sorted(node.attempts) == ["killer", "long", "new"]


def test_one_that_waits_for_its_turn_may_be_terminated(nodes: Nodes) -> None:
    for name in "abc":
        enqueue(nodes[0], name)
    node = die(nodes, ALONE_AFTER)
    node.ask(Terminate(at_ms=node.now_ms, execution_id="b", reason="enough"))

    complete(node, "a")

    assert sorted(node.attempts) == ["c"]


def test_a_window_full_of_them_is_gone_through() -> None:
    with simulated(window_max=2, **dict.fromkeys(Component, 5)) as first:
        first.host_up()
        for name in "abcde":
            enqueue(first, name)
        nodes = [first]
        for _ in range(ALONE_AFTER):
            while len(nodes[-1].attempts) < 5:
                nodes[-1].round()
            node = die(nodes)
        for name in "abcde":
            assert sorted(node.attempts) == [name]
            complete(node, name)
