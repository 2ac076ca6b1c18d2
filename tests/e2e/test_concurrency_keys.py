"""Executions with the same concurrency key take turns: in every pool, through restarts, sync and async."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import pytest

from tempolite_sdk import AsyncClient, Client, ExecutionFailed, ExecutionStatus, ExecutionTimedOut, InvalidArgument

from .conftest import Start
from .daemon import PATIENCE_S, Daemon, execution, until_status

NAMES = ("sync", "listen", "descend", "descend_async", "family", "misname", "run")
HANDLERS = [f"keyed:{name}" for name in NAMES]
POOLS = {name: {"workers": 8} for name in ("handler", "side_effect")}


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    two = {"name": "two", "target": "keyed:listen", "concurrency_key_limit": 2}
    return shared_node(*({"target": target} for target in HANDLERS), two, pools=POOLS)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def happened_to(daemon: Daemon, key: str) -> list[str]:
    """What was done with the key, in order."""
    return [line for line in daemon.world.read_text().splitlines() if line.startswith(f"{key} ")]


def turns(daemon: Daemon, key: str) -> list[int]:
    """Numbers of the executions with the key, each time that another one than before did something."""
    numbers = [int(line.rpartition(" ")[2]) for line in happened_to(daemon, key)]
    return [number for number, _ in groupby(numbers)]


def test_many_with_one_key_run_one_after_the_other_in_their_order(daemon: Daemon, client: Client) -> None:
    handles = client.options(concurrency_key="many").enqueue_many("sync", [("many", number) for number in range(12)])

    assert list(client.wait_many(handles, timeout=PATIENCE_S)) == list(range(12))
    assert turns(daemon, "many") == list(range(12))


def test_a_key_of_one_call_holds_in_calls_of_every_kind(daemon: Daemon) -> None:
    with daemon.client(sessions=False) as unary, daemon.client() as in_session:
        first = unary.options(concurrency_key="kinds").enqueue("listen")
        others = [
            unary.options(concurrency_key="kinds").enqueue("listen"),
            in_session.options(concurrency_key="kinds").enqueue("listen"),
            *in_session.options(concurrency_key="kinds").enqueue_many("listen", [(), ()], atomic=True),
        ]
        until_status(unary, first.id, ExecutionStatus.WAITING)

        assert {other.info().waits_for_key for other in others} == {
            f"concurrency key 'kinds' of listen is held by {first.id}"
        }
        for handle in [first, *others]:
            handle.send_signal("word", "go on")
        assert [handle.result(PATIENCE_S) for handle in others] == ["go on"] * 4


async def test_an_asynchronous_client_gives_keys_too(daemon: Daemon) -> None:
    async with AsyncClient(daemon.address, timeout=PATIENCE_S) as client:
        first = await client.options(concurrency_key="async").enqueue("listen")
        second = await client.options(concurrency_key="async").enqueue("listen")
        assert (await second.info()).waits_for_key
        for handle in (first, second):
            await handle.send_signal("word", "go on")
        assert await client.options(concurrency_key="async").execute("sync", "async", 7) == 7
        assert await second.result(PATIENCE_S) == "go on"


def test_a_waiting_execution_keeps_its_place_and_others_say_what_they_wait_for(client: Client) -> None:
    holder = client.options(id="holder", concurrency_key="shown").enqueue("listen")
    until_status(client, holder.id, ExecutionStatus.WAITING)
    waiting = client.options(id="waits", concurrency_key="shown").enqueue("listen")

    told = "concurrency key 'shown' of listen is held by holder"
    info = waiting.info()
    assert (info.status, info.concurrency_key, info.waits_for_key) == (ExecutionStatus.QUEUED, "shown", told)
    assert told in waiting.tree().render()
    assert {each.id for each in client.list(status="queued") if each.waits_for_key == told} == {"waits"}
    assert execution(client, "holder").waits_for_key == ""

    holder.cancel()
    until_status(client, waiting.id, ExecutionStatus.WAITING)
    assert waiting.info().waits_for_key == ""
    waiting.terminate()


def test_as_many_are_under_way_as_the_handler_is_configured_for(client: Client) -> None:
    handles = [client.options(concurrency_key="k").enqueue("two") for _ in range(3)]
    for handle in handles[:2]:
        until_status(client, handle.id, ExecutionStatus.WAITING)

    assert handles[2].info().status is ExecutionStatus.QUEUED
    assert {handler.name: handler.concurrency_key_limit for handler in client.handlers()}["two"] == 2
    for handle in handles:
        handle.send_signal("word", "go on")
    assert [handle.result(PATIENCE_S) for handle in handles] == ["go on"] * 3


@pytest.mark.parametrize("handler", ["descend", "descend_async"])
def test_a_handler_may_enqueue_itself_with_its_own_key(client: Client, handler: str) -> None:
    assert client.options(concurrency_key="one").execute(handler, 4) == 4


def test_children_with_a_key_take_turns(daemon: Daemon, client: Client) -> None:
    assert client.execute("family", 5) == list(range(5))
    assert turns(daemon, "children") == list(range(5))


def test_who_waits_for_its_key_times_out(client: Client) -> None:
    holder = client.options(concurrency_key="late").enqueue("listen")
    with pytest.raises(ExecutionTimedOut, match="queue_timeout"):
        client.options(concurrency_key="late", queue_timeout=0.1).execute("listen")
    holder.terminate()


def test_a_key_that_is_none_is_refused_and_says_what_it_must_be(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"options\.concurrency_key: must be 1 to 200 printable"):
        client.options(concurrency_key="").enqueue("listen")
    with pytest.raises(ExecutionFailed, match="concurrency_key must be 1 to 200 printable"):
        client.execute("misname")


# --- SIGKILL


def test_a_place_is_held_through_the_end_of_the_node_and_turns_go_on(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    with daemon.client() as client:
        holder = client.options(concurrency_key="k").enqueue("listen")
        until_status(client, holder.id, ExecutionStatus.WAITING)
        waiting = [client.options(concurrency_key="k").enqueue("listen") for _ in range(3)]
        daemon.kill()
        daemon.start()
        assert [handle.info().status for handle in waiting] == [ExecutionStatus.QUEUED] * 3
        for handle in [holder, *waiting]:
            handle.send_signal("word", "go on")
        assert [handle.result(PATIENCE_S) for handle in [holder, *waiting]] == ["go on"] * 4


def test_whenever_the_node_is_killed_nobody_runs_beside_the_one_whose_turn_it_is(node: Start) -> None:
    daemon = node(*HANDLERS, pools=POOLS)
    keys = [f"key-{number}" for number in range(4)]
    with daemon.client() as client:
        handles = [
            client.options(concurrency_key=key).enqueue("sync", key, number) for number in range(8) for key in keys
        ]
        for share in (2, 5, 9):
            daemon.until_world(lambda share=share: sum(daemon.effects().values()) >= share * len(keys))
            daemon.kill()
            daemon.start()
        assert list(client.wait_many(handles, timeout=PATIENCE_S)) == [n for n in range(8) for _ in keys]
    for key in keys:
        assert turns(daemon, key) == list(range(8))


def test_another_limit_holds_from_the_next_start_on(node: Start) -> None:
    daemon = node({"target": "keyed:listen"}, pools=POOLS)
    with daemon.client() as client:
        handles = [client.options(concurrency_key="k").enqueue("listen") for _ in range(3)]
        until_status(client, handles[0].id, ExecutionStatus.WAITING)
        assert [handle.info().status for handle in handles[1:]] == [ExecutionStatus.QUEUED] * 2

        daemon.stop()
        daemon.configure(handlers=[{"target": "keyed:listen", "concurrency_key_limit": 2}])
        daemon.start()

        until_status(client, handles[1].id, ExecutionStatus.WAITING)
        assert handles[2].info().waits_for_key
