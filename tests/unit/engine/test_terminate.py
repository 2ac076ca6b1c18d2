"""Terminate: the final state at once, none of its code running, and its children too."""

from __future__ import annotations

import inspect
import sys
from functools import partial

import pytest

from tempolite_node.engine.commands import CompleteAttempt, EnqueueChild, FromAttempt, Terminate
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import Abandon, Accepted, Closed, Reason, Rejection, Wake
from tempolite_node.engine.model import ClosePolicy, Component, Options, Status

from .story import STEADY, Story, ended_of, failure

STATES = {
    "queued": lambda story: story.enqueue("order-1"),
    "scheduled": lambda story: story.enqueue("order-1", delay_ms=1_000),
    "running": lambda story: story.running("order-1"),
    "waiting": lambda story: story.receive(story.running("order-1"), timeout_ms=1_000),
    "unwound": lambda story: (story.sleep(story.running("order-1")), story.unwind("order-1")),
    "in backoff": lambda story: story.fail(story.running("order-1")),
    "suspended": lambda story: story.suspended("order-1"),
    "compensating": lambda story: story.compensating("order-1"),
    "in a compensation": lambda story: story.start(story.compensating("order-1")),
    "stuck": lambda story: story.stuck("order-1"),
}


@pytest.mark.parametrize("state", STATES)
def test_an_execution_is_terminated_in_any_state(story: Story, state: str) -> None:
    STATES[state](story)

    assert story.terminate("order-1", "enough") == Accepted(status=Status.TERMINATED)

    order = story["order-1"]
    assert (order.status, order.reason, order.closed_ms) == (Status.TERMINATED, "enough", story.now_ms)
    assert order.failure == failure("Terminated", message="enough", non_retryable=True)
    assert (order.attached, order.pending, story.timers("order-1")) == (False, 0, {})
    assert [closed.execution_id for closed in story.effects_of(Closed)] == ["order-1"]


def test_a_running_attempt_is_abandoned_and_what_it_still_sends_is_stale(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch

    story.terminate("order-1")

    assert story.effects_of(Abandon) == [Abandon(execution_id="order-1", epoch=epoch)]
    late = story.ask("order-1", CompleteAttempt(result=b"1"), epoch=epoch)
    assert isinstance(late, Rejection)
    assert late.reason is Reason.STALE_EPOCH
    assert story["order-1"].status is Status.TERMINATED


def test_an_ended_execution_stays_as_it_ended(story: Story) -> None:
    story.running("order-1")
    story.complete("order-1")

    assert story.terminate("order-1") == Accepted(status=Status.COMPLETED)

    assert story["order-1"].reason == ""


def test_those_who_wait_for_a_terminated_execution_are_told(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.wait("order-2", "order-1")

    story.terminate("order-1", "enough")

    [wake] = story.effects_of(Wake)
    answer = ended_of(wake.answer)
    assert (wake.execution_id, answer.status, answer.failure.message) == ("order-2", Status.TERMINATED, "enough")


@pytest.mark.parametrize(
    ("policy", "reached"),
    [
        (None, True),
        (ClosePolicy.TERMINATE, True),
        (ClosePolicy.REQUEST_CANCEL, True),
        (ClosePolicy.ABANDON, False),
    ],
)
def test_terminate_reaches_every_child_but_those_to_be_abandoned(
    story: Story, policy: ClosePolicy | None, reached: bool
) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=policy))

    story.terminate("order-1", "enough")

    assert story["child-1"].status is (Status.TERMINATED if reached else Status.QUEUED)
    assert story["child-1"].reason == ("enough" if reached else "")


def test_terminate_stops_at_a_child_that_is_to_be_abandoned(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.ABANDON))
    story.start("child-1")
    story.child("child-1", "child-2")

    story.terminate("order-1")

    assert story["child-2"].status is Status.QUEUED


def test_terminate_does_not_compensate(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")

    story.terminate("order-1")

    assert story["order-1"].status is Status.TERMINATED
    assert isinstance(story.start("order-1"), Rejection)


def test_a_child_that_waits_for_its_terminated_parent_ends_with_it(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    story.wait("child-1", "order-1")

    story.terminate("order-1")

    assert story["child-1"].status is Status.TERMINATED


def test_the_normal_end_of_a_parent_terminates_children_with_that_policy(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.TERMINATE))
    story.start("child-1")
    story.child("child-1", "child-2")

    story.complete("order-1")

    assert (story["child-1"].status, story["child-1"].reason) == (Status.TERMINATED, "its parent order-1 ended")
    assert story["child-2"].status is Status.TERMINATED


@pytest.mark.parametrize("end", ["terminate", "cancel"])
def test_a_family_may_have_more_generations_than_pythons_stack_has_frames(
    story: Story, end: str, request: pytest.FixtureRequest
) -> None:
    options = Options(retry=STEADY, close_policy=ClosePolicy.REQUEST_CANCEL)
    story.running("0", options=options)
    for number in range(200):
        story.child(f"{number}", f"{number + 1}", options=options)
        story.wait(f"{number}", f"{number + 1}")
        story.start(f"{number + 1}")
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)

    story.terminate("0") if end == "terminate" else story.cancel("0")

    youngest = story["200"]
    assert youngest.status is Status.TERMINATED if end == "terminate" else youngest.cancel_requested


def test_terminate_reaches_what_runs_below_a_child_that_has_completed(story: Story) -> None:
    story.running("order-1")
    for parent, child in (("order-1", "child-1"), ("child-1", "child-2"), ("child-2", "child-3")):
        story.child(parent, child)
        story.start(child)
    story.complete("child-2")
    story.complete("child-1")

    story.terminate("order-1", "enough")

    assert [story[f"child-{number}"].status for number in (1, 2)] == [Status.COMPLETED, Status.COMPLETED]
    assert (story["child-3"].status, story["child-3"].reason) == (Status.TERMINATED, "enough")


def test_terminate_reaches_below_a_child_that_completed_in_the_same_batch(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    work = story.make_work()
    epoch = story["child-1"].epoch
    below = EnqueueChild(
        key="ship#1",
        digest=b"d",
        execution_id="child-2",
        handler="ship",
        component=Component.HANDLER,
        arguments=b"[]",
        options=Options(retry=STEADY),
    )
    for request in (below, CompleteAttempt(result=b"1")):
        asked = FromAttempt(at_ms=story.now_ms, execution_id="child-1", epoch=epoch, jitter=0.0, request=request)
        decide(work, asked)

    decide(work, Terminate(at_ms=story.now_ms, execution_id="order-1"))

    assert work.execution("child-2").status is Status.TERMINATED


def test_terminate_stops_at_a_completed_child_that_is_to_be_abandoned(story: Story) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(close_policy=ClosePolicy.ABANDON))
    story.start("child-1")
    story.child("child-1", "child-2")
    story.complete("child-1")

    story.terminate("order-1")

    assert story["child-2"].status is Status.QUEUED


def test_before_format_3_terminate_stopped_at_a_child_that_had_completed(story: Story) -> None:
    story.of_format(2)
    story.running("order-1")
    story.child("order-1", "child-1")
    story.start("child-1")
    story.child("child-1", "child-2")
    story.complete("child-1")

    story.terminate("order-1")

    assert story["child-2"].status is Status.QUEUED
