"""Executions that their nodes may have died of: they are tried alone, and set aside in the end.

Counted are deaths in a row. What an execution records breaks the row, and so does an attempt that ends, that only
waits, or that runs for longer than a minute before its node dies. See docs/design/crashes.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import formats, lifecycle
from tempolite_node.engine.commands import NoteRest
from tempolite_node.engine.effects import Accepted, NodeDied, Reason, Rejection, Trusted
from tempolite_node.engine.model import ALONE_AFTER, SET_ASIDE_AFTER, Component, Execution, Failure, RetryState
from tempolite_node.engine.placement import placed
from tempolite_node.engine.work import Work

#: For so long after it is given out an execution is suspect of the death of its node.
SUSPECT_FOR_MS = 60_000


def lose_with_node(work: Work, execution: Execution, *, died_ms: int | None, at_ms: int, failure: Failure) -> Execution:
    """The node is gone that held the execution: another attempt follows, unless it is set aside.

    died_ms: when the node died, at the latest; None: it did not, but was stopped.
    """
    deaths = _deaths(execution, died_ms)
    counted = execution if deaths == execution.node_deaths else replace(execution, node_deaths=deaths)
    if deaths >= SET_ASIDE_AFTER and deaths > execution.node_deaths:
        _set_aside(work, counted, cause=failure, at_ms=at_ms)
    else:
        lifecycle.requeue(work, counted, at_ms=at_ms, failure=failure)
        if deaths >= ALONE_AFTER and deaths > execution.node_deaths:
            work.emit(NodeDied(execution_id=execution.id, execution=counted))
    return work.execution_at(execution.row)


def _deaths(execution: Execution, died_ms: int | None) -> int:
    started_ms = execution.attempt_started_ms
    if died_ms is None or started_ms is None or execution.format < formats.TRIALS:
        return execution.node_deaths
    return execution.node_deaths + 1 if died_ms - started_ms <= SUSPECT_FOR_MS else 0


def _set_aside(work: Work, execution: Execution, *, cause: Failure, at_ms: int) -> None:
    alone = SET_ASIDE_AFTER - ALONE_AFTER
    failure = Failure(
        type="NodeDiedTooOften",
        message=(
            f"its node died {execution.node_deaths} times in a row within {SUSPECT_FOR_MS // 1_000} s of the start of "
            f"an attempt, with nothing recorded meanwhile; the last {alone} times nothing else was started beside it"
        ),
        non_retryable=True,
        cause=cause,
    )
    if execution.pool is not Component.COMPENSATION:
        lifecycle.suspend(work, placed(work, execution), failure, at_ms=at_ms, abandon=True)
        return
    lifecycle.record_attempt(work, execution, failure, at_ms=at_ms)
    lifecycle.cancel_pending(work, execution, at_ms=at_ms)
    detached = lifecycle.detach(work, replace(work.execution_at(execution.row), pending=0, node_deaths=0), abandon=True)
    lifecycle.stick(work, detached, failure, retry_state=RetryState.CRASHED_TOO_OFTEN, at_ms=at_ms)


def trust(work: Work, execution: Execution) -> None:
    """The next death of its node is the first again."""
    work.put(replace(execution, node_deaths=0))
    if execution.tried_alone:
        work.emit(Trusted(execution_id=execution.id))


def note_rest(work: Work, command: NoteRest) -> Accepted | Rejection:
    execution = work.execution(command.execution_id)
    if execution is None or not execution.attached or execution.epoch != command.epoch:
        return Rejection(Reason.STALE_EPOCH, f"execution {command.execution_id} does not run under {command.epoch}")
    if execution.node_deaths:
        trust(work, execution)
    return Accepted(status=execution.status)
