"""ExecutionService.Session and BatchEnqueueExecutions over a real channel."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from tempolite_node.api import session
from tempolite_node.engine.model import Status
from tempolite_node.protocol.messages import Violation
from tempolite_sdk.client.status import status_of_reply
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .conftest import Serve, Served, told


class Stream:
    """A client's end of a session."""

    def __init__(self, served: Served, **options: Any) -> None:
        self._call = served.executions.Session(**options)
        self._replies: list[pb.SessionReply] = []

    async def send(self, *calls: pb.SessionCall) -> None:
        await self._call.write(pb.SessionRequest(calls=calls))

    async def reply(self) -> pb.SessionReply:
        while not self._replies:
            response = await self._call.read()
            assert response is not grpc.aio.EOF, "the session has ended"
            self._replies += response.replies
        return self._replies.pop(0)

    async def messages(self, replies: int) -> list[pb.SessionResponse]:
        """As they come, until they have brought so many replies."""
        read: list[pb.SessionResponse] = []
        while sum(len(message.replies) for message in read) < replies:
            read.append(await self._call.read())
        return read

    async def done_writing(self) -> None:
        await self._call.done_writing()

    async def ended(self) -> bool:
        return await self._call.read() is grpc.aio.EOF

    async def code(self) -> grpc.StatusCode:
        return await self._call.code()


def enqueue(number: int, *, timeout: Duration | None = None, **fields: Any) -> pb.SessionCall:
    request = pb.EnqueueExecutionRequest(**({"handler": "fulfil", "id": f"e{number}"} | fields))
    return pb.SessionCall(number=number, timeout=timeout, enqueue=request)


async def test_another_function_than_the_handler_of_that_name_is_refused_in_a_session_too(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, function="other:fulfil"))

    reply = await stream.reply()

    assert "no node serves other:fulfil: handler 'fulfil' is shop:fulfil" in reply.error.message
    assert served.node.commands == []


async def test_a_signal_that_its_receiver_does_not_take_is_refused_naming_the_field(served: Served) -> None:
    served.node.violations = [Violation("payload.by", "is required")]
    request = pb.SendSignalRequest(execution_id="e1", name="approve")
    stream = Stream(served)
    await stream.send(pb.SessionCall(number=1, send_signal=request))

    replied = (await stream.reply()).error
    answer = await told(served.executions.SendSignal(request))

    assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["payload.by"])
    assert replied.message == answer.message
    assert served.node.commands == []


async def test_calls_of_every_kind_are_answered_under_their_numbers(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1))
    assert (await stream.reply()).enqueue.id == "e1"
    await stream.send(
        pb.SessionCall(number=2, get=pb.GetExecutionRequest(id="e1")),
        pb.SessionCall(number=3, send_signal=pb.SendSignalRequest(execution_id="e1", name="go")),
        pb.SessionCall(number=4, cancel=pb.CancelExecutionRequest(id="e1")),
        pb.SessionCall(number=5, wait=pb.WaitExecutionRequest(id="e1", timeout=Duration())),
    )
    replies = {reply.number: reply for reply in [await stream.reply() for _ in range(4)]}
    assert {number: reply.WhichOneof("reply") for number, reply in replies.items()} == {
        2: "get",
        3: "send_signal",
        4: "cancel",
        5: "wait",
    }
    assert replies[2].get.execution.id == "e1"
    assert not replies[5].wait.closed


async def test_a_refused_call_has_the_details_of_a_call_of_its_own_and_the_others_go_on(served: Served) -> None:
    stream = Stream(served)
    await stream.send(
        enqueue(1, handler="nope"),
        enqueue(2, id="no such id!"),
        enqueue(3),
        pb.SessionCall(number=4),
        pb.SessionCall(number=5, get=pb.GetExecutionRequest(id="unknown")),
    )
    replies = {reply.number: reply for reply in [await stream.reply() for _ in range(5)]}
    errors = {number: status_of_reply(reply.error) for number, reply in replies.items() if reply.HasField("error")}
    assert replies[3].enqueue.id == "e3"
    assert {number: error.reason for number, error in errors.items()} == {
        1: "NOT_FOUND",
        2: "INVALID_ARGUMENT",
        4: "INVALID_ARGUMENT",
        5: "NOT_FOUND",
    }
    assert [each.field for each in errors[2].violations] == ["id"]


async def test_an_enqueue_that_waits_is_answered_when_its_execution_ends(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, wait=Duration(seconds=30)), enqueue(2))
    assert (await stream.reply()).number == 2  # stored with the first, and not waited for
    served.node.close("e1", result=b"7")
    reply = await stream.reply()
    assert (reply.number, reply.enqueue.outcome.result.data) == (1, b"7")
    assert reply.enqueue.outcome.status == common_pb2.EXECUTION_STATUS_COMPLETED


async def test_an_enqueue_that_waits_in_vain_is_answered_without_an_outcome(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, wait=Duration(nanos=1_000_000)))
    reply = await stream.reply()
    assert reply.enqueue.id == "e1"
    assert not reply.enqueue.HasField("outcome")


async def test_a_repeated_enqueue_waits_for_what_may_have_ended_before(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, request_id="r"))
    await stream.reply()
    served.node.close("e1", Status.FAILED)
    await stream.send(enqueue(2, id="e1", request_id="r", wait=Duration(seconds=30)))
    reply = await stream.reply()
    assert (reply.number, reply.enqueue.existing) == (2, True)
    assert reply.enqueue.outcome.status == common_pb2.EXECUTION_STATUS_FAILED


async def test_a_call_is_answered_before_its_timeout(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1))
    await stream.reply()
    await stream.send(
        pb.SessionCall(number=2, timeout=Duration(nanos=1_000_000), wait=pb.WaitExecutionRequest(id="e1")),
        enqueue(3, timeout=Duration(nanos=1_000_000), wait=Duration(seconds=30)),
    )
    assert {(await stream.reply()).number, (await stream.reply()).number} == {2, 3}


async def test_a_session_ends_when_all_is_sent_and_answered(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, wait=Duration(seconds=30)))
    await stream.done_writing()
    while "e1" not in served.node.queries.executions:
        await served.node.changes.wait()
    served.node.close("e1")
    assert (await stream.reply()).number == 1
    assert await stream.ended()
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_client_with_too_many_open_calls_is_read_again_when_some_are_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OPEN_CALLS_MAX", 2)
    stream = Stream(served)
    await stream.send(enqueue(1, wait=Duration(seconds=30)), enqueue(2, wait=Duration(seconds=30)))
    await stream.send(enqueue(3))
    while len(served.node.queries.executions) < 2:
        await served.node.changes.wait()
    assert "e3" not in served.node.queries.executions
    served.node.close("e1")
    served.node.close("e2")
    assert sorted([(await stream.reply()).number for _ in range(3)]) == [1, 2, 3]


async def test_open_calls_are_answered_when_the_server_stops(served: Served) -> None:
    stream = Stream(served)
    await stream.send(enqueue(1, wait=Duration(seconds=30)))
    while "e1" not in served.node.queries.executions:
        await served.node.changes.wait()
    stopping = asyncio.create_task(served.server.stop(grace=10))
    reply = await stream.reply()
    assert (reply.number, reply.enqueue.HasField("outcome")) == (1, False)
    assert await stream.ended()
    await stopping


async def test_each_call_of_a_session_needs_the_role_of_its_own_method(serve: Serve) -> None:
    sha256 = hashlib.sha256(b"secret-token").hexdigest()
    served = await serve({"tokens": [{"name": "looks", "role": "reader", "sha256": sha256}]})
    stream = Stream(served, metadata=(("authorization", "Bearer secret-token"),))
    await stream.send(enqueue(1), pb.SessionCall(number=2, get=pb.GetExecutionRequest(id="e1")))
    replies = [await stream.reply(), await stream.reply()]
    assert {reply.number: status_of_reply(reply.error).reason for reply in replies} == {
        1: "PERMISSION_DENIED",
        2: "NOT_FOUND",
    }


# --- batches


def batch(*requests: pb.EnqueueExecutionRequest, atomic: bool = False) -> pb.BatchEnqueueExecutionsRequest:
    return pb.BatchEnqueueExecutionsRequest(requests=requests, atomic=atomic)


def one(id: str, handler: str = "fulfil") -> pb.EnqueueExecutionRequest:
    return pb.EnqueueExecutionRequest(handler=handler, id=id)


async def test_a_batch_is_stored_in_order_and_what_is_wrong_with_one_stops_no_other(served: Served) -> None:
    response = await served.executions.BatchEnqueueExecutions(batch(one("a"), one("b", "nope"), one("c")))
    assert [result.WhichOneof("result") for result in response.results] == ["enqueued", "error", "enqueued"]
    assert status_of_reply(response.results[1].error).reason == "NOT_FOUND"
    assert set(served.node.queries.executions) == {"a", "c"}


async def test_an_atomic_batch_is_stored_as_a_whole(served: Served) -> None:
    response = await served.executions.BatchEnqueueExecutions(batch(one("a"), one("b"), atomic=True))
    assert [result.enqueued.id for result in response.results] == ["a", "b"]


async def test_an_atomic_batch_with_a_mistake_names_the_request_and_stores_nothing(served: Served) -> None:
    served.node.violations = [Violation("order", "is required")]
    answer = await told(served.executions.BatchEnqueueExecutions(batch(one("a"), one("b"), atomic=True)))
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ["requests[0].arguments.order"]
    assert served.node.queries.executions == {}


async def test_an_empty_batch_is_refused(served: Served) -> None:
    answer = await told(served.executions.BatchEnqueueExecutions(batch()))
    assert (answer.code, answer.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["requests"])


async def test_a_batch_waits_for_nothing(served: Served) -> None:
    waiting = pb.EnqueueExecutionRequest(handler="fulfil", wait=Duration(seconds=1))
    answer = await told(served.executions.BatchEnqueueExecutions(batch(waiting)))
    assert answer.fields == ["requests[0].wait"]


async def test_results_that_are_large_go_in_messages_of_their_own(served: Served) -> None:
    stream = Stream(served)
    await stream.send(*(enqueue(number, wait=Duration(seconds=60)) for number in range(1, 9)))
    await stream.send(enqueue(9))
    assert (await stream.reply()).number == 9
    for number in range(1, 9):
        served.node.close(f"e{number}", result=b" " * 400_000)

    messages = await stream.messages(8)

    assert max(message.ByteSize() for message in messages) < 2 * 1024**2
    assert sorted(reply.number for message in messages for reply in message.replies) == list(range(1, 9))
