"""Executions that run when their node dies, again and again: tried alone, and set aside in the end."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import FailAttempt, Heartbeat, Resolution
from tempolite_node.engine.effects import Accepted, Halted, NodeDied, Ready, Registered, Rejection, Trusted
from tempolite_node.engine.model import (
    ALONE_AFTER,
    SET_ASIDE_AFTER,
    Component,
    Failure,
    OperationKind,
    RetryState,
    Status,
)

from .story import Story


def started(story: Story, execution_id: str = "order-1", **fields: object) -> str:
    story.running(execution_id, **fields)
    return execution_id


def die(story: Story, times: int, execution_id: str = "order-1", after_ms: int = 1_000) -> None:
    """The node dies so often while the execution runs, which is started again after each but the last."""
    for time in range(times):
        if time:
            story.start(execution_id)
        story.die(after_ms)


def set_aside(story: Story, execution_id: str = "order-1", **fields: object) -> str:
    started(story, execution_id, **fields)
    die(story, SET_ASIDE_AFTER)
    return execution_id


# --- slowly


def test_who_runs_when_the_node_dies_soon_after_its_start_is_tried_alone_from_the_third_time_on(story: Story) -> None:
    started(story)

    die(story, ALONE_AFTER - 1)
    [ready] = story.effects_of(Ready)
    assert (ready.alone, story.effects_of(NodeDied)) == (False, [])
    story.start("order-1")
    die(story, 1)

    order = story["order-1"]
    assert (order.status, order.node_deaths, order.crashes) == (Status.QUEUED, ALONE_AFTER, 0)
    [ready] = story.effects_of(Ready)
    assert ready.alone
    [died] = story.effects_of(NodeDied)
    assert died.execution.node_deaths == ALONE_AFTER


def test_after_five_more_it_is_set_aside_with_the_reason(story: Story) -> None:
    set_aside(story)

    order = story["order-1"]
    assert (order.status, order.attached, order.ready_at) == (Status.SUSPENDED, False, None)
    assert (order.failure.type, order.failure.cause.type) == ("NodeDiedTooOften", "NodeRestarted")
    assert "its node died 8 times in a row" in order.failure.message
    assert len(story.attempts("order-1")) == SET_ASIDE_AFTER
    [halted] = story.effects_of(Halted)
    assert halted.execution.set_aside


def test_it_stays_so_over_starts_of_the_node_and_on_another_one(story: Story) -> None:
    set_aside(story)

    story.restart()
    assert story["order-1"].status is Status.SUSPENDED
    story.register("node-2")
    story.remove("node-1")
    story.place()

    order = story["order-1"]
    assert (order.status, order.owner) == (Status.SUSPENDED, "node-2")
    assert story.executions.misplaced(10) == []


def test_an_operator_resumes_it_and_then_it_is_tried_alone(story: Story) -> None:
    set_aside(story)

    assert story.resume("order-1") == Accepted(status=Status.QUEUED)

    [ready] = story.effects_of(Ready)
    assert ready.alone
    assert story.resume("order-1") == Accepted(status=Status.QUEUED), "asked again"
    story.start("order-1")
    die(story, SET_ASIDE_AFTER - ALONE_AFTER - 1)
    assert story["order-1"].status is Status.QUEUED
    story.start("order-1")
    die(story, 1)
    assert story["order-1"].status is Status.SUSPENDED


def test_it_can_be_cancelled_and_terminated(story: Story) -> None:
    set_aside(story)
    assert story.cancel("order-1") == Accepted(status=Status.CANCELLED)
    refused = story.resume("order-1")
    assert isinstance(refused, Rejection)
    assert "only one that is suspended" in refused.message


def test_a_start_does_not_count_those_that_it_sets_aside(story: Story) -> None:
    started(story)
    die(story, SET_ASIDE_AFTER - 1)
    story.start("order-1")
    story.running("order-2")

    story.now_ms += 1_000
    outcome = story.register(boot_id="next", last_alive_ms=story.now_ms)

    assert outcome == Registered(requeued={"fulfil": 1})


def test_code_that_is_not_what_was_recorded_can_be_resumed_by_an_operator_too(story: Story) -> None:
    story.suspended("order-1")
    assert story.resume("order-1") == Accepted(status=Status.QUEUED)
    assert story["order-1"].node_deaths == 0


# --- what clears it


@pytest.mark.parametrize("deaths", [1, ALONE_AFTER, SET_ASIDE_AFTER - 1])
def test_a_recorded_operation_does(story: Story, deaths: int) -> None:
    started(story)
    die(story, deaths)
    story.start("order-1")

    story.complete_side_effect("order-1")

    assert story["order-1"].node_deaths == 0
    assert bool(story.effects_of(Trusted)) == (deaths >= ALONE_AFTER)


def test_no_storm_of_kills_touches_work_that_records_something_each_time(story: Story) -> None:
    started(story)
    for number in range(50):
        story.complete_side_effect("order-1", key=f"quote#{number}")
        story.die()
        assert story["order-1"].node_deaths == 1
        story.start("order-1")

    story.complete("order-1")

    assert story["order-1"].status is Status.COMPLETED


def test_so_does_a_heartbeat_that_tells_something_new(story: Story) -> None:
    started(story)
    story.ask("order-1", Heartbeat(details=b"1"))
    die(story, ALONE_AFTER)
    story.start("order-1")

    story.ask("order-1", Heartbeat(details=b"1"))
    assert story["order-1"].node_deaths == ALONE_AFTER, "it came no further than before"
    story.ask("order-1", Heartbeat(details=b"2"))

    assert (story["order-1"].node_deaths, len(story.effects_of(Trusted))) == (0, 1)


def test_so_does_an_attempt_that_fails_or_only_waits(story: Story) -> None:
    started(story)
    die(story, ALONE_AFTER)
    story.start("order-1")
    story.ask("order-1", FailAttempt(failure=Failure(type="E")))
    assert story["order-1"].node_deaths == 0

    started(story, "order-2")
    die(story, ALONE_AFTER, "order-2")
    story.start("order-2")
    assert story.rest("order-2") == Accepted(status=Status.RUNNING)
    assert (story["order-2"].node_deaths, len(story.effects_of(Trusted))) == (0, 1)


def test_a_word_on_the_rest_of_an_earlier_attempt_is_refused(story: Story) -> None:
    started(story)
    die(story, 1)
    assert isinstance(story.rest("order-1"), Rejection)
    assert story["order-1"].node_deaths == 1


def test_a_step_that_is_begun_again_is_nothing_new(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    for _ in range(SET_ASIDE_AFTER):
        story.begin_step("order-1")
        story.die()
        story.start("order-1")

    assert story["order-1"].status is Status.SUSPENDED


def test_who_runs_for_more_than_a_minute_is_not_blamed(story: Story) -> None:
    started(story)
    die(story, ALONE_AFTER)
    story.start("order-1")

    die(story, 1, after_ms=61_000)

    assert story["order-1"].node_deaths == 0


def test_a_node_that_is_stopped_has_not_died(story: Story) -> None:
    started(story)
    for _ in range(SET_ASIDE_AFTER):
        story.restart()
        story.start("order-1")

    assert (story["order-1"].status, story["order-1"].node_deaths) == (Status.RUNNING, 0)


def test_what_was_enqueued_before_it_was_counted_is_never_set_aside(story: Story) -> None:
    story.of_format(2)
    started(story)
    story.remove("node-1")
    story.register(boot_id="later")
    story.start("order-1")
    for number in range(SET_ASIDE_AFTER):
        story.now_ms += 1_000
        story.register(boot_id=f"later-{number}", last_alive_ms=story.now_ms)
        story.start("order-1")

    assert (story["order-1"].status, story["order-1"].node_deaths) == (Status.RUNNING, 0)


# --- in a cluster


def lose_owner(story: Story, execution_id: str = "order-1") -> None:
    """The node that holds it dies, and is up again when another one has taken the execution over."""
    owner = story[execution_id].owner
    story.now_ms += 1_000
    boot_id = story.executions.nodes()[owner].boot_id
    story.lose(owner, boot_id=boot_id)
    story.place()
    assert story[execution_id].owner != owner
    story.register(owner, boot_id=f"{boot_id}+")


def test_the_nodes_that_it_goes_through_are_counted_together(story: Story) -> None:
    story.register("node-2")
    started(story)
    for _ in range(SET_ASIDE_AFTER):
        assert story["order-1"].status is Status.RUNNING
        lose_owner(story)
        story.start("order-1")

    order = story["order-1"]
    assert (order.status, order.failure.type, order.failure.cause.type) == (
        Status.SUSPENDED,
        "NodeDiedTooOften",
        "NodeLost",
    )


def test_a_node_that_drains_has_not_died(story: Story) -> None:
    story.register("node-2")
    started(story)
    owner = story["order-1"].owner
    story.drain(owner)
    story.lose(owner)
    story.place()

    assert (story["order-1"].status, story["order-1"].node_deaths) == (Status.QUEUED, 0)


# --- compensations


def test_a_compensation_is_stuck_instead_and_an_operator_resolves_it(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    die(story, SET_ASIDE_AFTER)

    order = story["order-1"]
    assert (order.status, order.node_deaths) == (Status.STUCK, 0)
    [halted] = story.effects_of(Halted)
    assert halted.failure.type == "NodeDiedTooOften"
    [undone] = story.operations("order-1", OperationKind.COMPENSATION)
    assert undone.retry_state is RetryState.CRASHED_TOO_OFTEN
    story.resolve("order-1", Resolution.RETRY)
    assert story["order-1"].status is Status.COMPENSATING
