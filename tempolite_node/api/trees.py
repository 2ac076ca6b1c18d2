"""An execution with everything below it, as far as one message can carry."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from tempolite_node.api.convert import responses
from tempolite_node.api.ports import Queries
from tempolite_node.engine.model import Execution, Signal, Status
from tempolite_sdk.pb.tempolite.v1 import execution_service_pb2 as pb

#: Each level nests one message; protobuf refuses to read more than 100 of them.
DEPTH_MAX = 60


def execution_tree(queries: Queries, root: Execution, *, nodes_max: int, bytes_max: int) -> pb.GetExecutionTreeResponse:
    """Breadth first, so that what is left out is what is deepest. nodes_max counts executions and operations."""
    response = pb.GetExecutionTreeResponse()
    nodes, size = 1, _weight(root)
    waiting = deque([(root, response.tree, 1)])
    while waiting:
        execution, tree, depth = waiting.popleft()
        attempts = queries.attempts(execution.row)
        pending = queries.pending(execution.row) if execution.pending else []
        holders = queries.key_holders(execution, responses.KEY_HOLDERS_MAX)
        shown = responses.execution(
            execution,
            attempts=attempts,
            pending=pending,
            key_holders=holders,
            unconsumed=unconsumed_signals(queries, execution),
        )
        tree.execution.CopyFrom(shown)
        size += tree.execution.ByteSize() - _weight(execution)
        for operation in queries.operations(execution.row, nodes_max - nodes + 1, bytes_max=bytes_max):
            message = responses.operation(operation, execution, attempts=attempts)
            if nodes == nodes_max or size + message.ByteSize() > bytes_max:
                response.truncated = True
                break
            tree.operations.append(message)
            nodes += 1
            size += message.ByteSize()
        if not execution.has_children:
            continue
        for child in queries.children(execution.row, nodes_max - nodes + 1, bytes_max=bytes_max):
            if nodes == nodes_max or depth == DEPTH_MAX or size + _weight(child) > bytes_max:
                response.truncated = True
                break
            waiting.append((child, tree.children.add(), depth + 1))
            nodes += 1
            size += _weight(child)
    return response


def unconsumed_signals(queries: Queries, execution: Execution) -> Sequence[Signal]:
    """The first of them; most executions have none."""
    if execution.inbox == execution.consumed or execution.status is Status.CONTINUED_AS_NEW:
        return ()
    return queries.unconsumed_signals(execution.mailbox_row, responses.UNCONSUMED_MAX)


def _weight(execution: Execution) -> int:
    """About how many bytes its message has, before it is made."""
    return 500 + len(execution.arguments) + len(execution.result or b"") + len(execution.heartbeat or b"")
