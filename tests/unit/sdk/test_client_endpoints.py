"""Clients of several endpoints: what they do when one fails, and how they find the leader."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from tempolite_sdk.client.async_client import AsyncClient
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.errors import NotFound, OutcomeUnknown, Unavailable
from tempolite_sdk.pb.tempolite.v1 import common_pb2, node_service_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer, fails

Start = Callable[..., Peer]
Connect = Callable[..., Any]

REFUSED = fails(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", "stopping", retry_after=60)


@pytest.fixture
def gone(peers: Start) -> Peer:
    """An address at which nobody listens."""
    peer = peers()
    peer.stop()
    return peer


def counts(number: int) -> pb.CountExecutionsResponse:
    return pb.CountExecutionsResponse(count=number)


def endpoints(*peers: Peer) -> str:
    return ",".join(peer.address for peer in peers)


class Hang:
    """An answer that never comes."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, _request: Any, context: grpc.ServicerContext) -> Any:
        cut = threading.Event()
        context.add_callback(cut.set)
        self.asked.set()
        cut.wait()


def stop_when(asked: threading.Event, peer: Peer) -> threading.Thread:
    def stop() -> None:
        asked.wait()
        peer.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


# --- failing over


def test_a_call_goes_to_the_next_endpoint_when_the_first_can_not_be_reached(
    gone: Peer, peer: Peer, connect: Connect
) -> None:
    peer.answers("CountExecutions", counts(3))
    client = connect(endpoints(gone, peer), timeout=60)
    assert [client.count(), client.count()] == [3, 3]


def test_a_sequence_names_several_endpoints_too(gone: Peer, peer: Peer, connect: Connect) -> None:
    peer.answers("CountExecutions", counts(3))
    assert connect([gone.address, peer.address], timeout=60).count() == 3


@pytest.mark.parametrize("reason", ["UNAVAILABLE", "NO_QUORUM", "OUTCOME_UNKNOWN", "STORAGE_FAILED"])
def test_a_write_that_a_node_can_not_take_is_repeated_at_the_next_word_for_word(
    peers: Start, connect: Connect, reason: str
) -> None:
    first, second = peers(), peers()
    first.answers("EnqueueExecution", fails(grpc.StatusCode.UNAVAILABLE, reason, retry_after=60))
    second.answers("EnqueueExecution", pb.EnqueueExecutionResponse(id="e1"))
    assert connect(endpoints(first, second), timeout=30).enqueue("fulfil", 1).id == "e1"
    asked = first.requests["EnqueueExecution"] + second.requests["EnqueueExecution"]
    assert asked == [second.requests["EnqueueExecution"][-1]] * len(asked)


def test_the_client_stays_at_the_endpoint_that_answered(peers: Start, connect: Connect) -> None:
    first, second = peers(), peers()
    first.answers("CountExecutions", REFUSED)
    second.answers("CountExecutions", counts(3))
    client = connect(endpoints(first, second), timeout=30)
    assert client.count() == 3
    asked_before = len(first.requests["CountExecutions"])
    assert [client.count(), client.count()] == [3, 3]
    assert len(first.requests["CountExecutions"]) == asked_before


def test_a_signal_is_repeated_at_the_next_endpoint_when_the_node_is_killed_in_mid_call(
    peers: Start, connect: Connect
) -> None:
    killed, other, hang = peers(), peers(), Hang()
    killed.answers("SendSignal", hang)
    other.answers("SendSignal", pb.SendSignalResponse(sequence=1))
    killer = stop_when(hang.asked, killed)
    assert connect(endpoints(killed, other), timeout=60).send_signal("e1", "approve") == 1
    killer.join()
    assert killed.requests["SendSignal"] == other.requests["SendSignal"]


def test_a_wait_goes_on_at_the_next_endpoint_for_the_rest_of_its_time(peers: Start, connect: Connect) -> None:
    killed, other, hang = peers(), peers(), Hang()
    killed.answers("WaitExecution", hang)
    execution = common_pb2.Execution(
        id="e1", status="EXECUTION_STATUS_COMPLETED", component="COMPONENT_HANDLER", result={"data": b"7"}
    )
    other.answers("WaitExecution", pb.WaitExecutionResponse(closed=True, execution=execution))
    killer = stop_when(hang.asked, killed)
    assert connect(endpoints(killed, other), timeout=60).handle("e1").result(timeout=15) == 7
    killer.join()
    [first], [second] = killed.requests["WaitExecution"], other.requests["WaitExecution"]
    assert second.timeout.ToTimedelta() < first.timeout.ToTimedelta()


def test_signals_of_an_execution_go_on_at_the_next_endpoint_after_the_last_seen(peers: Start, connect: Connect) -> None:
    def breaks_off(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield pb.ReceiveSignalsResponse(name="progress", sequence=7)
        context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    first, second = peers(), peers()
    first.answers("ReceiveSignals", breaks_off)
    second.answers("ReceiveSignals", [pb.ReceiveSignalsResponse(name="progress", sequence=8)])
    client = connect(endpoints(first, second), timeout=30)
    assert [signal.sequence for signal in client.handle("e1").receive_signals("progress")] == [7, 8]
    assert [request.after_sequence for request in second.requests["ReceiveSignals"]] == [7]


def test_a_node_that_says_nothing_is_left_for_the_next(peers: Start, connect: Connect) -> None:
    silent, other = peers(), peers()
    silent.answers("CountExecutions", Hang())
    other.answers("CountExecutions", counts(3))
    assert connect(endpoints(silent, other), timeout=4).count() == 3


def test_what_a_node_refuses_for_good_is_not_asked_of_another(peers: Start, connect: Connect) -> None:
    first, second = peers(), peers()
    first.answers("GetExecution", fails(grpc.StatusCode.NOT_FOUND, "NOT_FOUND"))
    with pytest.raises(NotFound):
        connect(endpoints(first, second)).get("e1")
    assert not second.requests


def test_when_no_endpoint_answers_the_error_names_each_and_what_it_said(
    gone: Peer, peers: Start, connect: Connect
) -> None:
    without_quorum = peers()
    without_quorum.answers(
        "CountExecutions", fails(grpc.StatusCode.UNAVAILABLE, "NO_QUORUM", "2 of 3 nodes are needed", retry_after=60)
    )
    with pytest.raises(Unavailable) as raised:
        connect(endpoints(gone, without_quorum), timeout=30).count()
    assert f"{without_quorum.address}: 2 of 3 nodes are needed" in str(raised.value)
    assert f"{gone.address}: failed to connect" in str(raised.value)


@pytest.mark.parametrize("number_of_endpoints", [1, 2])
def test_a_write_whose_outcome_is_unknown_to_the_end_says_so(
    peers: Start, connect: Connect, number_of_endpoints: int
) -> None:
    cluster = [peers() for _ in range(number_of_endpoints)]
    unknown = grpc.StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN", "the leader changed"
    for peer in cluster:
        peer.answers("SendSignal", fails(*unknown), fails(*unknown, retry_after=60))
    with pytest.raises(OutcomeUnknown, match="the leader changed") as raised:
        connect(endpoints(*cluster), timeout=30).send_signal("e1", "approve")
    assert isinstance(raised.value, Unavailable)
    requests = [request for peer in cluster for request in peer.requests["SendSignal"]]
    assert len({request.request_id for request in requests}) == 1


# --- what is about one node


def pool(workers: int) -> node_service_pb2.Pool:
    pool = node_service_pb2.Pool(component="COMPONENT_HANDLER", workers=workers)
    pool.retry_policy.maximum_attempts = 3
    return pool


def test_a_change_of_a_nodes_pool_is_never_repeated_at_another_node(peers: Start, connect: Connect) -> None:
    first, second = peers(), peers()
    first.answers(
        "ScalePool",
        fails(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        node_service_pb2.ScalePoolResponse(pool=pool(7)),
    )
    assert connect(endpoints(first, second), timeout=30).scale_pool("handler", 7).workers == 7
    assert len(first.requests["ScalePool"]) == 2
    assert not second.requests


def stats(revision: int, active: int) -> node_service_pb2.Stats:
    return node_service_pb2.Stats(revision=revision, handler=node_service_pb2.ComponentStats(active=active))


def test_wait_stays_with_the_node_whose_revisions_it_knows_and_starts_over_at_the_next(
    peers: Start, connect: Connect
) -> None:
    first, second = peers(), peers()
    first.leader = second.address
    first.answers("GetStats", node_service_pb2.GetStatsResponse(stats=stats(400, active=2)))
    first.answers("WaitStats", node_service_pb2.WaitStatsResponse(stats=stats(401, active=1)), REFUSED)
    second.answers("GetStats", node_service_pb2.GetStatsResponse(stats=stats(7, active=1)))
    second.answers("WaitStats", node_service_pb2.WaitStatsResponse(stats=stats(8, active=0)))
    client = connect(endpoints(first, second), timeout=30)
    assert client.wait(lambda stats: stats.handler.active == 0).revision == 8
    assert [request.after_revision for request in first.requests["WaitStats"]] == [400, 401]
    assert [request.after_revision for request in second.requests["WaitStats"]] == [7]


# --- the leader


def test_new_calls_go_to_the_leader_that_a_node_names(peers: Start, connect: Connect) -> None:
    follower, other, leader = peers(), peers(), peers()
    follower.leader = leader.leader = leader.address
    for peer, number in ((follower, 1), (leader, 3)):
        peer.answers("CountExecutions", counts(number))
    client = connect(endpoints(follower, other, leader))
    assert [client.count() for _ in range(3)] == [1, 3, 3]
    assert not other.requests


def test_a_leader_that_the_client_was_not_told_of_is_left_to_the_node(peers: Start, connect: Connect) -> None:
    follower, other = peers(), peers()
    follower.leader = "10.9.8.7:8367"
    follower.answers("CountExecutions", counts(1))
    client = connect(endpoints(follower, other))
    assert [client.count() for _ in range(3)] == [1, 1, 1]


def test_a_refusal_that_names_the_leader_leads_there(peers: Start, connect: Connect) -> None:
    follower, other, leader = peers(), peers(), peers()
    follower.leader = leader.address
    follower.answers("CountExecutions", REFUSED)
    leader.answers("CountExecutions", counts(3))
    assert connect(endpoints(follower, other, leader), timeout=30).count() == 3
    assert not other.requests


def test_a_node_that_names_a_dead_leader_is_used_itself(gone: Peer, peer: Peer, connect: Connect) -> None:
    peer.leader = gone.address
    peer.answers("CountExecutions", counts(1))
    client = connect(endpoints(gone, peer), timeout=30)
    assert [client.count() for _ in range(3)] == [1, 1, 1]


async def test_calls_under_way_are_not_disturbed_by_a_move_to_the_leader(peers: Start) -> None:
    # given: a call that the follower has not answered yet
    follower, leader = peers(), peers()
    follower.leader = leader.address
    asked, answer = threading.Event(), threading.Event()

    def slow(_request: Any, _context: Any) -> Any:
        asked.set()
        answer.wait()
        return pb.SendSignalResponse(sequence=1)

    follower.answers("SendSignal", slow)
    follower.answers("CountExecutions", counts(1))
    leader.answers("CountExecutions", counts(3))
    async with AsyncClient(endpoints(follower, leader), sessions=False) as client:
        under_way = asyncio.create_task(client.send_signal("e1", "approve"))
        await asyncio.to_thread(asked.wait)
        # when: the client moves
        assert [await client.count(), await client.count()] == [1, 3]
        # then
        answer.set()
        assert await under_way == 1
    assert not leader.requests["SendSignal"]


# --- sessions


def enqueued(call: pb.SessionCall) -> pb.SessionReply:
    return pb.SessionReply(number=call.number, enqueue=pb.EnqueueExecutionResponse(id=call.enqueue.id))


class Counting:
    """Replies to none; the event comes when so many calls have."""

    def __init__(self, number: int) -> None:
        self.reached = threading.Event()
        self._left = number

    def __call__(self, _call: pb.SessionCall) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached.set()


async def test_what_a_session_did_not_answer_is_repeated_in_one_at_the_next_endpoint(peers: Start) -> None:
    # given: a node that has a hundred calls, and answers every other one
    counting = Counting(100)

    def answered(call: pb.SessionCall) -> bool:
        return int(call.enqueue.arguments.data[1:-1]) % 2 == 0

    def reply(call: pb.SessionCall) -> pb.SessionReply | None:
        counting(call)
        return enqueued(call) if answered(call) else None

    killed, other = peers(reply=reply), peers(reply=enqueued)
    # when
    killer = stop_when(counting.reached, killed)
    async with AsyncClient(endpoints(killed, other), timeout=60) as client:
        handles = await asyncio.gather(*(client.enqueue("fulfil", n) for n in range(100)))
    killer.join()
    # then
    [first], [second] = killed.sessions, other.sessions
    requests = {call.enqueue.id: call.enqueue for call in first}
    assert {handle.id for handle in handles} == requests.keys()
    assert {call.enqueue.id for call in second} >= {call.enqueue.id for call in first if not answered(call)}
    assert all(call.enqueue == requests[call.enqueue.id] for call in second)


def test_threads_that_share_a_session_go_on_in_one_at_the_next_endpoint(peers: Start) -> None:
    # One of them goes by a call of its own, which this peer never answers either.
    counting, hang = Counting(15), Hang()
    killed, other = peers(reply=counting), peers(reply=enqueued)
    killed.answers("EnqueueExecution", hang)
    other.answers("EnqueueExecution", lambda request, _context: pb.EnqueueExecutionResponse(id=request.id))
    killer = stop_when(counting.reached, killed)
    with Client(endpoints(killed, other), timeout=60) as client, ThreadPoolExecutor(16) as threads:
        handles = list(threads.map(lambda n: client.enqueue("fulfil", n), range(16)))
    killer.join()
    assert len({handle.id for handle in handles}) == 16
    assert len(killed.sessions) == 1
    assert len(other.sessions) <= 1


async def test_a_session_in_which_nobody_answers_is_left_for_the_next_endpoint(peers: Start) -> None:
    silent, other = peers(reply=lambda _call: None), peers(reply=enqueued)
    async with AsyncClient(endpoints(silent, other), timeout=4) as client:
        handles = await asyncio.gather(*(client.enqueue("fulfil", n) for n in range(20)))
    [first], [second] = silent.sessions, other.sessions
    assert [handle.id for handle in handles] == [call.enqueue.id for call in first]
    assert {call.enqueue.id for call in second} == {call.enqueue.id for call in first}


async def test_one_call_that_a_node_can_not_take_does_not_break_the_others_of_its_session(peers: Start) -> None:
    released = threading.Event()

    def reply(call: pb.SessionCall) -> pb.SessionReply:
        if call.enqueue.handler == "held":
            released.wait()
            return enqueued(call)
        refusal = pb.SessionReply(number=call.number)
        refusal.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
        return refusal

    first, second = peers(reply=reply), peers(reply=enqueued)
    async with AsyncClient(endpoints(first, second), timeout=30) as client:
        refused, held = [asyncio.create_task(client.enqueue(name)) for name in ("refused", "held")]
        assert (await refused).id
        assert not held.done()
        released.set()
        assert (await held).id
    assert [[call.enqueue.handler for call in session] for session in second.sessions] == [["refused"]]


async def test_the_start_of_a_session_names_the_leader(peers: Start) -> None:
    follower, leader = peers(reply=enqueued), peers(reply=enqueued)
    follower.leader = leader.leader = leader.address
    async with AsyncClient(endpoints(follower, leader)) as client:
        for n in range(3):
            await client.enqueue("fulfil", n)
    assert [len(session) for session in follower.sessions] == [1]
    assert [len(session) for session in leader.sessions] == [2]


async def test_a_session_tells_when_the_leader_changes(peers: Start) -> None:
    first, second = peers(reply=enqueued), peers(reply=enqueued)
    first.leader = first.address
    async with AsyncClient(endpoints(first, second)) as client:
        await client.enqueue("fulfil", 1)
        first.leader = second.leader = second.address
        await client.enqueue("fulfil", 2)
        await client.enqueue("fulfil", 3)
    assert [len(session) for session in first.sessions] == [2]
    assert [len(session) for session in second.sessions] == [1]


async def test_a_node_without_sessions_beside_others_is_asked_by_single_calls(gone: Peer, peer: Peer) -> None:
    peer.answers("EnqueueExecution", pb.EnqueueExecutionResponse(id="e1"))
    async with AsyncClient(endpoints(gone, peer), timeout=30) as client:
        assert (await client.enqueue("fulfil")).id == "e1"
