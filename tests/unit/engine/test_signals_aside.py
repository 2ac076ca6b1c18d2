"""A signal whose payload the code can't read is set aside, and its wait goes on."""

from __future__ import annotations

import pytest

from tempolite_node.engine import inbox
from tempolite_node.engine.commands import SendSignal, UnwindAttempt
from tempolite_node.engine.effects import Interrupted, Reason, Refused, SignalSetAside, TimedOut, Value, Wake
from tempolite_node.engine.model import Component, Operation, OperationKind, OperationStatus, Status
from tempolite_node.engine.work import Work

from .story import NODE, START_MS, Story

SIGNAL = OperationKind.SIGNAL


def reception(story: Story, key: str = "approve#1") -> Operation:
    return story.operation("order-1", SIGNAL, key)


def test_the_wait_is_open_again_and_the_next_signal_of_its_name_ends_it(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b'"wrong"')

    assert story.set_aside("order-1") is None

    assert (story["order-1"].status, story["order-1"].pending) == (Status.WAITING, 1)
    assert (reception(story).status, reception(story).signal_seq) == (OperationStatus.PENDING, None)
    story.signal("order-1", payload=b'"right"')
    [wake] = story.effects_of(Wake)
    assert (wake.key, wake.answer) == ("approve#1", Value(payload=b'"right"'))
    assert (reception(story).result, reception(story).signal_seq) == (b'"right"', 2)


def test_one_that_is_in_line_already_is_taken_in_its_place(story: Story) -> None:
    story.running("order-1")
    for payload in (b'"wrong"', b'"right"', b'"later"'):
        story.signal("order-1", payload=payload)
    story.receive("order-1")

    assert story.set_aside("order-1") == Value(payload=b'"right"')

    assert story["order-1"].status is Status.RUNNING
    assert story.receive("order-1", key="approve#2") == Value(payload=b'"later"')


def test_it_is_kept_with_its_payload_and_with_what_is_wrong_with_it_and_counts_as_not_consumed(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.receive("order-1")

    story.set_aside("order-1", error="by: is required")

    [kept] = story.queries.unconsumed_signals(story["order-1"].row, 9)
    assert (kept.seq, kept.payload, kept.set_aside, kept.consumed) == (1, b'"wrong"', "by: is required", False)
    assert (story["order-1"].inbox, story["order-1"].consumed) == (1, 0)
    [told] = story.effects_of(SignalSetAside)
    assert (told.execution.owner, told.execution.handler, told.signal) == (NODE, "fulfil", kept)


def test_no_wait_takes_it_again(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.receive("order-1")
    story.set_aside("order-1")
    story.restart()
    story.start("order-1")

    assert story.receive("order-1") is None
    assert story.receive("order-1", key="approve#2") is None


def test_its_timeout_goes_on_from_the_wait_s_beginning(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", timeout_ms=5_000)
    for _ in range(2):
        story.advance(2_000)
        story.signal("order-1")
        assert story.set_aside("order-1", timeout_ms=5_000) is None
        assert story.timers("order-1") == {"signal:approve#1": 5_000}

    assert story.advance(1_000) == ["order-1 signal:approve#1"]

    [wake] = story.effects_of(Wake)
    assert wake.answer == TimedOut()


def test_a_wait_whose_time_is_up_meanwhile_has_timed_out(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1", timeout_ms=5_000)
    story.signal("order-1")
    story.now_ms = START_MS + 5_000

    assert story.set_aside("order-1", timeout_ms=5_000) == TimedOut()
    assert reception(story).status is OperationStatus.TIMED_OUT


def test_one_that_only_looks_finds_nothing(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1")
    story.receive("order-1", timeout_ms=0)

    assert story.set_aside("order-1", timeout_ms=0) == TimedOut()
    assert story["order-1"].status is Status.RUNNING


def test_a_cancel_that_the_code_has_not_seen_interrupts_the_wait_that_is_open_again(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1")
    story.receive("order-1")
    story.cancel("order-1", "enough")

    assert story.set_aside("order-1") == Interrupted(reason="enough")
    assert reception(story).status is OperationStatus.CANCELLED


def test_if_the_node_dies_before_it_is_set_aside_replay_finds_it_and_does_it_then(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.now_ms += 50
    story.restart()
    story.start("order-1")

    assert reception(story).result == b'"wrong"'
    assert story.set_aside("order-1", replayed=True) is None
    assert story["order-1"].status is Status.WAITING


def test_if_it_dies_right_after_replay_finds_an_open_wait(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.set_aside("order-1")
    story.restart()
    story.start("order-1")

    assert story.receive("order-1") is None
    story.signal("order-1", payload=b'"right"')
    assert reception(story).result == b'"right"'


def test_a_stack_that_was_given_up_meanwhile_goes_on_when_the_right_one_comes(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.set_aside("order-1")

    story.ask("order-1", UnwindAttempt(waits=((SIGNAL, "approve#1"),)))

    assert (story["order-1"].status, story["order-1"].attached) == (Status.WAITING, False)
    story.signal("order-1", payload=b'"right"')
    assert (story["order-1"].status, story["order-1"].resumes) == (Status.QUEUED, True)


def test_what_earlier_code_has_read_and_gone_on_from_stays_as_it_is(story: Story) -> None:
    story.running("order-1")
    story.signal("order-1", payload=b'"read"')
    story.receive("order-1")
    story.now_ms += 1
    story.marker("order-1", b"1")
    story.resumed("order-1")

    answer = story.set_aside("order-1", replayed=True)

    assert answer == Refused(reason=Reason.WRONG_STATE, message="signal approve#1 was read before")
    assert reception(story).result == b'"read"'


def test_what_runs_beside_the_wait_is_no_sign_that_a_new_signal_was_read(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")
    story.signal("order-1", payload=b'"wrong"')
    story.now_ms += 1
    story.complete_side_effect("order-1")

    assert story.set_aside("order-1") is None


def test_a_wait_that_has_taken_nothing_has_nothing_to_set_aside(story: Story) -> None:
    story.running("order-1")
    story.receive("order-1")

    for key in ("approve#1", "approve#2"):
        answer = story.set_aside("order-1", key=key)
        assert answer == Refused(reason=Reason.WRONG_STATE, message=f"signal {key} has taken none")


def test_a_compensation_that_waits_sets_aside_too(story: Story) -> None:
    story.compensating("order-1")
    story.start("order-1")
    story.receive("order-1", key="compensation:Charge#1 > approve#1")
    story.signal("order-1", payload=b'"wrong"')

    assert story.set_aside("order-1", key="compensation:Charge#1 > approve#1") is None

    assert (story["order-1"].status, story["order-1"].pending) == (Status.COMPENSATING, 1)


def test_of_a_signal_the_sender_is_known(story: Story) -> None:
    story.running("order-1")
    story.running("order-2")
    story.send("order-2", "approve", to="order-1")
    client = "client ipv4:10.0.0.7"
    story.do(SendSignal(at_ms=story.now_ms, execution_id="order-1", name="approve", payload=b"1", sender=client))

    senders = [signal.sender for signal in story.inbox("order-1")]

    assert senders == ["execution order-2", client]


# --- by an earlier rule


def test_what_was_taken_before_signals_could_be_set_aside_can_not_be(story: Story) -> None:
    story.of_format(1)
    story.running("order-1")
    story.signal("order-1")
    story.receive("order-1")
    assert (reception(story).signal_seq, story.inbox("order-1")[0].sender) == (None, "")
    message = "signal approve#1 was recorded before signals could be set aside"

    assert story.set_aside("order-1") == Refused(reason=Reason.WRONG_STATE, message=message)
    story.register(boot_id="upgraded")
    story.start("order-1")
    assert story.set_aside("order-1", replayed=True) == Refused(reason=Reason.WRONG_STATE, message=message)


# --- the move by itself


@pytest.mark.parametrize("component", [Component.HANDLER, Component.SAGA])
def test_a_signal_that_is_given_back_without_a_reason_is_at_its_place_in_line_again(
    story: Story, component: Component
) -> None:
    story.running("order-1", component=component)
    for payload in (b"1", b"2"):
        story.signal("order-1", payload=payload)
    story.receive("order-1")
    work = Work(story.executions)

    inbox.give_back(work, reception(story), set_aside=None)

    taken = work.next_signal(story["order-1"].row, "approve")
    assert taken is not None
    assert (taken.seq, taken.payload) == (1, b"1")
    assert work.execution_at(story["order-1"].row).consumed == 0
