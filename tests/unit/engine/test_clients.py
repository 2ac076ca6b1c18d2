"""Enqueue, and what clients may ask of any execution."""

from __future__ import annotations

from typing import Any

import pytest

from tempolite_node.engine.commands import CompleteAttempt, IdConflict, IdReuse, Resolution
from tempolite_node.engine.effects import Accepted, Enqueued, EnqueuedBatch, Ready, Reason, Rejection
from tempolite_node.engine.model import Component, Status

from .story import NODE, START_MS, Story

# --- a new execution


def test_an_enqueued_execution_waits_for_a_slot_of_its_pool(story: Story) -> None:
    outcome = story.enqueue("order-1", component=Component.SAGA, priority=2)

    assert outcome == Enqueued(execution_id="order-1", component=Component.SAGA)
    assert story["order-1"].status is Status.QUEUED
    [ready] = story.effects_of(Ready)
    assert (ready.pool, ready.order) == (Component.SAGA, (True, -2, story["order-1"].row))


def test_a_delayed_execution_is_scheduled_and_queued_when_its_time_comes(story: Story) -> None:
    story.enqueue("order-1", delay_ms=5_000)

    assert story["order-1"].status is Status.SCHEDULED
    assert story["order-1"].due_ms == START_MS + 5_000
    assert isinstance(story.start("order-1"), Rejection)

    assert story.advance(5_000) == ["order-1 start"]

    assert story["order-1"].status is Status.QUEUED
    assert story["order-1"].due_ms is None


def test_the_time_of_a_delayed_execution_counts_from_the_moment_when_it_is_due(story: Story) -> None:
    story.enqueue("order-1", delay_ms=60_000, max_duration_ms=1_000)

    assert story.advance(60_000) == ["order-1 start"]
    assert story.advance(1_000) == ["order-1 deadline"]
    assert story["order-1"].status is Status.TIMED_OUT


def test_before_format_3_the_time_of_a_delayed_execution_counted_from_its_enqueue(story: Story) -> None:
    story.of_format(2)
    story.enqueue("order-1", delay_ms=60_000, max_duration_ms=1_000)

    assert story.advance(1_000) == ["order-1 deadline"]


def test_the_queue_is_served_by_priority_and_then_in_the_order_of_arrival(story: Story) -> None:
    story.enqueue("first")
    story.enqueue("second")
    story.enqueue("urgent", priority=1)

    assert [e.id for e in story.executions.ready(Component.HANDLER, NODE, ["fulfil"], 10)] == [
        "urgent",
        "first",
        "second",
    ]


# --- an id that is taken


def test_by_default_the_id_of_an_open_execution_can_not_be_used_again(story: Story) -> None:
    story.running("order-1")

    outcome = story.enqueue("order-1")

    assert outcome == Rejection(Reason.ALREADY_EXISTS, "execution order-1 of fulfil exists (running)")


def test_an_open_execution_can_be_used_in_place_of_a_new_one(story: Story) -> None:
    story.running("order-1", arguments=b'["first"]')

    outcome = story.enqueue("order-1", arguments=b'["second"]', id_conflict=IdConflict.USE_EXISTING)

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)
    assert story["order-1"].arguments == b'["first"]'


def test_an_open_execution_can_be_terminated_to_make_room_and_is_kept_under_another_id(story: Story) -> None:
    story.running("order-1")
    former_row = story["order-1"].row

    outcome = story.enqueue("order-1", id_conflict=IdConflict.TERMINATE_EXISTING)

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER)
    assert story["order-1"].status is Status.QUEUED
    assert story[f"order-1~{former_row}"].status is Status.TERMINATED


@pytest.mark.parametrize(
    ("id_reuse", "ended", "makes_room"),
    [
        (IdReuse.REJECT_DUPLICATE, Status.COMPLETED, False),
        (IdReuse.REJECT_DUPLICATE, Status.FAILED, False),
        (IdReuse.ALLOW_DUPLICATE, Status.COMPLETED, True),
        (IdReuse.ALLOW_DUPLICATE, Status.FAILED, True),
        (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, Status.COMPLETED, False),
        (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, Status.FAILED, True),
        (IdReuse.ALLOW_DUPLICATE_FAILED_ONLY, Status.TERMINATED, True),
    ],
)
def test_whether_the_id_of_an_ended_execution_can_be_used_again_is_for_the_caller_to_say(
    story: Story, id_reuse: IdReuse, ended: Status, makes_room: bool
) -> None:
    story.running("order-1")
    if ended is Status.COMPLETED:
        story.complete("order-1")
    elif ended is Status.FAILED:
        story.fail("order-1", non_retryable=True)
    else:
        story.terminate("order-1")

    outcome = story.enqueue("order-1", id_reuse=id_reuse)

    if makes_room:
        assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER)
        assert story["order-1"].status is Status.QUEUED
        assert story["order-1~1"].status is ended
    else:
        assert outcome == Rejection(Reason.ALREADY_EXISTS, f"execution order-1 of fulfil exists ({ended})")


def test_the_policy_for_ended_executions_does_not_touch_an_open_one(story: Story) -> None:
    story.running("order-1")

    outcome = story.enqueue("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    assert isinstance(outcome, Rejection)
    assert story["order-1"].status is Status.RUNNING


def test_an_id_can_be_given_away_any_number_of_times_and_every_execution_is_kept(story: Story) -> None:
    for _ in range(3):
        story.enqueue("order-1", id_conflict=IdConflict.TERMINATE_EXISTING)

    assert story["order-1"].status is Status.QUEUED
    assert story["order-1~1"].status is Status.TERMINATED
    assert story["order-1~2"].status is Status.TERMINATED


def test_the_suffix_of_an_id_that_was_given_away_avoids_ids_that_exist(story: Story) -> None:
    story.enqueue("order-1")
    story.enqueue("order-1~1")

    story.enqueue("order-1", id_conflict=IdConflict.TERMINATE_EXISTING)

    assert story["order-1~1"].status is Status.QUEUED
    assert story["order-1~1~"].status is Status.TERMINATED


def test_what_the_last_attempt_of_a_replaced_execution_still_sends_is_stale(story: Story) -> None:
    story.running("order-1")
    late = story["order-1"].epoch
    story.enqueue("order-1", id_conflict=IdConflict.TERMINATE_EXISTING)
    story.start("order-1")

    outcome = story.ask("order-1", CompleteAttempt(result=b'"of the first"'), epoch=late)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH
    assert story["order-1"].status is Status.RUNNING


# --- repeats


def test_a_repeated_request_gets_the_execution_that_the_first_one_made(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1")

    outcome = story.enqueue("order-1", request_id="r-1")

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)


@pytest.mark.parametrize("id_conflict", IdConflict)
@pytest.mark.parametrize("id_reuse", IdReuse)
@pytest.mark.parametrize("has_ended", [False, True])
def test_a_repeated_request_starts_nothing_twice_under_any_policy(
    story: Story, id_conflict: IdConflict, id_reuse: IdReuse, has_ended: bool
) -> None:
    story.running("order-1", request_id="r-1")
    if has_ended:
        story.complete("order-1")

    outcome = story.enqueue("order-1", request_id="r-1", id_conflict=id_conflict, id_reuse=id_reuse)

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)
    assert story.executions.last_row() == 1


def test_another_request_for_the_same_id_is_no_repeat(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1")

    assert isinstance(story.enqueue("order-1", request_id="r-2"), Rejection)
    assert isinstance(story.enqueue("order-1"), Rejection)


def test_a_request_that_is_repeated_for_another_handler_is_refused_and_names_the_first(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1")

    outcome = story.enqueue("order-1", request_id="r-1", handler="ship")

    message = "request r-1 enqueued execution order-1 of fulfil; it can't enqueue ship too"
    assert outcome == Rejection(Reason.ALREADY_EXISTS, message)


@pytest.mark.parametrize("has_ended", [False, True])
def test_a_request_that_is_repeated_with_other_arguments_is_refused_and_names_the_first(
    story: Story, has_ended: bool
) -> None:
    story.running("order-1", request_id="r-1", arguments=b'{"n":1}')
    if has_ended:
        story.complete("order-1")

    outcome = story.enqueue("order-1", request_id="r-1", arguments=b'{"n":2}')

    message = "request r-1 enqueued execution order-1 of fulfil with other arguments"
    assert outcome == Rejection(Reason.ALREADY_EXISTS, message)


def test_a_batch_with_a_request_for_something_else_than_the_first_time_is_refused_as_a_whole(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1")
    other = {"execution_id": "order-1", "request_id": "r-1", "arguments": b"[2]"}

    outcome = story.enqueue_batch({"execution_id": "order-2"}, other)

    assert isinstance(outcome, Rejection)
    assert story.queries.execution("order-2") is None


def test_arguments_are_the_same_whatever_the_order_of_their_keys(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1", arguments=b'{"a":1,"b":{"c":[2,3],"d":4}}')

    outcome = story.enqueue("order-1", request_id="r-1", arguments=b'{ "b": {"d":4, "c":[2,3]}, "a":1 }')

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)


def test_no_arguments_are_the_same_by_position_and_by_name(story: Story) -> None:
    story.enqueue("order-1", request_id="r-1", arguments=b"{}")

    outcome = story.enqueue("order-1", request_id="r-1", arguments=b"[]")

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)
    assert isinstance(story.enqueue("order-1", request_id="r-1", arguments=b"[0]"), Rejection)


@pytest.mark.parametrize("data", [b"[" * 5_000 + b"]" * 5_000, b"[1" + b"0" * 5_000 + b"]", b'["\\ud800"]'])
def test_arguments_that_can_not_be_read_here_are_compared_as_they_are(story: Story, data: bytes) -> None:
    story.enqueue("order-1", request_id="r-1", arguments=data)

    assert isinstance(story.enqueue("order-1", request_id="r-1", arguments=data + b" "), Rejection | Enqueued)
    assert isinstance(story.enqueue("order-1", request_id="r-1", arguments=b"[" + data + b"]"), Rejection)
    assert isinstance(story.enqueue("order-1", request_id="r-1", arguments=data), Enqueued)


def test_an_execution_is_not_used_in_place_of_another_handlers(story: Story) -> None:
    story.running("order-1")

    outcome = story.enqueue("order-1", handler="ship", id_conflict=IdConflict.USE_EXISTING)

    message = "execution order-1 of fulfil exists (running): it can't be used as one of ship"
    assert outcome == Rejection(Reason.ALREADY_EXISTS, message)


def test_while_a_node_of_an_earlier_version_is_there_requests_and_ids_are_not_compared(story: Story) -> None:
    story.of_format(1)
    story.enqueue("order-1", request_id="r-1")

    repeated = story.enqueue("order-1", request_id="r-1", handler="ship", arguments=b"[2]")
    used = story.enqueue("order-1", handler="ship", id_conflict=IdConflict.USE_EXISTING)

    assert repeated == used == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)


def test_what_was_enqueued_by_an_earlier_rule_answers_repeats_by_it(story: Story) -> None:
    story.of_format(1)
    story.enqueue("order-1", request_id="r-1")
    story.register(boot_id="upgraded")

    outcome = story.enqueue("order-1", request_id="r-1", arguments=b"[2]")

    assert outcome == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)


# --- the queue's limit


def test_a_full_queue_refuses_what_is_new(story: Story) -> None:
    story.register(queue_limit=2)
    story.enqueue("order-1")
    story.enqueue("order-2")

    outcome = story.enqueue("order-3")

    assert outcome == Rejection(Reason.QUEUE_FULL, "the queue of pool handler is full (2 executions) on node node-1")


def test_what_is_due_later_is_not_in_the_queue(story: Story) -> None:
    story.register(queue_limit=1)
    story.enqueue("tomorrow", delay_ms=1_000)
    story.fail(story.running("retried"))

    assert isinstance(story.enqueue("order-1"), Enqueued)
    assert isinstance(story.enqueue("the day after", delay_ms=2_000), Enqueued)
    assert isinstance(story.enqueue("order-2"), Rejection)


def test_what_is_due_later_takes_no_room_of_its_batch(story: Story) -> None:
    story.register(queue_limit=1)

    outcome = story.enqueue_batch({"execution_id": "tomorrow", "delay_ms": 1_000}, {"execution_id": "order-1"})

    assert isinstance(outcome, EnqueuedBatch)


def test_before_format_3_what_was_due_later_was_in_the_queue(story: Story) -> None:
    story.of_format(2)
    story.register(boot_id="of format 2", queue_limit=1, format=2)
    story.enqueue("tomorrow", delay_ms=1_000)

    assert isinstance(story.enqueue("order-1"), Rejection)
    assert isinstance(story.enqueue("the day after", delay_ms=2_000), Rejection)


def test_what_runs_is_not_in_the_queue(story: Story) -> None:
    story.register(queue_limit=1)
    story.running("order-1")

    assert isinstance(story.enqueue("order-2"), Enqueued)


def test_each_pool_has_a_queue_of_its_own(story: Story) -> None:
    story.register(queue_limit=1)
    story.enqueue("order-1", component=Component.SAGA)

    assert isinstance(story.enqueue("order-2"), Enqueued)


def test_a_full_queue_spares_the_execution_that_was_to_make_room(story: Story) -> None:
    story.enqueue("order-1")
    story.running("order-2")
    story.register(queue_limit=1)

    outcome = story.enqueue("order-2", id_conflict=IdConflict.TERMINATE_EXISTING)

    assert isinstance(outcome, Rejection)
    assert story["order-2"].status is Status.RUNNING


def test_a_repeated_request_is_answered_though_the_queue_is_full(story: Story) -> None:
    story.register(queue_limit=1)
    story.enqueue("order-1", request_id="r-1")

    assert isinstance(story.enqueue("order-1", request_id="r-1"), Enqueued)


# --- batches


def test_a_batch_makes_every_execution_in_its_order(story: Story) -> None:
    outcome = story.enqueue_batch({"execution_id": "order-1"}, {"execution_id": "order-2"})

    assert outcome == EnqueuedBatch(
        enqueued=(
            Enqueued(execution_id="order-1", component=Component.HANDLER),
            Enqueued(execution_id="order-2", component=Component.HANDLER),
        )
    )
    assert story["order-1"].row < story["order-2"].row


@pytest.mark.parametrize(
    "last",
    [
        {"execution_id": "taken"},
        {"execution_id": "order-1"},
        {"execution_id": "order-2"},  # the queue is full by then
    ],
)
def test_a_batch_of_which_one_is_refused_makes_none(story: Story, last: dict[str, Any]) -> None:
    story.register(queue_limit=2)
    story.enqueue("taken")

    outcome = story.enqueue_batch({"execution_id": "order-1"}, last)

    assert isinstance(outcome, Rejection)
    assert story.executions.last_row() == 1


def test_a_batch_that_fits_into_the_queue_is_taken_to_its_last_place(story: Story) -> None:
    story.register(queue_limit=3)
    story.enqueue("first")

    outcome = story.enqueue_batch({"execution_id": "order-1"}, {"execution_id": "order-2"})

    assert isinstance(outcome, EnqueuedBatch)
    assert isinstance(story.enqueue("late"), Rejection)


def test_a_batch_counts_for_the_queue_only_what_is_new_in_it(story: Story) -> None:
    story.register(queue_limit=2)
    story.enqueue("order-1", request_id="r-1")

    outcome = story.enqueue_batch({"execution_id": "order-1", "request_id": "r-1"}, {"execution_id": "order-2"})

    assert isinstance(outcome, EnqueuedBatch)
    assert [each.existing for each in outcome.enqueued] == [True, False]


def test_a_repeated_batch_starts_nothing_twice(story: Story) -> None:
    batch = [{"execution_id": f"order-{number}", "request_id": f"r-{number}"} for number in (1, 2)]
    story.enqueue_batch(*batch)

    outcome = story.enqueue_batch(*batch)

    assert isinstance(outcome, EnqueuedBatch)
    assert [each.existing for each in outcome.enqueued] == [True, True]


# --- unknown ids


def test_what_is_asked_of_an_unknown_execution_is_not_found(story: Story) -> None:
    for outcome in (
        story.cancel("nobody"),
        story.terminate("nobody"),
        story.signal("nobody"),
        story.resolve("nobody", Resolution.RETRY),
        story.start("nobody", Component.HANDLER),
        story.crash("nobody", epoch=1),
        story.fire("nobody", "start", START_MS),
    ):
        assert outcome == Rejection(Reason.NOT_FOUND, "no execution nobody")
    late = story.ask("nobody", CompleteAttempt(), epoch=1)
    assert isinstance(late, Rejection)
    assert late.reason is Reason.STALE_EPOCH


def test_only_a_stuck_saga_can_be_resolved(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)

    outcome = story.resolve("order-1", Resolution.SKIP)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE


def test_an_execution_is_started_by_its_owner_alone(story: Story) -> None:
    story.register("node-2")
    story.enqueue("order-1")

    outcome = story.start("order-1", node_id="node-2")

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.WRONG_STATE


def test_cancel_and_terminate_may_be_repeated(story: Story) -> None:
    story.running("order-1")

    assert story.cancel("order-1") == story.cancel("order-1") == Accepted(status=Status.RUNNING)
    assert story.terminate("order-1") == story.terminate("order-1") == Accepted(status=Status.TERMINATED)
    assert story.cancel("order-1") == Accepted(status=Status.TERMINATED)
    assert story["order-1"].reason == "enough"
