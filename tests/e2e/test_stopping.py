"""Cancel and terminate, at whatever an execution does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tempolite_sdk import (
    Client,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionFailed,
    ExecutionHandle,
    ExecutionStatus,
    ExecutionTerminated,
    OperationStatus,
    RetryPolicy,
    RetryState,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, execution, until_operation, until_status

HANDLERS = [
    *(f"stoppable:{name}" for name in ("stay", "stay_async", "fail", "refuse", "replace_error", "parent", "chain")),
    {
        "target": "stoppable:travel",
        "retry": {"maximum_attempts": 1},
        "compensation": {"retry": {"maximum_attempts": 1}},
    },
]
POOLS = {"handler": {"workers": 8}, "side_effect": {"workers": 8}}
SLOWLY = RetryPolicy(maximum_attempts=0, initial_interval=3_600, maximum_interval=3_600)
ONCE = RetryPolicy(maximum_attempts=1)

#: Where code of the execution sees the cancel.
PLACES = [
    "in_code",
    "in_side_effect",
    "in_wait_of_side_effect",
    "in_side_effect_backoff",
    "waiting_for_signal",
    "waiting_for_sleep",
    "waiting_for_child",
]


@pytest.fixture(scope="module")
def parked(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS, pools=POOLS)


@pytest.fixture(scope="module")
def unwound(shared_node: Start) -> Daemon:
    """Every wait gives up its stack at once."""
    return shared_node(*HANDLERS, pools=POOLS, hosts={"max_parked": 0})


@pytest.fixture
def client(parked: Daemon) -> Iterator[Client]:
    with parked.client() as client:
        yield client


def until_there(daemon: Daemon, client: Client, id: str, place: str) -> None:
    """Until the execution is at the place."""
    if place in ("in_code", "in_side_effect", "in_side_effect_backoff"):
        daemon.until(f"{id} runs")
    else:
        until_status(client, id, ExecutionStatus.WAITING)
    if place == "waiting_for_child":
        until_status(client, f"{id}.child", ExecutionStatus.WAITING)
    if place == "in_side_effect_backoff":
        until_operation(client, f"{id}/side_effect/effect", OperationStatus.RETRYING)


# --- cancel


@pytest.mark.parametrize("stacks", ["parked", "unwound"])
@pytest.mark.parametrize("place", PLACES)
def test_a_cancel_is_seen_once_wherever_the_code_is_and_it_may_clean_up(
    place: str, stacks: str, request: pytest.FixtureRequest
) -> None:
    daemon: Daemon = request.getfixturevalue(stacks)
    id = f"cancelled-{place}"
    with daemon.client() as client:
        handle = client.options(id=id).enqueue("stay", place)
        until_there(daemon, client, id, place)
        handle.cancel("no longer wanted")
        with pytest.raises(ExecutionCancelled, match="no longer wanted"):
            handle.result(PATIENCE_S)
        info = handle.info()
        assert (info.status, info.attempt) == (ExecutionStatus.CANCELLED, 1)
        if place == "waiting_for_child":
            child = until_status(client, f"{id}.child", ExecutionStatus.CANCELLED)
            assert child.reason == f"its parent {id} was cancelled"
    effects = daemon.effects()
    assert effects[f"{id} cancelled: no longer wanted"] == (1 if stacks == "parked" else effects_of_replay(effects, id))
    assert effects[f"{id} cleaned"] == 1
    if place == "in_side_effect":
        assert effects[f"{id} side effect recorded"] >= 1, "what it did is not lost"
    if place == "in_side_effect_backoff":
        assert effects[f"{id} runs"] == 1


def effects_of_replay(effects: Any, id: str) -> int:
    """Replay raises it again at its place: once for the sleep of the clean-up, which gave up its stack."""
    seen: int = effects[f"{id} cancelled: no longer wanted"]
    assert 1 <= seen <= 3
    return seen


@pytest.mark.parametrize("stacks", ["parked", "unwound"])
def test_a_cancel_ends_one_of_many_waits(stacks: str, request: pytest.FixtureRequest) -> None:
    daemon: Daemon = request.getfixturevalue(stacks)
    with daemon.client() as client:
        handle = client.options(id="in-three-waits").enqueue("stay_async")
        until_status(client, handle.id, ExecutionStatus.WAITING)
        handle.cancel("enough")
        with pytest.raises(ExecutionCancelled, match="enough"):
            handle.result(PATIENCE_S)
    assert daemon.effects()["in-three-waits cancelled: enough"] >= 1


def test_what_has_not_begun_is_cancelled_at_once(parked: Daemon, client: Client) -> None:
    scheduled = client.options(id="scheduled", delay=3_600).enqueue("stay", "in_code")
    client.pause_pool("handler")
    queued = client.options(id="queued").enqueue("stay", "in_code")
    assert scheduled.cancel("not now") is ExecutionStatus.CANCELLED
    assert queued.cancel("not now") is ExecutionStatus.CANCELLED
    client.resume_pool("handler")
    for handle in (scheduled, queued):
        with pytest.raises(ExecutionCancelled, match="not now"):
            handle.result(PATIENCE_S)
        assert handle.info().attempt == 0
        assert parked.effects()[f"{handle.id} runs"] == 0


def test_what_waits_for_its_next_attempt_is_cancelled_at_once(parked: Daemon, client: Client) -> None:
    handle = client.options(id="backoff", retry=SLOWLY).enqueue("fail")
    until_status(client, handle.id, ExecutionStatus.SCHEDULED)
    assert handle.cancel() is ExecutionStatus.CANCELLED
    with pytest.raises(ExecutionCancelled):
        handle.result(PATIENCE_S)
    assert parked.effects()["backoff runs"] == 1


def test_whoever_ends_well_is_completed_all_the_same(client: Client) -> None:
    handle = client.enqueue("refuse")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel("please")
    assert handle.result(PATIENCE_S) == "ended well: please"
    assert handle.info().cancel_requested


def test_whoever_fails_over_its_cancel_is_not_tried_again(client: Client) -> None:
    handle = client.enqueue("replace_error")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel()
    with pytest.raises(ExecutionFailed, match="could not clean up"):
        handle.result(PATIENCE_S)
    assert handle.info().retry_state is RetryState.CANCEL_REQUESTED


def test_a_cancel_may_be_repeated_and_the_first_reason_stands(client: Client) -> None:
    handle = client.enqueue("stay", "waiting_for_signal")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel("first")
    handle.cancel("second")
    with pytest.raises(ExecutionCancelled, match="first"):
        handle.result(PATIENCE_S)
    assert handle.cancel("third") is ExecutionStatus.CANCELLED
    assert handle.info().reason == "first"


def test_a_cancel_goes_down_a_chain_of_those_who_wait(client: Client) -> None:
    handle = client.options(id="chain").enqueue("chain", 10)
    until_status(client, "chain" + "." * 10, ExecutionStatus.WAITING)
    handle.cancel("all of you")
    with pytest.raises(ExecutionCancelled):
        handle.result(PATIENCE_S)
    for depth in range(11):
        until_status(client, "chain" + "." * depth, ExecutionStatus.CANCELLED)


def test_a_cancel_reaches_the_children_whose_policy_says_so(client: Client) -> None:
    policies = [None, "abandon", "request_cancel", "terminate"]
    handle = client.options(id="cancelling").enqueue("parent", policies, "waits")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    for number in range(4):
        until_status(client, f"cancelling.{number}", ExecutionStatus.WAITING)
    handle.cancel()
    with pytest.raises(ExecutionCancelled):
        handle.result(PATIENCE_S)
    until_status(client, "cancelling.2", ExecutionStatus.CANCELLED)
    # With its end, the policies for the end hold.
    until_status(client, "cancelling.3", ExecutionStatus.TERMINATED)
    for spared in ("cancelling.0", "cancelling.1"):
        assert execution(client, spared).status is ExecutionStatus.WAITING
        client.terminate(spared)


def test_the_end_of_a_parent_does_to_its_children_what_their_policies_say(parked: Daemon, client: Client) -> None:
    policies = [None, "abandon", "request_cancel", "terminate"]
    with parked.gate("ending") as gate:
        handle = client.options(id="ending").enqueue("parent", policies, "ends")
        for number in range(4):
            until_status(client, f"ending.{number}", ExecutionStatus.WAITING)
        gate.open()
    handle.result(PATIENCE_S)
    until_status(client, "ending.2", ExecutionStatus.CANCELLED)
    assert execution(client, "ending.3").status is ExecutionStatus.TERMINATED
    for spared in ("ending.0", "ending.1"):
        assert execution(client, spared).status is ExecutionStatus.WAITING
        client.terminate(spared)


def test_a_cancelled_saga_undoes_what_it_did(parked: Daemon, client: Client) -> None:
    handle = client.options(id="saga").enqueue("travel")
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.cancel("stay at home")
    with pytest.raises(ExecutionCompensated, match="stay at home"):
        handle.result(PATIENCE_S)
    undone = [effect for effect in parked.world.read_text().splitlines() if effect.startswith("saga undid")]
    assert undone == ["saga undid flight", "saga undid hotel"]


def test_what_is_being_undone_is_undone_to_the_end(parked: Daemon, client: Client) -> None:
    with parked.gate("undoing") as gate:
        handle = client.options(id="undoing").enqueue("travel", then="waits", fails=True)
        parked.until("undoing undoes flight")
        assert handle.cancel("too late") is ExecutionStatus.COMPENSATING
        gate.open()
        with pytest.raises(ExecutionCompensated, match="no money"):
            handle.result(PATIENCE_S)
    assert parked.effects()["undoing undid hotel"] == 1


# --- terminate


@pytest.mark.parametrize("stacks", ["parked", "unwound"])
@pytest.mark.parametrize("place", PLACES)
def test_terminate_ends_it_at_once_wherever_it_is(place: str, stacks: str, request: pytest.FixtureRequest) -> None:
    daemon: Daemon = request.getfixturevalue(stacks)
    id = f"terminated-{place}"
    with daemon.client() as client, daemon.gate(id):
        handle = client.options(id=id).enqueue("stay", place)
        until_there(daemon, client, id, place)
        assert handle.terminate("at once") is ExecutionStatus.TERMINATED
        with pytest.raises(ExecutionTerminated, match="at once"):
            handle.result(PATIENCE_S)
        if place == "waiting_for_child":
            assert execution(client, f"{id}.child").status is ExecutionStatus.TERMINATED
    effects = daemon.effects()
    assert effects[f"{id} cancelled: at once"] == effects[f"{id} cleaned"] == 0, "none of its code runs"


def test_terminate_ends_what_has_not_begun(client: Client) -> None:
    scheduled = client.options(delay=3_600).enqueue("stay", "in_code")
    client.pause_pool("handler")
    queued = client.enqueue("stay", "in_code")
    assert [each.terminate() for each in (scheduled, queued)] == [ExecutionStatus.TERMINATED] * 2
    client.resume_pool("handler")
    backoff = client.options(retry=SLOWLY).enqueue("fail")
    until_status(client, backoff.id, ExecutionStatus.SCHEDULED)
    assert backoff.terminate() is ExecutionStatus.TERMINATED
    assert [each.info().attempt for each in (scheduled, queued, backoff)] == [0, 0, 1]


def test_a_late_result_of_a_terminated_execution_is_refused(parked: Daemon, client: Client) -> None:
    with parked.gate("late") as gate:
        handle = client.options(id="late").enqueue("parent", [], "ends")
        until_status(client, "late", ExecutionStatus.RUNNING)
        handle.terminate("first")
        gate.open()
    assert handle.terminate("second") is ExecutionStatus.TERMINATED
    assert handle.cancel("third") is ExecutionStatus.TERMINATED
    with pytest.raises(ExecutionTerminated, match="first"):
        handle.result(PATIENCE_S)
    info = handle.info()
    assert (info.reason, info.result) == ("first", None)


def test_terminate_takes_a_whole_family_but_the_abandoned(client: Client) -> None:
    policies = [None, "abandon", "request_cancel", "terminate"]
    handle = client.options(id="family").enqueue("parent", policies, "waits")
    deep = client.options(id="deep").enqueue("chain", 20)
    until_status(client, "family.3", ExecutionStatus.WAITING)
    until_status(client, "deep" + "." * 20, ExecutionStatus.WAITING)
    handle.terminate("all of you")
    deep.terminate("all of you")
    for number in (0, 2, 3):
        assert execution(client, f"family.{number}").status is ExecutionStatus.TERMINATED
    assert execution(client, "family.1").status is not ExecutionStatus.TERMINATED
    client.terminate("family.1")
    for depth in range(21):
        info = execution(client, "deep" + "." * depth)
        assert (info.status, info.reason) == (ExecutionStatus.TERMINATED, "all of you")


def test_terminate_ends_a_saga_in_its_compensation_and_one_that_is_stuck(parked: Daemon, client: Client) -> None:
    with parked.gate("terminated-undoing"):
        undoing = client.options(id="terminated-undoing").enqueue("travel", then="waits", fails=True)
        parked.until("terminated-undoing undoes flight")
        assert undoing.terminate() is ExecutionStatus.TERMINATED
    stuck = client.options(id="terminated-stuck").enqueue("travel", then="fails", fails=True)
    until_status(client, stuck.id, ExecutionStatus.STUCK)
    assert stuck.terminate() is ExecutionStatus.TERMINATED
    effects = parked.effects()
    assert effects["terminated-undoing undid hotel"] == effects["terminated-stuck undid hotel"] == 0
    client.options(id="after").enqueue("travel", fails=True)
    until_status(client, "after", ExecutionStatus.COMPENSATED)


# --- through the death of the node


@pytest.fixture
def dying(node: Start) -> Daemon:
    return node(*HANDLERS, pools=POOLS)


def started(daemon: Daemon, client: Client) -> list[ExecutionHandle[Any]]:
    handles = []
    for place in PLACES:
        handles.append(client.options(id=place).enqueue("stay", place))
        until_there(daemon, client, place, place)
    handles.append(client.options(id="scheduled", delay=3_600).enqueue("stay", "in_code"))
    return handles


def test_an_acknowledged_cancel_survives_the_death_of_the_node(dying: Daemon) -> None:
    with dying.client() as client:
        handles = started(dying, client)
        for handle in handles:
            handle.cancel("before the end")
        dying.kill()
        dying.start()
        for handle in handles:
            with pytest.raises(ExecutionCancelled, match="before the end"):
                handle.result(PATIENCE_S)
        until_status(client, "waiting_for_child.child", ExecutionStatus.CANCELLED)
    effects = dying.effects()
    # What was under way when the node died may have run a second time.
    assert all(1 <= effects[f"{place} cleaned"] <= 2 for place in PLACES)


def test_an_acknowledged_terminate_survives_the_death_of_the_node(dying: Daemon) -> None:
    with dying.client() as client:
        handles = started(dying, client)
        for handle in handles:
            handle.terminate("before the end")
        dying.kill()
        before = dying.effects()
        dying.start()
        for handle in handles:
            with pytest.raises(ExecutionTerminated, match="before the end"):
                handle.result(PATIENCE_S)
        client.wait(lambda stats: stats.handler.active == 0, timeout=PATIENCE_S)
    assert dying.effects() == before
