"""Signals that executions receive: kept before anyone waits, first come first served per name, consumed once."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine.effects import Reason, Rejection, Value
from tempolite_node.engine.lifecycle import end_wait
from tempolite_node.engine.model import Execution, OperationKind, OperationStatus, Signal
from tempolite_node.engine.work import Work

#: Signals that an execution may have received and not consumed: what a client can make a node keep is bounded.
UNCONSUMED_MAX = 100_000


def deliver(
    work: Work, target: Execution, *, name: str, payload: bytes, request_id: str | None, at_ms: int
) -> int | Rejection:
    """Gives the signal to the oldest wait for its name, or keeps it. Returns its sequence number in the inbox."""
    if request_id is not None and (known := work.signal_by_request(target.row, request_id)) is not None:
        return known.seq
    if target.closed:
        return Rejection(Reason.CLOSED, f"execution {target.id} has ended ({target.status}): it takes no signals")
    if target.inbox - target.consumed >= UNCONSUMED_MAX:
        return Rejection(Reason.QUEUE_FULL, f"execution {target.id} has {UNCONSUMED_MAX} signals that it never took")
    received = Signal(
        execution_row=target.row,
        seq=target.inbox + 1,
        name=name,
        payload=payload,
        at_ms=at_ms,
        request_id=request_id,
    )
    work.put_signal(received)
    work.put(replace(target, inbox=received.seq))
    for wait in work.pending(target.row) if target.pending else ():
        if wait.kind is OperationKind.SIGNAL and wait.target == name:
            consume(work, received)
            end_wait(work, wait, OperationStatus.COMPLETED, Value(payload=payload), at_ms=at_ms, result=payload)
            break
    return received.seq


def consume(work: Work, signal: Signal) -> None:
    """Marks it as taken. Its payload lives on in the operation that took it."""
    work.put_signal(replace(signal, consumed=True, payload=b""))
    execution = work.execution_at(signal.execution_row)
    work.put(replace(execution, consumed=execution.consumed + 1))
