"""Errors to gRPC status, in one table: the code, and google.rpc details that a client can act on.

Whatever is not in the table is a bug of ours: it is logged under an id, and the caller learns the id alone.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.errors import (
    NodeError,
    NoQuorum,
    OutcomeUnknown,
    Overloaded,
    StorageFailed,
    Unavailable,
    WrongState,
)
from tempolite_node.protocol.messages import Violation

DOMAIN = "tempolite"

#: Clients read at most 8 KiB of metadata by default, and the details travel there.
_DETAILS_BYTES_MAX = 4 * 1024
_MESSAGE_CHARACTERS_MAX = 1_000

logger = structlog.get_logger(__name__)


# --- what the API raises itself


class InvalidRequest(NodeError):
    """The request is malformed; every mistake is named."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))


class Rejected(NodeError):
    """The engine's refusal, on its way to the caller."""

    def __init__(self, rejection: Rejection) -> None:
        self.reason = rejection.reason
        super().__init__(rejection.message)


class Unauthenticated(NodeError):
    """No valid token or certificate."""


class PermissionDenied(NodeError):
    """The caller's role is too low."""


class TimeIsUp(NodeError):
    """The call's own deadline passed. What was asked may or may not have happened."""


# --- the table

REJECTIONS: dict[Reason, StatusCode] = {
    Reason.NOT_FOUND: StatusCode.NOT_FOUND,
    Reason.ALREADY_EXISTS: StatusCode.ALREADY_EXISTS,
    Reason.CLOSED: StatusCode.FAILED_PRECONDITION,
    Reason.WRONG_STATE: StatusCode.FAILED_PRECONDITION,
    Reason.INVALID_ARGUMENT: StatusCode.INVALID_ARGUMENT,
    Reason.WAIT_CYCLE: StatusCode.FAILED_PRECONDITION,
    Reason.NON_DETERMINISM: StatusCode.FAILED_PRECONDITION,
    Reason.STALE_EPOCH: StatusCode.ABORTED,
    Reason.QUEUE_FULL: StatusCode.RESOURCE_EXHAUSTED,
}

ERRORS: dict[type[NodeError], tuple[StatusCode, str]] = {
    InvalidRequest: (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    Unauthenticated: (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    PermissionDenied: (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    Unavailable: (StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    NoQuorum: (StatusCode.UNAVAILABLE, "NO_QUORUM"),
    OutcomeUnknown: (StatusCode.UNAVAILABLE, "OUTCOME_UNKNOWN"),
    StorageFailed: (StatusCode.UNAVAILABLE, "STORAGE_FAILED"),
    Overloaded: (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    WrongState: (StatusCode.FAILED_PRECONDITION, "WRONG_STATE"),
    TimeIsUp: (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
}

#: How long to wait before the same request may fare better.
_RETRY_AFTER_MS = {
    "UNAVAILABLE": 500,
    "NO_QUORUM": 1_000,
    "OUTCOME_UNKNOWN": 500,
    "STORAGE_FAILED": 5_000,
    "QUEUE_FULL": 1_000,
}


@dataclass(frozen=True, slots=True)
class Status:
    code: StatusCode
    message: str
    message_with_details: status_pb2.Status

    @property
    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("grpc-status-details-bin", self.message_with_details.SerializeToString()),)


def status_of(error: Exception, method: str) -> Status:
    """What the caller is told of the error."""
    if isinstance(error, Rejected):
        return _status(REJECTIONS[error.reason], error.reason.name, str(error))
    if (entry := ERRORS.get(type(error))) is not None:  # type: ignore[arg-type]
        violations = error.violations if isinstance(error, InvalidRequest) else ()
        retry_after_ms = error.retry_after_ms if isinstance(error, Overloaded) else None
        return _status(*entry, str(error), violations=violations, retry_after_ms=retry_after_ms)
    error_id = uuid.uuid4().hex[:12]
    _log_unexpected(error, method, error_id)
    message = f"internal error; the node's log has it under {error_id}"
    return _status(StatusCode.INTERNAL, "INTERNAL", message, {"error_id": error_id})


def _log_unexpected(error: Exception, method: str, error_id: str) -> None:
    """Raises nothing: gRPC would tell the caller what it is, and what the log could not render with it."""
    try:
        logger.error("unexpected error in a call", method=method, error_id=error_id, exc_info=error)
    except Exception as failure:
        plain = logging.getLogger(__name__)  # it keeps what goes wrong in it to itself
        plain.error("unexpected error %s in %s: %r", error_id, method, error, exc_info=failure)


def _status(
    code: StatusCode,
    reason: str,
    message: str,
    metadata: dict[str, str] | None = None,
    *,
    violations: Sequence[Violation] = (),
    retry_after_ms: int | None = None,
) -> Status:
    message = message if len(message) <= _MESSAGE_CHARACTERS_MAX else message[: _MESSAGE_CHARACTERS_MAX - 1] + "…"
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    if (delay_ms := retry_after_ms or _RETRY_AFTER_MS.get(reason)) is not None:
        delay = Duration()
        delay.FromMilliseconds(delay_ms)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    if violations:
        status.details.add().Pack(_bad_request(violations, _DETAILS_BYTES_MAX - status.ByteSize()))
    return Status(code, message, status)


def _bad_request(violations: Sequence[Violation], bytes_max: int) -> Any:
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        bad_request.field_violations.add(field=violation.field[:300], description=violation.description[:500])
        if bad_request.ByteSize() > bytes_max:
            del bad_request.field_violations[-1]
            break
    return bad_request
