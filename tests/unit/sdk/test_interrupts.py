"""Ctrl-C in a program that waits, and what a client leaves behind: nothing that holds the program up."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tempolite_sdk.client.async_client import AsyncClient
from tempolite_sdk.client.threads import in_threads
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer

Start = Callable[..., Peer]

_SYNC = """
import signal, sys
from tempolite_sdk import Client
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
client = Client(sys.argv[1], timeout=600)
{act}
"""

_ASYNC = """
import asyncio, signal, sys
from tempolite_sdk import AsyncClient
signal.signal(signal.SIGINT, signal.default_int_handler)
async def main():
    async with AsyncClient(sys.argv[1], timeout=600) as client:
        {act}
asyncio.run(main())
"""

_WAITS = {
    "result": (_SYNC, "client.handle('a').result()"),
    "wait_many": (_SYNC, "client.wait_many([client.handle(str(each)) for each in range(50)])"),
    "receive_signals": (_SYNC, "list(client.handle('a').receive_signals())"),
    "enqueue_many": (_SYNC, "client.enqueue_many('greet', [('Ann',)] * 3)"),
    "wait": (_SYNC, "client.wait(lambda stats: False)"),
    "async result": (_ASYNC, "await client.handle('a').result()"),
    "async wait_many": (_ASYNC, "await client.wait_many([client.handle(str(each)) for each in range(50)])"),
    "async receive_signals": (_ASYNC, "[each async for each in client.handle('a').receive_signals()]"),
    "async enqueue_many": (_ASYNC, "await client.enqueue_many('greet', [('Ann',)] * 3)"),
}

_ASKED = ("WaitExecution", "ReceiveSignals", "BatchEnqueueExecutions", "EnqueueExecution", "GetStats")


class HoldingPeer:
    """Takes every call and answers none before the test is over."""

    def __init__(self, peers: Start, *, sessions: bool) -> None:
        self._released = threading.Event()
        self.asked = threading.Event()
        self.peer = peers(reply=self._reply if sessions else None)
        for method in _ASKED:
            self.peer.answers(method, self._hold)

    def _hold(self, _request: Any, _context: Any) -> Any:
        self.asked.set()
        self._released.wait()
        return iter(())

    def _reply(self, _call: Any) -> None:
        self.asked.set()

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def holding(peers: Start) -> Iterator[Callable[..., HoldingPeer]]:
    made: list[HoldingPeer] = []

    def make(*, sessions: bool) -> HoldingPeer:
        made.append(HoldingPeer(peers, sessions=sessions))
        return made[-1]

    yield make
    for peer in made:
        peer.release()


@pytest.mark.parametrize("sessions", [True, False], ids=["in a session", "in calls of their own"])
@pytest.mark.parametrize("wait", _WAITS)
def test_ctrl_c_ends_a_program_at_once_whatever_it_waits_for(
    holding: Callable[..., HoldingPeer], wait: str, sessions: bool
) -> None:
    node = holding(sessions=sessions)
    frame, act = _WAITS[wait]
    program = subprocess.Popen(
        [sys.executable, "-c", frame.format(act=act), node.peer.address], stderr=subprocess.PIPE, text=True
    )
    try:
        assert node.asked.wait(60)

        program.send_signal(signal.SIGINT)

        _, said = program.communicate(timeout=60)  # the node answers nothing, and the client would ask for 600 s
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert "Task was destroyed" not in said
    finally:
        program.kill()
        program.wait()


def test_who_stops_taking_is_not_held_up_and_nothing_more_begins() -> None:
    begun: list[int] = []
    held = threading.Event()

    def hold(item: int) -> int:
        begun.append(item)
        if item:
            held.wait()
        return item

    results = in_threads(hold, range(100), threads=3, name="test")
    assert next(results) == 0

    results.close()  # type: ignore[attr-defined]  # of a generator

    held.set()
    assert len(begun) <= 4


def test_results_come_in_the_order_of_the_items_and_an_error_in_its_place() -> None:
    def halve(item: int) -> int:
        assert item % 2 == 0, item
        return item // 2

    results = in_threads(halve, [2, 4, 5, 8], threads=4, name="test")

    assert (next(results), next(results)) == (1, 2)
    with pytest.raises(AssertionError, match="5"):
        next(results)


def test_items_are_taken_no_further_ahead_than_is_asked_for() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    results = in_threads(str, items(), threads=2, ahead=2, name="test")

    assert next(results) == "0"
    assert taken == [0, 1]
    assert next(results) == "1"
    assert taken == [0, 1, 2]
    assert list(results) == [str(each) for each in range(2, 10)]


def test_a_client_that_reconnects_and_closes_leaves_no_task_behind(peers: Start) -> None:
    def signal_stored(call: pb.SessionCall) -> pb.SessionReply:
        return pb.SessionReply(number=call.number, send_signal=pb.SendSignalResponse(sequence=1))

    complaints: list[dict[str, Any]] = []

    def complain(_loop: asyncio.AbstractEventLoop, complaint: dict[str, Any]) -> None:
        if complaint.keys() & {"task", "future"}:  # gRPC's poller, which all loops share, tells of earlier ones too
            complaints.append(complaint)

    async def use() -> None:
        asyncio.get_running_loop().set_exception_handler(complain)
        first = peers(reply=signal_stored)
        client = AsyncClient(first.address, timeout=20)
        await client.send_signal("a", "go")
        first.stop()
        second = peers(port=first.port, reply=signal_stored)

        await client.send_signal("a", "go")
        gc.collect()
        await client.close()

        assert second.sessions
        left = asyncio.all_tasks() - {asyncio.current_task()}  # gRPC's own, which end by themselves
        assert not left or not (await asyncio.wait(left, timeout=60))[1]

    asyncio.run(use())
    gc.collect()
    assert complaints == []
