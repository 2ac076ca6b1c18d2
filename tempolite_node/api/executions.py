"""ExecutionService: asks the node to run, signal and stop executions, and tells how they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import grpc

from tempolite_node.api.auth import caller
from tempolite_node.api.convert import explanations, requests, responses
from tempolite_node.api.convert.paging import page_token
from tempolite_node.api.convert.requests import OperationId
from tempolite_node.api.enqueueing import Enqueueing, accepted
from tempolite_node.api.events import events_page
from tempolite_node.api.explaining import explained
from tempolite_node.api.found import found_by_id
from tempolite_node.api.leader import leader_metadata
from tempolite_node.api.polls import Polls, time_to_wait_ms
from tempolite_node.api.ports import NodePorts, Queries
from tempolite_node.api.session import Session
from tempolite_node.api.status import InvalidRequest, Rejected
from tempolite_node.api.trees import execution_tree, unconsumed_signals
from tempolite_node.engine import formats
from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import Accepted, Reason, Rejection, SignalStored
from tempolite_node.engine.model import Execution, Operation, Signal, Status
from tempolite_node.errors import Unavailable
from tempolite_node.views import Consistency
from tempolite_sdk.pb.tempolite.v1 import common_pb2
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb
from tempolite_sdk.pb.tempolite.v1.execution_service_pb2_grpc import ExecutionServiceServicer

T = TypeVar("T")

SIGNALS_PER_READ = 100
#: A message carries more than its payloads: ids, times, failures.
ENVELOPE_BYTES = 64 * 1024


class ExecutionService(ExecutionServiceServicer):
    def __init__(self, node: NodePorts, polls: Polls) -> None:
        self._node = node
        self._polls = polls
        self._limits = node.config.api.limits
        self._enqueueing = Enqueueing(node, polls)

    async def EnqueueExecution(
        self, request: pb.EnqueueExecutionRequest, context: grpc.aio.ServicerContext
    ) -> pb.EnqueueExecutionResponse:
        return await self._enqueueing.enqueue(request, context.time_remaining())

    async def BatchEnqueueExecutions(
        self, request: pb.BatchEnqueueExecutionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.BatchEnqueueExecutionsResponse:
        return await self._enqueueing.enqueue_batch(request)

    async def Session(
        self, calls: AsyncIterator[pb.SessionRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.SessionResponse]:
        # Clients wait for it: it tells that there are sessions here.
        await context.send_initial_metadata(leader_metadata(self._node))
        session = Session(self, self._enqueueing, self._node, caller.get(), context.peer())
        with self._polls.told_to_stop(session.stop):
            async for response in session.serve(calls):
                yield response

    async def GetExecution(
        self, request: pb.GetExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetExecutionResponse:
        return await self.get(request)

    async def get(self, request: pb.GetExecutionRequest) -> pb.GetExecutionResponse:
        wanted, consistency = requests.get_execution(request)
        if isinstance(wanted, OperationId):
            operation = await self._node.reads.read(lambda queries: _operation(queries, wanted), consistency)
            return pb.GetExecutionResponse(operation=operation)
        return pb.GetExecutionResponse(execution=await self._execution(wanted, consistency))

    async def GetExecutionTree(
        self, request: pb.GetExecutionTreeRequest, _context: grpc.aio.ServicerContext
    ) -> pb.GetExecutionTreeResponse:
        wanted = requests.tree(request)
        bytes_max = self._limits.message_bytes - ENVELOPE_BYTES
        return await self._node.reads.read(
            lambda queries: execution_tree(
                queries, found_by_id(queries, wanted.root_id), nodes_max=wanted.nodes_max, bytes_max=bytes_max
            ),
            wanted.consistency,
        )

    async def ExplainExecution(
        self, request: pb.ExplainExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ExplainExecutionResponse:
        execution_id, consistency = requests.explain(request)
        explanation = await explained(self._node, execution_id, consistency)
        return pb.ExplainExecutionResponse(explanation=explanations.explanation(explanation))

    async def ListExecutionEvents(
        self, request: pb.ListExecutionEventsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListExecutionEventsResponse:
        wanted = requests.list_events(request)
        bytes_max = self._limits.message_bytes - ENVELOPE_BYTES
        return await self._node.reads.read(lambda queries: events_page(queries, wanted, bytes_max), wanted.consistency)

    async def ListExecutions(
        self, request: pb.ListExecutionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListExecutionsResponse:
        wanted = requests.list_executions(request)
        bytes_max = self._limits.message_bytes - ENVELOPE_BYTES
        return await self._node.reads.read(lambda queries: _page(queries, wanted, bytes_max), wanted.consistency)

    async def CountExecutions(
        self, request: pb.CountExecutionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.CountExecutionsResponse:
        wanted = requests.count_executions(request)
        count = await self._node.reads.read(lambda queries: queries.count_executions(wanted.filter), wanted.consistency)
        return pb.CountExecutionsResponse(count=count)

    async def WaitExecution(
        self, request: pb.WaitExecutionRequest, context: grpc.aio.ServicerContext
    ) -> pb.WaitExecutionResponse:
        return await self.wait(request, context.time_remaining())

    async def wait(self, request: pb.WaitExecutionRequest, remaining_s: float | None) -> pb.WaitExecutionResponse:
        execution_id, timeout_ms = requests.wait_execution(request)
        timeout_ms = time_to_wait_ms(remaining_s, timeout_ms)
        ended = await self._polls.wait(self._node.reads.wait_closed(execution_id), timeout_ms)
        if isinstance(ended, Rejection):
            raise Rejected(ended)
        if ended is None:
            # It may have ended before this call, which had no time to hear of it.
            execution = await self._execution(execution_id, Consistency.LINEARIZABLE)
            return pb.WaitExecutionResponse(closed=execution.HasField("close_time"), execution=execution)
        return pb.WaitExecutionResponse(closed=True, execution=responses.execution(ended))

    async def SendSignal(
        self, request: pb.SendSignalRequest, context: grpc.aio.ServicerContext
    ) -> pb.SendSignalResponse:
        return await self.send_signal(request, context.peer())

    async def send_signal(self, request: pb.SendSignalRequest, peer: str) -> pb.SendSignalResponse:
        command = requests.send_signal(request, self._limits.payload_bytes, self._node.commands.now_ms(), peer)
        violations = await self._node.signals.check_signal(command.execution_id, command.name, command.payload)
        if violations:
            raise InvalidRequest(violations)
        return pb.SendSignalResponse(sequence=(await self._submit(command, SignalStored)).sequence)

    async def ReceiveSignals(
        self, request: pb.ReceiveSignalsRequest, _context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.ReceiveSignalsResponse]:
        execution_id, name, after = requests.receive_signals(request)
        mailbox = await self._node.reads.read(lambda queries: found_by_id(queries, execution_id).mailbox_row)
        with self._node.watch.following(execution_id) as follower:
            while True:
                closed, more, signals = await self._signals(execution_id, mailbox, name, after)
                for signal in signals:
                    yield responses.signal(signal)
                    after = signal.seq
                if more:
                    continue
                if closed:
                    return
                await self._polls.wait(follower.changed(), timeout_ms=None)
                caller.get().role  # noqa: B018 - it may be revoked by now
                if self._polls.stopped:
                    raise Unavailable("the node is stopping; resume after the last sequence received")

    async def _signals(
        self, execution_id: str, mailbox: int, name: str, after: int
    ) -> tuple[bool, bool, Sequence[Signal]]:
        """Whether the execution has ended, whether there may be more signals by now, and the next ones.

        Once it has ended, no more can come.
        """
        bytes_max = self._limits.message_bytes

        def query(queries: Queries) -> tuple[bool, bool, Sequence[Signal]]:
            execution = queries.execution(execution_id)
            # Another mailbox: it has ended, and its id was taken by a later execution.
            closed = execution is None or execution.mailbox_row != mailbox or execution.closed
            signals = queries.outbox(mailbox, name, after, SIGNALS_PER_READ, bytes_max=bytes_max)
            full = len(signals) == SIGNALS_PER_READ or sum(len(signal.payload) for signal in signals) > bytes_max
            return closed, full, signals

        return await self._node.reads.read(query, Consistency.STALE)  # what this node announces, it has

    async def CancelExecution(
        self, request: pb.CancelExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.CancelExecutionResponse:
        return await self.cancel(request)

    async def cancel(self, request: pb.CancelExecutionRequest) -> pb.CancelExecutionResponse:
        command = requests.cancel(request, self._node.commands.now_ms())
        return pb.CancelExecutionResponse(status=await self._decide(request.id, command))

    async def TerminateExecution(
        self, request: pb.TerminateExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.TerminateExecutionResponse:
        command = requests.terminate(request, self._node.commands.now_ms())
        return pb.TerminateExecutionResponse(status=await self._decide(request.id, command))

    async def ResumeExecution(
        self, request: pb.ResumeExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ResumeExecutionResponse:
        command = requests.resume(request, self._node.commands.now_ms())
        await self._node.reads.read(lambda queries: _resumable(queries, request.id), Consistency.LINEARIZABLE)
        return pb.ResumeExecutionResponse(status=await self._decide(request.id, command))

    async def DeleteExecution(
        self, request: pb.DeleteExecutionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.DeleteExecutionResponse:
        return pb.DeleteExecutionResponse(existed=await self._node.deletion.delete(requests.delete(request)))

    async def ResolveCompensation(
        self, request: pb.ResolveCompensationRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ResolveCompensationResponse:
        command = requests.resolve_compensation(request, self._node.commands.now_ms())
        return pb.ResolveCompensationResponse(status=await self._decide(request.id, command))

    # --- shared

    async def _submit(self, command: AnyCommand, expected: type[T]) -> T:
        return accepted(command, await self._node.commands.submit(command), expected)

    async def _decide(self, execution_id: str, command: AnyCommand) -> str:
        """The execution's status after the decision."""
        outcome = await self._submit(command, Accepted)
        if outcome.status is not None:
            return responses.status(outcome.status)
        # What was decided here is saved here.
        return await self._node.reads.read(
            lambda queries: responses.status(found_by_id(queries, execution_id).status), Consistency.STALE
        )

    async def _execution(self, execution_id: str, consistency: Consistency) -> common_pb2.Execution:
        def query(queries: Queries) -> common_pb2.Execution:
            execution = found_by_id(queries, execution_id)
            attempts = queries.attempts(execution.row)
            return responses.execution(
                execution,
                attempts=attempts,
                pending=_pending(queries, execution),
                waits_for_node=self._node.catalog.waits_for_node(execution.handler),
                key_holders=queries.key_holders(execution, responses.KEY_HOLDERS_MAX),
                unconsumed=unconsumed_signals(queries, execution),
            )

        return await self._node.reads.read(query, consistency)


def _resumable(queries: Queries, execution_id: str) -> None:
    """Whether all nodes know what it is to resume it."""
    if found_by_id(queries, execution_id).format < formats.TRIALS:
        message = f"execution {execution_id} is of an earlier version: it is resumed when its node is started again"
        raise Rejected(Rejection(Reason.WRONG_STATE, message))


def _operation(queries: Queries, wanted: OperationId) -> common_pb2.Operation:
    execution = found_by_id(queries, wanted.execution_id)
    if wanted.run is not None:
        execution = queries.run_of(execution, wanted.run) or execution
    found = wanted.run in (None, execution.run)
    operation = queries.operation(execution.id, wanted.kind, wanted.key) if found else None
    if operation is None:
        message = f"execution {wanted.execution_id!r} has no {wanted.kind} {wanted.key!r}"
        raise Rejected(Rejection(Reason.NOT_FOUND, message))
    return responses.operation(operation, execution, attempts=queries.attempts(execution.row))


def _pending(queries: Queries, execution: Execution) -> Sequence[Operation]:
    return queries.pending(execution.row) if execution.status is Status.WAITING else ()


def _page(queries: Queries, wanted: requests.ListRequest, bytes_max: int) -> pb.ListExecutionsResponse:
    """At most page_size executions, fewer when more would not fit a message."""
    found = queries.list_executions(wanted.filter, wanted.page_size + 1, wanted.after, bytes_max=bytes_max)
    response = pb.ListExecutionsResponse()
    size = 0
    for index, execution in enumerate(found):
        message = responses.execution(
            execution,
            pending=_pending(queries, execution),
            key_holders=queries.key_holders(execution, responses.KEY_HOLDERS_MAX),
        )
        size += message.ByteSize()
        if index and (index == wanted.page_size or size > bytes_max):
            response.next_page_token = page_token(wanted.filter, found[index - 1].row)
            break
        response.executions.append(message)
    return response
