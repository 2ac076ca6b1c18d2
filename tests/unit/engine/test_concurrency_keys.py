"""Of the executions of a handler that have the same concurrency key, only so many are under way at a time."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import Enqueue, EnqueueBatch, IdConflict, Resolution, Terminate
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import Accepted, Ready, Reason, Rejection
from tempolite_node.engine.model import Component, Execution, Options, Status
from tempolite_node.engine.work import Work

from .story import NODE, ONCE, STEADY, Story


def keyed(story: Story, *execution_ids: str, key: str = "customer-7", **fields: object) -> None:
    for execution_id in execution_ids:
        story.enqueue(execution_id, concurrency_key=key, **fields)


def waits(story: Story, *execution_ids: str) -> list[str]:
    """Those of them that wait for a place."""
    return [execution_id for execution_id in execution_ids if story[execution_id].waits_for_place]


def make_ready(story: Story) -> list[str]:
    """Executions that the last command let wait for a slot."""
    return [effect.execution_id for effect in story.effects_of(Ready)]


# --- one after the other


def test_a_second_execution_with_the_key_waits_until_the_first_has_ended(story: Story) -> None:
    keyed(story, "first", "second")
    assert story["second"].status is Status.QUEUED
    assert waits(story, "first", "second") == ["second"]

    story.start("first")
    story.complete("first")

    assert make_ready(story) == ["second"]
    assert story.start("second") == Accepted(status=Status.RUNNING)


def test_who_waits_for_a_place_takes_no_slot(story: Story) -> None:
    keyed(story, "first", "second")

    outcome = story.start("second")

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE
    assert [each.id for each in story.executions.ready(Component.HANDLER, NODE, ["fulfil"], 10)] == ["first"]


def test_other_keys_other_handlers_and_executions_without_a_key_do_not_wait(story: Story) -> None:
    keyed(story, "first")
    keyed(story, "other-key", key="customer-8")
    keyed(story, "other-handler", handler="ship")
    story.enqueue("without-1")
    story.enqueue("without-2")

    assert waits(story, "other-key", "other-handler", "without-1", "without-2") == []


def test_as_many_are_under_way_as_the_handler_allows(story: Story) -> None:
    story.register(concurrency_key_limit=2)

    keyed(story, "first", "second", "third", "fourth")
    assert waits(story, "first", "second", "third", "fourth") == ["third", "fourth"]

    story.running("first")
    story.complete("first")
    assert waits(story, "third", "fourth") == ["fourth"]


def test_the_oldest_goes_first_and_priority_goes_before_age(story: Story) -> None:
    keyed(story, "running", "old", "young")
    keyed(story, "urgent", priority=5)
    order = []
    for _ in range(4):
        [now] = [e for e in ("running", "old", "young", "urgent") if story[e].ready_at is not None]
        order.append(now)
        story.start(now)
        story.complete(now)

    assert order == ["urgent", "running", "old", "young"]


def test_who_has_not_started_gives_its_place_to_one_that_goes_before_it(story: Story) -> None:
    keyed(story, "first")

    keyed(story, "urgent", priority=1)

    assert make_ready(story) == ["urgent"]
    assert waits(story, "first", "urgent") == ["first"]
    assert isinstance(story.start("first"), Rejection)


def test_who_has_started_keeps_its_place_whoever_comes(story: Story) -> None:
    story.running("first", concurrency_key="customer-7")

    keyed(story, "urgent", priority=1_000)

    assert waits(story, "urgent") == ["urgent"]


def test_an_older_execution_whose_delay_is_over_goes_before_a_younger_one(story: Story) -> None:
    keyed(story, "delayed", delay_ms=1_000)
    keyed(story, "running", "young")
    assert story["delayed"].status is Status.SCHEDULED
    story.start("running")

    story.advance(1_000)
    assert waits(story, "delayed", "young") == ["delayed", "young"]
    story.complete("running")

    assert make_ready(story) == ["delayed"]


# --- how long a place is held


def hold_by_a_wait(story: Story) -> None:
    story.receive("first")


def hold_by_a_retry(story: Story) -> None:
    story.fail("first")
    assert story["first"].status is Status.SCHEDULED


def hold_by_a_crash(story: Story) -> None:
    story.crash("first")
    assert story["first"].status is Status.QUEUED


def hold_by_an_unwound_stack(story: Story) -> None:
    story.receive("first")
    story.unwind("first")


def hold_by_a_restart_of_the_node(story: Story) -> None:
    story.restart()


def hold_by_other_code(story: Story) -> None:
    story.suspend("first")


def hold_by_a_cancel_that_is_not_seen_yet(story: Story) -> None:
    story.cancel("first")
    assert story["first"].status is Status.RUNNING


@pytest.mark.parametrize(
    "hold",
    [
        hold_by_a_wait,
        hold_by_a_retry,
        hold_by_a_crash,
        hold_by_an_unwound_stack,
        hold_by_a_restart_of_the_node,
        hold_by_other_code,
        hold_by_a_cancel_that_is_not_seen_yet,
    ],
)
def test_a_place_is_held_until_the_execution_has_ended(story: Story, hold: object) -> None:
    assert callable(hold)
    keyed(story, "first", "second")
    story.start("first")

    hold(story)
    assert waits(story, "second") == ["second"]

    story.terminate("first")
    assert make_ready(story) == ["second"]


def test_a_saga_holds_its_place_until_its_steps_are_undone(story: Story) -> None:
    story.stuck("saga", concurrency_key="customer-7")
    keyed(story, "second", component=Component.SAGA)
    assert waits(story, "second") == ["second"]

    story.resolve("saga", Resolution.SKIP)

    assert story["saga"].status is Status.COMPENSATED
    assert make_ready(story) == ["second"]


def test_an_execution_that_makes_room_for_its_id_gives_its_place_too(story: Story) -> None:
    story.running("first", concurrency_key="customer-7")

    keyed(story, "first", id_conflict=IdConflict.TERMINATE_EXISTING)

    assert make_ready(story) == ["first"]


# --- what becomes of those that wait


def test_who_waits_for_a_place_can_be_cancelled(story: Story) -> None:
    keyed(story, "first", "second", "third")

    story.cancel("second")
    assert story["second"].status is Status.CANCELLED
    assert waits(story, "third") == ["third"]

    story.cancel("first")
    assert make_ready(story) == ["third"]


def test_who_waits_for_a_place_can_be_terminated(story: Story) -> None:
    keyed(story, "first", "second")

    story.terminate("second")

    assert story["second"].status is Status.TERMINATED
    story.terminate("first")
    assert make_ready(story) == []


def test_who_waits_for_a_place_for_too_long_times_out(story: Story) -> None:
    keyed(story, "first")
    keyed(story, "second", options=Options(retry=STEADY, queue_timeout_ms=1_000))
    keyed(story, "third", max_duration_ms=2_000)
    story.start("first")

    assert story.advance(2_000) == ["second queue", "third deadline"]

    assert story["second"].failure is not None
    assert story["second"].failure.type == "QueueTimeout"
    assert story["third"].failure is not None
    assert story["third"].failure.type == "MaxDurationExceeded"


def test_a_place_whose_execution_times_out_in_the_queue_goes_to_the_next(story: Story) -> None:
    keyed(story, "first", options=Options(retry=STEADY, queue_timeout_ms=1_000))
    keyed(story, "second")

    story.advance(1_000)

    assert make_ready(story) == ["second"]


def test_who_waits_for_a_place_counts_to_the_queues_limit(story: Story) -> None:
    story.register(queue_limit=2)
    keyed(story, "first", "second")

    outcome = story.enqueue("third")

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.QUEUE_FULL


def test_what_waits_is_found_again_after_a_restart(story: Story) -> None:
    keyed(story, "first", "second", "third")
    story.start("first")

    story.restart()
    keyed(story, "fourth")
    assert waits(story, "second", "third", "fourth") == ["second", "third", "fourth"]
    story.terminate("first")

    assert make_ready(story) == ["second"]


# --- executions that are enqueued from within


def test_a_child_with_the_key_of_its_parent_shares_its_place(story: Story) -> None:
    story.running("parent", handler="ship", concurrency_key="customer-7")
    keyed(story, "stranger", handler="ship")

    story.child("parent", "child", concurrency_key="customer-7")

    assert make_ready(story) == ["child"]
    story.wait("parent", "child")
    story.start("child")
    story.complete("child")
    assert waits(story, "stranger") == ["stranger"], "the parent has not ended"
    story.complete("parent")
    assert waits(story, "stranger") == []


def test_the_place_is_shared_over_generations_between(story: Story) -> None:
    story.running("grandparent", handler="ship", concurrency_key="customer-7")
    story.child("grandparent", "parent", concurrency_key="another")
    story.start("parent")

    story.child("parent", "child", concurrency_key="customer-7")

    assert make_ready(story) == ["child"]
    assert story["child"].place == story["grandparent"].row


def test_a_place_that_is_shared_is_free_when_the_last_has_ended(story: Story) -> None:
    story.running("parent", handler="ship", concurrency_key="customer-7")
    keyed(story, "stranger", handler="ship")
    story.child("parent", "child", concurrency_key="customer-7", options=Options(retry=ONCE))

    story.complete("parent")
    assert waits(story, "stranger") == ["stranger"]

    story.start("child")
    story.fail("child")
    assert waits(story, "stranger") == []


def test_a_child_with_a_key_of_its_own_waits_like_any_other(story: Story) -> None:
    keyed(story, "stranger", handler="ship")
    story.running("parent")

    story.child("parent", "child", concurrency_key="customer-7")

    assert waits(story, "child") == ["child"]


def test_a_child_that_is_due_after_its_parent_has_ended_waits_for_its_turn(story: Story) -> None:
    story.running("parent", handler="ship", concurrency_key="customer-7")
    keyed(story, "stranger", handler="ship")
    story.child("parent", "child", concurrency_key="customer-7", delay_ms=1_000)
    story.complete("parent")
    story.start("stranger")

    story.advance(1_000)

    assert waits(story, "child") == ["child"]


# --- the limit


def test_a_higher_limit_lets_those_through_that_wait(story: Story) -> None:
    keyed(story, "a1", "a2", "a3", key="a")
    keyed(story, "b1", "b2", key="b")

    story.register(boot_id="run-2", concurrency_key_limit=2)

    assert waits(story, "a1", "a2", "a3", "b1", "b2") == ["a3"]


def test_a_lower_limit_takes_back_what_has_not_started_and_lets_the_rest_end(story: Story) -> None:
    story.register(concurrency_key_limit=4)
    keyed(story, "first", "second", "third", "fourth", "fifth")
    story.start("second")
    story.start("third")

    story.register(boot_id="run-2", concurrency_key_limit=1)
    assert waits(story, "first", "fourth", "fifth") == ["first", "fourth", "fifth"]

    story.terminate("second")
    assert waits(story, "first", "fourth", "fifth") == ["first", "fourth", "fifth"], "the third is under way"
    story.terminate("third")
    assert waits(story, "first", "fourth", "fifth") == ["fourth", "fifth"]


def test_where_nodes_disagree_the_smallest_limit_holds(story: Story) -> None:
    story.register(concurrency_key_limit=3)
    story.register("node-2", concurrency_key_limit=2)
    keyed(story, "first", "second", "third")
    assert waits(story, "third") == ["third"]

    story.register("node-2", boot_id="run-2", concurrency_key_limit=3)

    assert waits(story, "third") == []


def test_the_loss_of_a_node_lets_no_more_run_and_its_removal_does(story: Story) -> None:
    story.register(concurrency_key_limit=2)
    story.register("node-2", concurrency_key_limit=1)
    keyed(story, "first", "second")

    story.lose("node-2")
    story.place()
    assert waits(story, "second") == ["second"]

    story.remove("node-2")
    assert waits(story, "second") == []


# --- several nodes


def test_a_key_is_one_thing_on_all_nodes(story: Story) -> None:
    story.register("node-2")
    keyed(story, "first", "second")

    assert {story["first"].owner, story["second"].owner} == {NODE, "node-2"}
    assert waits(story, "first", "second") == ["second"]


def test_what_a_lost_node_ran_keeps_its_place_and_goes_on_elsewhere(story: Story) -> None:
    story.register("node-2")
    keyed(story, "first", "second")
    story.start("first")
    owner = story["first"].owner

    story.lose(owner)
    story.place()

    assert story["first"].owner != owner
    assert waits(story, "first", "second") == ["second"]
    assert story.start("first") == Accepted(status=Status.RUNNING)


def test_who_waits_for_a_place_is_given_a_node_when_its_turn_comes(story: Story) -> None:
    story.register("node-2")
    keyed(story, "first", "second")
    story.start("first")
    story.lose(story["second"].owner)
    story.place()

    story.complete("first")

    assert story["second"].owner == story["first"].owner
    assert [ready.owner for ready in story.effects_of(Ready)] == [story["first"].owner]


def test_who_waits_for_a_place_is_no_load_to_its_node(story: Story) -> None:
    keyed(story, "first", *(f"waiting-{number}" for number in range(5)))
    story.register("node-2")
    story.enqueue("other-1")

    story.enqueue("other-2")

    assert [story["other-1"].owner, story["other-2"].owner] == ["node-2", NODE]


def test_those_that_wait_are_spread_over_the_nodes(story: Story) -> None:
    story.register("node-2")

    keyed(story, *(f"order-{number}" for number in range(6)))

    owners = [story[f"order-{number}"].owner for number in range(6)]
    assert owners.count(NODE) == owners.count("node-2") == 3


# --- many in one batch


def test_a_batch_is_served_in_its_order(story: Story) -> None:
    story.enqueue_batch(*({"execution_id": f"order-{n}", "concurrency_key": "x"} for n in range(3)))

    assert waits(story, "order-0", "order-1", "order-2") == ["order-1", "order-2"]


def test_places_that_pass_on_within_one_unit_of_work_come_to_the_same(story: Story) -> None:
    """The engine sees its own changes before they are saved."""
    story.running("first", concurrency_key="x")
    keyed(story, "stored", key="x", priority=1)
    work = Work(story.executions)

    def enqueue(execution_id: str, priority: int) -> Enqueue:
        return story.enqueue_command(execution_id, concurrency_key="x", priority=priority)

    def ready() -> list[str]:
        return [e.id for e in work.executions.values() if e.ready_at is not None]

    decide(work, EnqueueBatch(at_ms=story.now_ms, commands=(enqueue("low", 0), enqueue("high", 2))))
    assert ready() == []
    for expected in ("high", "stored", "low"):
        holder = next(e for e in _open(work, story) if e.place is not None)
        decide(work, Terminate(at_ms=story.now_ms, execution_id=holder.id))
        assert ready() == [expected]


def _open(work: Work, story: Story) -> list[Execution]:
    stored = [work.execution_at(row) for (row,) in story.connection.execute("SELECT row FROM executions").fetchall()]
    return [e for e in [*stored, *work.executions.values()] if not e.closed]
