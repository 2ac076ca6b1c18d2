"""The example of the brief on three nodes with one worker in every pool, one of which dies in the middle."""

from __future__ import annotations

import signal
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import count

import grpc
import pytest

from tempolite_sdk import Client, ExecutionStatus
from tests.e2e.daemon import PATIENCE_S
from tests.e2e.test_brief import EXPECTED, HANDLERS

from .cluster import KILLING, Cluster, Memory, Node, eventually
from .conftest import Found

POOLS = {pool: {"workers": 1} for pool in ("handler", "saga", "compensation", "side_effect")}
_numbers = count(1)


@pytest.fixture(scope="module")
def shared(shared_cluster: Found) -> Cluster:
    return shared_cluster(*HANDLERS, pools=POOLS, cluster={"node_timeout": "2s"})


@pytest.fixture
def three(shared: Cluster) -> Cluster:
    """All of them up, whatever the test before has done."""
    return shared.heal()


def test_fifty_of_them_end_side_by_side(three: Cluster) -> None:
    with three.client() as client:
        handles = [client.enqueue("handler", 2) for _ in range(50)]
        for handle in handles:
            handle.send_signal("wait-input", "hello")
        assert [handle.result(PATIENCE_S) for handle in handles] == [EXPECTED] * 50
        ran_on = {each.execution.node_id for handle in handles for each in handle.tree()}
    assert ran_on == {"a", "b", "c"}, "they share the work"
    assert {effect: count for effect, count in three.effects().items() if count > 1} == {}


def test_a_chain_of_thirty_that_wait_for_each_other_ends(three: Cluster) -> None:
    with three.client() as client:
        assert client.enqueue("chain", 30).result(PATIENCE_S) == 30


# --- killed around a commit


def arm(three: Cluster, victim: Node, kill_at: str, *, leads: bool) -> None:
    """Has it die around a commit from now on; see `killing_daemon`."""
    victim.kill()
    victim.start(*KILLING, KILL_AT=kill_at)
    three.until_all_live()
    if leads:
        three.transfer_leadership(victim)


def run_to_the_end(client: Client, id: str) -> str:
    """Enqueues the example and sends its signal, each safe to repeat, and waits for the result."""
    handle = client.options(id=id, request_id=id).enqueue("handler", 2)
    handle.send_signal("wait-input", "hello", request_id="the-only-one")
    result: str = handle.result(timeout=PATIENCE_S)
    return result


def killed_at(three: Cluster, victim: Node, kill_at: str, *, leads: bool, comes_back: bool) -> bool:
    """Whether it died before the example ended, which it does without mistakes then."""
    id = f"example-{next(_numbers)}"
    arm(three, victim, kill_at, leads=leads)
    before = three.effects()
    with three.client(*three.others(victim)) as client, ThreadPoolExecutor(2) as others:
        result: Future[str] = others.submit(run_to_the_end, client, id)
        death = others.submit(victim.wait)
        wait({result, death}, return_when=FIRST_COMPLETED)
        if not death.done():
            assert result.result() == EXPECTED
            there = max(node.view().applied_index for node in three.others(victim))
            eventually(lambda: death.done() or applied(victim) >= there, "it has applied as much as the others")
        if not death.done():
            victim.signal(signal.SIGKILL)
            return False
        memory: Memory = three.remember()
        if comes_back:
            victim.start()
        assert result.result(PATIENCE_S) == EXPECTED
        tree = client.tree(id)
    assert {each.execution.status for each in tree} == {ExecutionStatus.COMPLETED}
    memory.check_nothing_ran_again()
    counts = (three.effects() - before).values()
    assert sum(count - 1 for count in counts) <= 1, "what was under way may have run a second time, and no more"
    return True


def applied(node: Node) -> int:
    """0: it does not answer."""
    try:
        return node.view().applied_index
    except grpc.RpcError:
        return 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kill_at", ["before:side_effect:unique_key", "after:step:SomeSagaStep#1", "before:signal:wait-input#1"]
)
def test_when_its_leader_dies_the_others_go_on_with_it(three: Cluster, kill_at: str) -> None:
    assert killed_at(three, three["a"], kill_at, leads=True, comes_back=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill_at", ["after:side_effect:unique_key", "before:step:SomeSagaStep#2"])
def test_when_the_owner_of_its_saga_dies_and_comes_back_it_goes_on(three: Cluster, kill_at: str) -> None:
    three.transfer_leadership(three["a"])
    assert killed_at(three, three["b"], kill_at, leads=False, comes_back=True)


@pytest.mark.cluster
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "is lost"])
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
@pytest.mark.parametrize("name", ["a", "b"])
def test_killed_around_any_commit_it_ends_right_and_nothing_recorded_runs_again(
    three: Cluster, name: str, leads: bool, comes_back: bool
) -> None:
    for commit in count(1):
        if not leads:
            three.transfer_leadership(three["c"])
        moment = "before" if commit % 2 else "after"
        if not killed_at(three, three[name], f"{moment}:{commit}", leads=leads, comes_back=comes_back):
            break
        three.heal()
    assert commit > 8, "the example has more commits than that"
