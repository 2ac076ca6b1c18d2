"""Signals: received in order, each once; sent once, to clients and to other executions."""

from __future__ import annotations

import pytest

from tempolite_node.engine import inbox
from tempolite_node.engine.commands import IdConflict
from tempolite_node.engine.effects import Reason, Refused, Rejection, SignalSent, SignalStored, TimedOut, Value, Wake
from tempolite_node.engine.model import Component, OperationKind, OperationStatus, Status

from .story import Story

SIGNAL = OperationKind.SIGNAL

# --- received


def test_a_signal_that_comes_before_its_wait_is_kept_for_it(story: Story) -> None:
    story.enqueue("order-1")
    assert story.signal("order-1", "approve", b"yes") == SignalStored(sequence=1)
    story.start("order-1")

    assert story.receive("order-1", "approve") == Value(payload=b"yes")
    assert story["order-1"].status is Status.RUNNING


def test_a_signal_that_comes_during_its_wait_ends_it(story: Story) -> None:
    story.running("order-1")
    assert story.receive("order-1", "approve", key="approve#1") is None
    assert story["order-1"].status is Status.WAITING

    story.signal("order-1", "approve", b"yes")

    assert story["order-1"].status is Status.RUNNING
    [wake] = story.effects_of(Wake)
    assert (wake.kind, wake.key, wake.answer) == (SIGNAL, "approve#1", Value(payload=b"yes"))


def test_a_signal_that_comes_after_its_wait_timed_out_is_kept_for_the_next(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", "approve", key="approve#1", timeout_ms=1_000)
    story.advance(1_000)
    [wake] = story.effects_of(Wake)
    assert wake.answer == TimedOut()

    story.signal("order-1", "approve", b"late")

    assert story.receive("order-1", "approve", key="approve#2") == Value(payload=b"late")


def test_signals_of_one_name_are_received_in_the_order_in_which_they_came(story: Story) -> None:
    story.running("order-1")
    for payload in (b"1", b"2", b"3"):
        story.signal("order-1", "item", payload)

    received = [story.receive("order-1", "item", key=f"item#{number}") for number in (1, 2, 3)]

    assert received == [Value(payload=b"1"), Value(payload=b"2"), Value(payload=b"3")]


def test_signals_of_other_names_stay_where_they_are(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", "other", b"1")

    assert story.receive("order-1", "approve") is None

    story.signal("order-1", "other", b"2")
    assert story["order-1"].status is Status.WAITING
    story.signal("order-1", "approve", b"3")
    assert story.receive("order-1", "other") == Value(payload=b"1")


def test_of_two_waits_for_one_name_the_older_one_gets_the_signal(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", "item", key="item#1")
    story.receive("order-1", "item", key="item#2")

    story.signal("order-1", "item", b"1")
    assert [wake.key for wake in story.effects_of(Wake)] == ["item#1"]
    assert (story["order-1"].status, story["order-1"].pending) == (Status.WAITING, 1)

    story.signal("order-1", "item", b"2")
    assert [wake.key for wake in story.effects_of(Wake)] == ["item#2"]
    assert (story["order-1"].status, story["order-1"].pending) == (Status.RUNNING, 0)


def test_a_signal_is_consumed_once_however_often_the_code_is_replayed_or_retried(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", "item", b"1")
    story.signal("order-1", "item", b"2")
    story.receive("order-1", "item", key="item#1")

    story.resumed("order-1")
    assert story.receive("order-1", "item", key="item#1") == Value(payload=b"1")

    story.retried("order-1")
    assert story.receive("order-1", "item", key="item#1") == Value(payload=b"1")
    assert story.receive("order-1", "item", key="item#2") == Value(payload=b"2")
    assert (story["order-1"].inbox, story["order-1"].consumed) == (2, 2)


def test_the_payload_of_a_consumed_signal_is_kept_once(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", "approve", b"yes")
    story.receive("order-1", "approve", key="approve#1")

    [signal] = story.inbox("order-1")
    assert (signal.consumed, signal.payload) == (True, b"")
    assert story.operation("order-1", SIGNAL, "approve#1").result == b"yes"


def test_a_wait_for_another_name_under_a_recorded_key_is_non_determinism(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", "approve")
    story.receive("order-1", "approve", key="k")

    answer = story.receive("order-1", "reject", key="k")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_with_a_timeout_of_zero_a_wait_only_looks(story: Story) -> None:
    story.running("order-1")

    assert story.receive("order-1", "approve", key="approve#1", timeout_ms=0) == TimedOut()
    assert story["order-1"].status is Status.RUNNING
    story.signal("order-1", "approve", b"yes")

    assert story.receive("order-1", "approve", key="approve#1", timeout_ms=0) == TimedOut()
    assert story.receive("order-1", "approve", key="approve#2", timeout_ms=0) == Value(payload=b"yes")


def test_a_wait_that_timed_out_is_made_again_when_the_execution_is_retried(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", "approve", timeout_ms=0)
    story.retried("order-1")
    story.signal("order-1", "approve", b"yes")

    assert story.receive("order-1", "approve", timeout_ms=0) == Value(payload=b"yes")


@pytest.mark.parametrize("state", ["scheduled", "suspended", "compensating", "stuck"])
def test_signals_are_kept_in_any_state_of_an_open_execution(story: Story, state: str) -> None:
    if state == "scheduled":
        story.enqueue("order-1", delay_ms=1_000)
    elif state == "suspended":
        story.suspended("order-1")
    elif state == "compensating":
        story.compensating("order-1")
    else:
        story.stuck("order-1")
    assert story["order-1"].status == state

    assert story.signal("order-1") == SignalStored(sequence=1)


def test_a_repeated_signal_is_stored_once_and_answers_with_its_number(story: Story) -> None:
    story.enqueue("order-1")

    assert story.signal("order-1", "item", b"1", request_id="r-1") == SignalStored(sequence=1)
    assert story.signal("order-1", "item", b"2", request_id="r-2") == SignalStored(sequence=2)
    assert story.signal("order-1", "item", b"1", request_id="r-1") == SignalStored(sequence=1)

    assert story["order-1"].inbox == 2


def test_a_signal_can_be_repeated_though_it_was_consumed_or_its_execution_has_ended(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", request_id="r-1")
    story.receive("order-1")
    assert story.signal("order-1", request_id="r-1") == SignalStored(sequence=1)
    story.complete("order-1")

    assert story.signal("order-1", request_id="r-1") == SignalStored(sequence=1)


def test_the_same_request_to_two_executions_is_two_signals(story: Story) -> None:
    story.enqueue("order-1")
    story.enqueue("order-2")

    story.signal("order-1", request_id="r-1")
    story.signal("order-2", request_id="r-1")

    assert story["order-2"].inbox == 1


def test_an_ended_execution_takes_no_signal(story: Story) -> None:
    story.running("order-1")
    story.complete("order-1")

    assert story.signal("order-1") == Rejection(
        Reason.CLOSED, "execution order-1 has ended (completed): it takes no signals"
    )


def test_what_a_client_can_make_a_node_keep_is_bounded(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "UNCONSUMED_MAX", 2)
    story.running("order-1")
    story.signal("order-1")
    story.signal("order-1")

    outcome = story.signal("order-1")

    assert isinstance(outcome, Rejection)
    assert outcome.reason is Reason.QUEUE_FULL
    story.receive("order-1")
    assert story.signal("order-1") == SignalStored(sequence=3)


# --- sent


def test_a_signal_to_clients_is_a_numbered_stream(story: Story) -> None:
    story.running("order-1")

    assert story.send("order-1", "packed", b"1", key="packed#1") == Value()
    assert story.effects == [SignalSent(execution_id="order-1")]
    story.send("order-1", "shipped", b"2", key="shipped#1")

    assert [(signal.seq, signal.name, signal.payload) for signal in story.outbox("order-1")] == [
        (1, "packed", b"1"),
        (2, "shipped", b"2"),
    ]


def test_a_signal_is_sent_once_however_often_the_code_is_replayed_or_retried(story: Story) -> None:
    story.running("order-1")
    story.send("order-1", key="packed#1")
    story.resumed("order-1")
    story.send("order-1", key="packed#1")
    story.retried("order-1")

    assert story.send("order-1", key="packed#1") == Value()

    assert len(story.outbox("order-1")) == 1


def test_a_signal_with_another_payload_under_a_recorded_key_is_non_determinism(story: Story) -> None:
    story.running("order-1")
    story.send("order-1", digest=b"one")

    answer = story.send("order-1", digest=b"two")

    assert isinstance(answer, Refused)
    assert answer.reason == Reason.NON_DETERMINISM


def test_a_signal_to_another_execution_is_in_its_inbox_in_the_same_commit(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.receive("order-2", "paid")

    assert story.send("order-1", "paid", b"5", to="order-2") == Value()

    assert [(wake.execution_id, wake.answer) for wake in story.effects_of(Wake)] == [("order-2", Value(payload=b"5"))]
    assert story.outbox("order-1") == []


def test_a_signal_to_another_execution_arrives_once(story: Story) -> None:
    story.running("order-1")
    story.enqueue("order-2")
    story.send("order-1", to="order-2")
    story.retried("order-1")
    story.send("order-1", to="order-2")

    assert story["order-2"].inbox == 1


def test_the_next_execution_under_an_id_can_send_what_the_first_one_has_sent(story: Story) -> None:
    story.enqueue("order-2")
    for _ in range(2):
        story.enqueue("order-1", id_conflict=IdConflict.TERMINATE_EXISTING)
        story.start("order-1")
        story.send("order-1", "paid", b"5", key="paid#1", to="order-2")

    assert story["order-2"].inbox == 2


def test_an_execution_can_signal_itself(story: Story) -> None:
    story.running("order-1")

    story.send("order-1", "go", b"1", to="order-1")

    assert story.receive("order-1", "go") == Value(payload=b"1")


def test_a_signal_to_an_unknown_or_ended_execution_is_refused(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.complete("order-2")

    unknown = story.send("order-1", key="k1", to="nobody")
    ended = story.send("order-1", key="k2", to="order-2")

    assert isinstance(unknown, Refused)
    assert unknown.reason == Reason.NOT_FOUND
    assert isinstance(ended, Refused)
    assert ended.reason == Reason.CLOSED


def test_a_saga_receives_signals_while_it_compensates(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    assert story.receive("order-1", "refunded") is None
    assert story["order-1"].status is Status.COMPENSATING

    story.signal("order-1", "refunded", b"1")

    assert [wake.answer for wake in story.effects_of(Wake)] == [Value(payload=b"1")]
    assert story.operation("order-1", SIGNAL, "refunded#1").status is OperationStatus.COMPLETED
    assert story["order-1"].component is Component.SAGA


# --- requests that are used again


def test_a_request_that_is_repeated_with_a_signal_of_another_name_is_refused_and_names_the_first(story: Story) -> None:
    story.enqueue("order-1")
    story.signal("order-1", "approve", request_id="r-1")

    outcome = story.signal("order-1", "reject", request_id="r-1")

    message = "request r-1 sent signal 'approve' to execution order-1; it can't send 'reject' too"
    assert outcome == Rejection(Reason.ALREADY_EXISTS, message)


def test_a_signal_of_an_earlier_version_answers_repeats_by_the_rule_of_then(story: Story) -> None:
    story.of_format(1)
    story.enqueue("order-1")
    story.signal("order-1", "approve", request_id="r-1")
    story.register(boot_id="upgraded")

    assert story.signal("order-1", "reject", request_id="r-1") == SignalStored(sequence=1)
