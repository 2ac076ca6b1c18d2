"""What both clients do, against a peer on a real connection."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from tempolite_sdk.client.info import (
    Component,
    ExecutionInfo,
    ExecutionStatus,
    OperationInfo,
    OperationKind,
    Resolution,
)
from tempolite_sdk.client.sync_client import Client
from tempolite_sdk.contexts import HandlerContext
from tempolite_sdk.errors import (
    AlreadyExists,
    BatchRefused,
    DeadlineExceeded,
    ExecutionCancelled,
    ExecutionCompensated,
    ExecutionFailed,
    ExecutionTerminated,
    ExecutionTimedOut,
    FailedPrecondition,
    InvalidArgument,
    NodeFault,
    NotFound,
    PermissionDenied,
    QueueFull,
    TempoliteError,
    Unauthenticated,
    Unavailable,
)
from tempolite_sdk.handlers import RetryPolicy
from tempolite_sdk.pb.tempolite.v1 import common_pb2, node_service_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .client_peer import Peer, fails


@dataclass
class Order:
    sku: str
    quantity: int = 1


@dataclass
class Receipt:
    order_id: str


def fulfil(ctx: HandlerContext, order: Order, *, express: bool = False) -> Receipt:
    raise NotImplementedError("runs on a node")


async def audit(ctx: HandlerContext, year: int) -> list[Receipt]:
    raise NotImplementedError("runs on a node")


@pytest.fixture
def client(peer: Peer, connect: Callable[..., Any]) -> Any:
    return connect(peer.address, timeout=10)


ENQUEUED = pb.EnqueueExecutionResponse(id="e1", component="COMPONENT_HANDLER")


def execution(status: str = "RUNNING", **fields: Any) -> common_pb2.Execution:
    fields.setdefault("id", "e1")
    return common_pb2.Execution(
        handler="fulfil", component="COMPONENT_HANDLER", status=f"EXECUTION_STATUS_{status}", **fields
    )


def ended(status: str = "COMPLETED", **fields: Any) -> pb.WaitExecutionResponse:
    return pb.WaitExecutionResponse(closed=True, execution=execution(status, **fields))


def outcome(status: str, **fields: Any) -> pb.ExecutionOutcome:
    return pb.ExecutionOutcome(status=f"EXECUTION_STATUS_{status}", **fields)


def json(text: str) -> common_pb2.Payload:
    return common_pb2.Payload(encoding="json", data=text.encode())


# --- enqueue


def test_enqueue_sends_the_handlers_name_and_its_arguments(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    handle = client.enqueue(fulfil, Order("tea", 2))
    [request] = peer.requests["EnqueueExecution"]
    assert handle.id == "e1"
    assert request.handler == "fulfil"
    assert b'"sku":"tea"' in request.arguments.data


def test_by_name_arguments_go_as_they_are_given(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    client.enqueue("fulfil", {"sku": "tea"}, 3)
    client.enqueue("fulfil", order={"sku": "tea"})
    assert [request.arguments.data for request in peer.requests["EnqueueExecution"]] == [
        b'[{"sku":"tea"},3]',
        b'{"order":{"sku":"tea"}}',
    ]


def test_by_name_positions_and_keywords_do_not_mix(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="all by position or all by keyword"):
        client.enqueue("fulfil", 1, express=True)


def test_a_wrong_argument_is_refused_before_anything_is_sent(peer: Peer, client: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.enqueue(fulfil, {"sku": 7})
    assert refused.value.violations
    assert not peer.requests


def test_options_travel_with_the_request(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    client.options(
        id="order-1",
        id_reuse="allow_duplicate",
        id_conflict="use_existing",
        retry=RetryPolicy(maximum_attempts=7, initial_interval=0.25),
        attempt_timeout=timedelta(seconds=1.5),
        max_duration=60,
        priority=5,
        delay=0.5,
        concurrency_key="customer-7",
    ).enqueue(fulfil, Order("tea"))
    [request] = peer.requests["EnqueueExecution"]
    assert request.id == "order-1"
    assert request.id_reuse_policy == pb.ID_REUSE_POLICY_ALLOW_DUPLICATE
    assert request.id_conflict_policy == pb.ID_CONFLICT_POLICY_USE_EXISTING
    assert request.options.retry_policy.maximum_attempts == 7
    assert request.options.retry_policy.initial_interval.ToTimedelta() == timedelta(seconds=0.25)
    assert not request.options.retry_policy.HasField("jitter")
    assert request.options.attempt_timeout.ToTimedelta() == timedelta(seconds=1.5)
    assert request.options.max_duration.ToTimedelta() == timedelta(minutes=1)
    assert request.options.priority == 5
    assert request.options.delay.ToTimedelta() == timedelta(seconds=0.5)
    assert request.options.concurrency_key == "customer-7"
    assert not request.options.HasField("queue_timeout")


def test_a_key_alone_is_sent_and_none_is_not(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED, ENQUEUED)

    client.options(concurrency_key="customer-7").enqueue(fulfil, Order("tea"))
    client.options(priority=1).enqueue(fulfil, Order("tea"))

    keyed, plain = peer.requests["EnqueueExecution"]
    assert keyed.options.concurrency_key == "customer-7"
    assert not plain.options.HasField("concurrency_key")


def test_an_option_that_does_not_exist_is_a_type_error(client: Any) -> None:
    with pytest.raises(TypeError, match="prio"):
        client.options(prio=5).enqueue(fulfil, Order("tea"))


@pytest.mark.parametrize("duration", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_a_duration_must_be_finite_and_not_negative(client: Any, duration: Any) -> None:
    with pytest.raises(InvalidArgument, match="max_duration"):
        client.options(max_duration=duration).enqueue(fulfil, Order("tea"))


def test_with_the_callers_request_id_the_node_chooses_the_execution_id(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    client.options(request_id="import-7").enqueue(fulfil, Order("tea"))
    [request] = peer.requests["EnqueueExecution"]
    assert (request.request_id, request.id) == ("import-7", "")


def test_execute_enqueues_and_waits_in_one_call(peer: Peer, client: Any) -> None:
    peer.answers(
        "EnqueueExecution",
        pb.EnqueueExecutionResponse(id="e1", outcome=outcome("COMPLETED", result=json('{"order_id":"o1"}'))),
    )
    assert client.execute(fulfil, Order("tea")) == Receipt("o1")
    [request] = peer.requests["EnqueueExecution"]
    assert request.wait.ToTimedelta() > timedelta(0)
    assert not peer.requests["WaitExecution"]


def test_execute_goes_on_waiting_when_the_execution_takes_longer(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    peer.answers("WaitExecution", ended(result=json('{"order_id":"o1"}')))
    assert client.options(priority=3).execute(fulfil, Order("tea")) == Receipt("o1")
    assert [request.id for request in peer.requests["WaitExecution"]] == ["e1"]


def test_execute_raises_how_the_execution_ended(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", pb.EnqueueExecutionResponse(id="e1", outcome=outcome("TERMINATED")))
    with pytest.raises(ExecutionTerminated):
        client.execute("fulfil", {"sku": "tea"})


def batch_results(*ids: str) -> pb.BatchEnqueueExecutionsResponse:
    """An empty id stands for one that was refused."""
    refused = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="no such handler")
    results = [
        pb.BatchEnqueueResult(enqueued=pb.EnqueueExecutionResponse(id=id))
        if id
        else pb.BatchEnqueueResult(error=refused)
        for id in ids
    ]
    return pb.BatchEnqueueExecutionsResponse(results=results)


def test_many_are_enqueued_in_few_calls_with_progress(peer: Peer, client: Any) -> None:
    peer.answers(
        "BatchEnqueueExecutions",
        lambda request, _context: batch_results(*(f"e-{each.request_id}" for each in request.requests)),
    )
    progress: list[tuple[int, int]] = []
    handles = client.enqueue_many(
        "fulfil",
        [({"sku": "tea"}, n) for n in range(1_500)],
        progress=lambda done, total: progress.append((done, total)),
    )
    assert len({handle.id for handle in handles}) == 1_500
    assert progress == [(1_000, 1_500), (1_500, 1_500)]
    assert sorted(len(request.requests) for request in peer.requests["BatchEnqueueExecutions"]) == [500, 1_000]


def test_what_was_refused_of_many_is_told_with_what_was_stored(peer: Peer, client: Any) -> None:
    peer.answers("BatchEnqueueExecutions", batch_results("a", "", "c"))
    with pytest.raises(BatchRefused, match="1 of 3") as refused:
        client.enqueue_many("fulfil", [(1,), (2,), (3,)])
    assert refused.value.enqueued == ["a", None, "c"]
    assert isinstance(refused.value.errors[1], NotFound)


def test_many_are_enqueued_as_a_whole_when_asked_for(peer: Peer, client: Any) -> None:
    peer.answers("BatchEnqueueExecutions", batch_results("a", "b"))
    client.enqueue_many("fulfil", [(1,), (2,)], atomic=True)
    [request] = peer.requests["BatchEnqueueExecutions"]
    assert request.atomic
    with pytest.raises(InvalidArgument, match="10,000"):
        client.enqueue_many("fulfil", [(1,)] * 10_001, atomic=True)


@pytest.mark.parametrize("entry", ["tea", b"tea", 3, {"sku": "tea"}, Order("tea", 1)], ids=repr)
def test_what_is_no_tuple_of_arguments_is_refused_before_anything_is_sent(peer: Peer, client: Any, entry: Any) -> None:
    kind = type(entry).__name__
    with pytest.raises(InvalidArgument, match=rf"arguments\[1500\] must be a tuple .*, not a {kind}"):
        client.enqueue_many("fulfil", [(1,)] * 1_500 + [entry])
    assert peer.requests["BatchEnqueueExecutions"] == []


def test_a_type_in_the_place_of_a_sequence_number_is_refused(client: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"after must be the sequence number of a signal, .*; a type goes into type="
    ):
        client.handle("e1").receive_signals("progress", Order)


def test_an_option_that_there_is_not_is_refused_where_it_is_given(client: Any) -> None:
    with pytest.raises(TypeError, match="unexpected keyword arguments: prio"):
        client.options(prio=1)


def test_an_id_can_not_be_given_to_many(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="ids of their own"):
        client.options(id="e1").enqueue_many("fulfil", [(1,)])


def test_many_are_waited_for_in_their_order(peer: Peer, client: Any) -> None:
    def answer(request: Any, _context: Any) -> Any:
        if request.id == "bad":
            return ended("TERMINATED", id="bad")
        return ended(id=request.id, result=json(f'"{request.id}"'))

    peer.answers("WaitExecution", answer)
    progress: list[int] = []
    handles = [client.handle(id) for id in ("a", "bad", "c")]
    raw = [getattr(handle, "_subject", handle) for handle in handles]
    first, second, third = client.wait_many(raw, progress=lambda done, _total: progress.append(done))
    assert (first, third) == ("a", "c")
    assert isinstance(second, ExecutionTerminated)
    assert progress == [1, 2, 3]


# --- repeats


def test_an_enqueue_whose_reply_was_lost_is_repeated_word_for_word(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", fails(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"), ENQUEUED)
    client.enqueue(fulfil, Order("tea"))
    first, second = peer.requests["EnqueueExecution"]
    assert first == second
    assert first.request_id
    assert first.id


def test_two_enqueues_have_different_request_ids(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    for _ in range(2):
        client.enqueue(fulfil, Order("tea"))
    first, second = peer.requests["EnqueueExecution"]
    assert first.request_id != second.request_id
    assert first.id < second.id or first.id[:13] == second.id[:13]


def test_two_enqueues_under_one_id_are_two_requests(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    for _ in range(2):
        client.options(id="order-7").enqueue(fulfil, Order("tea"))
    first, second = peer.requests["EnqueueExecution"]
    assert first.id == second.id == "order-7"
    assert first.request_id != second.request_id


def test_a_signal_is_repeated_when_the_node_is_killed_in_mid_call(connect: Callable[..., Any]) -> None:
    killed = Peer()
    received = threading.Event()

    def hang(_request: Any, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        received.set()
        gone.wait(10)
        return pb.SendSignalResponse(sequence=1)

    killed.answers("SendSignal", hang)
    started: list[Peer] = []

    def restart() -> None:
        received.wait(10)
        killed.stop()
        started.append(Peer(port=killed.port))
        started[0].answers("SendSignal", pb.SendSignalResponse(sequence=1))

    restarter = threading.Thread(target=restart)
    restarter.start()
    client = connect(killed.address, timeout=20)
    assert client.send_signal("e1", "approve", {"by": "ann"}) == 1
    restarter.join()
    assert killed.requests["SendSignal"] == started[0].requests["SendSignal"]
    started[0].stop()


def test_a_node_that_can_not_be_reached_is_given_up_after_the_timeout(connect: Callable[..., Any]) -> None:
    gone = Peer()
    gone.stop()
    client = connect(gone.address, timeout=0.3)
    with pytest.raises(Unavailable, match=r"0\.3 s"):
        client.stats()


def test_a_full_queue_is_told_and_not_repeated(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=1.5))
    with pytest.raises(QueueFull) as full:
        client.enqueue(fulfil, Order("tea"))
    assert full.value.retry_after == 1.5
    assert len(peer.requests["EnqueueExecution"]) == 1


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", AlreadyExists),
        (grpc.StatusCode.FAILED_PRECONDITION, "CLOSED", FailedPrecondition),
        (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE", FailedPrecondition),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", QueueFull),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", InvalidArgument),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "PAYLOAD_TOO_LARGE", InvalidArgument),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", PermissionDenied),
        (grpc.StatusCode.ABORTED, "STALE_EPOCH", FailedPrecondition),
        (grpc.StatusCode.INTERNAL, "INTERNAL", NodeFault),
        (grpc.StatusCode.UNIMPLEMENTED, "", NodeFault),
        (grpc.StatusCode.NOT_FOUND, "", NotFound),
    ],
)
def test_errors_come_back_by_their_reason(
    peer: Peer, client: Any, code: grpc.StatusCode, reason: str, expected: type[TempoliteError]
) -> None:
    peer.answers("GetExecution", fails(code, reason, "no such thing: e1"))
    with pytest.raises(expected, match="no such thing: e1") as raised:
        client.get("e1")
    assert type(raised.value) is expected


def test_violations_name_their_fields(peer: Peer, client: Any) -> None:
    peer.answers(
        "EnqueueExecution",
        fails(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", violations={"arguments.order.quantity": "too low"}),
    )
    with pytest.raises(InvalidArgument) as refused:
        client.enqueue("fulfil", {})
    [violation] = refused.value.violations
    assert (violation.field, violation.description) == ("arguments.order.quantity", "too low")


def test_a_message_that_is_too_large_is_refused_with_its_size_the_limit_and_the_settings(client: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.send_signal("e1", "blob", "x" * 5_000_000)
    assert re.fullmatch(
        r"the request has 5,000,0\d\d bytes; at most 4,194,304 are allowed "  # of a peer with gRPC's own limit
        r"\(the node's api.limits.message_bytes, and for each payload in it api.limits.payload_bytes\)",
        str(refused.value),
    )


def test_a_token_goes_with_every_call(peer: Peer, connect: Callable[..., Any]) -> None:
    peer.answers("CountExecutions", pb.CountExecutionsResponse(count=3))
    assert connect(peer.address, token="t0ken").count() == 3
    assert peer.metadata["CountExecutions"][0]["authorization"] == "Bearer t0ken"


def test_address_and_token_come_from_the_environment(
    peer: Peer, connect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPOLITE_ADDRESS", peer.address)
    monkeypatch.setenv("TEMPOLITE_TOKEN", "from-env")
    peer.answers("CountExecutions", pb.CountExecutionsResponse(count=3))
    connect().count()
    assert peer.metadata["CountExecutions"][0]["authorization"] == "Bearer from-env"


# --- results


def test_a_result_has_the_handlers_return_type(peer: Peer, client: Any) -> None:
    peer.answers("EnqueueExecution", ENQUEUED)
    peer.answers("WaitExecution", ended(result=json('{"order_id":"o1"}')), ended(result=json('[{"order_id":"o1"}]')))
    assert client.enqueue(fulfil, Order("tea")).result() == Receipt("o1")
    assert client.enqueue(audit, 2026).result() == [Receipt("o1")]


def test_a_handle_by_id_takes_the_type_it_is_told(peer: Peer, client: Any) -> None:
    peer.answers("WaitExecution", ended(result=json('{"order_id":"o1"}')))
    assert client.handle("e1", Receipt).result() == Receipt("o1")
    assert client.handle("e1").result() == {"order_id": "o1"}


def test_the_long_poll_is_repeated_until_the_execution_has_ended(peer: Peer, client: Any) -> None:
    still = pb.WaitExecutionResponse(closed=False, execution=execution())
    peer.answers("WaitExecution", still, fails(grpc.StatusCode.UNAVAILABLE), still, ended(result=json("7")))
    assert client.handle("e1", int).result(timeout=10) == 7
    assert len(peer.requests["WaitExecution"]) == 4


def test_a_result_that_is_late_exceeds_the_deadline(peer: Peer, client: Any) -> None:
    def hold(request: Any, _context: Any) -> Any:
        time.sleep(request.timeout.ToTimedelta().total_seconds())  # a long poll: what the node does with it
        return pb.WaitExecutionResponse(closed=False, execution=execution())

    peer.answers("WaitExecution", hold)
    with pytest.raises(DeadlineExceeded, match=r"e1 has not ended after 0\.2 s"):
        client.handle("e1").result(timeout=0.2)


def test_a_timeout_of_zero_asks_once(peer: Peer, client: Any) -> None:
    peer.answers("WaitExecution", pb.WaitExecutionResponse(closed=False, execution=execution()))
    with pytest.raises(DeadlineExceeded):
        client.handle("e1").result(timeout=0)
    assert len(peer.requests["WaitExecution"]) == 1


def test_the_deadline_holds_while_the_node_is_away(connect: Callable[..., Any]) -> None:
    gone = Peer()
    gone.stop()
    with pytest.raises(DeadlineExceeded, match="no answer"):
        connect(gone.address, timeout=60).handle("e1").result(timeout=0.2)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("FAILED", ExecutionFailed),
        ("CANCELLED", ExecutionCancelled),
        ("TERMINATED", ExecutionTerminated),
        ("TIMED_OUT", ExecutionTimedOut),
        ("COMPENSATED", ExecutionCompensated),
    ],
)
def test_an_execution_that_did_not_complete_raises_how_it_ended(
    peer: Peer, client: Any, status: str, expected: type[Exception]
) -> None:
    cause = common_pb2.Failure(type="Timeout", message="card reader")
    failure = common_pb2.Failure(
        type="Declined", message="card", traceback="Traceback…", bases=["Declined"], cause=cause
    )
    peer.answers("WaitExecution", ended(status, failure=failure, reason="stop"))
    with pytest.raises(expected) as raised:
        client.handle("e1").result()
    assert type(raised.value) is expected
    assert raised.value.failure.traceback == "Traceback…"
    assert str(raised.value.failure.cause) == "Timeout: card reader"
    assert raised.value.reason == "stop"


def test_a_handler_without_a_result_gives_none(peer: Peer, client: Any) -> None:
    peer.answers("WaitExecution", ended())
    assert client.handle("e1").result() is None


# --- signals to clients


def signal(sequence: int, text: str = '{"packed":1}') -> pb.ReceiveSignalsResponse:
    return pb.ReceiveSignalsResponse(name="progress", payload=json(text), sequence=sequence)


def test_a_broken_stream_goes_on_after_the_last_signal_seen(peer: Peer, client: Any) -> None:
    def breaks_off(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        yield signal(request.after_sequence + 1)
        yield signal(request.after_sequence + 2)
        context.abort(grpc.StatusCode.UNAVAILABLE, "stopping")

    peer.answers("ReceiveSignals", breaks_off, fails(grpc.StatusCode.UNAVAILABLE), [signal(13)])
    received = list(client.handle("e1").receive_signals("progress", after=10))
    assert [each.sequence for each in received] == [11, 12, 13]
    assert [request.after_sequence for request in peer.requests["ReceiveSignals"]] == [10, 12, 12]
    assert received[0].payload == {"packed": 1}


def test_signals_are_decoded_by_their_type(peer: Peer, client: Any) -> None:
    peer.answers("ReceiveSignals", [signal(1, '{"sku":"tea","quantity":2}')])
    [received] = client.handle("e1").receive_signals(type=Order)
    assert received.payload == Order("tea", 2)


def test_leaving_the_stream_ends_the_call(peer: Peer, client: Any) -> None:
    ended = threading.Event()

    def endless(_request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        context.add_callback(ended.set)
        yield signal(1)
        ended.wait(10)

    peer.answers("ReceiveSignals", endless)
    stream = client.handle("e1").receive_signals()
    assert next(stream).sequence == 1
    stream.close()
    assert ended.wait(10)


# --- stats


def stats(revision: int, active: int) -> node_service_pb2.Stats:
    return node_service_pb2.Stats(revision=revision, handler=node_service_pb2.ComponentStats(active=active))


def test_wait_asks_the_predicate_at_each_change(peer: Peer, client: Any) -> None:
    peer.answers("GetStats", node_service_pb2.GetStatsResponse(stats=stats(4, active=2)))
    peer.answers(
        "WaitStats",
        node_service_pb2.WaitStatsResponse(stats=stats(5, active=1)),
        node_service_pb2.WaitStatsResponse(stats=stats(9, active=0)),
    )
    seen: list[int] = []

    def is_idle(stats: Any) -> bool:
        seen.append(stats.handler.active)
        return stats.handler.active == 0 and stats.saga.active == 0 and stats.compensation.active == 0

    assert client.wait(is_idle).revision == 9
    assert seen == [2, 1, 0]
    assert [request.after_revision for request in peer.requests["WaitStats"]] == [4, 5]


def test_wait_starts_over_when_the_node_was_restarted(peer: Peer, client: Any) -> None:
    peer.answers(
        "GetStats",
        node_service_pb2.GetStatsResponse(stats=stats(400, active=2)),
        node_service_pb2.GetStatsResponse(stats=stats(1, active=0)),
    )
    peer.answers("WaitStats", fails(grpc.StatusCode.UNAVAILABLE))
    assert client.wait(lambda stats: stats.handler.active == 0).revision == 1


def test_wait_exceeds_its_deadline(peer: Peer, client: Any) -> None:
    busy = stats(4, active=2)
    peer.answers("GetStats", node_service_pb2.GetStatsResponse(stats=busy))

    def hold(request: Any, _context: Any) -> Any:
        time.sleep(request.timeout.ToTimedelta().total_seconds())  # a long poll: what the node does with it
        return node_service_pb2.WaitStatsResponse(stats=busy)

    peer.answers("WaitStats", hold)
    with pytest.raises(DeadlineExceeded, match="predicate"):
        client.wait(lambda stats: stats.handler.active == 0, timeout=timedelta(seconds=0.2))


# --- executions and the node


def test_get_tells_executions_and_operations_apart(peer: Peer, client: Any) -> None:
    created = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    message = execution("WAITING", arguments=json("[1]"), waiting_for=["e1/signal/approve#1"], concurrency_key="c7")
    message.create_time.FromDatetime(created)
    operation = common_pb2.Operation(
        id="e1/step/pay", kind="OPERATION_KIND_STEP", status="OPERATION_STATUS_FAILED", key="pay"
    )
    peer.answers(
        "GetExecution", pb.GetExecutionResponse(execution=message), pb.GetExecutionResponse(operation=operation)
    )
    found = client.get("e1")
    assert isinstance(found, ExecutionInfo)
    assert (found.status, found.create_time, found.close_time) == (ExecutionStatus.WAITING, created, None)
    assert found.arguments.value() == [1]
    assert found.parent_id is None
    assert (found.concurrency_key, found.waits_for_key) == ("c7", "")
    step = client.get("e1/step/pay")
    assert isinstance(step, OperationInfo)
    assert step.kind is OperationKind.STEP


def test_list_goes_through_all_pages(peer: Peer, client: Any) -> None:
    peer.answers(
        "ListExecutions",
        pb.ListExecutionsResponse(executions=[execution(id="a"), execution(id="b")], next_page_token="p2"),
        pb.ListExecutionsResponse(executions=[execution(id="c")]),
    )
    after = datetime(2026, 1, 1, tzinfo=UTC)
    listed = client.list(status="failed", component=[Component.SAGA, "handler"], parent="p", created_after=after)
    assert [each.id for each in listed] == ["a", "b", "c"]
    first, second = peer.requests["ListExecutions"]
    assert list(first.filter.statuses) == [common_pb2.EXECUTION_STATUS_FAILED]
    assert list(first.filter.components) == [common_pb2.COMPONENT_SAGA, common_pb2.COMPONENT_HANDLER]
    assert first.filter.parent_id == "p"
    assert first.filter.created_after.ToDatetime(tzinfo=UTC) == after
    assert (first.page_token, second.page_token) == ("", "p2")


def test_a_time_without_a_zone_is_refused(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="time zone"):
        client.count(created_before=datetime(2026, 1, 1))


def test_an_unknown_status_names_those_there_are(client: Any) -> None:
    with pytest.raises(InvalidArgument, match="'failed'"):
        client.count(status="broken")


def test_cancel_terminate_and_resolve_carry_a_reason_and_a_request_id(peer: Peer, client: Any) -> None:
    peer.answers("CancelExecution", pb.CancelExecutionResponse(status="EXECUTION_STATUS_RUNNING"))
    peer.answers("TerminateExecution", pb.TerminateExecutionResponse(status="EXECUTION_STATUS_TERMINATED"))
    peer.answers("ResolveCompensation", pb.ResolveCompensationResponse(status="EXECUTION_STATUS_COMPENSATING"))
    assert client.cancel("e1", "no longer wanted") is ExecutionStatus.RUNNING
    assert client.terminate("e1", "runaway") is ExecutionStatus.TERMINATED
    assert client.handle("e1").resolve_compensation(Resolution.SKIP, "refunded") is ExecutionStatus.COMPENSATING
    for method, reason in {
        "CancelExecution": "no longer wanted",
        "TerminateExecution": "runaway",
        "ResolveCompensation": "refunded",
    }.items():
        [request] = peer.requests[method]
        assert request.reason == reason
        assert request.request_id


def test_a_suspended_execution_is_resumed(peer: Peer, client: Any) -> None:
    peer.answers("ResumeExecution", pb.ResumeExecutionResponse(status="EXECUTION_STATUS_QUEUED"))
    assert client.resume("e1") is ExecutionStatus.QUEUED
    [request] = peer.requests["ResumeExecution"]
    assert request.id == "e1"
    assert request.request_id


def test_an_execution_is_deleted(peer: Peer, client: Any) -> None:
    peer.answers("DeleteExecution", pb.DeleteExecutionResponse(existed=True))
    assert client.delete("e1") is True
    [request] = peer.requests["DeleteExecution"]
    assert request.id == "e1"
    assert request.request_id


def test_pools_are_read_scaled_and_paused(peer: Peer, client: Any) -> None:
    pool = node_service_pb2.Pool(component="COMPONENT_SIDE_EFFECT", workers=4, queue_limit=10)
    pool.retry_policy.maximum_attempts = 3
    peer.answers("ListPools", node_service_pb2.ListPoolsResponse(pools=[pool]))
    peer.answers("ScalePool", node_service_pb2.ScalePoolResponse(pool=pool))
    peer.answers("PausePool", node_service_pb2.PausePoolResponse(pool=pool))
    [listed] = client.pools()
    assert (listed.component, listed.workers, listed.retry_policy.maximum_attempts) == (Component.SIDE_EFFECT, 4, 3)
    assert client.scale_pool("side_effect", 4) == listed
    assert client.pause_pool(Component.SIDE_EFFECT) == listed
    [scaled] = peer.requests["ScalePool"]
    assert (scaled.component, scaled.workers) == (common_pb2.COMPONENT_SIDE_EFFECT, 4)


def test_handlers_come_with_their_schemas(peer: Peer, client: Any) -> None:
    handler = node_service_pb2.Handler(
        name="fulfil",
        component="COMPONENT_SAGA",
        asynchronous=True,
        arguments_schema='{"type":"object"}',
        concurrency_key_limit=3,
    )
    peer.answers("ListHandlers", node_service_pb2.ListHandlersResponse(handlers=[handler]))
    [described] = client.handlers()
    assert described.arguments_schema == {"type": "object"}
    assert described.is_async
    assert described.concurrency_key_limit == 3


# --- life of a client


def test_a_closed_client_says_so(peer: Peer, connect: Callable[..., Any]) -> None:
    client = connect(peer.address)
    client.close()
    with pytest.raises(FailedPrecondition, match="closed"):
        client.stats()


def test_the_sync_client_is_shared_by_threads(peer: Peer) -> None:
    peer.answers("CountExecutions", pb.CountExecutionsResponse(count=3))
    counts: list[int] = []
    with Client(peer.address) as client:
        threads = [threading.Thread(target=lambda: counts.append(client.count())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == [3] * 8


def test_a_client_from_before_a_fork_is_refused(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(peer.address) as client:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(FailedPrecondition, match="fork"):
            client.stats()
