"""Signals to other executions, which their receivers may not take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tempolite_node.driver.calls import Undecided
from tempolite_node.engine.commands import SendSignalFromAttempt, SetSignalAside, Terminate
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import AnyAnswer, Reason, Refused, Value
from tempolite_node.engine.work import Work
from tempolite_node.protocol import messages

from ..engine.story import registration
from .conftest import enqueue, receive, signal, simulated
from .simulated import SimulatedNode


def sends(node: SimulatedNode) -> SendSignalFromAttempt:
    enqueue(node, "a")
    enqueue(node, "b")
    return SendSignalFromAttempt(key="go#1", name="go", payload=b"1", digest=b"", to="b")


def answers(node: SimulatedNode) -> list[AnyAnswer]:
    """Of the last round."""
    return [message.answer for _, message in node.sent if isinstance(message, messages.Reply)]


def test_a_signal_that_its_receiver_does_not_take_is_refused_and_not_sent(node: SimulatedNode) -> None:
    refused = Refused(reason=Reason.INVALID_ARGUMENT, message="b takes no signal 'go'")
    request = sends(node)
    node.checked = lambda _request: refused

    node.say(node.attempts["a"], "", request)

    assert answers(node) == [refused]
    assert node.executions.execution("b").inbox == 0  # type: ignore[union-attr]


@pytest.mark.parametrize("refused", [None, Refused(reason=Reason.INVALID_ARGUMENT, message="by: is required")])
def test_where_it_takes_time_to_tell_others_go_on_and_the_signal_is_decided_then(
    node: SimulatedNode, refused: Refused | None
) -> None:
    asked: list[Callable[[Refused | None], None]] = []
    request = sends(node)
    node.checked = lambda _request: Undecided(asked.append)
    node.say(node.attempts["a"], "", request)
    assert answers(node) == []

    asked[0](refused)
    node.round()

    assert answers(node) == [Value() if refused is None else refused]
    assert node.executions.execution("b").inbox == (refused is None)  # type: ignore[union-attr]


def test_an_attempt_that_was_lost_while_its_signal_was_checked_has_sent_none(node: SimulatedNode) -> None:
    asked: list[Callable[[Refused | None], None]] = []
    request = sends(node)
    node.checked = lambda _request: Undecided(asked.append)
    node.say(node.attempts["a"], "", request)
    node.ask(Terminate(at_ms=node.now_ms, execution_id="a"))

    asked[0](None)
    node.round()

    assert answers(node) == []
    assert node.executions.execution("b").inbox == 0  # type: ignore[union-attr]


def test_while_an_earlier_version_is_among_the_nodes_no_signal_is_set_aside_and_it_hears_of_none() -> None:
    with simulated() as node:
        work = Work(node.executions)
        decide(work, registration("node-2", format=1))
        node.executions.save(work, node.executions.applied_index)
        node.host_up()
        enqueue(node, "a", handler="h")
        receive(node, "a")
        signal(node, "a")
        applied = node.executions.applied_index

        node.say(node.attempts["a"], "", SetSignalAside(key="1", name="go", error="by: is required"))

        message = "a node of an earlier version can't set signals aside"
        assert answers(node) == [Refused(reason=Reason.WRONG_STATE, message=message)]
        assert node.executions.applied_index == applied
