"""Signals that executions receive: kept before anyone waits, first come first served per name, consumed once."""

from __future__ import annotations

from msgspec.structs import replace

from tempolite_node.engine import formats
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
    if request_id is not None and (known := _sent_before(work, target, request_id)) is not None:
        return _repeated(target, known, name)
    if target.closed:
        return Rejection(Reason.CLOSED, f"execution {target.id} has ended ({target.status}): it takes no signals")
    if target.inbox - target.consumed >= UNCONSUMED_MAX:
        return Rejection(Reason.QUEUE_FULL, f"execution {target.id} has {UNCONSUMED_MAX} signals that it never took")
    received = Signal(
        execution_row=target.mailbox_row,
        seq=target.inbox + 1,
        name=name,
        payload=payload,
        at_ms=at_ms,
        request_id=request_id,
        sender=sender if work.format >= 2 else "",
    )
    work.put_signal(received)
    work.put(replace(target, inbox=received.seq))
    offer(work, target.row, received, at_ms=at_ms)
    return received.seq


def offer(work: Work, row: int, signal: Signal, *, at_ms: int) -> None:
    """Gives a signal that is in line to the oldest wait for its name of the run at the row, if there is one."""
    target = work.execution_at(row)
    for wait in work.pending(target.row) if target.pending else ():
        if wait.kind is OperationKind.SIGNAL and wait.target == signal.name:
            payload = signal.payload
            taking = replace(wait, signal_seq=consume(work, target, signal))
            end_wait(work, taking, OperationStatus.COMPLETED, Value(payload=payload), at_ms=at_ms, result=payload)
            break


def _sent_before(work: Work, target: Execution, request_id: str) -> Signal | None:
    """The signal that the request sent before, to this run or to one before it."""
    known = work.signal_by_request(target.mailbox_row, request_id)
    if known is not None or target.previous is None:
        return known
    first = work.execution_at(target.mailbox_row)
    before = None if first.previous is None else work.kept_at(first.previous)
    return None if before is None else work.signal_by_request(before.mailbox_row, request_id)


def _repeated(target: Execution, known: Signal, name: str) -> int | Rejection:
    """What becomes of a request that was made before. One of before format 2 has no sender, and is not compared."""
    if known.sender and known.name != name:
        first = f"request {known.request_id} sent signal {known.name!r} to execution {target.id}"
        return Rejection(Reason.ALREADY_EXISTS, f"{first}; it can't send {name!r} too")
    return known.seq


def consume(work: Work, receiver: Execution, signal: Signal) -> int | None:
    """Marks it as taken. Its payload lives on in the operation that took it; which one it was, is for that to note."""
    taken_by = receiver.row if work.format >= formats.EXACT_REPLAY else None
    work.put_signal(replace(signal, consumed=True, payload=b"", taken_by=taken_by))
    execution = work.execution_at(receiver.row)
    work.put(replace(execution, consumed=execution.consumed + 1))
    return signal.seq if work.format >= 2 else None


def give_back(work: Work, wait: Operation, *, set_aside: str | None) -> Signal:
    """Undoes what `consume` did for the wait: the signal is at its place in line again, or beside it.

    set_aside: why no wait is to take it again; None: the next one does.
    """
    assert wait.signal_seq is not None, f"signal {wait.key} does not tell what it took"
    execution = work.execution_at(wait.execution_row)
    taken = work.signal(execution.mailbox_row, wait.signal_seq)
    assert taken.consumed, f"signal {wait.key} took what nobody has"
    given_back = replace(taken, consumed=False, payload=wait.result or b"null", set_aside=set_aside, taken_by=None)
    work.put_signal(given_back)
    work.put(replace(execution, consumed=execution.consumed - 1))
    return given_back
