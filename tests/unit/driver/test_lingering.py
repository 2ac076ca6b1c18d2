"""Code of attempts that were abandoned goes on: what follows waits for its end, and not for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tempolite_node.driver.inputs import HostMessages
from tempolite_node.engine.commands import BeginStep, FailAttempt, Terminate
from tempolite_node.engine.model import Component, Failure, Isolation, Options, RetryPolicy, Status
from tempolite_node.protocol import messages

from .conftest import busy, complete, enqueue, receive, simulated
from .simulated import SimulatedNode

AGAIN = Options(
    attempt_timeout_ms=1_000, retry=RetryPolicy(maximum_attempts=3, initial_interval_ms=1, maximum_interval_ms=1)
)


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    """Two workers in each pool, and a worker host in which the code of abandoned attempts goes on."""
    with simulated(**dict.fromkeys(Component, 2)) as node:
        node.code_ends = False
        node.host_up()
        yield node


def time_out(node: SimulatedNode, execution_id: str, **fields: object) -> int:
    """Begins an attempt that takes too long. Its epoch."""
    enqueue(node, execution_id, options=AGAIN, **fields)
    epoch = node.attempts[execution_id].epoch
    pass_s(node, 2)
    return epoch


def pass_s(node: SimulatedNode, seconds: float) -> None:
    """And a little more, in which a retry comes due."""
    for passed_ms in (round(seconds * 1_000), 10):
        node.now_ms += passed_ms
        node.round()


def end_code(node: SimulatedNode, execution_id: str, epoch: int, *, abandoned: bool = True) -> None:
    ended = messages.CodeEnded(execution_id=execution_id, epoch=epoch, abandoned=abandoned)
    node.round(HostMessages(host=1, calls=[ended]))


def test_a_compensation_waits_until_the_transaction_that_it_undoes_has_really_ended(node: SimulatedNode) -> None:
    enqueue(node, "a", Component.SAGA, max_duration_ms=1_000)
    saga = node.attempts["a"]
    node.say(saga, "", BeginStep(key="S#1", target="m:S", input=b"{}", digest=b""))
    pass_s(node, 2)

    execution = node.executions.execution("a")
    assert execution is not None
    assert execution.status is Status.COMPENSATING
    assert (node.attempts, busy(node)) == ({}, {})

    end_code(node, "a", saga.epoch)
    assert node.started == [(Component.COMPENSATION, "a")]


def test_so_does_the_next_attempt_of_a_handler_and_others_go_past_it(node: SimulatedNode) -> None:
    epoch = time_out(node, "a")
    enqueue(node, "b")
    assert sorted(node.attempts) == ["b"]

    end_code(node, "a", epoch)

    assert sorted(node.attempts) == ["a", "b"]
    assert busy(node) == {Component.HANDLER: 2}


def test_a_body_whose_time_was_up_holds_the_next_attempt_back_too(node: SimulatedNode) -> None:
    enqueue(node, "a", options=AGAIN)
    attempt = node.attempts["a"]
    node.round(HostMessages(host=1, calls=[messages.CodeLingers(execution_id="a", epoch=attempt.epoch)]))
    node.end(attempt, FailAttempt(failure=Failure(type="E")))
    pass_s(node, 1)
    assert node.attempts == {}

    end_code(node, "a", attempt.epoch, abandoned=False)

    assert sorted(node.attempts) == ["a"]


def test_the_end_of_its_process_is_the_end_of_its_code(node: SimulatedNode) -> None:
    time_out(node, "a")
    node.host_up()

    node.host_down(1)

    assert node.attempts["a"].host == 2


def test_what_has_ended_for_good_waits_for_nothing(node: SimulatedNode) -> None:
    epoch = time_out(node, "a")
    node.ask(Terminate(at_ms=node.now_ms, execution_id="a", reason="not wanted"))

    end_code(node, "a", epoch)

    assert (node.attempts, busy(node)) == ({}, {})


def test_a_host_whose_code_does_not_end_is_replaced_and_its_successor_is_up_first(node: SimulatedNode) -> None:
    enqueue(node, "neighbour")
    enqueue(node, "parked", Component.SAGA)
    receive(node, "parked")
    time_out(node, "a")

    pass_s(node, 31)
    assert node.replaced == [1]
    complete(node, "neighbour")
    enqueue(node, "before")
    assert node.attempts["before"].host == 1, "it goes on until its successor is up"

    node.host_up()
    assert (1, messages.Drain()) in node.sent, "what waits in it is unwound"
    node.unwind(node.attempts["parked"])
    enqueue(node, "after")
    assert node.attempts["after"].host == 2
    assert node.closed_hosts == []
    complete(node, "before")
    node.round()
    assert node.closed_hosts == [1], "it is idle"
    assert node.attempts["a"].host == 2


def test_neighbours_that_are_cut_off_then_are_no_suspects(node: SimulatedNode) -> None:
    enqueue(node, "neighbour")
    time_out(node, "a")
    pass_s(node, 31)
    node.host_up()

    pass_s(node, 61)

    assert node.closed_hosts == [1]
    neighbour = node.executions.execution("neighbour")
    assert neighbour is not None
    assert neighbour.crashes == 0
    assert {attempt.host for attempt in node.attempts.values()} == {2}
    pass_s(node, 200)
    assert node.replaced == [1], "once"


def test_a_process_of_one_attempt_is_ended_when_code_lingers_in_it(node: SimulatedNode) -> None:
    enqueue(node, "a", options=Options(isolation=Isolation.PROCESS))
    attempt = node.attempts["a"]
    node.round(HostMessages(host=attempt.host, calls=[messages.CodeLingers(execution_id="a", epoch=attempt.epoch)]))
    pass_s(node, 60)
    assert node.attempts["a"] is attempt, "it may have other work"

    pass_s(node, 31)

    assert node.closed_hosts == [attempt.host]
    assert node.attempts["a"].host not in (1, attempt.host)
    execution = node.executions.execution("a")
    assert execution is not None
    assert execution.crashes == 0


def wear_out(node: SimulatedNode, host: int, *, full: bool) -> None:
    node.round(HostMessages(host=host, calls=[messages.WornOut(reason="it has done enough", full=full)]))


def test_a_host_that_is_full_gets_nothing_until_its_successor_is_up(node: SimulatedNode) -> None:
    enqueue(node, "before")
    wear_out(node, 1, full=True)
    assert node.replaced == [1]
    enqueue(node, "held")
    assert sorted(node.attempts) == ["before"]

    node.host_up()
    assert node.attempts["held"].host == 2
    complete(node, "before")
    node.round()
    assert node.closed_hosts == [1]


def test_while_another_one_is_up_that_one_gets_it(node: SimulatedNode) -> None:
    node.host_up()
    wear_out(node, 2, full=False)
    wear_out(node, 1, full=True)
    for name in "ab":
        enqueue(node, name)

    assert {attempt.host for attempt in node.attempts.values()} == {2}


def test_a_successor_that_does_not_come_up_holds_nothing_up_for_ever(node: SimulatedNode) -> None:
    wear_out(node, 1, full=True)
    enqueue(node, "held")
    due_s = node.driver._idle_s()
    assert due_s is not None

    node.now_ms += round(due_s * 1_000) + 1
    node.round()

    assert node.attempts["held"].host == 1


def test_a_host_in_which_too_much_lingers_is_replaced_at_once() -> None:
    with simulated(**dict.fromkeys(Component, 10)) as node:
        node.code_ends = False
        node.dispatch.hosts._lingering_max = 2
        node.host_up()
        for name in "ab":
            time_out(node, name)
        assert (node.dispatch.hosts.lingering_in(1), node.replaced) == (2, [])

        time_out(node, "c")

        assert (node.dispatch.hosts.lingering_in(1), node.replaced) == (3, [1])
