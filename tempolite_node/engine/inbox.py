"""Signals that executions receive: kept before anyone waits, first come first served per name, consumed once."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine.effects import Reason, Rejection, Value
from tempolite_node.engine.lifecycle import end_wait
from tempolite_node.engine.model import Execution, Operation, OperationKind, OperationStatus, Signal
from tempolite_node.engine.work import Work

#: Signals that an execution may have received and not consumed: what a client can make a node keep is bounded.
UNCONSUMED_MAX = 100_000


def deliver(
    work: Work, target: Execution, *, name: str, payload: bytes, request_id: str | None, sender: str, at_ms: int
) -> int | Rejection:
    """Gives the signal to the oldest wait for its name, or keeps it. Returns its sequence number in the inbox."""
    if request_id is not None and (known := work.signal_by_request(target.row, request_id)) is not None:
        return _repeated(target, known, name)
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
        sender=sender if work.format >= 2 else "",
    )
    work.put_signal(received)
    work.put(replace(target, inbox=received.seq))
    offer(work, received, at_ms=at_ms)
    return received.seq


def offer(work: Work, signal: Signal, *, at_ms: int) -> None:
    """Gives a signal that is in line to the oldest wait for its name, if there is one."""
    target = work.execution_at(signal.execution_row)
    for wait in work.pending(target.row) if target.pending else ():
        if wait.kind is OperationKind.SIGNAL and wait.target == signal.name:
            payload = signal.payload
            taking = replace(wait, signal_seq=consume(work, signal))
            end_wait(work, taking, OperationStatus.COMPLETED, Value(payload=payload), at_ms=at_ms, result=payload)
            break


def _repeated(target: Execution, known: Signal, name: str) -> int | Rejection:
    """What becomes of a request that was made before. One of before format 2 has no sender, and is not compared."""
    if known.sender and known.name != name:
        first = f"request {known.request_id} sent signal {known.name!r} to execution {target.id}"
        return Rejection(Reason.ALREADY_EXISTS, f"{first}; it can't send {name!r} too")
    return known.seq


def consume(work: Work, signal: Signal) -> int | None:
    """Marks it as taken. Its payload lives on in the operation that took it; which one it was, is for that to note."""
    work.put_signal(replace(signal, consumed=True, payload=b""))
    execution = work.execution_at(signal.execution_row)
    work.put(replace(execution, consumed=execution.consumed + 1))
    return signal.seq if work.format >= 2 else None


def give_back(work: Work, wait: Operation, *, set_aside: str | None) -> Signal:
    """Undoes what `consume` did for the wait: the signal is at its place in line again, or beside it.

    set_aside: why no wait is to take it again; None: the next one does.
    """
    assert wait.signal_seq is not None, f"signal {wait.key} does not tell what it took"
    taken = work.signal(wait.execution_row, wait.signal_seq)
    assert taken.consumed, f"signal {wait.key} took what nobody has"
    given_back = replace(taken, consumed=False, payload=wait.result or b"null", set_aside=set_aside)
    work.put_signal(given_back)
    execution = work.execution_at(wait.execution_row)
    work.put(replace(execution, consumed=execution.consumed - 1))
    return given_back
