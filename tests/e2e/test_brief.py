"""The example of the brief, with one worker in every pool."""

from __future__ import annotations

import sys
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest

from tempolite_sdk import Client, ExecutionCompensated, ExecutionStatus

from .conftest import Start
from .daemon import Daemon

HANDLERS = ("brief:handler", "brief:saga_handler", "brief:handler_side", "brief:chain")
TWIN = ("brief:async_handler", "brief:async_saga_handler", "brief:handler_side")
EXPECTED = "42, ticket of first, ticket of second; result!!!; something with hello"


def test_it_ends_with_one_worker_in_every_pool(node: Start) -> None:
    with node(*HANDLERS).client() as client:
        handle = client.enqueue("handler", 2)
        handle.send_signal("wait-input", "hello")
        assert handle.result(timeout=60) == EXPECTED


def test_fifty_of_them_end_side_by_side(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        handles = [client.enqueue("handler", 2) for _ in range(50)]
        for handle in handles:
            handle.send_signal("wait-input", "hello")
        assert [handle.result(timeout=60) for handle in handles] == [EXPECTED] * 50
    assert set(daemon.effects().values()) == {1}


def test_a_chain_of_fifty_that_wait_for_each_other_ends(node: Start) -> None:
    with node(*HANDLERS).client() as client:
        assert client.enqueue("chain", 50).result(timeout=60) == 50


def test_what_a_saga_did_is_undone_when_it_fails(node: Start) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        saga = client.enqueue("saga_handler", param=2, fails=True)
        with pytest.raises(ExecutionCompensated, match="it was not meant to be"):
            saga.result(timeout=60)
    undone = [effect for effect in daemon.world.read_text().splitlines() if "/compensation/" in effect]
    assert undone == [
        f"{saga.id}/compensation/SomeSagaStep#2 ticket of second",
        f"{saga.id}/compensation/SomeSagaStep#1 ticket of first",
    ]


# --- killed at every commit

KILLING = (sys.executable, "-m", "tests.e2e.killing_daemon")


def id_of(number: int) -> str:
    return f"example-{number:02}"


def start_to_die(daemon: Daemon, moment: str, commit: int) -> None:
    """At a commit of the example of that number."""
    daemon.start(*KILLING, KILL_AT=f"{moment}:{commit}", KILL_OF=id_of(commit))


def run_to_the_end(client: Client, id: str, example: str) -> str:
    """Enqueues the example, or its twin, and sends its signal, each safe to repeat, and waits for the result."""
    handle = client.options(id=id).enqueue(example, 2)
    handle.send_signal("wait-input", "hello", request_id=f"the-only-one-of-{id}")
    result: str = handle.result(timeout=60)
    return result


def killed_at(daemon: Daemon, commit: int, *, next_moment: str, example: str, at_once: int) -> bool:
    """Runs an example on the node, which dies at a commit of it and is started so that it dies at the following commit
    of the next example. False: the example ended with fewer commits.

    at_once: so many side effects and steps it has under way at a time."""
    id, of_others = id_of(commit), set(daemon.effects())
    with daemon.client() as client, ThreadPoolExecutor(2) as others:
        result, death = others.submit(run_to_the_end, client, id, example), others.submit(daemon.wait)
        wait({result, death}, return_when=FIRST_COMPLETED)
        if result.done():
            assert result.result() == EXPECTED
            daemon.close()
            return False
        recorded, before = daemon.recorded(), daemon.effects()
        start_to_die(daemon, next_moment, commit + 1)
        assert result.result(timeout=60) == EXPECTED
        tree = client.tree(id)
    after = daemon.effects()
    assert {each.execution.status for each in tree} == {ExecutionStatus.COMPLETED}
    assert {effect: after[effect] for effect in recorded} == {effect: before[effect] for effect in recorded}
    # What was under way may have run a second time, and no more.
    counts = [count for effect, count in after.items() if effect not in of_others]
    assert max(counts) <= 2
    assert sum(count - 1 for count in counts) <= at_once
    return True


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(("before", "after"), id="before one, after the next"),
        pytest.param(("before", "before"), id="before each", marks=pytest.mark.sweep),
        pytest.param(("after", "after"), id="after each", marks=pytest.mark.sweep),
    ],
)
def test_killed_at_any_commit_it_ends_right_and_nothing_recorded_runs_again(
    node: Start, moments: tuple[str, str]
) -> None:
    daemon = node(*HANDLERS)
    daemon.kill()
    start_to_die(daemon, moments[0], 1)
    assert deaths_of(daemon, moments, example="handler", at_once=1) > 9, "it has at least so many, one after the other"


@pytest.mark.sweep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moments", [("before", "after"), ("before", "before"), ("after", "after")])
def test_so_does_its_twin_that_does_all_at_once(node: Start, moments: tuple[str, str]) -> None:
    daemon = node(*TWIN)
    daemon.kill()
    start_to_die(daemon, moments[0], 1)
    assert deaths_of(daemon, moments, example="async_handler", at_once=4) > 6


def deaths_of(daemon: Daemon, moments: tuple[str, str], *, example: str, at_once: int) -> int:
    """At each commit of an example, until one ends with fewer."""
    deaths = 0
    while killed_at(daemon, deaths + 1, next_moment=moments[(deaths + 1) % 2], example=example, at_once=at_once):
        deaths += 1
    return deaths
