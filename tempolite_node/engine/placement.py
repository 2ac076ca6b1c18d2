"""Which node runs an execution: decided from replicated state alone, so that every node decides the same."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine.effects import Ready
from tempolite_node.engine.model import Component, Execution, NodeState, Status
from tempolite_node.engine.work import Work


def owner_of_new(work: Work, handler: str, component: Component, *, waits: bool = False) -> NodeState | None:
    """The node that is to run a new execution. None: no node serves the handler.

    One whose nodes are all down belongs to the first of them, until one comes up.
    waits: it may have to wait for a place of its concurrency key; those that do are spread as well, and count in the
    limits of queues.
    """
    serving = work.serving(handler)
    if len(serving) < 2:
        return serving[0] if serving else None
    return _least_loaded(work, serving, component, waits=waits) or serving[0]


def emit_ready(work: Work, queued: Execution) -> None:
    """Tells its owner that it waits for a slot there."""
    work.emit(
        Ready(
            execution_id=queued.id,
            owner=queued.owner,
            pool=queued.pool,
            handler=queued.handler,
            order=queued.queue_order,
            suspect=queued.suspect,
            alone=queued.tried_alone,
        )
    )


def placed(work: Work, execution: Execution) -> Execution:
    """The execution with its owner if that one can run it, else with one that can, if there is any."""
    serving = work.serving(execution.handler)
    for node in serving:
        if node.id == execution.owner and node.takes_work:
            return execution
    able = _least_loaded(work, serving, execution.component)
    return execution if able is None else replace(execution, owner=able.id)


def _least_loaded(
    work: Work, serving: tuple[NodeState, ...], component: Component, *, waits: bool = False
) -> NodeState | None:
    """Of those that take work: the one with the fewest executions per slot, then by id."""
    able = [node for node in serving if node.takes_work]
    if len(able) < 2:
        return able[0] if able else None
    return min(able, key=lambda node: (_load(work, node, component, waits=waits), node.id))


def _load(work: Work, node: NodeState, component: Component, *, waits: bool) -> float:
    """Executions that hold a slot of the node or wait for one, per slot. Those that wait for else hold none.

    waits: with those that wait for a place of their key.
    """
    count = work.count_of(node.id, component, Status.QUEUED) + work.count_of(node.id, component, Status.RUNNING)
    if not waits:
        count -= work.places.waiting_of(node.id, component)
    return count / max(1, node.slots.get(component, 1))
