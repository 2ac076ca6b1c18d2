"""How requests to enqueue become commands: checked, resolved, and submitted, many as cheaply as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tempolite_node.api.convert import requests, responses
from tempolite_node.api.convert.requests import EnqueueRequest
from tempolite_node.api.polls import Polls, time_to_wait_ms
from tempolite_node.api.ports import Handlers, NodePorts
from tempolite_node.api.status import InvalidRequest, Rejected, status_of
from tempolite_node.engine.commands import AnyCommand, Enqueue, EnqueueBatch, IdConflict
from tempolite_node.engine.effects import AnyOutcome, Enqueued, EnqueuedBatch, Rejection
from tempolite_node.engine.model import Execution, ServedHandler
from tempolite_node.errors import NodeError
from tempolite_node.ids import id_of_request
from tempolite_node.protocol.messages import Violation
from tempolite_sdk.ids import uuid7
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

T = TypeVar("T")


class Enqueueing:
    def __init__(self, node: NodePorts, polls: Polls) -> None:
        self._node = node
        self._polls = polls
        self._payload_bytes_max = node.config.api.limits.payload_bytes

    async def enqueue(
        self, request: pb.EnqueueExecutionRequest, remaining_s: float | None
    ) -> pb.EnqueueExecutionResponse:
        """remaining_s: until the call's own deadline; None: it has none."""
        [command] = await self.commands([request])
        if isinstance(command, NodeError):
            raise command
        if not request.HasField("wait"):
            outcome = accepted(command, await self._node.commands.submit(command), Enqueued)
            return responses.enqueued(outcome, waits_for_node=self._node.catalog.waits_for_node(command.handler))
        timeout_ms = time_to_wait_ms(remaining_s, requests.enqueue_wait_ms(request))
        with self._node.watch.closing(command.execution_id) as closing:
            outcome = accepted(command, await self._node.commands.submit(command), Enqueued)
            # One that was there before may have ended before this call. And what has ended by this call, to make room
            # for the new one, had the same id.
            look = outcome.existing or command.id_conflict is IdConflict.TERMINATE_EXISTING
            end = self._node.reads.wait_closed(outcome.execution_id) if look else closing
            ended = await self._polls.wait(end, timeout_ms)
        return responses.enqueued(outcome, ended if isinstance(ended, Execution) else None)

    async def enqueue_batch(self, request: pb.BatchEnqueueExecutionsRequest) -> pb.BatchEnqueueExecutionsResponse:
        requests.batch(request)
        commands = await self.commands(request.requests)
        outcomes = await (self._all_or_none(commands) if request.atomic else self.submit(commands))
        response = pb.BatchEnqueueExecutionsResponse()
        for outcome in outcomes:
            _fill_result(response.results.add(), outcome)
        return response

    async def _all_or_none(self, commands: Sequence[Enqueue | NodeError]) -> Sequence[Enqueued | NodeError]:
        good = [command for command in commands if isinstance(command, Enqueue)]
        for index, command in enumerate(commands):
            if isinstance(command, NodeError):
                raise _of_request(command, index)
        batch = EnqueueBatch(at_ms=self._node.commands.now_ms(), commands=tuple(good))
        return accepted(batch, await self._node.commands.submit(batch), EnqueuedBatch).enqueued

    async def submit(self, commands: Sequence[Enqueue | NodeError]) -> Sequence[Enqueued | NodeError]:
        """What each came to, by itself; what could not become a command stays as it is."""
        good = [command for command in commands if isinstance(command, Enqueue)]
        outcomes = iter(await self._node.commands.submit_all(good) if good else ())
        return [_outcome(next(outcomes)) if isinstance(command, Enqueue) else command for command in commands]

    # --- requests to commands

    async def commands(self, given: Sequence[pb.EnqueueExecutionRequest]) -> Sequence[Enqueue | NodeError]:
        """Each request's command, or what is wrong with it. The arguments of all are checked in one go."""
        handlers = self._node.catalog.current()
        parsed = [_parsed(request, handlers, self._payload_bytes_max) for request in given]
        to_check = [(each[1].name, each[0].arguments) for each in parsed if isinstance(each, tuple)]
        checked = iter(await self._node.arguments.check_arguments(to_check) if to_check else ())
        handlers = self._node.catalog.current()  # anew: the nodes may have changed meanwhile
        at_ms = self._node.commands.now_ms()
        return [
            _command(each[0], next(checked), handlers, at_ms) if isinstance(each, tuple) else each for each in parsed
        ]


def _parsed(
    request: pb.EnqueueExecutionRequest, handlers: Handlers, payload_bytes_max: int
) -> tuple[EnqueueRequest, ServedHandler] | NodeError:
    try:
        wanted = requests.enqueue(request, payload_bytes_max)
    except InvalidRequest as error:
        return error
    served = handlers.find(wanted.handler, wanted.function)
    return Rejected(served) if isinstance(served, Rejection) else (wanted, served)


def _command(
    wanted: EnqueueRequest, violations: Sequence[Violation], handlers: Handlers, at_ms: int
) -> Enqueue | NodeError:
    if violations:
        return InvalidRequest([_within_arguments(violation) for violation in violations])
    served = handlers.find(wanted.handler, wanted.function)
    if isinstance(served, Rejection):
        return Rejected(served)
    resolved = handlers.resolve(served, wanted.options)
    return Enqueue(
        at_ms=at_ms,
        execution_id=wanted.execution_id or _made_id(wanted.request_id, at_ms),
        handler=served.name,
        component=served.component,
        arguments=wanted.arguments,
        options=resolved.options,
        priority=resolved.priority,
        delay_ms=resolved.delay_ms,
        max_duration_ms=resolved.max_duration_ms,
        request_id=wanted.request_id,
        concurrency_key=wanted.concurrency_key,
        id_reuse=wanted.id_reuse,
        id_conflict=wanted.id_conflict,
    )


def _made_id(request_id: str | None, at_ms: int) -> str:
    return uuid7(at_ms) if request_id is None else id_of_request(request_id)


def accepted(command: AnyCommand, outcome: AnyOutcome, expected: type[T]) -> T:
    """What the command came to, unless it was refused."""
    if isinstance(outcome, Rejection):
        raise Rejected(outcome)
    assert isinstance(outcome, expected), f"{type(command).__name__} came to {outcome!r}"
    return outcome


def _outcome(outcome: AnyOutcome) -> Enqueued | NodeError:
    if isinstance(outcome, Rejection):
        return Rejected(outcome)
    assert isinstance(outcome, Enqueued), f"an enqueue came to {outcome!r}"
    return outcome


def _fill_result(result: pb.BatchEnqueueResult, outcome: Enqueued | NodeError) -> None:
    if isinstance(outcome, NodeError):
        result.error.CopyFrom(status_of(outcome, "BatchEnqueueExecutions").message_with_details)
    else:
        responses.fill_enqueued(result.enqueued, outcome)


def _of_request(error: NodeError, index: int) -> NodeError:
    """Says which request of a batch it is about."""
    within = f"requests[{index}]"
    if isinstance(error, InvalidRequest):
        return InvalidRequest([Violation(f"{within}.{each.field}", each.description) for each in error.violations])
    if isinstance(error, Rejected):
        return Rejected(Rejection(error.reason, f"{within}: {error}"))
    return error


def _within_arguments(violation: Violation) -> Violation:
    return Violation(f"arguments.{violation.field}" if violation.field else "arguments", violation.description)
