"""ExecutionService: asks the node to run, signal and stop executions, and tells how they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import grpc

from tempolite_node import options
from tempolite_node.api.convert import requests, responses
from tempolite_node.api.convert.paging import page_token
from tempolite_node.api.convert.requests import OperationId
from tempolite_node.api.polls import Polls, time_to_wait_ms
from tempolite_node.api.ports import NodePort, Queries
from tempolite_node.api.status import InvalidRequest, Rejected
from tempolite_node.api.trees import execution_tree
from tempolite_node.engine.commands import AnyCommand, Enqueue
from tempolite_node.engine.effects import Accepted, AnyOutcome, Enqueued, Reason, Rejection, SignalStored
from tempolite_node.engine.model import Execution, Operation, Signal, Status
from tempolite_node.errors import Unavailable
from tempolite_node.frames import Violation
from tempolite_node.ids import id_of_request, new_id
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import ExecutionServiceServicer

T = TypeVar("T")

SIGNALS_PER_READ = 100
#: A message carries more than its payloads: ids, times, failures.
ENVELOPE_BYTES = 64 * 1024


class ExecutionService(ExecutionServiceServicer):
    def __init__(self, node: NodePort, polls: Polls) -> None:
        self._node = node
        self._polls = polls
        self._limits = node.config.api.limits

    async def EnqueueExecution(
        self, request: pb.EnqueueExecutionRequest, context: grpc.aio.ServicerContext
    ) -> pb.EnqueueExecutionResponse:
        wanted = requests.enqueue(request, self._limits.payload_bytes)
        command = await self._enqueue_command(wanted)
        ended = None
        if wanted.wait_ms is None:
            outcome = await self._submit(command, Enqueued)
        else:
            timeout_ms = time_to_wait_ms(context, min(wanted.wait_ms, requests.WAIT_MS_MAX))
            made, ended = await self._node.submit_and_wait(command, lambda end: self._polls.wait(end, timeout_ms))
            outcome = _accepted(command, made, Enqueued)
        return pb.EnqueueExecutionResponse(
            id=outcome.execution_id,
            component=responses.component(outcome.component),
            existing=outcome.existing,
            execution=None if ended is None else responses.execution(ended),
        )

    async def _enqueue_command(self, wanted: requests.EnqueueRequest) -> Enqueue:
        node, config = self._node, self._node.config
        described, settings = node.handler(wanted.handler), config.handler(wanted.handler)
        if described is None or settings is None:
            raise Rejected(Rejection(Reason.NOT_FOUND, f"no handler {wanted.handler!r} on this node"))
        if violations := await node.check_arguments(wanted.handler, wanted.arguments):
            raise InvalidRequest([_within_arguments(violation) for violation in violations])
        resolved = options.resolve(settings, config, described.component, wanted.options)
        at_ms = node.now_ms()
        default_id = new_id(at_ms) if wanted.request_id is None else id_of_request(wanted.request_id)
        return Enqueue(
            at_ms=at_ms,
            execution_id=wanted.execution_id or default_id,
            handler=wanted.handler,
            component=described.component,
            arguments=wanted.arguments,
            options=resolved.options,
            owner=config.node.id,
            priority=resolved.priority,
            delay_ms=resolved.delay_ms,
            max_duration_ms=resolved.max_duration_ms,
            request_id=wanted.request_id,
            id_reuse=wanted.id_reuse,
            id_conflict=wanted.id_conflict,
            queue_limit=options.queue_limit(config, described.component),
        )

    async def GetExecution(
        self, request: pb.GetExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetExecutionResponse:
        wanted = requests.execution_or_operation_id(request.id)
        if isinstance(wanted, OperationId):
            return pb.GetExecutionResponse(operation=await self._node.read(lambda queries: _operation(queries, wanted)))
        return pb.GetExecutionResponse(execution=await self._execution(wanted))

    async def GetExecutionTree(
        self, request: pb.GetExecutionTreeRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetExecutionTreeResponse:
        execution_id, nodes_max = requests.tree(request)
        bytes_max = self._limits.message_bytes - ENVELOPE_BYTES
        return await self._node.read(
            lambda queries: execution_tree(
                queries, _found(queries, execution_id), nodes_max=nodes_max, bytes_max=bytes_max
            )
        )

    async def ListExecutions(
        self, request: pb.ListExecutionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListExecutionsResponse:
        wanted = requests.list_executions(request)
        bytes_max = self._limits.message_bytes - ENVELOPE_BYTES
        return await self._node.read(lambda queries: _page(queries, wanted, bytes_max))

    async def CountExecutions(
        self, request: pb.CountExecutionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.CountExecutionsResponse:
        filter = requests.count_executions(request)
        return pb.CountExecutionsResponse(count=await self._node.read(lambda queries: queries.count_executions(filter)))

    async def WaitExecution(
        self, request: pb.WaitExecutionRequest, context: grpc.aio.ServicerContext
    ) -> pb.WaitExecutionResponse:
        execution_id, timeout_ms = requests.wait_execution(request)
        timeout_ms = time_to_wait_ms(context, timeout_ms)
        ended = await self._polls.wait(self._node.wait_closed(execution_id), timeout_ms)
        if isinstance(ended, Rejection):
            raise Rejected(ended)
        if ended is None:
            return pb.WaitExecutionResponse(closed=False, execution=await self._execution(execution_id))
        return pb.WaitExecutionResponse(closed=True, execution=responses.execution(ended))

    async def SendSignal(
        self, request: pb.SendSignalRequest, _context: grpc.aio.ServicerContext
    ) -> pb.SendSignalResponse:
        command = requests.send_signal(request, self._limits.payload_bytes, self._node.now_ms())
        return pb.SendSignalResponse(sequence=(await self._submit(command, SignalStored)).sequence)

    async def ReceiveSignals(
        self, request: pb.ReceiveSignalsRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReceiveSignalsResponse]:
        execution_id, name, after = requests.receive_signals(request)
        row = await self._node.read(lambda queries: _found(queries, execution_id).row)
        async with self._node.follow(execution_id) as follower:
            while True:
                closed, signals = await self._signals(execution_id, row, name, after)
                for signal in signals:
                    yield responses.signal(signal)
                    after = signal.seq
                if len(signals) == SIGNALS_PER_READ:
                    continue
                if closed:
                    return
                await self._polls.wait(follower.changed(), timeout_ms=None)
                if self._polls.stopped:
                    raise Unavailable("the node is stopping; resume after the last sequence received")

    async def _signals(self, execution_id: str, row: int, name: str, after: int) -> tuple[bool, Sequence[Signal]]:
        """Whether the execution has ended, and its next signals. Once it has, no more can come."""

        def query(queries: Queries) -> tuple[bool, Sequence[Signal]]:
            execution = queries.execution(execution_id)
            # Another row: it has ended, and its id was taken by a later execution.
            closed = execution is None or execution.row != row or execution.closed
            return closed, queries.outbox(row, name, after, SIGNALS_PER_READ)

        return await self._node.read(query)

    async def CancelExecution(
        self, request: pb.CancelExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.CancelExecutionResponse:
        command = requests.cancel(request, self._node.now_ms())
        return pb.CancelExecutionResponse(status=await self._decide(request.id, command))

    async def TerminateExecution(
        self, request: pb.TerminateExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.TerminateExecutionResponse:
        command = requests.terminate(request, self._node.now_ms())
        return pb.TerminateExecutionResponse(status=await self._decide(request.id, command))

    async def ResolveCompensation(
        self, request: pb.ResolveCompensationRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ResolveCompensationResponse:
        command = requests.resolve_compensation(request, self._node.now_ms())
        return pb.ResolveCompensationResponse(status=await self._decide(request.id, command))

    # --- shared

    async def _submit(self, command: AnyCommand, expected: type[T]) -> T:
        return _accepted(command, await self._node.submit(command), expected)

    async def _decide(self, execution_id: str, command: AnyCommand) -> str:
        """The execution's status after the decision."""
        outcome = await self._submit(command, Accepted)
        if outcome.status is not None:
            return responses.status(outcome.status)
        return await self._node.read(lambda queries: responses.status(_found(queries, execution_id).status))

    async def _execution(self, execution_id: str) -> common_pb2.Execution:
        def query(queries: Queries) -> common_pb2.Execution:
            execution = _found(queries, execution_id)
            attempts = queries.attempts(execution.row)
            return responses.execution(execution, attempts=attempts, pending=_pending(queries, execution))

        return await self._node.read(query)


def _accepted(command: AnyCommand, outcome: AnyOutcome, expected: type[T]) -> T:
    """What the command came to, unless it was refused."""
    if isinstance(outcome, Rejection):
        raise Rejected(outcome)
    assert isinstance(outcome, expected), f"{type(command).__name__} came to {outcome!r}"
    return outcome


def _within_arguments(violation: Violation) -> Violation:
    return Violation(f"arguments.{violation.field}" if violation.field else "arguments", violation.description)


def _found(queries: Queries, execution_id: str) -> Execution:
    execution = queries.execution(execution_id)
    if execution is None:
        raise Rejected(Rejection(Reason.NOT_FOUND, f"no execution {execution_id!r}"))
    return execution


def _operation(queries: Queries, wanted: OperationId) -> common_pb2.Operation:
    execution = _found(queries, wanted.execution_id)
    operation = queries.operation(wanted.execution_id, wanted.kind, wanted.key)
    if operation is None:
        message = f"execution {wanted.execution_id!r} has no {wanted.kind} {wanted.key!r}"
        raise Rejected(Rejection(Reason.NOT_FOUND, message))
    return responses.operation(operation, wanted.execution_id, attempts=queries.attempts(execution.row))


def _pending(queries: Queries, execution: Execution) -> Sequence[Operation]:
    return queries.pending(execution.row) if execution.status is Status.WAITING else ()


def _page(queries: Queries, wanted: requests.ListRequest, bytes_max: int) -> pb.ListExecutionsResponse:
    """At most page_size executions, fewer when more would not fit a message."""
    found = queries.list_executions(wanted.filter, wanted.page_size + 1, wanted.after)
    response = pb.ListExecutionsResponse()
    size = 0
    for index, execution in enumerate(found):
        message = responses.execution(execution, pending=_pending(queries, execution))
        size += message.ByteSize()
        if index and (index == wanted.page_size or size > bytes_max):
            response.next_page_token = page_token(wanted.filter, found[index - 1].row)
            break
        response.executions.append(message)
    return response
