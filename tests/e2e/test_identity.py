"""Nobody gets the handler, or the execution, of another: functions of one name, ids and request ids used twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tempolite_sdk import AlreadyExists, AsyncClient, BatchRefused, Client, NotFound

from .conftest import Start
from .daemon import HANDLERS, PATIENCE_S, Daemon

REFUND = {"target": "twin_refunds:process", "name": "process_refund"}
UNSERVED = "no node serves twin_unserved:process: handler 'process' is twin_orders:process"


@pytest.fixture(scope="module")
def daemon(shared_node: Start) -> Daemon:
    return shared_node("twin_orders:process", "twin_orders:waits", REFUND, "twin_refunds:parent")


@pytest.fixture
def client(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.syspath_prepend(HANDLERS)
    with daemon.client() as client:
        yield client


def test_of_functions_with_one_name_each_runs_itself_or_is_refused(client: Client) -> None:
    import twin_orders
    import twin_refunds
    import twin_unserved

    assert client.execute(twin_orders.process, 1) == "order 1 shipped"
    assert client.execute(twin_refunds.process, 1) == "refund 1 paid"
    for enqueue in (client.enqueue, client.execute):
        with pytest.raises(NotFound, match=UNSERVED):
            enqueue(twin_unserved.process, 1)
    with pytest.raises(BatchRefused, match=UNSERVED):
        client.enqueue_many(twin_unserved.process, [[1], [2]])
    with pytest.raises(NotFound, match=UNSERVED):
        client.enqueue_many(twin_unserved.process, [[1], [2]], atomic=True)
    refunds = client.enqueue_many(twin_refunds.process, [[1], [2]])
    assert client.wait_many(refunds) == ["refund 1 paid", "refund 2 paid"]
    assert client.execute("process", 1) == "order 1 shipped", "by its name, whatever function it is"


@pytest.mark.usefixtures("client")
async def test_clients_of_asyncio_are_served_and_refused_alike(daemon: Daemon) -> None:
    import twin_refunds
    import twin_unserved

    async with AsyncClient(daemon.address) as asyncio_client:
        assert await asyncio_client.execute(twin_refunds.process, 1) == "refund 1 paid"
        with pytest.raises(NotFound, match=UNSERVED):
            await asyncio_client.enqueue(twin_unserved.process, 1)


def test_so_it_is_with_children(client: Client) -> None:
    paid, refused = client.execute("parent", 2)
    assert paid == "refund 2 paid"
    assert refused.startswith(UNSERVED)


@pytest.mark.parametrize(("program", "told"), [("twin_orders", "order 7 shipped"), ("twin_refunds", "refund 7 paid")])
@pytest.mark.parametrize("as_module", [False, True])
def test_a_program_runs_the_handler_that_its_own_file_has(
    daemon: Daemon, program: str, told: str, as_module: bool
) -> None:
    arguments = ["-m", program] if as_module else [f"{program}.py"]
    command = [sys.executable, *arguments, daemon.address]
    ran = subprocess.run(command, cwd=HANDLERS, capture_output=True, check=True, text=True, timeout=PATIENCE_S)
    assert ran.stdout.strip() == told


def test_an_id_or_a_request_that_was_used_for_something_else_is_refused_and_tells_for_what(client: Client) -> None:
    client.options(id="w").enqueue("waits")
    with pytest.raises(AlreadyExists, match=r"execution w of waits exists \(.*\): it can't be used as one of process"):
        client.options(id="w", id_conflict="use_existing").enqueue("process", 1)
    assert client.options(id="w", id_conflict="use_existing").enqueue("waits").existing

    first = client.options(request_id="r").enqueue("process", 1)
    with pytest.raises(AlreadyExists, match=f"request r enqueued execution {first.id} of process"):
        client.options(request_id="r").execute("process_refund", 1)
    with pytest.raises(AlreadyExists, match=f"execution {first.id} of process with other arguments"):
        client.options(request_id="r").execute("process", 2)
    assert client.options(request_id="r").execute("process", 1) == "order 1 shipped"
