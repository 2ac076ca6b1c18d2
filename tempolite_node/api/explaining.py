"""Why an execution does not move: asks the store, and the nodes that own it and those it waits for."""

from __future__ import annotations

from collections import defaultdict

from tempolite_node.api.found import found_by_id
from tempolite_node.api.ports import NodePorts
from tempolite_node.errors import Unavailable
from tempolite_node.explain.facts import Known, Stored, executions_in, stored
from tempolite_node.explain.model import Explanation
from tempolite_node.explain.why import explain
from tempolite_node.views import Consistency


async def explained(node: NodePorts, execution_id: str, consistency: Consistency) -> Explanation:
    """Rejected: there is no such execution. Without a quorum, from what this node has."""
    now_ms, no_quorum = node.commands.now_ms(), ""
    try:
        found = await _stored(node, execution_id, consistency, now_ms)
    except Unavailable as error:
        if node.cluster is None or consistency is Consistency.STALE:
            raise
        no_quorum = str(error)
        found = await _stored(node, execution_id, Consistency.STALE, now_ms)
    by_owner: defaultdict[str, list[str]] = defaultdict(list)
    for execution in executions_in(found):
        by_owner[execution.owner].append(execution.id)
    nodes = node.looks.nodes()
    known = Known(
        now_ms=now_ms,
        nodes=nodes,
        looks=await node.looks.look(by_owner) if by_owner else {},
        served=frozenset(served.name for each in nodes.values() for served in each.handlers),
        no_quorum=no_quorum,
    )
    return explain(found, known)


async def _stored(node: NodePorts, execution_id: str, consistency: Consistency, now_ms: int) -> Stored:
    return await node.reads.read(
        lambda queries: stored(queries, found_by_id(queries, execution_id), now_ms), consistency
    )
