"""What becomes of attempts whose worker host, or whose node, is gone."""

from __future__ import annotations

from tempolite_node.engine.commands import CompleteAttempt
from tempolite_node.engine.effects import HostCrashed, Ready, Reason, Registered, Rejection
from tempolite_node.engine.model import (
    Component,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    RetryState,
    Status,
)

from .story import STEADY, Story

# --- worker hosts


def test_a_suspect_is_counted_and_queued_again_ahead_of_new_work(story: Story) -> None:
    story.running("order-1")

    story.crash("order-1", suspect=True)

    order = story["order-1"]
    assert (order.status, order.crashes, order.failures) == (Status.QUEUED, 1, 0)
    [ready] = story.effects_of(Ready)
    assert ready.order[0] is False
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["WorkerHostDied"]
    [crashed] = story.effects_of(HostCrashed)
    assert (crashed.execution.id, crashed.execution.crashes) == ("order-1", 1)


def test_an_innocent_attempt_is_queued_again_and_not_counted(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")

    story.crash("order-1", suspect=False)

    assert (story["order-1"].status, story["order-1"].crashes) == (Status.QUEUED, 0)
    assert story.effects_of(HostCrashed) == []


def test_an_execution_that_crashed_too_often_is_poisoned(story: Story) -> None:
    story.running("order-1", options=Options(max_crashes=3))
    for _ in range(2):
        story.crash("order-1")
        story.start("order-1")

    story.crash("order-1")

    order = story["order-1"]
    assert (order.status, order.retry_state) == (Status.FAILED, RetryState.CRASHED_TOO_OFTEN)
    assert (order.failure.type, order.failure.cause.type) == ("CrashedTooOften", "WorkerHostDied")
    assert [attempt.number for attempt in story.attempts("order-1")] == [1, 2, 3]


def test_an_attempt_that_ends_without_a_crash_speaks_for_the_execution(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, max_crashes=3))
    for _ in range(2):
        story.crash("order-1")
        story.start("order-1")

    story.fail("order-1")

    assert story["order-1"].crashes == 1


def test_so_does_one_of_a_compensation(story: Story) -> None:
    story.compensating("order-1", options=Options(compensation_retry=STEADY, max_crashes=3))
    story.crash("order-1")
    story.start("order-1")

    story.fail("order-1")

    assert story["order-1"].crashes == 0


def test_innocence_has_no_limit(story: Story) -> None:
    story.running("order-1", options=Options(max_crashes=2))
    for _ in range(10):
        story.resumed("order-1")

    assert story["order-1"].status is Status.RUNNING


def test_crashes_use_up_no_retries(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY, max_crashes=100))
    for _ in range(10):
        story.crash("order-1")
        story.start("order-1")

    story.retried("order-1")

    assert story["order-1"].failures == 1


def test_a_poisoned_saga_undoes_its_steps_the_one_in_mid_transaction_too(story: Story) -> None:
    story.running("order-1", component=Component.SAGA, options=Options(max_crashes=1))
    story.step("order-1", "Reserve#1")
    story.begin_step("order-1", "Charge#1")

    story.crash("order-1")

    saga = story["order-1"]
    assert (saga.status, saga.ending, saga.compensating) == (Status.COMPENSATING, Status.FAILED, "Charge#1")
    assert saga.crashes == 0


def test_a_compensation_that_crashed_too_often_is_stuck(story: Story) -> None:
    story.compensating("order-1", options=Options(max_crashes=2))
    story.start("order-1")
    story.crash("order-1")
    assert story["order-1"].status is Status.COMPENSATING
    story.start("order-1")

    story.crash("order-1")

    assert story["order-1"].status is Status.STUCK
    compensation = story.operation("order-1", OperationKind.COMPENSATION, "Charge#1")
    assert (compensation.retry_state, compensation.attempt) == (RetryState.CRASHED_TOO_OFTEN, 2)


def test_the_crash_of_an_earlier_epoch_is_rejected(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch
    story.resumed("order-1")

    outcome = story.crash("order-1", epoch=epoch)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH
    assert story["order-1"].crashes == 0


def test_an_attempt_that_ended_before_its_host_died_is_no_crash(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch
    story.complete("order-1")

    assert isinstance(story.crash("order-1", epoch=epoch), Rejection)

    assert story["order-1"].status is Status.COMPLETED


def test_what_a_lost_attempt_still_sends_is_stale_before_the_next_one_starts(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch
    story.crash("order-1")

    outcome = story.ask("order-1", CompleteAttempt(result=b"1"), epoch=epoch)

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.STALE_EPOCH


# --- too much memory


def test_an_attempt_that_took_too_much_memory_has_failed_and_not_crashed(story: Story) -> None:
    story.running("order-1", options=Options(retry=STEADY))
    story.receive("order-1")

    story.crash("order-1", suspect=False, out_of_memory=True)

    order = story["order-1"]
    assert (order.status, order.crashes, order.failures, order.pending) == (Status.SCHEDULED, 0, 1, 0)
    assert [attempt.failure.type for attempt in story.attempts("order-1")] == ["OutOfMemory"]


def test_a_policy_may_rule_out_another_attempt(story: Story) -> None:
    story.running("order-1", options=Options(retry=RetryPolicy(non_retryable_errors=("OutOfMemory",))))

    story.crash("order-1", suspect=False, out_of_memory=True)

    order = story["order-1"]
    assert (order.status, order.retry_state) == (Status.FAILED, RetryState.NON_RETRYABLE_FAILURE)


def test_a_compensation_is_retried_by_its_own_policy(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")

    story.crash("order-1", suspect=False, out_of_memory=True)

    assert story["order-1"].due_ms is not None
    [undone] = story.operations("order-1", OperationKind.COMPENSATION)
    assert (undone.status, undone.failure.type) == (OperationStatus.RETRYING, "OutOfMemory")


def test_what_was_enqueued_in_an_earlier_version_is_queued_again(story: Story) -> None:
    story.of_format(2)
    story.running("order-1")

    story.crash("order-1", suspect=False, out_of_memory=True)

    assert (story["order-1"].status, story["order-1"].crashes) == (Status.QUEUED, 0)


# --- nodes


def test_a_node_that_starts_queues_again_what_it_ran_and_counts_no_crash(story: Story) -> None:
    story.running("running")
    story.running("waiting")
    story.receive("waiting")
    story.compensating("compensating")
    story.start("compensating")

    story.restart()

    assert (story["running"].status, story["waiting"].status) == (Status.QUEUED, Status.QUEUED)
    assert story["compensating"].status is Status.COMPENSATING
    for name in ("running", "waiting", "compensating"):
        assert (story[name].attached, story[name].resumes, story[name].crashes) == (False, True, 0)
    assert [ready.execution_id for ready in story.effects_of(Ready)] == ["running", "waiting", "compensating"]
    assert [attempt.failure.type for attempt in story.attempts("running")] == ["NodeRestarted"]


def test_a_node_that_starts_is_told_of_which_handlers_it_queued_executions_again(story: Story) -> None:
    story.running("running")
    story.suspended("suspended")
    story.enqueue("queued")

    assert story.register(boot_id="run-2") == Registered(requeued={story["running"].handler: 2})
    assert story.register(boot_id="run-2") == Registered(requeued={})


def test_what_waited_without_a_stack_goes_on_waiting_through_a_restart(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.unwind("order-1")

    story.restart()

    assert story["order-1"].status is Status.WAITING
    story.signal("order-1")
    assert story["order-1"].status is Status.QUEUED


def test_what_was_queued_or_in_backoff_stays_there_through_a_restart(story: Story) -> None:
    story.enqueue("queued")
    story.running("in-backoff")
    story.fail("in-backoff")

    story.restart()

    assert story.effects == []
    assert story.advance(1_000) == ["in-backoff start"]
    assert [e.id for e in story.executions.ready(Component.HANDLER, "node-1", ["fulfil"], 10)] == [
        "queued",
        "in-backoff",
    ]


def test_a_suspended_execution_is_tried_again_when_its_node_starts_with_other_code(story: Story) -> None:
    story.suspended("order-1")

    story.restart()

    order = story["order-1"]
    assert (order.status, order.failure) == (Status.QUEUED, None)
    story.start("order-1")
    assert story["order-1"].failures == 0


def test_a_node_that_starts_leaves_the_executions_of_others_alone(story: Story) -> None:
    story.running("order-1")

    story.register("node-2")

    assert story["order-1"].status is Status.RUNNING


def test_an_execution_may_live_through_any_number_of_restarts(story: Story) -> None:
    story.running("order-1", options=Options(max_crashes=1))
    for _ in range(10):
        story.restart()
        story.start("order-1")

    story.complete("order-1")

    assert (story["order-1"].status, story["order-1"].attempt) == (Status.COMPLETED, 11)
