"""Requests to commands, filters and ids. Raises InvalidRequest with every mistake of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from google.protobuf.duration_pb2 import Duration
from msgspec import Struct

from tempolite_node.api.convert.checks import COMPONENTS, CONSISTENCIES, STATUSES, Checks
from tempolite_node.api.convert.paging import (
    EVENTS_DEFAULT,
    EVENTS_MAX,
    PAGE_SIZE_DEFAULT,
    PAGE_SIZE_MAX,
    parse_event_token,
    parse_page_token,
)
from tempolite_node.config import WORKERS_MAX
from tempolite_node.engine.commands import (
    Cancel,
    IdConflict,
    IdReuse,
    Resolution,
    ResolveCompensation,
    Resume,
    SendSignal,
    Terminate,
)
from tempolite_node.engine.model import Component, OperationKind
from tempolite_node.protocol.messages import CallOptions
from tempolite_node.views import Consistency, EventPlace, ExecutionFilter
from tempolite_sdk.pb.tempolite.v1 import cluster_service_pb2 as cluster_pb
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1 import node_service_pb2 as node_pb

WAIT_MS_MAX = 60_000
STATS_INTERVAL_MS = 100
BATCH_MAX = 10_000
SESSION_TIMEOUT_S_MAX = 3_600.0
TREE_NODES_MAX = 10_000
SEQUENCE_MAX = (1 << 63) - 1  #: of SQLite's integers
KEY_CHARACTERS_MAX = 4_096  #: keys nest: "<kind>:<key> > <key>"

_ID_REUSE: Mapping[int, IdReuse] = {
    pb.ID_REUSE_POLICY_REJECT_DUPLICATE: IdReuse.REJECT_DUPLICATE,
    pb.ID_REUSE_POLICY_ALLOW_DUPLICATE: IdReuse.ALLOW_DUPLICATE,
    pb.ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY: IdReuse.ALLOW_DUPLICATE_FAILED_ONLY,
}
_ID_CONFLICT: Mapping[int, IdConflict] = {
    pb.ID_CONFLICT_POLICY_FAIL: IdConflict.FAIL,
    pb.ID_CONFLICT_POLICY_USE_EXISTING: IdConflict.USE_EXISTING,
    pb.ID_CONFLICT_POLICY_TERMINATE_EXISTING: IdConflict.TERMINATE_EXISTING,
}
_RESOLUTIONS: Mapping[int, Resolution] = {
    pb.COMPENSATION_RESOLUTION_RETRY: Resolution.RETRY,
    pb.COMPENSATION_RESOLUTION_SKIP: Resolution.SKIP,
    pb.COMPENSATION_RESOLUTION_MARK_DONE: Resolution.MARK_DONE,
}


_NO_OPTIONS = CallOptions()
_RUN = re.compile(r"[1-9][0-9]{0,17}")


class EnqueueRequest(Struct, frozen=True):
    handler: str
    function: str
    arguments: bytes
    execution_id: str | None
    request_id: str | None
    options: CallOptions
    concurrency_key: str | None
    id_reuse: IdReuse
    id_conflict: IdConflict


class OperationId(NamedTuple):
    execution_id: str
    run: int | None  #: None: the one that has the id
    kind: OperationKind
    key: str


class GetRequest(NamedTuple):
    wanted: str | OperationId
    consistency: Consistency


class TreeRequest(NamedTuple):
    root_id: str
    nodes_max: int
    consistency: Consistency


class EventsRequest(NamedTuple):
    execution_id: str
    page_size: int
    after: tuple[EventPlace, int] | None  #: a place, in the history of the execution at that row
    consistency: Consistency


class ListRequest(NamedTuple):
    filter: ExecutionFilter
    page_size: int
    after: int | None
    consistency: Consistency


class CountRequest(NamedTuple):
    filter: ExecutionFilter
    consistency: Consistency


def enqueue(request: pb.EnqueueExecutionRequest, payload_bytes_max: int) -> EnqueueRequest:
    checks = Checks()
    # Each look at a field makes its value anew, and this is on the way of every enqueue.
    handler, function, execution_id, request_id = request.handler, request.function, request.id, request.request_id
    options = request.options if request.HasField("options") else None
    checks.name("handler", handler)
    if function:
        checks.function("function", function)
    if execution_id:
        checks.new_id("id", execution_id)
    if request_id:
        checks.name("request_id", request_id)
    arguments = checks.payload("arguments", request.arguments, bytes_max=payload_bytes_max, absent=b"[]")
    if arguments.lstrip(b" \t\r\n")[:1] not in (b"[", b"{"):
        checks.report("arguments.data", "must be a JSON array, or an object by name")
    parsed = EnqueueRequest(
        handler=handler,
        function=function,
        arguments=arguments,
        execution_id=execution_id or None,
        request_id=request_id or None,
        options=_NO_OPTIONS if options is None else checks.options(options),
        concurrency_key=None if options is None else _concurrency_key(checks, options),
        id_reuse=checks.choice("id_reuse_policy", request.id_reuse_policy, _ID_REUSE, IdReuse.REJECT_DUPLICATE),
        id_conflict=checks.choice("id_conflict_policy", request.id_conflict_policy, _ID_CONFLICT, IdConflict.FAIL),
    )
    checks.duration_ms(request, "wait", minimum_ms=0)
    checks.finish()
    return parsed


def _concurrency_key(checks: Checks, options: pb.ExecutionOptions) -> str | None:
    if not options.HasField("concurrency_key"):
        return None
    checks.concurrency_key("options.concurrency_key", options.concurrency_key)
    return options.concurrency_key


def enqueue_wait_ms(request: pb.EnqueueExecutionRequest) -> int:
    """How long to wait for the end, of a request that was checked."""
    return min(_milliseconds(request.wait), WAIT_MS_MAX)


def batch(request: pb.BatchEnqueueExecutionsRequest) -> None:
    """Checks the batch as such; its requests are checked each."""
    checks = Checks()
    checks.number("requests", len(request.requests), 1, BATCH_MAX)
    for place, each in enumerate(request.requests[:BATCH_MAX]):
        if each.HasField("wait"):
            checks.report(f"requests[{place}].wait", "is not supported in a batch")
            break
    checks.finish()


def session_timeout_s(call: pb.SessionCall) -> float:
    """Until when the reply is wanted. What is out of bounds counts as the bound."""
    if not call.HasField("timeout"):
        return WAIT_MS_MAX / 1_000
    return min(max(_milliseconds(call.timeout) / 1_000, 0.0), SESSION_TIMEOUT_S_MAX)


def _milliseconds(duration: Duration) -> int:
    """Rounded down."""
    return duration.seconds * 1_000 + duration.nanos // 1_000_000


def execution_id(value: str, field: str = "id") -> str:
    checks = Checks()
    checks.known_id(field, value)
    checks.finish()
    return value


def get_execution(request: pb.GetExecutionRequest) -> GetRequest:
    """The id of an execution, or that of one of its operations: see `model.operation_id`."""
    checks = Checks()
    execution, *operation = request.id.split("/", 2)
    checks.known_id("id", execution)
    run = None
    if len(operation) == 2 and _RUN.fullmatch(operation[0]):
        run, operation = int(operation[0]), operation[1].split("/", 1)
    kinds = {kind.value: kind for kind in OperationKind}
    if operation and (
        len(operation) != 2 or operation[0] not in kinds or not 1 <= len(operation[1]) <= KEY_CHARACTERS_MAX
    ):
        checks.report("id", f"must be <execution id>/<kind>/<key>; kinds: {', '.join(kinds)}")
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return GetRequest(
        OperationId(execution, run, kinds[operation[0]], operation[1]) if operation else execution, consistency
    )


def _consistency(checks: Checks, value: int) -> Consistency:
    return checks.choice("consistency", value, CONSISTENCIES, Consistency.LINEARIZABLE)


def tree(request: pb.GetExecutionTreeRequest) -> TreeRequest:
    checks = Checks()
    checks.known_id("id", request.id)
    checks.number("max_nodes", request.max_nodes, 0, TREE_NODES_MAX)
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return TreeRequest(request.id, request.max_nodes or TREE_NODES_MAX, consistency)


def explain(request: pb.ExplainExecutionRequest) -> tuple[str, Consistency]:
    checks = Checks()
    checks.known_id("id", request.id)
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return request.id, consistency


def list_events(request: pb.ListExecutionEventsRequest) -> EventsRequest:
    checks = Checks()
    checks.known_id("execution_id", request.execution_id)
    checks.number("page_size", request.page_size, 0, EVENTS_MAX)
    after = parse_event_token(checks, request.page_token)
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return EventsRequest(request.execution_id, request.page_size or EVENTS_DEFAULT, after, consistency)


def list_executions(request: pb.ListExecutionsRequest) -> ListRequest:
    checks = Checks()
    filter = _filter(checks, request.filter)
    checks.number("page_size", request.page_size, 0, PAGE_SIZE_MAX)
    after = parse_page_token(checks, request.page_token, filter)
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return ListRequest(filter, request.page_size or PAGE_SIZE_DEFAULT, after, consistency)


def count_executions(request: pb.CountExecutionsRequest) -> CountRequest:
    checks = Checks()
    filter = _filter(checks, request.filter)
    consistency = _consistency(checks, request.consistency)
    checks.finish()
    return CountRequest(filter, consistency)


def _filter(checks: Checks, filter: pb.ExecutionFilter) -> ExecutionFilter:
    for field in ("statuses", "handlers", "components"):
        if len(getattr(filter, field)) > 100:
            checks.report(f"filter.{field}", "has more than 100 entries")
    for index, handler in enumerate(filter.handlers[:100]):
        checks.name(f"filter.handlers[{index}]", handler)
    if filter.parent_id:
        checks.known_id("filter.parent_id", filter.parent_id)
    components = [
        checks.choice(f"filter.components[{index}]", value, COMPONENTS)
        for index, value in enumerate(filter.components[:100])
    ]
    statuses = [
        checks.choice(f"filter.statuses[{index}]", value, STATUSES) for index, value in enumerate(filter.statuses[:100])
    ]
    return ExecutionFilter(
        statuses=frozenset(statuses),
        handlers=frozenset(filter.handlers),
        components=frozenset(components),
        parent_id=filter.parent_id or None,
        roots_only=filter.roots_only,
        created_after_ms=checks.timestamp_ms(filter, "created_after", within="filter."),
        created_before_ms=checks.timestamp_ms(filter, "created_before", within="filter."),
    )


def wait_execution(request: pb.WaitExecutionRequest) -> tuple[str, int]:
    """The id, and for how long to wait."""
    checks = Checks()
    checks.known_id("id", request.id)
    timeout_ms = checks.duration_ms(request, "timeout", minimum_ms=0)
    checks.finish()
    return request.id, WAIT_MS_MAX if timeout_ms is None else min(timeout_ms, WAIT_MS_MAX)


def send_signal(request: pb.SendSignalRequest, payload_bytes_max: int, at_ms: int, peer: str) -> SendSignal:
    """peer: address of the client, as gRPC has it."""
    checks = Checks()
    checks.known_id("execution_id", request.execution_id)
    checks.name("name", request.name)
    checks.name("request_id", request.request_id, required=False)
    payload = checks.payload("payload", request.payload, bytes_max=payload_bytes_max, absent=b"null")
    checks.finish()
    return SendSignal(
        at_ms=at_ms,
        execution_id=request.execution_id,
        name=request.name,
        payload=payload,
        request_id=request.request_id or None,
        sender=f"client {peer}",
    )


def receive_signals(request: pb.ReceiveSignalsRequest) -> tuple[str, str, int]:
    """The execution's id, the signal's name ("": all), and the sequence after which to begin."""
    checks = Checks()
    checks.known_id("execution_id", request.execution_id)
    checks.name("name", request.name, required=False)
    checks.number("after_sequence", request.after_sequence, 0, SEQUENCE_MAX)
    checks.finish()
    return request.execution_id, request.name, request.after_sequence


def cancel(request: pb.CancelExecutionRequest, at_ms: int) -> Cancel:
    _decision(request)
    return Cancel(at_ms=at_ms, execution_id=request.id, reason=request.reason)


def terminate(request: pb.TerminateExecutionRequest, at_ms: int) -> Terminate:
    _decision(request)
    return Terminate(at_ms=at_ms, execution_id=request.id, reason=request.reason)


def resume(request: pb.ResumeExecutionRequest, at_ms: int) -> Resume:
    checks = Checks()
    checks.known_id("id", request.id)
    checks.name("request_id", request.request_id, required=False)
    checks.finish()
    return Resume(at_ms=at_ms, execution_id=request.id)


def delete(request: pb.DeleteExecutionRequest) -> str:
    """The id of the execution."""
    checks = Checks()
    checks.known_id("id", request.id)
    checks.name("request_id", request.request_id, required=False)
    checks.finish()
    return request.id


def resolve_compensation(request: pb.ResolveCompensationRequest, at_ms: int) -> ResolveCompensation:
    checks = _decision_checks(request)
    resolution = checks.choice("resolution", request.resolution, _RESOLUTIONS)
    checks.finish()
    return ResolveCompensation(
        at_ms=at_ms,
        execution_id=request.id,
        resolution=resolution,
        reason=request.reason,
        request_id=request.request_id or None,
    )


_Decision = pb.CancelExecutionRequest | pb.TerminateExecutionRequest | pb.ResolveCompensationRequest


def _decision(request: _Decision) -> None:
    _decision_checks(request).finish()


def _decision_checks(request: _Decision) -> Checks:
    checks = Checks()
    checks.known_id("id", request.id)
    checks.text("reason", request.reason)
    checks.name("request_id", request.request_id, required=False)
    return checks


# --- of the node


class WaitStatsRequest(NamedTuple):
    after_revision: int
    interval_ms: int
    timeout_ms: int


def wait_stats(request: node_pb.WaitStatsRequest) -> WaitStatsRequest:
    checks = Checks()
    interval_ms = checks.duration_ms(request, "interval", minimum_ms=0)
    timeout_ms = checks.duration_ms(request, "timeout", minimum_ms=0)
    checks.finish()
    return WaitStatsRequest(
        after_revision=request.after_revision,
        interval_ms=STATS_INTERVAL_MS if interval_ms is None else min(interval_ms, WAIT_MS_MAX),
        timeout_ms=WAIT_MS_MAX if timeout_ms is None else min(timeout_ms, WAIT_MS_MAX),
    )


def component(value: int) -> Component:
    checks = Checks()
    parsed = checks.choice("component", value, COMPONENTS)
    checks.finish()
    return parsed


def scale_pool(request: node_pb.ScalePoolRequest) -> tuple[Component, int]:
    checks = Checks()
    parsed = checks.choice("component", request.component, COMPONENTS)
    checks.number("workers", request.workers, 1, WORKERS_MAX)
    checks.finish()
    return parsed, request.workers


# --- of the cluster


def add_member(request: cluster_pb.AddMemberRequest, *, loopback_only: bool) -> tuple[str, str]:
    """Id and address of the new member."""
    checks = Checks()
    checks.node_id("node_id", request.node_id)
    checks.address("address", request.address, loopback_only=loopback_only)
    checks.finish()
    return request.node_id, request.address


def member(node_id: str) -> str:
    checks = Checks()
    checks.node_id("node_id", node_id)
    checks.finish()
    return node_id
