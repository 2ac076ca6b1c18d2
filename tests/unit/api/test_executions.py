"""ExecutionService over a real channel."""

import asyncio
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from msgspec.structs import replace

from tempolite_node.api import polls
from tempolite_node.engine.commands import Enqueue
from tempolite_node.engine.model import (
    EndedAttempt,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    RetryPolicy,
    Signal,
    Status,
)
from tempolite_node.errors import StorageFailed
from tempolite_node.protocol.messages import Violation
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

from .conftest import told
from .memory_node import NOW_MS, execution


def json_payload(data: bytes) -> common_pb2.Payload:
    return common_pb2.Payload(encoding="json", data=data)


async def enqueue(served, **fields) -> str:
    request = pb.EnqueueExecutionRequest(**({"handler": "fulfil"} | fields))
    return (await served.executions.EnqueueExecution(request)).id


# --- enqueue


async def test_an_enqueue_becomes_one_command_with_its_settings_resolved(served):
    request = pb.EnqueueExecutionRequest(
        handler="fulfil",
        arguments=json_payload(b"[12]"),
        id="order-1",
        options=pb.ExecutionOptions(
            retry_policy=common_pb2.RetryPolicy(maximum_attempts=7),
            max_duration=Duration(seconds=15),
            delay=Duration(nanos=1),
            priority=5,
        ),
    )

    response = await served.executions.EnqueueExecution(request)

    assert (response.id, response.component, response.existing) == ("order-1", common_pb2.COMPONENT_HANDLER, False)
    [command] = served.node.commands
    assert isinstance(command, Enqueue)
    assert command.options.retry == RetryPolicy(maximum_attempts=7)
    assert (command.max_duration_ms, command.delay_ms, command.priority) == (15_000, 1, 5)
    assert served.node.checked == [("fulfil", b"[12]")]


async def test_a_concurrency_key_travels_with_the_command_alone_and_in_batches(served):
    keyed = pb.EnqueueExecutionRequest(handler="fulfil", options=pb.ExecutionOptions(concurrency_key="customer 7/€"))
    plain = pb.EnqueueExecutionRequest(handler="fulfil", options=pb.ExecutionOptions(priority=1))

    await served.executions.EnqueueExecution(keyed)
    await served.executions.BatchEnqueueExecutions(pb.BatchEnqueueExecutionsRequest(requests=[keyed, plain]))

    assert [command.concurrency_key for command in served.node.commands] == ["customer 7/€", "customer 7/€", None]


@pytest.mark.parametrize("key", ["", "x" * 201, "two\nlines"])
async def test_a_key_that_is_none_is_refused_with_what_it_must_be(served, key):
    options = pb.ExecutionOptions(concurrency_key=key)

    answer = await told(
        served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil", options=options))
    )

    assert answer.fields == ["options.concurrency_key"]
    assert "1 to 200 printable characters" in answer.message
    assert served.node.commands == []


async def test_without_an_id_a_new_one_is_made(served):
    first, second = await enqueue(served), await enqueue(served)

    assert first != second
    assert UUID(first).version == UUID(second).version == 7


async def test_the_same_request_id_starts_one_execution(served):
    request = pb.EnqueueExecutionRequest(handler="fulfil", request_id="r1")

    first = await served.executions.EnqueueExecution(request)
    second = await served.executions.EnqueueExecution(request)

    assert first.id == second.id
    assert (first.existing, second.existing) == (False, True)


async def test_wrong_arguments_are_refused_naming_the_field(served):
    served.node.violations = [Violation("order.quantity", "must be a number"), Violation("", "too many")]

    answer = await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil")))

    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.fields == ["arguments.order.quantity", "arguments"]
    assert served.node.commands == []


async def test_a_handler_that_the_node_does_not_serve_is_not_found(served):
    answer = await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="nope")))

    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_the_handler_that_is_the_callers_function_runs_whatever_its_name(served):
    served.node.config.handlers[1].__dict__["name"] = "send"

    await enqueue(served, handler="fulfil", function="shop:fulfil")
    await enqueue(served, handler="fulfil", function="shop:ship")

    assert [command.handler for command in served.node.commands] == ["fulfil", "send"]


async def test_another_function_than_the_handler_of_that_name_is_not_found_and_both_are_named(served):
    request = pb.EnqueueExecutionRequest(handler="fulfil", function="other:fulfil")

    answer = await told(served.executions.EnqueueExecution(request))

    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert "other:fulfil" in answer.message
    assert "shop:fulfil" in answer.message
    assert served.node.commands == []


async def test_a_batch_tells_which_of_its_functions_is_not_served(served):
    wrong = pb.EnqueueExecutionRequest(handler="fulfil", function="other:fulfil")
    batch = [pb.EnqueueExecutionRequest(handler="fulfil", function="shop:fulfil"), wrong]

    single = await served.executions.BatchEnqueueExecutions(pb.BatchEnqueueExecutionsRequest(requests=batch))
    atomic = await told(
        served.executions.BatchEnqueueExecutions(pb.BatchEnqueueExecutionsRequest(requests=batch, atomic=True))
    )

    assert [result.WhichOneof("result") for result in single.results] == ["enqueued", "error"]
    assert atomic.message.startswith("requests[1]: no node serves other:fulfil")


async def test_a_taken_id_already_exists(served):
    await enqueue(served, id="a", request_id="1")

    answer = await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil", id="a")))

    assert (answer.code, answer.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")


async def test_a_full_disk_is_told_and_may_be_tried_again(served):
    served.node.fails_with = StorageFailed("the disk is full")

    answer = await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil")))

    assert (answer.code, answer.reason, answer.retry_after) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_FAILED", 5)


async def test_an_unexpected_error_is_told_by_an_id_only(served):
    served.node.fails_with = RuntimeError("/var/lib/secret")

    answer = await told(served.executions.EnqueueExecution(pb.EnqueueExecutionRequest(handler="fulfil")))

    assert answer.code is grpc.StatusCode.INTERNAL
    assert "secret" not in answer.message


# --- bad input of every method

LONG = "x" * 1_001
OVER = pb.ExecutionOptions(
    retry_policy=common_pb2.RetryPolicy(
        maximum_attempts=2_000_000,
        initial_interval=Duration(),
        backoff_coefficient=0.5,
        maximum_interval=Duration(seconds=-1),
        jitter=float("nan"),
        non_retryable_errors=["", "ok"],
    ),
    attempt_timeout=Duration(),
    max_duration=Duration(seconds=315_576_000_000),
    queue_timeout=Duration(nanos=-1),
    heartbeat_timeout=Duration(seconds=1, nanos=-5),
    priority=1_001,
    delay=Duration(seconds=-1),
    concurrency_key="",
)
OVER_FIELDS = [
    "options.priority",
    "options.retry_policy.maximum_attempts",
    "options.retry_policy.backoff_coefficient",
    "options.retry_policy.jitter",
    "options.retry_policy.non_retryable_errors[0]",
    "options.retry_policy.initial_interval",
    "options.retry_policy.maximum_interval",
    "options.attempt_timeout",
    "options.max_duration",
    "options.queue_timeout",
    "options.heartbeat_timeout",
    "options.delay",
    "options.concurrency_key",
]
BAD_FILTER = pb.ExecutionFilter(
    statuses=[0, 99],
    handlers=[""],
    components=[9],
    parent_id="a/b",
    created_after=Timestamp(seconds=-1),
    created_before=Timestamp(seconds=1 << 60),
)
BAD_FILTER_FIELDS = [
    "filter.handlers[0]",
    "filter.parent_id",
    "filter.components[0]",
    "filter.statuses[0]",
    "filter.statuses[1]",
    "filter.created_after",
    "filter.created_before",
]


@pytest.mark.parametrize(
    ("method", "request_", "fields"),
    [
        ("EnqueueExecution", pb.EnqueueExecutionRequest(), ["handler"]),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(
                handler="a\n", id="a b", request_id="\x00", id_reuse_policy=9, id_conflict_policy=9
            ),
            ["handler", "id", "request_id", "id_reuse_policy", "id_conflict_policy"],
        ),
        ("EnqueueExecution", pb.EnqueueExecutionRequest(handler="fulfil", id="i" * 201), ["id"]),
        ("EnqueueExecution", pb.EnqueueExecutionRequest(handler="fulfil", id="a~1"), ["id"]),
        ("EnqueueExecution", pb.EnqueueExecutionRequest(handler="fulfil", options=OVER), OVER_FIELDS),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b"3")),
            ["arguments.data"],
        ),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b"[1,")),
            ["arguments.data"],
        ),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b'["\xff"]')),
            ["arguments.data"],
        ),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b"[" * 100_000)),
            ["arguments.data"],
        ),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=common_pb2.Payload(encoding="pickle")),
            ["arguments.encoding"],
        ),
        (
            "EnqueueExecution",
            pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b"[" + b" " * 2 * 1024**2 + b"]")),
            ["arguments.data"],
        ),
        ("GetExecution", pb.GetExecutionRequest(), ["id"]),
        ("GetExecution", pb.GetExecutionRequest(id="a/side_effect"), ["id"]),
        ("GetExecution", pb.GetExecutionRequest(id="a/nothing/key"), ["id"]),
        ("GetExecution", pb.GetExecutionRequest(id="a/step/"), ["id"]),
        ("GetExecutionTree", pb.GetExecutionTreeRequest(max_nodes=10_001), ["id", "max_nodes"]),
        ("ExplainExecution", pb.ExplainExecutionRequest(id="a b", consistency=9), ["id", "consistency"]),
        (
            "ListExecutionEvents",
            pb.ListExecutionEventsRequest(page_size=10_001, page_token="AAAA", consistency=9),
            ["execution_id", "page_size", "page_token", "consistency"],
        ),
        ("ListExecutions", pb.ListExecutionsRequest(filter=BAD_FILTER), BAD_FILTER_FIELDS),
        ("ListExecutions", pb.ListExecutionsRequest(page_size=1_001, page_token="!"), ["page_size", "page_token"]),
        ("ListExecutions", pb.ListExecutionsRequest(page_token="AAAA"), ["page_token"]),
        ("ListExecutions", pb.ListExecutionsRequest(filter={"handlers": ["a"] * 101}), ["filter.handlers"]),
        ("CountExecutions", pb.CountExecutionsRequest(filter=BAD_FILTER), BAD_FILTER_FIELDS),
        ("WaitExecution", pb.WaitExecutionRequest(timeout=Duration(seconds=-1)), ["id", "timeout"]),
        (
            "SendSignal",
            pb.SendSignalRequest(payload=json_payload(b"{"), request_id="r" * 201),
            ["execution_id", "name", "request_id", "payload.data"],
        ),
        (
            "ReceiveSignals",
            pb.ReceiveSignalsRequest(name="n" * 201, after_sequence=1 << 63),
            ["execution_id", "name", "after_sequence"],
        ),
        ("CancelExecution", pb.CancelExecutionRequest(reason=LONG, request_id="\n"), ["id", "reason", "request_id"]),
        ("TerminateExecution", pb.TerminateExecutionRequest(id="a b", reason=LONG), ["id", "reason"]),
        ("ResumeExecution", pb.ResumeExecutionRequest(id="a b", request_id="\n"), ["id", "request_id"]),
        ("DeleteExecution", pb.DeleteExecutionRequest(id="a b", request_id="\n"), ["id", "request_id"]),
        ("ResolveCompensation", pb.ResolveCompensationRequest(id="a"), ["resolution"]),
        ("ResolveCompensation", pb.ResolveCompensationRequest(id="a", resolution=9), ["resolution"]),
    ],
)
async def test_every_mistake_of_a_request_is_named(served, method, request_, fields):
    call = getattr(served.executions, method)(request_)

    answer = await told(call.read() if method == "ReceiveSignals" else call)

    assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert answer.fields == fields
    assert served.node.commands == []


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("GetExecution", pb.GetExecutionRequest(id="none")),
        ("GetExecution", pb.GetExecutionRequest(id="none/step/s")),
        ("GetExecution", pb.GetExecutionRequest(id="known/step/none")),
        ("GetExecutionTree", pb.GetExecutionTreeRequest(id="none")),
        ("ExplainExecution", pb.ExplainExecutionRequest(id="none")),
        ("ListExecutionEvents", pb.ListExecutionEventsRequest(execution_id="none")),
        ("WaitExecution", pb.WaitExecutionRequest(id="none")),
        ("SendSignal", pb.SendSignalRequest(execution_id="none", name="go")),
        ("ReceiveSignals", pb.ReceiveSignalsRequest(execution_id="none")),
        ("CancelExecution", pb.CancelExecutionRequest(id="none")),
        ("TerminateExecution", pb.TerminateExecutionRequest(id="none")),
        ("ResumeExecution", pb.ResumeExecutionRequest(id="none")),
    ],
)
async def test_an_unknown_id_is_not_found(served, method, request_):
    await enqueue(served, id="known")
    call = getattr(served.executions, method)(request_)

    answer = await told(call.read() if method == "ReceiveSignals" else call)

    assert (answer.code, answer.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_wrong_state_is_a_failed_precondition(served):
    await enqueue(served, id="a")
    served.node.close("a")

    signal = await told(served.executions.SendSignal(pb.SendSignalRequest(execution_id="a", name="go")))
    resolve = await told(
        served.executions.ResolveCompensation(
            pb.ResolveCompensationRequest(id="a", resolution="COMPENSATION_RESOLUTION_SKIP")
        )
    )

    resume = await told(served.executions.ResumeExecution(pb.ResumeExecutionRequest(id="a")))

    assert (resume.code, resume.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert (signal.code, signal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLOSED")
    assert (resolve.code, resolve.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")


async def test_what_has_ended_is_deleted_and_to_ask_again_is_no_mistake(served):
    await enqueue(served, id="a")
    request = pb.DeleteExecutionRequest(id="a")
    refused = await told(served.executions.DeleteExecution(request))
    served.node.close("a")

    first, again = [await served.executions.DeleteExecution(request) for _ in range(2)]

    assert (refused.code, refused.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_STATE")
    assert (first.existed, again.existed) == (True, False)


async def test_a_message_beyond_the_limit_is_refused_before_it_is_read(served):
    request = pb.EnqueueExecutionRequest(handler="fulfil", arguments=json_payload(b"[" + b" " * 5 * 1024**2 + b"]"))

    answer = await told(served.executions.EnqueueExecution(request))

    assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert served.node.commands == []


async def test_metadata_beyond_the_limit_is_refused(serve):
    served = await serve({"limits": {"metadata_bytes": 2048}})

    call = served.executions.CountExecutions(pb.CountExecutionsRequest(), metadata=[("x", "y" * 10_000)])

    assert (await told(call)).code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_calls_beyond_the_limit_are_refused_and_the_open_ones_go_on(serve):
    served = await serve({"limits": {"concurrent_rpcs": 10, "concurrent_streams": 1_000}})
    await enqueue(served, id="a")
    waits = [served.executions.WaitExecution(pb.WaitExecutionRequest(id="a")) for _ in range(20)]

    refused = []
    for wait in asyncio.as_completed([wait.code() for wait in waits]):
        refused.append(await wait)
        if len(refused) == 10:
            break
    answer = await told(served.executions.CountExecutions(pb.CountExecutionsRequest()))
    served.node.close("a")
    codes = [await wait.code() for wait in waits]

    assert set(refused) == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert (answer.reason, answer.retry_after) == ("OVERLOADED", 1)
    assert answer.message == "the node has 10 calls open, and takes no more (api.limits.concurrent_rpcs)"
    assert codes.count(grpc.StatusCode.OK) == 10


async def test_a_call_that_has_ended_in_whatever_way_makes_room_for_another(serve):
    served = await serve({"limits": {"concurrent_rpcs": 20, "concurrent_streams": 1_000}})
    await enqueue(served, id="a")

    async def fail() -> None:
        await told(served.executions.GetExecution(pb.GetExecutionRequest(id="unheard")))

    async def give_up() -> None:
        async def say_nothing():
            await asyncio.Event().wait()
            yield

        session = served.executions.Session(say_nothing())
        await session.initial_metadata()
        session.cancel()

    async def end_a_stream() -> None:
        session = served.executions.Session(iter(()))
        assert [reply async for reply in session] == []

    for _ in range(3):
        await asyncio.gather(*(call() for call in (fail, give_up, end_a_stream) for _ in range(3)))

    count = pb.CountExecutionsRequest()
    while (code := await served.executions.CountExecutions(count).code()) is not grpc.StatusCode.OK:
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED  # the node has not heard yet that the last were given up


# --- reading


async def test_an_execution_is_shown_with_its_attempts_and_what_it_waits_for(served):
    failure = Failure(type="ValueError", message="no", bases=("ValueError", "Exception"), cause=Failure(type="OSError"))
    queries = served.node.queries
    queries.executions["a"] = execution("a", row=1, status=Status.WAITING, ready_at=None, pending=1, failure=failure)
    queries.ended = [
        EndedAttempt(
            execution_row=1, kind=None, key="", number=1, failure=failure, started_ms=NOW_MS, ended_ms=NOW_MS + 5
        )
    ]
    queries.recorded = [operation(1, OperationKind.SIGNAL, "approve#1", OperationStatus.PENDING)]

    found = (await served.executions.GetExecution(pb.GetExecutionRequest(id="a"))).execution

    assert found.status == common_pb2.EXECUTION_STATUS_WAITING
    assert list(found.waiting_for) == ["a/signal/approve#1"]
    assert [(attempt.number, attempt.failure.cause.type) for attempt in found.attempts] == [(1, "OSError")]
    assert found.create_time.ToMilliseconds() == NOW_MS + 1
    assert not found.HasField("close_time")
    assert not found.HasField("result")


async def test_an_explanation_asks_the_owners_of_all_that_the_execution_waits_for(served):
    queries = served.node.queries
    waits = {"status": Status.WAITING, "ready_at": None, "pending": 1}
    queries.executions["a"] = execution("a", row=1, **waits)
    queries.executions["b"] = execution("b", row=2, owner="node-2", inbox=1, **waits)
    wait = operation(1, OperationKind.WAIT, "b", OperationStatus.PENDING)
    queries.recorded = [
        replace(wait, target="b", target_row=2),
        replace(operation(2, OperationKind.SIGNAL, "go#1", OperationStatus.PENDING), target="go"),
    ]
    queries.received = [Signal(execution_row=2, seq=1, name="gone", payload=b"1", at_ms=NOW_MS)]

    told = (await served.executions.ExplainExecution(pb.ExplainExecutionRequest(id="a"))).explanation

    assert served.node.looked_at == [{"node-1": ["a"], "node-2": ["b"]}]
    assert told.sentence.startswith("fulfil a waits for the end of fulfil b")
    assert told.causes[0].awaited.causes[0].names == ["gone"]
    assert told.time_spent.queued.ToMilliseconds() == 0


async def test_a_history_comes_in_pages_and_a_token_is_good_for_its_own_execution_only(served):
    queries = served.node.queries
    queries.executions["a"], queries.executions["b"] = execution("a", row=1), execution("b", row=2)
    queries.recorded = [operation(1, OperationKind.MARKER, f"m{n}", OperationStatus.COMPLETED) for n in range(3)]
    queries.recorded = [replace(each, seq=n) for n, each in enumerate(queries.recorded, start=1)]
    request = pb.ListExecutionEventsRequest(execution_id="a", page_size=2)
    first = await served.executions.ListExecutionEvents(request)
    request.page_token = first.next_page_token
    second = await served.executions.ListExecutionEvents(request)
    other = await told(
        served.executions.ListExecutionEvents(
            pb.ListExecutionEventsRequest(execution_id="b", page_token=first.next_page_token)
        )
    )

    assert len({each.operation.key for each in [*first.events, *second.events]}) == 4
    assert not second.next_page_token
    assert other.fields == ["page_token"]


async def test_what_waits_for_its_concurrency_key_says_who_holds_it(served):
    executions = served.node.queries.executions
    keyed = {"concurrency_key": "c7"}
    for row, name in enumerate("abcd", start=1):
        executions[name] = execution(name, row=row, place=row, **keyed)
    executions["waits"] = execution("waits", row=5, ready_at=None, parent_row=6, parent_id="root", **keyed)
    executions["root"] = execution("root", row=6, has_children=True)

    found = (await served.executions.GetExecution(pb.GetExecutionRequest(id="waits"))).execution
    listed = (await served.executions.ListExecutions(pb.ListExecutionsRequest())).executions
    tree = (await served.executions.GetExecutionTree(pb.GetExecutionTreeRequest(id="root"))).tree

    assert found.concurrency_key == "c7"
    assert found.waits_for_key == "concurrency key 'c7' of fulfil is held by a, b, c and others"
    assert {each.id for each in listed if each.waits_for_key} == {"waits"}
    assert [child.execution.waits_for_key for child in tree.children] == [found.waits_for_key]


async def test_signals_that_nobody_received_are_shown_with_their_senders_and_what_is_wrong_with_them(served):
    queries = served.node.queries
    queries.executions["a"] = execution("a", row=1, inbox=3, consumed=1)
    queries.received = [
        Signal(execution_row=1, seq=1, name="go", payload=b"", at_ms=NOW_MS, consumed=True),
        Signal(execution_row=1, seq=2, name="go", payload=b"{}", at_ms=NOW_MS, sender="execution b", set_aside="no"),
        Signal(execution_row=1, seq=3, name="stop", payload=b'"' + b"x" * 1_000 + b'"', at_ms=NOW_MS),
    ]

    found = (await served.executions.GetExecution(pb.GetExecutionRequest(id="a"))).execution
    tree = (await served.executions.GetExecutionTree(pb.GetExecutionTreeRequest(id="a"))).tree

    first, second = found.unconsumed
    assert found.unconsumed_signals == 2
    assert (first.sequence, first.name, first.payload.data, first.sender) == (2, "go", b"{}", "execution b")
    assert first.set_aside == "no"
    assert first.send_time.ToMilliseconds() == NOW_MS
    assert (second.sequence, second.set_aside, second.HasField("payload")) == (3, "", False)
    assert list(tree.execution.unconsumed) == list(found.unconsumed)


async def test_of_a_signal_the_address_of_its_client_is_noted(served):
    served.node.queries.executions["a"] = execution("a", row=1)

    await served.executions.SendSignal(pb.SendSignalRequest(execution_id="a", name="go"))

    [command] = served.node.commands
    assert command.sender.startswith("client ipv4:127.0.0.1:")


async def test_an_operation_is_found_by_its_id_even_with_slashes_in_its_key(served):
    served.node.queries.executions["a"] = execution("a", row=1)
    served.node.queries.recorded = [
        operation(1, OperationKind.SIDE_EFFECT, "read /etc/x > y", OperationStatus.COMPLETED)
    ]

    found = (await served.executions.GetExecution(pb.GetExecutionRequest(id="a/side_effect/read /etc/x > y"))).operation

    assert (found.kind, found.key) == (common_pb2.OPERATION_KIND_SIDE_EFFECT, "read /etc/x > y")
    assert found.id == "a/side_effect/read /etc/x > y"


async def test_a_tree_holds_operations_and_children_as_far_as_was_asked(served):
    grow_chain(served.node.queries, length=3)

    whole = await served.executions.GetExecutionTree(pb.GetExecutionTreeRequest(id="e1"))
    part = await served.executions.GetExecutionTree(pb.GetExecutionTreeRequest(id="e1", max_nodes=3))

    assert not whole.truncated
    assert whole.tree.children[0].children[0].execution.id == "e3"
    assert whole.tree.operations[0].key == "s1"
    assert part.truncated
    assert part.tree.children[0].execution.id == "e2"
    assert not part.tree.children[0].children


async def test_a_tree_deeper_than_a_message_can_nest_is_cut(served):
    grow_chain(served.node.queries, length=200)

    response = await served.executions.GetExecutionTree(pb.GetExecutionTreeRequest(id="e1"))

    depth, tree = 1, response.tree
    while tree.children:
        depth, tree = depth + 1, tree.children[0]
    assert response.truncated
    assert depth == 60


async def test_a_list_comes_in_pages_newest_first(served):
    for number in range(1, 6):
        served.node.queries.executions[f"e{number}"] = execution(f"e{number}", row=number)

    pages, token = [], ""
    while not pages or token:
        page = await served.executions.ListExecutions(pb.ListExecutionsRequest(page_size=2, page_token=token))
        pages.append([found.id for found in page.executions])
        token = page.next_page_token

    assert pages == [["e5", "e4"], ["e3", "e2"], ["e1"]]


async def test_a_page_token_is_good_for_its_own_filter_only(served):
    for number in range(1, 4):
        served.node.queries.executions[f"e{number}"] = execution(f"e{number}", row=number)
    page = await served.executions.ListExecutions(pb.ListExecutionsRequest(page_size=1))

    other = pb.ListExecutionsRequest(page_token=page.next_page_token, filter=pb.ExecutionFilter(roots_only=True))

    assert (await told(served.executions.ListExecutions(other))).fields == ["page_token"]


async def test_a_page_ends_early_where_a_message_would_be_too_large(serve):
    served = await serve(options=[("grpc.max_receive_message_length", 4 * 1024**2)])
    for number in range(1, 6):
        served.node.queries.executions[f"e{number}"] = execution(f"e{number}", row=number, arguments=b" " * 1_500_000)

    page = await served.executions.ListExecutions(pb.ListExecutionsRequest())

    assert [found.id for found in page.executions] == ["e5", "e4"]
    assert page.next_page_token


# --- waiting


async def test_a_wait_answers_when_the_execution_has_ended(served):
    await enqueue(served, id="a")
    wait = asyncio.ensure_future(served.executions.WaitExecution(pb.WaitExecutionRequest(id="a")))
    await enqueue(served, id="b")  # answered after the wait came in: one connection keeps its order

    served.node.close("a", result=b"42")
    response = await wait

    assert (response.closed, response.execution.result.data) == (True, b"42")


async def test_a_wait_answers_before_the_deadline_of_its_caller(served, monkeypatch):
    monkeypatch.setattr(polls, "DEADLINE_MARGIN_MS", 59_000)
    await enqueue(served, id="a")

    response = await served.executions.WaitExecution(pb.WaitExecutionRequest(id="a"), timeout=60)

    assert not response.closed
    assert response.execution.id == "a"


async def test_a_wait_answers_after_its_own_timeout(served):
    await enqueue(served, id="a")

    request = pb.WaitExecutionRequest(id="a", timeout=Duration(nanos=1_000_000))
    response = await served.executions.WaitExecution(request, timeout=60)

    assert not response.closed


async def test_a_wait_without_any_time_is_answered_with_an_end_that_was_before_it(served):
    await enqueue(served, id="a")
    served.node.close("a", result=b"42")

    request = pb.WaitExecutionRequest(id="a", timeout=Duration())
    response = await served.executions.WaitExecution(request)

    assert (response.closed, response.execution.result.data) == (True, b"42")


async def test_open_waits_are_answered_when_the_server_stops(served):
    await enqueue(served, id="a")
    wait = asyncio.ensure_future(served.executions.WaitExecution(pb.WaitExecutionRequest(id="a")))
    await enqueue(served, id="b")  # answered after the wait came in

    await served.server.stop(grace=30)

    assert not (await wait).closed


# --- signals to clients


async def test_signals_stream_until_the_execution_has_ended_and_none_is_left(served):
    await enqueue(served, id="a")
    served.node.send("a", b"1")
    stream = served.executions.ReceiveSignals(pb.ReceiveSignalsRequest(execution_id="a"))

    first = await stream.read()
    for number in range(2, 252):
        served.node.send("a", b"%d" % number)
    served.node.close("a")
    rest = [await stream.read() for _ in range(250)]

    assert (first.sequence, first.name, first.payload.data) == (1, "progress", b"1")
    assert [response.sequence for response in rest] == list(range(2, 252))
    assert await stream.read() is grpc.aio.EOF


async def test_a_stream_resumes_after_a_sequence(served):
    await enqueue(served, id="a")
    for _ in range(3):
        served.node.send("a", b"null")
    served.node.close("a")

    stream = served.executions.ReceiveSignals(pb.ReceiveSignalsRequest(execution_id="a", after_sequence=2))

    assert [response.sequence async for response in stream] == [3]


async def test_a_stream_ends_unavailable_when_the_server_stops(served):
    await enqueue(served, id="a")
    served.node.send("a", b"1")
    stream = served.executions.ReceiveSignals(pb.ReceiveSignalsRequest(execution_id="a"))
    await stream.read()

    await served.server.stop(grace=30)

    assert await stream.code() is grpc.StatusCode.UNAVAILABLE


# --- stopping


async def test_cancel_and_terminate_answer_with_the_status(served):
    await enqueue(served, id="a")

    cancelled = await served.executions.CancelExecution(pb.CancelExecutionRequest(id="a", reason="enough"))
    terminated = await served.executions.TerminateExecution(pb.TerminateExecutionRequest(id="a", reason="now"))

    assert cancelled.status == common_pb2.EXECUTION_STATUS_QUEUED
    assert terminated.status == common_pb2.EXECUTION_STATUS_TERMINATED
    assert [command.reason for command in served.node.commands[1:]] == ["enough", "now"]


# --- helpers


def operation(row: int, kind: OperationKind, key: str, status: OperationStatus) -> Operation:
    closed_ms = None if status is OperationStatus.PENDING else NOW_MS
    return Operation(
        execution_row=row, kind=kind, key=key, seq=1, status=status, started_ms=NOW_MS, closed_ms=closed_ms
    )


def grow_chain(queries, length: int) -> None:
    """Executions e1, e2, …, each the parent of the next and with one side effect."""
    for row in range(1, length + 1):
        parent = {"parent_row": row - 1, "parent_id": f"e{row - 1}"} if row > 1 else {}
        queries.executions[f"e{row}"] = execution(f"e{row}", row=row, has_children=row < length, **parent)
        queries.recorded.append(operation(row, OperationKind.SIDE_EFFECT, f"s{row}", OperationStatus.COMPLETED))
