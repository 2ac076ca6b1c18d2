"""Enqueues: of one execution, of one that is waited for, and of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tempolite_sdk.client import convert
from tempolite_sdk.client.calls.call import POLL_HOLD, Call, Conversation, ask, to_choice
from tempolite_sdk.client.calls.execution import Ending, ending_of, result, result_of
from tempolite_sdk.client.info import IdConflict, IdConflictLike, IdReuse, IdReuseLike
from tempolite_sdk.client.status import exception_of, status_of_reply
from tempolite_sdk.errors import BatchRefused, InvalidArgument, TempoliteError
from tempolite_sdk.ids import new_execution_id, new_request_id
from tempolite_sdk.options import RunOptions
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.signatures import signature_of
from tempolite_sdk.values.written import encode_for_reader


class EnqueueOptions(RunOptions, total=False):
    """How one execution is enqueued and run. What is left out, the node's config decides."""

    id: str | None  #: of the execution; default: a new one
    id_reuse: IdReuseLike | None  #: when the id belongs to an execution that has ended
    id_conflict: IdConflictLike | None  #: when the id belongs to an execution that has not ended
    request_id: str | None  #: repeats with it, from wherever, start one execution


class Enqueued(Struct, frozen=True):
    id: str
    existing: bool
    result_type: Any
    ending: Ending | None  #: when it was waited for, and has ended


def enqueue(
    handler: Callable[..., Any] | str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: EnqueueOptions,
    *,
    hold: float | None = None,
) -> Call[Enqueued]:
    """hold: seconds for which the node may wait for the execution's end before it answers; None: it answers at once."""
    request, result_type = _enqueue_request(handler, args, kwargs, options)
    if (wait := convert.to_duration("wait", hold)) is not None:
        request.wait.CopyFrom(wait)

    def read(response: pb.EnqueueExecutionResponse) -> Enqueued:
        return _enqueued(response, result_type)

    return Call("ExecutionService/EnqueueExecution", request, read, hold=hold)


def _enqueue_request(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: EnqueueOptions
) -> tuple[pb.EnqueueExecutionRequest, Any]:
    """The request, and the type of the handler's result."""
    name, function, arguments, result_type = _arguments(handler, args, kwargs)
    execution_id, request_id = _ids(options)
    chosen = _chosen(options) if options else {}
    request = pb.EnqueueExecutionRequest(
        handler=name, function=function, id=execution_id, request_id=request_id, **chosen
    )
    convert.fill_payload(request.arguments, arguments)
    return request, result_type


def _enqueued(response: pb.EnqueueExecutionResponse, result_type: Any) -> Enqueued:
    ending = ending_of(response.id, response.outcome) if response.HasField("outcome") else None
    return Enqueued(response.id, response.existing, result_type, ending)


def execute(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any], options: EnqueueOptions
) -> Conversation[Any]:
    """Enqueues and waits for the result, in one call when that does not take long."""
    enqueued = yield from ask(enqueue(handler, args, kwargs, options, hold=POLL_HOLD))
    if enqueued.ending is not None:
        return result_of(enqueued.ending, enqueued.result_type)
    return (yield from result(enqueued.id, enqueued.result_type, None))


def _arguments(
    handler: Callable[..., Any] | str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[str, str, bytes, Any]:
    """The handler's name and function ("": whichever has the name), its arguments, and the type of its result."""
    if not isinstance(handler, str):
        signature = signature_of(handler)
        arguments = signature.encode_arguments(signature.named_arguments(args, kwargs))
        return signature.name, signature.function, arguments, signature.return_type
    if args and kwargs:
        raise InvalidArgument(
            f"handler {handler!r} is given by name: pass its arguments all by position or all by keyword; "
            "only its function tells which is which"
        )
    return handler, "", encode_for_reader(dict(kwargs) if kwargs else list(args)), Any


def _ids(options: EnqueueOptions) -> tuple[str, str]:
    """Of the execution, "" where the node is to make it, and of the request."""
    execution_id, request_id = options.get("id") or "", options.get("request_id")
    if request_id:
        # A caller who repeats it, perhaps from another process, must name the same execution each time: the node
        # derives the id from it.
        return execution_id, request_id
    if execution_id:
        return execution_id, new_request_id()
    made = new_execution_id()
    return made, made  # nobody else asks for it, so it names the request too


def _chosen(options: EnqueueOptions) -> dict[str, Any]:
    """Fields of the request that say how the execution is enqueued and run; None: the node's config decides."""
    return {
        "id_reuse_policy": to_choice("id_reuse", "ID_REUSE_POLICY", IdReuse, options.get("id_reuse")),
        "id_conflict_policy": to_choice("id_conflict", "ID_CONFLICT_POLICY", IdConflict, options.get("id_conflict")),
        "options": _execution_options(options),
    }


_RUN_OPTIONS = frozenset(RunOptions.__annotations__)


def _execution_options(options: EnqueueOptions) -> pb.ExecutionOptions | None:
    if _RUN_OPTIONS.isdisjoint(options):
        return None
    return pb.ExecutionOptions(
        retry_policy=convert.to_retry_policy(options.get("retry")),
        attempt_timeout=convert.to_duration("attempt_timeout", options.get("attempt_timeout")),
        max_duration=convert.to_duration("max_duration", options.get("max_duration")),
        queue_timeout=convert.to_duration("queue_timeout", options.get("queue_timeout")),
        heartbeat_timeout=convert.to_duration("heartbeat_timeout", options.get("heartbeat_timeout")),
        priority=options.get("priority") or 0,
        delay=convert.to_duration("delay", options.get("delay")),
        concurrency_key=options.get("concurrency_key"),
    )


# --- many of one handler

Progress = Callable[[int, int], None]  #: how many are done, and of how many

_BATCH_MAX = 1_000  #: executions of one request, unless all are to be stored or none
_BATCH_BYTES_MAX = 2 * 1024 * 1024  #: of several; every node takes 4 MiB
_ATOMIC_MAX = 10_000


def enqueue_many(
    handler: Callable[..., Any] | str, arguments: Sequence[Sequence[Any]], options: EnqueueOptions, *, atomic: bool
) -> Iterator[Call[Sequence[Enqueued | TempoliteError]]]:
    """The calls that enqueue them, each made when it is taken: one can be made while another is under way."""
    if options.get("id") or options.get("request_id"):
        raise InvalidArgument("id and request_id are of one execution; many get ids of their own")
    if atomic and len(arguments) > _ATOMIC_MAX:
        raise InvalidArgument(f"at most {_ATOMIC_MAX:,} executions are stored as a whole, not {len(arguments):,}")
    for index, args in enumerate(arguments):
        if isinstance(args, str | bytes) or not isinstance(args, Sequence):
            raise InvalidArgument(
                f"arguments[{index}] must be a tuple of arguments, e.g. (order,), not a {type(args).__name__}"
            )
    return (
        _batch(requests, result_type, atomic=atomic)
        for requests, result_type in _batches(handler, arguments, options, atomic=atomic)
    )


def _batches(
    handler: Callable[..., Any] | str, arguments: Sequence[Sequence[Any]], options: EnqueueOptions, *, atomic: bool
) -> Iterator[tuple[Sequence[pb.EnqueueExecutionRequest], Any]]:
    """Requests as they fit a message, with the type of the result; all in one when they belong together."""
    batch: list[pb.EnqueueExecutionRequest] = []
    size = 0
    result_type: Any = Any
    for args in arguments:
        request, result_type = _enqueue_request(handler, args, {}, options)
        size += request.ByteSize()
        if batch and not atomic and (len(batch) == _BATCH_MAX or size > _BATCH_BYTES_MAX):
            yield batch, result_type
            batch, size = [], request.ByteSize()
        batch.append(request)
    if batch:
        yield batch, result_type


def _batch(
    requests: Sequence[pb.EnqueueExecutionRequest], result_type: Any, *, atomic: bool
) -> Call[Sequence[Enqueued | TempoliteError]]:
    def read(response: pb.BatchEnqueueExecutionsResponse) -> Sequence[Enqueued | TempoliteError]:
        return [
            exception_of(status_of_reply(result.error))
            if result.HasField("error")
            else _enqueued(result.enqueued, result_type)
            for result in response.results
        ]

    request = pb.BatchEnqueueExecutionsRequest(requests=requests, atomic=atomic)
    return Call("ExecutionService/BatchEnqueueExecutions", request, read)


def all_enqueued(outcomes: Sequence[Enqueued | TempoliteError]) -> Sequence[Enqueued]:
    """Raises BatchRefused when some were not."""
    errors = {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, TempoliteError)}
    enqueued = [outcome for outcome in outcomes if isinstance(outcome, Enqueued)]
    if errors:
        ids = [outcome.id if isinstance(outcome, Enqueued) else None for outcome in outcomes]
        raise BatchRefused(errors, ids)
    return enqueued
