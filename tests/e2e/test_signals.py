"""Signals: kept before anyone waits, in order, each consumed once, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pytest

from tempolite_sdk import (
    Client,
    ExecutionFailed,
    ExecutionHandle,
    ExecutionStatus,
    FailedPrecondition,
    NotFound,
    Payload,
    RetryPolicy,
)

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, until, until_status

HANDLERS = [
    f"signalling:{name}"
    for name in (
        "receive",
        "receive_async",
        "receive_typed",
        "receive_typed_async",
        "receive_typed_inside",
        "receive_unreadable",
        "receive_by_name",
        "receive_in_every_spelling",
        "receive_in_every_spelling_async",
        "send_word",
        "iterate",
        "iterate_async",
        "look",
        "end",
        "send",
        "ping",
        "pong",
        "tell",
        "confirm",
    )
]
POOLS = {"handler": {"workers": 4}}


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS, pools=POOLS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def waiting(client: Client, handler: str, *args: Any) -> ExecutionHandle[Any]:
    """An execution that has come to its first wait."""
    handle = client.enqueue(handler, *args)
    until_status(client, handle.id, ExecutionStatus.WAITING)
    return handle


# --- in


def test_a_signal_is_kept_until_someone_waits_for_it(daemon: Daemon, client: Client) -> None:
    with daemon.gate("early") as gate:
        handle = client.options(id="early").enqueue("receive", "word", 2)
        daemon.until("early runs")
        handle.send_signal("word", "before")
        assert handle.info().unconsumed_signals == 1
        gate.open()
    until_status(client, handle.id, ExecutionStatus.WAITING)
    handle.send_signal("word", "during")
    assert handle.result(PATIENCE_S) == ["before", "during"]
    assert handle.info().unconsumed_signals == 0


def test_a_signal_reaches_an_execution_that_has_not_started(client: Client) -> None:
    handle = client.options(delay=0.3).enqueue("receive", "word", 1)
    handle.send_signal("word", "very early")
    assert handle.result(PATIENCE_S) == ["very early"]


def test_signals_of_a_name_come_in_order_whatever_the_others_do(daemon: Daemon, client: Client) -> None:
    with daemon.gate("names"):
        handle = client.options(id="names").enqueue("receive_by_name", ["b", "a", "a", "b"])
        sent = [handle.send_signal(name, f"{name}{number}") for number in range(2) for name in "ab"]
        daemon.until("names runs")
    assert sent == [1, 2, 3, 4]
    assert handle.result(PATIENCE_S) == ["b0", "a0", "a1", "b1"]


@pytest.mark.parametrize("handler", ["receive", "receive_async"])
def test_of_a_thousand_in_a_burst_each_is_received_once_and_in_order(client: Client, handler: str) -> None:
    senders, each = 4, 250
    handle = client.enqueue(handler, "number", senders * each)

    def send(sender: int) -> None:
        for number in range(each):
            handle.send_signal("number", [sender, number])

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, range(senders)))
    received = handle.result(PATIENCE_S)
    for sender in range(senders):
        assert [number for who, number in received if who == sender] == list(range(each))
    assert len(received) == senders * each


@pytest.mark.parametrize("handler", ["iterate", "iterate_async"])
def test_a_loop_over_signals_takes_them_one_after_the_other(client: Client, handler: str) -> None:
    handle = client.enqueue(handler)
    for number in (1, 2, 3, 0):
        handle.send_signal("number", number)
    assert handle.result(PATIENCE_S) == 6


@pytest.mark.parametrize("handler", ["receive_typed", "receive_typed_async", "receive_typed_inside"])
def test_a_signal_that_its_receiver_can_not_read_is_set_aside_and_the_right_one_is_received(
    daemon: Daemon, client: Client, handler: str
) -> None:
    handle = waiting(client, handler)
    for payload in ({"number": 2}, "hello"):
        handle.send_signal("word", payload)
    until(client, lambda: [each.set_aside != "" for each in handle.info().unconsumed] == [True, True])
    # it waits on, and operators can see why
    info = handle.info()
    assert (info.status, info.attempt, info.unconsumed_signals) == (ExecutionStatus.WAITING, 1, 2)
    first, second = info.unconsumed
    assert (first.sequence, first.payload, first.set_aside) == (
        1,
        Payload(b'{"number":2}'),
        "Object missing required field `text`",
    )
    assert first.sender.startswith("client ipv4:127.0.0.1:")
    assert (second.sequence, second.set_aside) == (2, "Expected `object`, got `str`")
    assert "is set aside: Object missing required field `text`" in handle.tree().render()
    [told, _] = [line for line in daemon.log if line.get("execution_id") == handle.id]
    assert (told["signal"], told["sequence"], told["sender"]) == ("word", 1, first.sender)
    assert told["error"] == "Object missing required field `text`"
    # and the right one does its work
    handle.send_signal("word", {"text": "hello", "number": 2})
    assert handle.result(PATIENCE_S) == {"text": "hello", "number": 2}
    assert handle.info().unconsumed_signals == 2


def test_a_signal_that_can_not_be_read_does_not_stop_the_timeout_of_its_wait(client: Client) -> None:
    handle = client.enqueue("look", 0.4)
    handle.send_signal("word", 5)
    assert handle.result(PATIENCE_S) == ["nothing", "nothing"]


def test_a_type_that_nothing_can_be_read_as_is_the_code_s_mistake_and_sets_no_signal_aside(client: Client) -> None:
    handle = client.options(retry=RetryPolicy(maximum_attempts=1), delay=0.3).enqueue("receive_unreadable")
    handle.send_signal("word", "hello")
    with pytest.raises(ExecutionFailed, match="can't be read from JSON: Type unions"):
        handle.result(PATIENCE_S)
    assert [each.set_aside for each in handle.info().unconsumed] == [""]


@pytest.mark.parametrize("handler", ["receive_in_every_spelling", "receive_in_every_spelling_async"])
def test_a_type_is_given_by_position_or_as_type_wherever_a_value_comes_back(client: Client, handler: str) -> None:
    handle = client.enqueue(handler)
    for _ in range(4):
        handle.send_signal("word", {"text": "its own"})
    assert handle.result(PATIENCE_S) == ["Word a child's"] * 4 + ["Word its own"] * 4 + ["Word an effect's"] * 2


@dataclass
class Word:
    text: str
    number: int = 0


def test_so_are_those_of_results_and_signals_of_a_client(client: Client) -> None:
    handle = client.enqueue("receive_typed")
    handle.send_signal("word", {"text": "hello", "number": 0})
    hello = Word("hello")
    assert [
        handle.result(PATIENCE_S, Word),
        handle.result(type=Word),
        client.handle(handle.id, Word).result(),
        client.handle(handle.id, type=Word).result(),
    ] == [hello] * 4
    assert handle.result() == {"text": "hello", "number": 0}, "by its name alone, as plain JSON"

    sender = client.enqueue("send_word")
    sender.result(PATIENCE_S)
    signals = sender.receive_signals
    assert [next(signals("word", 0, Word)).payload, next(signals("word", type=Word)).payload] == [hello] * 2


def test_what_nobody_took_is_told_when_the_execution_has_ended(daemon: Daemon, client: Client) -> None:
    with daemon.gate("unheard"):
        handle = client.options(id="unheard").enqueue("end")
        daemon.until("unheard runs")
        for word in ("one", "two"):
            handle.send_signal("word", word)
    assert handle.result(PATIENCE_S) == "ended"
    assert handle.info().unconsumed_signals == 2


def test_signals_sent_while_it_completes_are_either_kept_or_refused(daemon: Daemon, client: Client) -> None:
    """Each sender knows which, and the execution tells the same."""
    with daemon.gate("completing") as gate, ThreadPoolExecutor(4) as pool:
        handle = client.options(id="completing").enqueue("end")
        daemon.until("completing runs")

        def send(number: int) -> int:
            if number == 20:
                gate.open()
            for sent in range(1_000_000):
                try:
                    handle.send_signal("word", sent)
                except FailedPrecondition:
                    return sent
            raise AssertionError("it never ended")

        kept = sum(pool.map(send, [0, 0, 0, 20]))
    assert handle.result(PATIENCE_S) == "ended"
    assert handle.info().unconsumed_signals == kept


def test_a_signal_to_nobody_is_refused(client: Client) -> None:
    with pytest.raises(NotFound, match="no execution nobody"):
        client.send_signal("nobody", "word")
    ended = client.enqueue("end")
    ended.result(PATIENCE_S)
    with pytest.raises(FailedPrecondition, match="has ended"):
        ended.send_signal("word", "late")


def test_a_repeated_request_is_one_signal(client: Client) -> None:
    handle = waiting(client, "receive", "word", 2)
    sent = [handle.send_signal("word", "once", request_id="r1") for _ in range(3)]
    handle.send_signal("word", "twice", request_id="r2")
    assert sent == [1, 1, 1]
    assert handle.result(PATIENCE_S) == ["once", "twice"]
    assert handle.send_signal("word", "once", request_id="r1") == 1, "also when it has ended: the answer was lost"


# --- timeouts


def test_with_a_timeout_of_zero_it_only_looks(daemon: Daemon, client: Client) -> None:
    with daemon.gate("looking second") as gate:
        handle = client.options(id="looking").enqueue("look", 0)
        daemon.until("looking second")
        handle.send_signal("word", "there")
        gate.open()
    assert handle.result(PATIENCE_S) == ["nothing", "there"]


def test_what_comes_after_the_timeout_is_for_the_next_who_asks(daemon: Daemon, client: Client) -> None:
    with daemon.gate("patient second") as gate:
        handle = client.options(id="patient").enqueue("look", 0.2)
        daemon.until("patient second")
        handle.send_signal("word", "late")
        gate.open()
    assert handle.result(PATIENCE_S) == ["nothing", "late"]


# --- between executions


def test_an_execution_sends_to_another(client: Client) -> None:
    receiver = client.enqueue("receive", "word", 2)
    assert client.enqueue("send", receiver.id, ["a", "b"]).result(PATIENCE_S) == []
    assert receiver.result(PATIENCE_S) == ["a", "b"]


def test_an_execution_learns_that_nobody_is_there(client: Client) -> None:
    ended = client.enqueue("end")
    ended.result(PATIENCE_S)
    assert client.enqueue("send", "nobody", ["a"]).result(PATIENCE_S) == ["NotFound: no execution nobody"]
    (told,) = client.enqueue("send", ended.id, ["a"]).result(PATIENCE_S)
    assert told.startswith("FailedPrecondition: ")


def test_two_executions_play_ping_pong(client: Client) -> None:
    answering = client.enqueue("pong", 50)
    assert client.enqueue("ping", answering.id, 50).result(PATIENCE_S) == 50
    assert answering.result(PATIENCE_S) == 50


# --- out


def test_clients_follow_what_an_execution_tells(client: Client) -> None:
    handle = client.enqueue("tell", 10)
    handle.send_signal("go on")
    told = list(handle.receive_signals())
    assert [(each.name, each.payload, each.sequence) for each in told] == [
        ("odd" if number % 2 else "even", number, number + 1) for number in range(10)
    ]
    assert [each.payload for each in handle.receive_signals("odd")] == [1, 3, 5, 7, 9]
    assert [each.payload for each in handle.receive_signals("even", after=6)] == [6, 8]


def test_what_was_told_is_not_told_again_when_it_is_tried_again(client: Client) -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval=0.001)
    handle = client.options(retry=policy).enqueue("confirm")
    assert handle.result(PATIENCE_S) == "confirmed"
    assert [each.payload for each in handle.receive_signals("progress")] == ["begun", "done"]


# --- through the death of the node


def test_a_stream_goes_on_where_it_was_when_the_node_dies(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.gate("streaming") as gate, daemon.client() as client:
        handle = client.options(id="streaming").enqueue("tell", 20)
        following = handle.receive_signals()
        first = list(islice(following, 10))
        handle.send_signal("go on")
        daemon.until("streaming in the middle")
        daemon.kill()
        daemon.start()
        gate.open()
        told = [*first, *following]
        assert [each.payload for each in told] == list(range(20))
        assert [each.sequence for each in told] == list(range(1, 21))
        assert [each.payload for each in handle.receive_signals(after=15)] == list(range(15, 20))


@pytest.mark.parametrize("handler", ["receive", "receive_async"])
def test_acknowledged_signals_survive_the_death_of_the_node(node: Start, handler: str) -> None:
    daemon = node(*HANDLERS)
    with daemon.client() as client:
        handle = waiting(client, handler, "number", 40)
        for number in range(20):
            handle.send_signal("number", number)
        daemon.kill()
        daemon.start()
        for number in range(20, 40):
            handle.send_signal("number", number)
        assert handle.result(PATIENCE_S) == list(range(40))


@pytest.mark.parametrize("handler", ["receive", "receive_async"])
def test_signals_reach_an_execution_that_has_no_stack(node: Start, handler: str) -> None:
    """Every wait gives up its stack at once, so that each signal finds it on its way out, or gone."""
    daemon = node(*HANDLERS, hosts={"max_parked": 0})
    with daemon.client() as client:
        handle = client.enqueue(handler, "number", 60)
        for number in range(60):
            handle.send_signal("number", number)
        assert handle.result(PATIENCE_S) == list(range(60))
        assert handle.info().attempt == 1, "to be replayed is no new attempt"
