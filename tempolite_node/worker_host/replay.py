"""What every operation does first: it looks into the journal, and meets the cancel if that is its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from tempolite_node.engine.commands import DeliverCancel
from tempolite_node.engine.effects import Refused
from tempolite_node.engine.model import OperationKind, OperationStatus, shown
from tempolite_node.protocol.messages import Record
from tempolite_node.worker_host.conversations import Ask, Conversation, GiveUpAgain, InOrder
from tempolite_node.worker_host.failures import failure_of, refusal
from tempolite_node.worker_host.scopes import Scope
from tempolite_sdk.errors import ContextMisuse
from tempolite_sdk.payload import decode

if TYPE_CHECKING:
    from tempolite_node.worker_host.attempt import Attempt

#: Recorded, but not over: the operation goes on now.
_GOES_ON = (OperationStatus.PENDING, OperationStatus.RUNNING, OperationStatus.RETRYING)

#: Recorded, but no answer: the operation goes on, or its code takes leave of it at some place.
NO_END = (*_GOES_ON, OperationStatus.CANCELLED, OperationStatus.GIVEN_UP)

#: Code that took leave of an operation after some time does so again after twice that, and this.
_PATIENCE_S = 10


def found(attempt: Attempt, scope: Scope, kind: OperationKind, key: str) -> Conversation[Record | None]:
    """What the journal has for the operation. Raises Cancelled if this is the place for it."""
    record = attempt.journal.find(scope, kind, key)
    if scope.parent is None and attempt.ordered:
        yield InOrder(kind, key, record)
    elif attempt.may_meet_cancel:
        live = record is None or record.status in _GOES_ON
        yield from raise_if_cancelled(attempt, scope, f"{kind}:{key}", live=live)
    return record


def raise_if_cancelled(attempt: Attempt, scope: Scope, place: str, *, live: bool) -> Conversation[None]:
    """Raises Cancelled where it was raised before, or where it is due now.

    place: "<kind>:<key>" of the operation that is about to be performed.
    live: the operation is not answered from the journal.

    Not in what code goes on beside: it is that code which is cancelled.
    """
    if scope.beside:
        return
    if attempt.journal.take_cancel(place):
        attempt.raise_cancelled()
    if live and attempt.cancel_due:
        # Recorded first, so that replay raises it here too. Refused: it was delivered in another place by now.
        answer = yield Ask(DeliverCancel(key=place), scope)
        if not isinstance(answer, Refused):
            attempt.deliver_cancel()


def given_up_again(attempt: Attempt, scope: Scope, record: Record) -> Conversation[None]:
    """Asynchronous code of a side effect or a step took leave of the operation when it was run before.

    Its timeouts and what else it waits for run again, and decide again. Until it has come to what it recorded after
    that, nothing is asked for in its name: it would get what was not there, and go another way.
    """
    if attempt.may_give_up and attempt.journal.has_more_in(scope):
        yield GiveUpAgain(scope, 2 * max(0, record.lasted_ms) / 1_000 + _PATIENCE_S)


def raise_if_refused(record: Record | None) -> None:
    """Raises what the operation was refused with, if that is what is recorded of it."""
    if record is not None and record.refusal is not None:
        raise refusal(record.refusal)


def check_digest(attempt: Attempt, record: Record, given: bytes, *, actual: str) -> None:
    """Suspends the attempt when the journal has another input at this place.

    ContextMisuse: this attempt itself has recorded the other one, so the code uses one key for two things.
    """
    if record.digest == given:
        return
    if attempt.journal.is_own(record):
        raise ContextMisuse(f"the key {record.key!r} is used for two inputs of kind {record.kind}")
    attempt.suspend(record.kind, record.key, expected=record.target or "another input", actual=actual)


def read_recorded(attempt: Attempt, kind: OperationKind, key: str, data: bytes | None, type: Any) -> Any:
    """A recorded value as the code's type has it. Suspends the attempt when that can't take it."""
    try:
        return decode(data or b"null", type)
    except Exception as error:  # of a model's own validation: anything
        if not attempt.records_all:
            raise
        suspend_unreadable(attempt, kind, key, data, error)


def suspend_unreadable(
    attempt: Attempt, kind: OperationKind, key: str, data: bytes | None, error: Exception
) -> NoReturn:
    told = failure_of(error).message
    what = f"{kind} {key}"
    attempt.suspend(kind, key, expected=shown(data), actual=f"a type that it is not: {told}", what=what)
