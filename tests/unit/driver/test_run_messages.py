"""What worker hosts are told: their work with its journal, and when they have lost the right to it."""

from __future__ import annotations

from typing import TypeVar

from tempolite_node.driver.inputs import HostMessages
from tempolite_node.engine.commands import (
    Cancel,
    CompleteAttempt,
    FailAttempt,
    Heartbeat,
    Terminate,
    WaitForExecution,
)
from tempolite_node.engine.model import Component, Failure, Isolation, OperationKind, OperationStatus, Options, Status
from tempolite_node.protocol import messages

from .conftest import complete, enqueue, receive, saga_with_a_step, signal
from .simulated import SimulatedNode

T = TypeVar("T")


def sent(node: SimulatedNode, type: type[T]) -> list[T]:
    """By the last round."""
    return [message for _, message in node.sent if isinstance(message, type)]


# --- runs


def test_a_run_brings_what_the_handler_needs(node: SimulatedNode) -> None:
    enqueue(node, "a", max_duration_ms=9_000)

    [run] = sent(node, messages.RunHandler)

    assert (run.execution_id, run.epoch, run.handler, run.arguments, run.attempt) == ("a", 1, "h", b"[]", 1)
    assert (run.journal, run.deadline_ms) == ((), node.now_ms + 9_000)
    assert (run.cancel_requested, run.isolated) == (False, False)


def test_a_later_run_brings_the_journal(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")
    node.complete_side_effect(node.attempts["a"], "1")
    node.say(node.attempts["a"], "", Heartbeat(details=b"7"))
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E")))
    node.now_ms += 2_000
    node.round()

    [run] = sent(node, messages.RunHandler)

    assert (run.attempt, run.generation, run.heartbeat) == (2, 1, b"7")
    [record] = run.journal
    assert (record.kind, record.key, record.status) == (OperationKind.SIDE_EFFECT, "1", OperationStatus.COMPLETED)
    assert record.result == b"1"


def test_a_recorded_wait_brings_what_the_execution_ended_with(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.say(
        node.attempts["a"],
        "",
        messages.ChildRequest(key="1", digest=b"", handler="h", arguments=b"[]", execution_id="b"),
    )
    node.say(node.attempts["a"], "", WaitForExecution(key="1", execution_id="b"))
    complete(node, "b")
    node.host_down(1)
    node.host_up()

    [run] = sent(node, messages.RunHandler)

    [wait] = [record for record in run.journal if record.kind is OperationKind.WAIT]
    assert (wait.ended, wait.result, wait.target) == (Status.COMPLETED, b"1", "b")


def test_a_run_tells_of_the_cancel_that_came_before_it(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.host_down(1)
    node.ask(Cancel(at_ms=node.now_ms, execution_id="a", reason="no stock"))
    node.host_up()

    [run] = sent(node, messages.RunHandler)

    assert (run.cancel_requested, run.cancel_delivered, run.cancel_reason) == (True, False, "no stock")


def test_a_child_knows_its_parent(node: SimulatedNode) -> None:
    enqueue(node, "a")
    request = messages.ChildRequest(key="1", digest=b"", handler="h", arguments=b"[]", execution_id="b")
    node.say(node.attempts["a"], "", request)

    complete(node, "a")

    assert [run.parent_id for run in sent(node, messages.RunHandler)] == ["a"]


def test_a_compensation_brings_the_data_of_its_step(node: SimulatedNode) -> None:
    saga_with_a_step(node, "a")
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E", non_retryable=True)))

    [run] = sent(node, messages.RunCompensation)

    assert (run.execution_id, run.key, run.target, run.data, run.attempt) == ("a", "S#1", "m:S", b"{}", 1)
    assert {record.kind for record in run.journal} == {OperationKind.STEP, OperationKind.COMPENSATION}
    assert not run.isolated


# --- hosts


def test_work_goes_to_the_host_that_has_least(node: SimulatedNode) -> None:
    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.HANDLER], "workers", 10))
    node.host_up()
    for name in ("a", "b", "c"):
        enqueue(node, name)
    assert [node.attempts[name].host for name in ("a", "b", "c")] == [1, 2, 1]

    complete(node, "a")
    complete(node, "c")
    enqueue(node, "d")

    assert node.attempts["d"].host == 1
    assert (node.dispatch.hosts.attempts_of(1), node.dispatch.hosts.attempts_of(2), node.dispatch.attempts) == (1, 1, 2)


def test_who_asks_for_a_process_of_its_own_gets_one_that_ends_with_it(node: SimulatedNode) -> None:
    enqueue(node, "a", options=Options(isolation=Isolation.PROCESS))
    host = node.attempts["a"].host
    assert host < 0
    assert [run.isolated for run in sent(node, messages.RunHandler)] == [True]

    complete(node, "a")

    assert node.closed_hosts == [host]


# --- the right to run


def test_an_abandoned_attempt_is_told_so(node: SimulatedNode) -> None:
    enqueue(node, "a")

    node.ask(Terminate(at_ms=node.now_ms, execution_id="a"))

    assert node.sent == [(1, messages.AbandonAttempt(execution_id="a", epoch=1))]
    assert node.closed_hosts == []


def test_an_abandoned_attempt_in_a_process_of_its_own_is_ended_with_it(node: SimulatedNode) -> None:
    enqueue(node, "a", options=Options(isolation=Isolation.PROCESS))
    host = node.attempts["a"].host

    node.ask(Terminate(at_ms=node.now_ms, execution_id="a"))

    assert (node.sent, node.closed_hosts) == ([], [host])


def test_a_running_attempt_is_told_of_its_cancel(node: SimulatedNode) -> None:
    enqueue(node, "a")

    node.ask(Cancel(at_ms=node.now_ms, execution_id="a", reason="no stock"))

    [(host, told)] = node.sent
    assert isinstance(told, messages.CancelAttempt)
    assert (host, told.execution_id, told.epoch, told.reason) == (1, "a", 1, "no stock")


def test_a_word_from_an_attempt_that_is_over_is_answered_with_its_end(node: SimulatedNode) -> None:
    enqueue(node, "a")
    late = messages.AttemptCall(execution_id="a", epoch=1, call=9, request=CompleteAttempt(result=b"0"))
    complete(node, "a")

    node.round(HostMessages(host=1, calls=[late]))

    assert node.sent == [(1, messages.AbandonAttempt(execution_id="a", epoch=1))]


def test_a_word_from_another_host_than_the_attempts_is_not_believed(node: SimulatedNode) -> None:
    node.host_up()
    enqueue(node, "a")
    foreign = messages.AttemptCall(execution_id="a", epoch=1, call=9, request=CompleteAttempt(result=b"0"))

    node.round(HostMessages(host=2, calls=[foreign]))

    assert node.sent == [(2, messages.AbandonAttempt(execution_id="a", epoch=1))]
    assert "a" in node.attempts


def test_every_call_is_answered_once(node: SimulatedNode) -> None:
    enqueue(node, "a")
    receive(node, "a")
    assert sent(node, messages.Reply) == []

    signal(node, "a")

    assert [reply.call for reply in sent(node, messages.Reply)] == [1]


# --- counts


def test_what_ended_well_and_what_did_not_is_counted(node: SimulatedNode) -> None:
    enqueue(node, "a")
    for attempts in (None, 1):
        node.begin_side_effect(node.attempts["a"], "")
        frame = list(node.attempts["a"].frames)[-1]
        if attempts is None:
            node.complete_side_effect(node.attempts["a"], frame)
        else:
            node.fail_side_effect(node.attempts["a"], frame, attempts)
    saga_with_a_step(node, "b")
    node.end(node.attempts["b"], FailAttempt(failure=Failure(type="E", non_retryable=True)))
    complete(node, "b")

    assert node.dispatch.ended == {
        (Component.SIDE_EFFECT, True): 1,
        (Component.SIDE_EFFECT, False): 1,
        (Component.COMPENSATION, True): 1,
    }
