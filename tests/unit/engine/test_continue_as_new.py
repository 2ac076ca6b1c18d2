"""A run ends and the next one begins under the same id: what it takes along, what begins anew, and what is left."""

from __future__ import annotations

from typing import Any

import pytest

from tempolite_node.engine.commands import DeliverCancel, IdReuse
from tempolite_node.engine.effects import (
    Abandon,
    Closed,
    Enqueued,
    Interrupted,
    Reason,
    Refused,
    Rejection,
    RunAttempt,
    SignalStored,
    Value,
)
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    Execution,
    OperationKind,
    OperationStatus,
    Options,
    Status,
    operation_id,
)
from tempolite_node.store import clearing

from .story import NODE, ONCE, START_MS, STEADY, Story

SIGNAL = OperationKind.SIGNAL


def before(story: Story, execution_id: str = "order-1") -> Execution:
    """The run before the one that has the id."""
    previous = story[execution_id].previous
    execution = story.executions.execution_at(previous or 0)
    assert execution is not None, f"{execution_id} is the first run"
    return execution


def continued(story: Story, execution_id: str = "order-1", **fields: Any) -> str:
    """An execution whose second run has started."""
    story.running(execution_id, **fields)
    assert story.continue_as_new(execution_id) == Value()
    story.start(execution_id)
    return execution_id


def test_a_run_ends_and_the_next_one_begins_in_one_commit(story: Story) -> None:
    story.running("order-1", priority=3)
    first = story["order-1"]

    assert story.continue_as_new("order-1", b"[2]") == Value()

    second, ended = story["order-1"], before(story)
    assert (ended.row, ended.id, ended.status) == (first.row, f"order-1~{first.row}", Status.CONTINUED_AS_NEW)
    assert (second.run, second.status, second.arguments, second.priority) == (2, Status.QUEUED, b"[2]", 3)
    assert second.epoch > first.epoch
    assert not story.effects_of(Closed)


def test_the_run_before_is_heard_no_more(story: Story) -> None:
    story.running("order-1")
    epoch = story["order-1"].epoch
    story.continue_as_new("order-1")

    late = story.ask("order-1", DeliverCancel(key="timer:sleep#1"), epoch=epoch)

    assert isinstance(late, Rejection)
    assert late.reason is Reason.STALE_EPOCH


def test_the_next_run_starts_like_any_other(story: Story) -> None:
    story.running("order-1")
    story.continue_as_new("order-1")

    story.start("order-1")

    assert [effect.execution_id for effect in story.effects_of(RunAttempt)] == ["order-1"]
    assert story["order-1"].attempt == 1


def test_attempts_failures_and_heartbeats_begin_anew(story: Story) -> None:
    story.retried(story.running("order-1"))
    story.continue_as_new("order-1")
    story.start("order-1")

    run = story["order-1"]

    assert (run.attempt, run.failures, run.generation, run.crashes, run.heartbeat) == (1, 0, 0, 0, None)


def test_time_limits_begin_anew(story: Story) -> None:
    options = Options(retry=STEADY, attempt_timeout_ms=2_000, queue_timeout_ms=500)
    story.running("order-1", max_duration_ms=10_000, options=options)
    story.advance(1_000)

    story.continue_as_new("order-1")

    assert story.timers("order-1") == {"deadline": 11_000, "queue": 1_500}
    assert story[before(story).id].deadline_ms == START_MS + 10_000


def test_the_deadline_of_the_parent_holds_for_each_run_of_its_child(story: Story) -> None:
    story.running("order-1", max_duration_ms=10_000)
    story.child("order-1", "child-1", max_duration_ms=8_000)
    story.start("child-1")
    story.advance(5_000)

    story.continue_as_new("child-1")

    assert story["child-1"].deadline_ms == START_MS + 10_000


def test_a_limit_that_is_over_meets_the_run_that_it_was_set_for(story: Story) -> None:
    story.running("order-1", max_duration_ms=1_000)
    due_ms = START_MS + 1_000
    story.now_ms += 900
    story.continue_as_new("order-1")

    assert isinstance(story.fire("order-1", "deadline", due_ms), Rejection)
    assert story["order-1"].status is Status.QUEUED


# --- who waits


def test_who_waits_for_the_execution_waits_for_its_last_run(story: Story) -> None:
    story.running("asks")
    continued(story)
    assert story.wait("asks", "order-1") is None

    story.continue_as_new("order-1")
    story.start("order-1")
    assert story["asks"].status is Status.WAITING
    story.complete("order-1", b"7")

    assert story.operation("asks", OperationKind.WAIT, "order-1").status is OperationStatus.COMPLETED
    assert story["asks"].status is Status.RUNNING


def test_who_waits_for_an_earlier_run_by_its_id_waits_for_the_last_one(story: Story) -> None:
    story.running("asks")
    continued(story)
    earlier = before(story).id

    assert story.wait("asks", earlier) is None

    assert story["order-1"].waiters == 1
    story.complete("order-1")
    assert story.operation("asks", OperationKind.WAIT, earlier).target == earlier


def test_a_wait_that_would_never_end_is_refused_though_it_names_an_earlier_run(story: Story) -> None:
    continued(story)

    refused = story.wait("order-1", before(story).id)

    assert isinstance(refused, Refused)
    assert refused.reason == Reason.WAIT_CYCLE


# --- parents and children


def test_the_next_run_is_its_parents_child_and_a_retry_of_the_parent_keeps_it(story: Story) -> None:
    story.running("parent")
    story.child("parent", "child-1")
    story.start("child-1")

    story.continue_as_new("child-1")
    story.retried("parent")

    assert (story["child-1"].parent_id, story["child-1"].parent_row) == ("parent", story["parent"].row)
    assert story.child("parent", "another") == Value(payload=b'"child-1"')
    story.terminate("parent")
    assert story["child-1"].status is Status.TERMINATED


def test_a_retry_of_the_parent_begins_anew_what_its_childs_last_run_failed(story: Story) -> None:
    story.running("parent")
    story.child("parent", "child-1", options=Options(retry=ONCE))
    story.start("child-1")
    story.continue_as_new("child-1")
    story.start("child-1")
    story.fail("child-1")
    story.retried("parent")

    assert story.child("parent", "child-1") == Value(payload=b'"child-1"')

    assert (story["child-1"].run, story["child-1"].mailbox) == (3, None)


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (None, Status.QUEUED),
        (ClosePolicy.ABANDON, Status.QUEUED),
        (ClosePolicy.REQUEST_CANCEL, Status.CANCELLED),
        (ClosePolicy.TERMINATE, Status.TERMINATED),
    ],
)
def test_children_of_the_run_before_meet_its_end_as_any_other(
    story: Story, policy: ClosePolicy | None, status: Status
) -> None:
    story.running("order-1")
    story.child("order-1", "child-1", options=Options(retry=STEADY, close_policy=policy))

    story.continue_as_new("order-1")

    assert story["child-1"].status is status
    assert not story["order-1"].has_children


# --- signals


def test_signals_that_were_not_received_are_for_the_next_run(story: Story) -> None:
    story.running("order-1")
    for payload in (b"1", b"2"):
        story.signal("order-1", payload=payload)
    story.receive("order-1")

    story.continue_as_new("order-1")
    story.start("order-1")

    assert story.receive("order-1") == Value(payload=b"2")
    assert story.signal("order-1") == SignalStored(sequence=3)


def test_a_signal_that_was_taken_for_a_wait_whose_code_never_saw_it_is_for_the_next_run(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b"1")
    story.signal("order-1", payload=b"2")

    story.continue_as_new("order-1", b"[2]", (SIGNAL, "approve#1"))
    story.start("order-1")

    assert story.receive("order-1") == Value(payload=b"1")


def test_a_request_to_signal_that_is_repeated_is_known_to_the_next_run(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", request_id="r1")
    story.receive("order-1")

    story.continue_as_new("order-1")

    assert story.signal("order-1", request_id="r1") == SignalStored(sequence=1)
    assert story["order-1"].inbox == 1


def test_a_request_to_signal_that_is_repeated_is_known_to_who_has_the_id_anew(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", request_id="r1")
    story.complete("order-1")
    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    assert story.signal("order-1", request_id="r1") == SignalStored(sequence=1)
    assert story["order-1"].inbox == 0


def test_signals_to_clients_are_counted_on(story: Story) -> None:
    story.running("order-1")
    story.send("order-1")
    story.continue_as_new("order-1")
    story.start("order-1")

    story.send("order-1", payload=b"4")

    assert [(signal.seq, signal.payload) for signal in story.outbox("order-1")] == [(1, b"3"), (2, b"4")]


# --- requests to enqueue


def test_a_request_to_enqueue_that_is_repeated_finds_what_it_made_however_often_it_was_continued(story: Story) -> None:
    continued(story, request_id="r1")
    story.continue_as_new("order-1", b"[3]")

    again = story.enqueue("order-1", request_id="r1")

    assert again == Enqueued(execution_id="order-1", component=Component.HANDLER, existing=True)


def test_a_request_to_enqueue_that_is_repeated_finds_what_it_made_before_the_id_was_used_again(story: Story) -> None:
    story.running("order-1", request_id="r1")
    story.complete("order-1")
    story.running("order-1", request_id="r2", id_reuse=IdReuse.ALLOW_DUPLICATE)

    again = story.enqueue("order-1", request_id="r1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    assert again == Enqueued(execution_id=before(story).id, component=Component.HANDLER, existing=True)


def test_a_request_to_enqueue_for_other_arguments_is_no_repeat(story: Story) -> None:
    continued(story, request_id="r1")

    again = story.enqueue("order-1", request_id="r1", arguments=b"[2]")

    assert isinstance(again, Rejection)
    assert again.reason is Reason.ALREADY_EXISTS


# --- cancels, terminates, crashes


def test_a_cancel_that_the_code_has_not_seen_comes_first(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1", "enough")

    assert story.continue_as_new("order-1") == Interrupted(reason="enough")

    assert (story["order-1"].run, story["order-1"].status) == (1, Status.RUNNING)


def test_a_cancel_that_the_code_has_seen_is_not_the_next_runs(story: Story) -> None:
    story.running("order-1")
    story.cancel("order-1")
    story.ask("order-1", DeliverCancel(key="continue_as_new:continue_as_new#1"))

    story.continue_as_new("order-1")

    assert not story["order-1"].cancel_requested


@pytest.mark.parametrize("stop", ["cancel", "terminate"])
def test_what_comes_after_the_hand_over_meets_the_next_run(story: Story, stop: str) -> None:
    story.running("order-1")
    story.continue_as_new("order-1")

    getattr(story, stop)("order-1")

    assert story["order-1"].status is (Status.CANCELLED if stop == "cancel" else Status.TERMINATED)
    assert before(story).status is Status.CONTINUED_AS_NEW


def test_waits_of_the_run_before_are_over_with_it(story: Story) -> None:
    story.running("slow")
    story.running("order-1")
    story.receive("order-1")
    story.wait("order-1", "slow")
    story.sleep("order-1")

    story.continue_as_new("order-1")

    assert story["slow"].waiters == 0
    assert story.timers("order-1") == {}
    assert not story.effects_of(Abandon)


# --- concurrency keys


def test_the_next_run_keeps_the_place_of_the_key(story: Story) -> None:
    story.running("order-1", concurrency_key="one")
    story.enqueue("order-2", concurrency_key="one", priority=10)
    place = story["order-1"].place

    story.continue_as_new("order-1")

    assert story["order-1"].place == place
    assert story["order-2"].waits_for_place
    story.start("order-1")
    story.complete("order-1")
    assert not story["order-2"].waits_for_place


# --- refused


def test_a_saga_with_steps_to_undo_goes_on(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)
    story.step("order-1", "Charge#1")

    refused = story.continue_as_new("order-1")

    assert isinstance(refused, Refused)
    assert refused.reason == Reason.WRONG_STATE
    assert "Charge#1" in refused.message
    assert story["order-1"].status is Status.RUNNING


def test_a_saga_that_has_nothing_to_undo_is_continued(story: Story) -> None:
    story.running("order-1", component=Component.SAGA)

    assert story.continue_as_new("order-1") == Value()


def test_a_compensation_is_not_continued(story: Story) -> None:
    story.start(story.compensating("order-1"))

    assert isinstance(story.continue_as_new("order-1"), Refused)


def test_an_execution_of_an_earlier_format_is_not_continued(story: Story) -> None:
    story.of_format(2)
    story.running("order-1")
    story.remove(NODE)
    story.register(boot_id="upgraded")

    assert isinstance(story.continue_as_new("order-1"), Refused | Rejection)


# --- the names of operations


def test_the_id_of_an_operation_names_the_run_from_the_second_on() -> None:
    assert operation_id("order-1", 1, OperationKind.SIDE_EFFECT, "charge") == "order-1/side_effect/charge"
    assert operation_id("order-1", 2, OperationKind.SIDE_EFFECT, "charge") == "order-1/2/side_effect/charge"
    assert operation_id("order-1~7", 2, OperationKind.SIDE_EFFECT, "charge") == "order-1/2/side_effect/charge"


def test_runs_are_counted_whatever_began_them(story: Story) -> None:
    continued(story)
    story.complete("order-1")

    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    assert (story["order-1"].run, story["order-1"].mailbox) == (3, None)
    assert story.queries.run_of(story["order-1"], 2) == before(story)
    assert story.queries.run_of(story["order-1"], 4) is None


def test_a_node_of_an_earlier_version_counts_no_runs(story: Story) -> None:
    story.of_format(2)
    story.running("order-1", max_duration_ms=1_000)
    story.complete("order-1")

    story.running("order-1", id_reuse=IdReuse.ALLOW_DUPLICATE)

    execution = story["order-1"]
    assert (execution.run, execution.previous, execution.max_duration_ms) == (1, None, None)


# --- what is left


def counts(story: Story) -> tuple[int, ...]:
    """Operations, ended attempts, signals received and signals sent that are stored."""
    tables = ("operations", "attempts", "inbox", "outbox")
    return tuple(story.connection.execute(f"SELECT count(*) FROM {table}").get for table in tables)


def busy(story: Story, number: int) -> None:
    """A run that records five signals received and five sent, and the operations of them."""
    for at in range(5):
        story.signal("order-1", request_id=f"r{number}.{at}")
        story.receive("order-1", key=f"approve#{at}")
        story.send("order-1", key=f"packed#{at}")


def test_a_journal_goes_in_bounded_steps(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "ROWS_MAX", 4)
    story.running("order-1")
    busy(story, 1)
    story.continue_as_new("order-1")
    row = before(story).row

    left = []
    while due := story.executions.due_timers(story.now_ms, 1):
        [(execution_id, timer)] = due
        story.fire(execution_id, timer.name, timer.due_ms)
        left.append(counts(story)[0])
        story.now_ms += 1

    assert left == [6, 2, 0]
    assert story.queries.operations(row, 10) == []


def test_signals_of_the_run_before_stay_and_those_of_earlier_ones_go(story: Story) -> None:
    story.running("order-1")
    for number in (1, 2, 3):
        busy(story, number)
        story.continue_as_new("order-1")
        story.advance(1_000)
        story.start("order-1")

    assert counts(story) == (0, 0, 5, 5)
    assert story.signal("order-1", request_id="r3.2") == SignalStored(sequence=13)


def test_a_signal_that_nobody_takes_stays_and_keeps_no_other_one(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", "stop", b"now")
    for number in (1, 2, 3):
        busy(story, number)
        story.continue_as_new("order-1")
        story.advance(1_000)
        story.start("order-1")

    assert counts(story)[2] == 1 + 5
    assert story.receive("order-1", "stop") == Value(payload=b"now")


def test_what_a_journal_has_goes_by_its_bytes_too(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "_BYTES_MAX", 1_000)
    story.running("order-1")
    for key in ("a", "b", "c"):
        story.complete_side_effect("order-1", b'"' + b"x" * 1_000 + b'"', key)
    story.continue_as_new("order-1")

    fired = story.advance(1_000)

    assert fired == [f"{before(story).id} clearing"] * 3
    assert counts(story)[0] == 0


def test_attempts_of_earlier_runs_go_with_their_journals(story: Story) -> None:
    story.retried(story.running("order-1"))
    story.continue_as_new("order-1")

    story.advance(1_000)

    assert counts(story)[1] == 0
