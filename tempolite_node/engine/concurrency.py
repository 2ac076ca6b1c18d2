"""Concurrency keys: which of the executions of a handler that have the same key may be under way.

A key has as many places as its handler's limit says. An execution is given one when its turn comes, by priority and
then by age, and only then waits for a slot; it keeps the place until it has ended. Executions that are enqueued from
within share the place. Between commands, a place is free only if nobody waits for it, and who has a place and has not
started goes before all who wait. See docs/design/concurrency-keys.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from tempolite_node.engine.model import Execution, ServedHandler
from tempolite_node.engine.placement import emit_ready, owner_of_new
from tempolite_node.engine.places import Key, key_of
from tempolite_node.engine.work import Work


def limit_of(work: Work, handler: str) -> int:
    """The smallest of all nodes that serve the handler, so that it holds wherever an execution runs.

    Of those that are down too: the loss of a node must not let more run.
    """
    limits = [
        served.concurrency_key_limit
        for node in work.serving(handler)
        for served in node.handlers
        if served.name == handler
    ]
    return min(limits, default=1)


def enter(work: Work, execution: Execution, *, at_ms: int) -> Execution:
    """Queues an execution that has a key and no place: for a slot if there is a place for it, else for a place."""
    waiting = work.put(execution)
    key = key_of(waiting)
    place = _place_of_ancestors(work, waiting)
    if place is not None:
        return _give(work, waiting, place, at_ms=at_ms)
    if work.places.taken(key) < limit_of(work, waiting.handler):
        return _give(work, waiting, waiting.row, at_ms=at_ms)
    last = work.places.last_not_started(key)
    if last is not None and waiting.key_order < last.key_order:
        _take_back(work, last)
        return _give(work, waiting, waiting.row, at_ms=at_ms)
    return waiting


def _place_of_ancestors(work: Work, execution: Execution) -> int | None:
    """That of an execution with the same key which waits, or may come to wait, for the end of this one."""
    row = execution.parent_row
    while row is not None:
        ancestor = work.execution_at(row)
        if ancestor.closed:
            return None
        if ancestor.place is not None and key_of(ancestor) == key_of(execution):
            return ancestor.place
        row = ancestor.parent_row
    return None


def leave(work: Work, key: Key, *, at_ms: int) -> None:
    """Gives what an execution that has ended left free to whose turn it is."""
    limit = limit_of(work, key[0])
    while work.places.taken(key) < limit and (first := work.places.first_waiting(key)) is not None:
        _give(work, first, first.row, at_ms=at_ms)


def limits(work: Work, handlers: tuple[ServedHandler, ...]) -> dict[str, int]:
    """As of now, by the handler's name."""
    return {served.name: limit_of(work, served.name) for served in handlers}


def settle(work: Work, before: Mapping[str, int], *, at_ms: int) -> None:
    """After a change of the nodes: places go to those who wait, or back from those who have not started.

    before: limits of the handlers that the change was about. What is under way beyond a lower limit goes on.
    """
    for handler in sorted(before):
        limit = limit_of(work, handler)
        for key in work.places.unsettled_keys(handler) if limit != before[handler] else ():
            while work.places.taken((handler, key)) > limit:
                last = work.places.last_not_started((handler, key))
                if last is None:
                    break
                _take_back(work, last)
            leave(work, (handler, key), at_ms=at_ms)


def _give(work: Work, waiting: Execution, place: int, *, at_ms: int) -> Execution:
    """It may wait for a slot now. Where, is decided now: it was no load to any node before."""
    owner = owner_of_new(work, waiting.handler, waiting.component)
    owner_id = waiting.owner if owner is None else owner.id
    ready = work.put(replace(waiting, place=place, owner=owner_id, ready_at=at_ms))
    emit_ready(work, ready)
    return ready


def _take_back(work: Work, ready: Execution) -> None:
    """Its place in its node's queue is void with that: a start is refused."""
    work.put(replace(ready, place=None, ready_at=None))
