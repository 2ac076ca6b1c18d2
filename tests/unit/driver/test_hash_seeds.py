"""Worker hosts of all nodes run with one hash seed, so that code that loops over a set replays on any of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tempolite_node.engine.decide import decide
from tempolite_node.engine.model import Component
from tempolite_node.engine.work import Work
from tests.unit.engine.story import NODE, registration

from .conftest import enqueue, simulated
from .simulated import SimulatedNode

THEIRS = 7


@pytest.fixture
def joining() -> Iterator[SimulatedNode]:
    """A node among whose others one has registered. Its own hosts begin with another hash seed."""
    with simulated(**dict.fromkeys(Component, 10)) as node:
        work = Work(node.executions)
        decide(work, registration("node-2", handlers=(), hash_seed=THEIRS))
        node.executions.save(work, node.executions.applied_index)
        yield node


def test_a_node_that_joins_runs_nothing_before_its_hosts_have_the_hash_seed_of_the_others(
    joining: SimulatedNode,
) -> None:
    node = joining
    first = node.host_up()
    assert node.executions.nodes()[NODE].hash_seed == THEIRS
    assert (node.replaced, node.dispatch.hosts.hash_seed) == ([first], THEIRS)
    enqueue(node, "a")
    assert node.attempts == {}

    # one that was on its way is no successor
    late = node.host_up()
    assert node.replaced == [first, late]
    assert node.attempts == {}

    fit = node.host_up(hash_seed=THEIRS)
    assert node.attempts["a"].host == fit
    node.host_up(hash_seed=THEIRS)
    node.round()
    assert node.closed_hosts == [first, late]


def test_what_runs_when_it_is_decided_goes_on_in_its_host_until_the_successor_is_up() -> None:
    with simulated(**dict.fromkeys(Component, 10)) as node:
        host = node.host_up()
        enqueue(node, "before")

        node.dispatch.hosts.use_hash_seed(THEIRS)
        enqueue(node, "after")
        assert {id: each.host for id, each in node.attempts.items()} == {"before": host}

        successor = node.host_up(hash_seed=THEIRS)
        assert {id: each.host for id, each in node.attempts.items()} == {"before": host, "after": successor}
        assert node.closed_hosts == []


def test_it_is_decided_when_the_last_node_is_upgraded_and_those_before_it_take_it_too() -> None:
    with simulated(**dict.fromkeys(Component, 10)) as node:
        work = Work(node.executions)
        decide(work, registration("node-2", handlers=(), format=2))
        node.executions.save(work, node.executions.applied_index)
        host = node.host_up()
        assert (node.replaced, node.executions.nodes()[NODE].hash_seed) == ([], None)

        node.ask(registration("node-2", handlers=(), boot_id="upgraded", hash_seed=THEIRS))
        node.round()

        assert (node.replaced, node.executions.nodes()[NODE].hash_seed) == ([host], THEIRS)


def test_a_node_that_is_alone_keeps_the_one_that_it_began_with() -> None:
    with simulated(**dict.fromkeys(Component, 10)) as node:
        node.host_up()
        node.host_up()

        assert (node.replaced, node.executions.nodes()[NODE].hash_seed) == ([], 0)
