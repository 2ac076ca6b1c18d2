"""What happened to an execution, and in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tempolite_sdk.client.display import Displayed
from tempolite_sdk.client.info import AttemptInfo, ExecutionStatus, OperationInfo, Payload, UnconsumedSignal
from tempolite_sdk.errors import FailureInfo


class EventKind(StrEnum):
    """What happened to an execution, or in it."""

    ENQUEUED = "enqueued"
    STARTED = "started"  #: its first attempt
    SIGNAL_RECEIVED = "signal_received"  #: in its inbox; the operation that takes it ends when it does
    CANCEL_REQUESTED = "cancel_requested"
    ATTEMPT_ENDED = "attempt_ended"  #: without completing it, or its operation
    OPERATION_BEGUN = "operation_begun"  #: that did not end at once; a side effect is recorded when it ends
    OPERATION_ENDED = "operation_ended"
    ENDED = "ended"
    UNKNOWN = "unknown"  #: one that this SDK does not know


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ExecutionEvent(Displayed):
    """One of the things that happened to an execution, or in it."""

    _in_line = ("kind", "time", "operation_id", "attempt", "signal", "status", "failure", "reason")

    kind: EventKind
    time: datetime | None
    operation: OperationInfo | None = None  #: when it began, or ended
    operation_id: str = ""  #: of the operation, or of the one whose attempt ended
    attempt: AttemptInfo | None = None  #: that ended
    signal: UnconsumedSignal | None = None  #: that was received; once it is taken, its payload is with the operation
    signal_sequence: int = 0  #: of the signal that the operation took
    status: ExecutionStatus | None = None  #: when ENDED
    result: Payload | None = None  #: when ENDED
    failure: FailureInfo | None = None  #: of the operation, attempt or execution
    reason: str = ""  #: of the cancel or terminate request

    def __str__(self) -> str:
        time = "" if self.time is None else f"{self.time.isoformat(' ', 'milliseconds')}  "
        what = self.kind.replace("_", " ")
        failure = "" if self.failure is None else f": {self.failure}"
        about = [
            self.operation_id,
            f"{self.operation.status}" if self.kind is EventKind.OPERATION_ENDED and self.operation else "",
            f"attempt {self.attempt.number}" if self.attempt else "",
            f"{self.signal.name} (sequence {self.signal.sequence})" if self.signal else "",
            self.status or "",
            self.reason and f"({self.reason})",
        ]
        return f"{time}{what}  {'  '.join(filter(None, about))}".rstrip() + failure
