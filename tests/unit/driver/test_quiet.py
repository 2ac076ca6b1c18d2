"""Frames that are stepped: they hold a slot whenever they are not quiet, whatever waits they have open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from tempolite_node.driver.inputs import HostMessages, HostUp, Submit
from tempolite_node.engine.commands import (
    AnyRequest,
    BeginSideEffect,
    Cancel,
    CompleteSideEffect,
    GiveUp,
    ReceiveSignal,
    RecordMarker,
    SendSignal,
    Sleep,
)
from tempolite_node.engine.effects import Value
from tempolite_node.engine.model import Component, OperationKind, Status
from tempolite_node.protocol import messages

from ..engine.story import registration
from .conftest import busy, enqueue, simulated
from .simulated import HANDLERS, SimulatedNode

HELD = {Component.HANDLER: 1}


class Stepped:
    """An attempt whose host says when it is quiet."""

    def __init__(self, node: SimulatedNode, execution_id: str = "a") -> None:
        self.node = node
        self.id = execution_id
        self._numbers = 0
        enqueue(node, execution_id)
        self.epoch = node.attempts[execution_id].epoch

    def say(self, *requests: AnyRequest, quiet: int | None = None, frame: str = "") -> None:
        """A burst: what its code asked for until its loop was quiet."""
        calls: list[messages.ForDriver] = []
        for request in requests:
            self._numbers += 1
            last = request is requests[-1]
            calls.append(
                messages.AttemptCall(
                    execution_id=self.id,
                    epoch=self.epoch,
                    call=self._numbers,
                    request=request,
                    frame=frame,
                    quiet=quiet if last else None,
                )
            )
        if not requests:
            assert quiet is not None
            calls.append(messages.Quiet(execution_id=self.id, epoch=self.epoch, released=quiet))
        self.node.round(HostMessages(host=1, calls=calls))

    @property
    def heard(self) -> list[messages.Reply]:
        """Of the last round."""
        sent = [message for _, message in self.node.sent if isinstance(message, messages.Reply)]
        return [reply for reply in sent if reply.execution_id == self.id]


def receive(name: str) -> ReceiveSignal:
    return ReceiveSignal(key=name, name=name)


def signal_to(node: SimulatedNode, *names: str) -> None:
    node.round(*(Submit(SendSignal(at_ms=node.now_ms, execution_id="a", name=name, payload=b"1")) for name in names))


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    """One worker in each pool, and a host whose handlers are stepped."""
    with simulated() as node:
        node.host_up()
        node.round(HostUp(host=1, handlers=HANDLERS, stepped=HANDLERS))
        yield node


@pytest.fixture
def a(node: SimulatedNode) -> Stepped:
    return Stepped(node)


def test_a_frame_with_open_waits_keeps_its_slot_until_it_is_quiet(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), receive("two"))
    assert busy(node) == HELD

    a.say(quiet=0)

    assert busy(node) == {}


def test_the_last_call_of_a_burst_tells_it_too(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), receive("two"), quiet=0)

    assert busy(node) == {}


def test_an_answer_that_leaves_others_open_comes_with_a_slot(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), receive("two"), quiet=0)

    signal_to(node, "one")

    assert [reply.answer for reply in a.heard] == [Value(payload=b"1")]
    assert busy(node) == HELD


def test_answers_wait_for_the_slot_and_leave_together_in_their_order(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), receive("two"), quiet=0)
    other = Stepped(node, "b")
    signal_to(node, "two", "one")
    signal_to(node)
    assert a.heard == []

    other.say(receive("one"), quiet=0)

    assert [reply.call for reply in a.heard] == [2, 1]
    first, second = a.heard
    assert 0 < first.end_seq < second.end_seq
    assert first.at_ms == node.now_ms


def test_a_frame_is_not_quiet_while_an_answer_is_on_its_way(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), receive("two"))
    signal_to(node, "one")
    [reply] = a.heard

    a.say(quiet=0)  # said before the answer came
    assert busy(node) == HELD

    a.say(quiet=reply.end_seq)
    assert busy(node) == {}


def test_a_frame_is_not_quiet_while_what_it_asked_for_is_yet_to_be_decided(node: SimulatedNode, a: Stepped) -> None:
    a.say(RecordMarker(key="now", value=b"1"), receive("one"), quiet=0)

    [reply] = a.heard
    assert busy(node) == HELD

    a.say(quiet=reply.end_seq)
    assert busy(node) == {}


def test_a_wait_that_is_given_up_does_not_hold_the_slot_back(node: SimulatedNode, a: Stepped) -> None:
    a.say(receive("one"), Sleep(key="limit", duration_ms=60_000), quiet=0)
    signal_to(node, "one")
    [reply] = a.heard

    a.say(GiveUp(kind=OperationKind.TIMER, key="limit"), receive("two"), quiet=reply.end_seq)

    assert busy(node) == {}
    assert [each.end_seq > reply.end_seq for each in a.heard] == [True]


def test_a_side_effect_is_a_frame_of_its_own(node: SimulatedNode, a: Stepped) -> None:
    a.say(BeginSideEffect(key="charge", digest=b"", fresh=True), quiet=0)
    assert busy(node) == {Component.SIDE_EFFECT: 1}

    a.say(CompleteSideEffect(key="charge", digest=b"", result=b"1", started_ms=node.now_ms))

    [reply] = a.heard
    assert reply.end_seq > 0
    assert busy(node)[Component.HANDLER] == 1


def test_the_cancel_comes_with_a_slot_and_in_its_place(node: SimulatedNode, a: Stepped) -> None:
    node.round(*registers_stepped(node))
    a.say(receive("one"), quiet=0)
    other = Stepped(node, "b")
    node.ask(Cancel(at_ms=node.now_ms, execution_id="a", reason="enough"))
    signal_to(node, "one")
    assert node.sent == []

    other.say(receive("one"), quiet=0)

    told, reply = [message for _, message in node.sent if message.execution_id == "a"]  # type: ignore[union-attr]
    assert isinstance(told, messages.CancelAttempt)
    assert isinstance(reply, messages.Reply)
    assert 0 < told.cancel_seq < reply.end_seq
    execution = node.executions.execution("a")
    assert execution is not None
    assert execution.status is Status.RUNNING


def test_an_attempt_may_be_stepped_from_some_place_on(node: SimulatedNode) -> None:
    node.round(HostUp(host=1, handlers=HANDLERS))
    a = Stepped(node)
    a.say(receive("before"))
    assert busy(node) == {}
    signal_to(node, "before")

    a.say(quiet=messages.BUSY)
    a.say(receive("one"), receive("two"))
    assert busy(node) == HELD

    a.say(quiet=0)
    assert busy(node) == {}


def test_what_was_said_before_an_answer_was_sent_does_not_take_back_what_was_said_since(
    node: SimulatedNode, a: Stepped
) -> None:
    a.say(receive("one"), receive("two"), quiet=0)
    signal_to(node, "one")
    [reply] = a.heard
    a.say(quiet=reply.end_seq)

    a.say(Sleep(key="late", duration_ms=60_000), quiet=0)

    assert busy(node) == {}
    assert node.dispatch._runs["a"].only_waits


def registers_stepped(node: SimulatedNode) -> list[Any]:
    told = registration(at_ms=node.now_ms, boot_id=node.driver.boot_id, handlers=HANDLERS)
    return [Submit(replace(told, handlers=tuple(replace(each, stepped=True) for each in told.handlers)))]
