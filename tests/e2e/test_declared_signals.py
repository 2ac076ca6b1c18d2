"""Handlers that declare their signals: what does not fit is refused where it is sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tempolite_sdk import (
    AsyncClient,
    Client,
    ExecutionFailed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    RetryPolicy,
    Signal,
)

from .conftest import Start
from .daemon import HANDLERS, PATIENCE_S, Daemon

NAMES = ("ask", "ask_async", "ask_in_saga", "mistaken", "tell", "tell_wrongly")
APPROVAL = {"by": "ann"}


@pytest.fixture(scope="module")
def declaring() -> Iterator[Any]:
    """The module of the handlers, as a client has it."""
    sys.path.insert(0, str(HANDLERS))
    import declaring

    yield declaring
    sys.path.remove(str(HANDLERS))


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node(*[f"declaring:{name}" for name in NAMES], pools={"handler": {"workers": 4}})


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def told(error: pytest.ExceptionInfo[InvalidArgument]) -> list[tuple[str, str]]:
    return [(each.field, each.description) for each in error.value.violations]


def test_what_fits_is_received_as_it_is_declared(client: Client, declaring: Any) -> None:
    handle = client.enqueue(declaring.ask)
    handle.send_signal(declaring.APPROVE, declaring.Approval("ann"))
    handle.send_signal("answer", "yes")
    assert [signal.payload for signal in handle.receive_signals(declaring.PROGRESS)] == [[1, 2]]
    assert handle.result(PATIENCE_S) == "yes, approved by ann"


def test_another_name_is_refused_with_the_nearest_that_is_declared(client: Client) -> None:
    handle = client.enqueue("ask")
    with pytest.raises(InvalidArgument, match="did you mean answer") as refused:
        handle.send_signal("anwser", "yes")
    assert told(refused) == [
        ("name", "ask takes no signal 'anwser', but answer, approve; did you mean answer?"),
    ]
    assert handle.info().unconsumed_signals == 0


@pytest.mark.parametrize(
    ("name", "payload", "violation"),
    [
        ("answer", 5, ("payload", "Expected `str`, got `int`")),  # found in the node itself
        ("approve", {"level": 2}, ("payload", "Object missing required field `by`")),  # by a worker host
        ("approve", {"by": "ann", "level": "high"}, ("payload.level", "Expected `int`, got `str`")),
    ],
)
def test_another_payload_is_refused_and_the_field_is_named(
    client: Client, name: str, payload: Any, violation: tuple[str, str]
) -> None:
    handle = client.enqueue("ask")
    with pytest.raises(InvalidArgument) as refused:
        handle.send_signal(name, payload)
    assert told(refused) == [violation]
    assert handle.info().unconsumed_signals == 0
    # and what another execution sends is refused in the same words
    sent = client.execute("tell", handle.id, name, payload)
    assert sent == f"signal {name!r} to ask: {violation[0]}: {violation[1]}"
    assert client.execute("tell", handle.id, "approve", APPROVAL) == "sent"
    assert client.execute("tell", handle.id, "no", 1).startswith("signal 'no' to ask: name: ask takes no signal 'no'")


async def test_a_client_of_asyncio_is_refused_and_served_alike(daemon: Daemon, declaring: Any) -> None:
    async with AsyncClient(daemon.address) as client:
        handle = await client.enqueue(declaring.ask_async)
        with pytest.raises(InvalidArgument, match="did you mean answer"):
            await handle.send_signal("answr", "yes")
        with pytest.raises(InvalidArgument, match="Expected `str`"):
            await client.send_signal(handle.id, "answer", 5)
        await client.send_signal(handle.id, declaring.ANSWER, "yes")
        assert await handle.result(PATIENCE_S) == "yes"


def test_sagas_declare_theirs_beside_the_type_of_their_parameters(client: Client) -> None:
    handle = client.enqueue("ask_in_saga")
    with pytest.raises(InvalidArgument, match="takes no signal 'answer'"):
        handle.send_signal("answer", "yes")
    handle.send_signal("approve", APPROVAL)
    assert handle.result(PATIENCE_S) == "ann"


def test_a_signal_object_is_checked_before_it_leaves_whatever_the_receiver_declares(client: Client) -> None:
    handle = client.enqueue("tell", "nobody", "x", 1)
    with pytest.raises(InvalidArgument, match=r"signal 'count': Expected `int`, got `str`"):
        handle.send_signal(Signal("count", int), "five")  # type: ignore[arg-type]
    with pytest.raises(ExecutionFailed, match=r"signal 'progress': \[0\]: Expected `int`, got `str`"):
        client.options(retry=RetryPolicy(maximum_attempts=1)).execute("tell_wrongly")


def test_a_handler_that_waits_for_what_it_does_not_declare_is_told_so_at_once(client: Client) -> None:
    with pytest.raises(ExecutionFailed, match="mistaken takes no signal 'anwser', but answer; did you mean answer"):
        client.options(retry=RetryPolicy(maximum_attempts=1)).execute("mistaken")


def test_an_execution_that_is_not_there_or_has_ended_is_told_before_what_is_wrong_with_the_signal(
    client: Client,
) -> None:
    with pytest.raises(NotFound, match="no execution nobody"):
        client.send_signal("nobody", "anwser")
    handle = client.enqueue("ask_in_saga")
    handle.terminate()
    with pytest.raises(FailedPrecondition, match="has ended"):
        handle.send_signal("anwser", 5)


def test_the_handlers_of_a_node_are_listed_with_the_signals_that_they_declare(client: Client) -> None:
    listed = {handler.name: handler.signals for handler in client.handlers()}
    assert listed["ask"]["answer"] == {"type": "string"}
    assert listed["ask"]["approve"]["$defs"]["Approval"]["required"] == ["by"]
    assert list(listed["ask_in_saga"]) == ["approve"]
    assert listed["tell"] == {}


def test_a_function_finds_its_handler_and_no_other(client: Client, declaring: Any) -> None:
    def tell(ctx: Any, to: str) -> str:
        raise NotImplementedError

    with pytest.raises(NotFound, match="handler 'tell' is declaring:tell"):
        client.enqueue(tell, "nobody")
    assert {handler.name: handler.function for handler in client.handlers()}["tell"] == "declaring:tell"
    assert client.execute(declaring.tell, client.enqueue("ask").id, "answer", "yes") == "sent"
