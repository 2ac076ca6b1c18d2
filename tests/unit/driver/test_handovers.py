"""What is to run reaches its worker host in pieces: journals, and many starts at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tempolite_node.driver.inputs import HostMessages, Submit
from tempolite_node.driver.run_messages import PIECE_BYTES
from tempolite_node.engine.commands import Cancel, CompleteSideEffect, Terminate
from tempolite_node.engine.model import Isolation, OperationKind, OperationStatus, Options
from tempolite_node.protocol import framing, messages

from .conftest import busy, complete, enqueue, enqueue_command, receive, signal, simulated
from .simulated import SimulatedNode

SIZE = PIECE_BYTES // 3
COUNT = 12


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    with simulated(handler=50) as node:
        node.host_up()
        yield node


def recorded(node: SimulatedNode, execution_id: str, count: int = COUNT) -> None:
    """An execution whose journal takes several pieces, and that waits for a signal."""
    enqueue(node, execution_id)
    attempt = node.attempts[execution_id]
    for number in range(count):
        request = CompleteSideEffect(key=f"k{number}", digest=b"", result=b"x" * SIZE, started_ms=node.now_ms)
        node.say(attempt, "", request)
    receive(node, execution_id)


def lose_host(node: SimulatedNode) -> None:
    [host] = node.hosts
    node.host_down(host, crashed=False)


def bytes_of(sent: list[tuple[int, messages.ToHost]]) -> int:
    return len(framing.encode([message for _, message in sent]))


def take(node: SimulatedNode, rounds: int = 100) -> list[list[tuple[int, messages.ToHost]]]:
    """What each of the next rounds sends, until nothing more comes."""
    pieces = []
    for _ in range(rounds):
        node.round()
        if not node.sent:
            return pieces
        pieces.append(node.sent)
    raise AssertionError("it does not end")


def test_a_journal_comes_in_pieces_each_when_the_last_one_was_taken(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.reads = False
    node.host_up()

    first = node.sent
    node.round()
    node.round()
    silent = node.sent
    node.reads = True
    node.round(HostMessages(host=2, calls=[messages.SendMore()]))
    pieces = [first, node.sent, *take(node)]

    assert silent == []
    assert isinstance(first[0][1], messages.RunHandler)
    assert first[0][1].more
    assert len(pieces) > 3
    assert max(map(bytes_of, pieces)) < PIECE_BYTES + 2 * SIZE
    assert {key for _, key in node.attempts["a"].recorded} == {*(f"k{number}" for number in range(COUNT)), "1"}


def test_a_journal_that_is_small_comes_with_the_start(node: SimulatedNode) -> None:
    recorded(node, "a", count=2)
    lose_host(node)
    node.host_up()

    [(_, run)] = node.sent

    assert isinstance(run, messages.RunHandler)
    assert (run.more, len(run.journal)) == (False, 3)


def test_what_ends_while_the_journal_is_on_its_way_is_sent_as_it_ended(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.host_up()
    assert "a" in node.arriving

    signal(node, "a")
    parts = [message for piece in [node.sent, *take(node)] for _, message in piece]

    waits = [
        record.status
        for part in parts
        if isinstance(part, messages.JournalPart)
        for record in part.records
        if record.kind is OperationKind.SIGNAL
    ]
    assert waits[-1] is OperationStatus.COMPLETED
    assert "a" in node.attempts


def test_the_journal_of_one_that_is_ended_meanwhile_is_not_sent_on(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.host_up()

    node.ask(Terminate(at_ms=node.now_ms, execution_id="a"))

    assert messages.AbandonAttempt(execution_id="a", epoch=3) in [message for _, message in node.sent]
    assert take(node) == []
    assert busy(node) == {}


def test_a_cancel_that_comes_meanwhile_is_told(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.host_up()

    node.ask(Cancel(at_ms=node.now_ms, execution_id="a", reason="no stock"))

    [told] = [message for _, message in node.sent if isinstance(message, messages.CancelAttempt)]
    assert (told.execution_id, told.epoch, told.reason) == ("a", 3, "no stock")


def test_a_host_that_dies_meanwhile_is_followed_by_one_that_gets_it_all(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.host_up()
    node.arriving.clear()
    node.hosts.clear()

    node.host_down(2, crashed=False)
    node.host_up()
    take(node)

    assert len(node.attempts["a"].recorded) == COUNT + 1
    assert node.attempts["a"].host == 3


def test_what_is_small_does_not_wait_for_the_end_of_what_is_large(node: SimulatedNode) -> None:
    recorded(node, "a")
    lose_host(node)
    node.host_up()

    enqueue(node, "b")
    node.round()

    assert "b" in node.attempts
    assert "a" in node.arriving


def test_many_large_starts_at_once_come_one_after_another(node: SimulatedNode) -> None:
    commands = [enqueue_command(node, f"e{number}", arguments=b"[" + b" " * PIECE_BYTES + b"]") for number in range(20)]

    node.round(*(Submit(command=command) for command in commands))
    pieces = [node.sent, *take(node)]

    assert len(pieces) == 20
    assert max(map(bytes_of, pieces)) < 2 * PIECE_BYTES
    assert len(node.attempts) == 20


def test_a_process_of_its_own_gets_its_journal_in_pieces_too() -> None:
    with simulated(handler=2) as node:
        node.host_up()
        enqueue(node, "a", options=Options(isolation=Isolation.PROCESS))
        attempt = node.attempts["a"]
        for number in range(COUNT):
            request = CompleteSideEffect(key=f"k{number}", digest=b"", result=b"x" * SIZE, started_ms=node.now_ms)
            node.say(attempt, "", request)
        node.host_down(attempt.host, crashed=False)
        take(node)

        assert node.attempts["a"].host < 0
        assert len(node.attempts["a"].recorded) == COUNT
        complete(node, "a")
        assert busy(node) == {}
