"""Values that would come back different, and keys that are used twice, are refused wherever they are written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tempolite_sdk import Client, ExecutionCompensated, ExecutionFailed, ExecutionStatus, InvalidArgument

from .conftest import Start
from .daemon import HANDLERS as FOLDER
from .daemon import Daemon, until_status

HANDLERS = [
    f"valued:{name}"
    for name in (
        "echo",
        "counted",
        "write",
        "write_async",
        "end_with_quote",
        "end_with_tuple",
        "charge",
        "use_twice",
        "use_twice_async",
        "use_twice_in_saga",
        "use_twice_inside",
        "use_again",
        "go_on",
        "leave",
        "leave_async",
        "leave_step",
    )
]
RETRY = {"maximum_attempts": 2, "initial_interval": "10ms"}
POOLS = {name: {"workers": 4, "retry": RETRY} for name in ("handler", "saga", "side_effect")}
EARLIER = (sys.executable, "-m", "tests.e2e.earlier_daemon")


@pytest.fixture
def valued(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handlers' module, as the node has it."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("valued")


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*HANDLERS, pools=POOLS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def test_each_place_of_a_handler_that_takes_a_value_refuses_one_that_would_come_back_different(client: Client) -> None:
    told = client.execute("write")

    assert "side effect 'now' failed after 1 attempts" in told["side effect"]
    assert "a datetime would come back as a str: an annotation or type=datetime has to say" in told["side effect"]
    assert told["side effect, typed"] == "datetime.datetime(2024, 1, 1, 0, 0)"
    assert told["side effect of a partial"] == "Quote(price=Decimal('3'))"
    assert told["child"].startswith("InvalidArgument: echo: value.rate: nan can't be stored")
    assert told["child, constrained"] == "InvalidArgument: counted: number: Expected `int` >= 0"
    assert told["child by name"].startswith("InvalidArgument: [0].rate: nan can't be stored")
    assert told["signal"].startswith("InvalidArgument: rate: nan can't be stored")
    assert told["heartbeat"].startswith("InvalidArgument: [0]: nan can't be stored")


def test_so_does_each_place_of_an_asynchronous_handler(client: Client) -> None:
    told = client.execute("write_async")

    assert "a datetime would come back as a str: an annotation or type=datetime has to say" in told["side effect"]
    assert told["child"].startswith("InvalidArgument: echo: value.rate: nan can't be stored")
    assert told["signal"].startswith("InvalidArgument: rate: nan can't be stored")
    assert told["heartbeat"].startswith("InvalidArgument: [0]: nan can't be stored")


def test_a_client_refuses_arguments_and_signals_that_would_come_back_different(client: Client, valued: Any) -> None:
    for refused in (
        lambda: client.enqueue(valued.echo, {"rate": valued.NAN}),
        lambda: client.enqueue("echo", {"rate": valued.NAN}),
        lambda: client.enqueue(valued.echo, Decimal("1.5")),
        lambda: client.handle("nobody").send_signal("rate", {"rate": valued.NAN}),
    ):
        with pytest.raises(InvalidArgument, match="would come back as"):
            refused()


def test_the_node_asks_for_the_constraints_of_parameters(client: Client, valued: Any) -> None:
    with pytest.raises(InvalidArgument, match="Expected `int` >= 0"):
        client.enqueue(valued.counted, -1)
    with pytest.raises(InvalidArgument, match="Expected `int` >= 0"):
        client.enqueue("counted", number=-1)
    assert client.execute("counted", 1) == 1


def test_a_result_that_would_come_back_different_fails_its_execution_at_once(daemon: Daemon, client: Client) -> None:
    with pytest.raises(ExecutionFailed, match="a Quote would come back as a dict: an annotation or type=Quote"):
        client.execute("end_with_quote")

    assert daemon.effects()["ended"] == 1


def test_a_container_that_comes_back_as_another_is_told_once_in_the_log(daemon: Daemon, client: Client) -> None:
    assert [client.execute("end_with_tuple") for _ in range(3)] == [[1, 2]] * 3

    daemon.until_logged("the result of end_with_tuple")
    [line] = [line for line in daemon.log if "the result of end_with_tuple" in str(line.get("event"))]
    assert line["event"] == "the result of end_with_tuple: a tuple comes back as a list with equal content (told once)"


def test_a_step_whose_data_would_come_back_different_is_undone_with_what_it_noted(
    daemon: Daemon, client: Client
) -> None:
    with pytest.raises(ExecutionCompensated, match="receipt: a Decimal would come back as a str"):
        client.execute("charge")

    assert daemon.effects()["charged"] == 1
    assert daemon.effects()["refunded charge-1"] == 1


@pytest.mark.parametrize("handler", ["use_twice", "use_twice_async", "use_twice_in_saga", "use_twice_inside"])
def test_a_key_that_is_used_for_another_side_effect_is_refused(client: Client, handler: str) -> None:
    """In a retry too, which finds the first one recorded."""
    handle = client.enqueue(handler)

    with pytest.raises((ExecutionFailed, ExecutionCompensated), match="the key 'k' was used in this run for another"):
        handle.result()


def test_a_key_may_be_used_again_for_the_same_side_effect(daemon: Daemon, client: Client, valued: Any) -> None:
    assert client.execute(valued.use_again, valued.Quote(Decimal(7))) == [7, 7, 1]
    assert daemon.effects()["asked"] == 1


def test_an_execution_from_before_goes_on_by_the_rules_of_its_time(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    daemon.stop()
    daemon.empty()
    daemon.start(*EARLIER)
    with daemon.client() as client:
        earlier = client.enqueue("go_on")
        until_status(client, earlier.id, ExecutionStatus.WAITING)
    daemon.kill()

    daemon.start()

    with daemon.client() as client:
        client.handle(earlier.id).send_signal("go")
        assert client.handle(earlier.id).result() == [[0, 0, 0], {"price": "3"}, None, [0, 0]]
        with pytest.raises(ExecutionFailed, match="the key 'k' was used in this run"):
            client.execute("go_on")


# --- what has run, and left what can't be stored


@pytest.mark.parametrize("what", ["object", "nan", "too large", "odd"])
@pytest.mark.parametrize("place", ["result", "side effect", "heartbeat", "child"])
@pytest.mark.parametrize("handler", ["leave", "leave_async"])
def test_what_has_run_is_not_run_again_for_a_value_that_can_not_be_stored(
    daemon: Daemon, client: Client, handler: str, place: str, what: str
) -> None:
    handle = client.enqueue(handler, place, what)

    with pytest.raises(ExecutionFailed):
        handle.result(30)

    assert daemon.effects()[f"{handle.id} ran"] == 1
    assert handle.info().attempt == (2 if place == "side effect" else 1)


@pytest.mark.parametrize("what", ["object", "nan", "too_large", "odd"])
def test_a_step_that_has_run_is_undone_and_not_done_again_for_data_that_can_not_be_stored(
    daemon: Daemon, client: Client, what: str
) -> None:
    handle = client.options(id=f"leave.{what}").enqueue("leave_step")

    with pytest.raises(ExecutionCompensated, match="try it again"):
        handle.result(30)

    assert daemon.effects()[f"{handle.id} ran"] == 1
    assert daemon.effects()[f"{handle.id} undone"] == 1
    assert handle.info().attempt == 2
