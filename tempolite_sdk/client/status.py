"""gRPC errors to exceptions, in one table: the mirror of the node's `api/status.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from tempolite_sdk.errors import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NodeFault,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    QueueFull,
    TempoliteError,
    Unauthenticated,
    Unavailable,
)

DOMAIN = "tempolite"

#: In the initial metadata of every call and session of a cluster: the address at which clients reach the leader.
LEADER_KEY = "tempolite-leader"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Status:
    """A gRPC error, read."""

    code: StatusCode
    message: str
    reason: str = ""  #: of google.rpc.ErrorInfo, when the node sent it
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None  #: seconds, from google.rpc.RetryInfo
    leader: str = ""  #: address of the cluster's leader, when the node named it


def _invalid_argument(status: Status) -> InvalidArgument:
    return InvalidArgument(status.message, status.violations)


def _queue_full(status: Status) -> QueueFull:
    return QueueFull(status.message, status.retry_after)


def _plain(error: type[TempoliteError]) -> Callable[[Status], TempoliteError]:
    return lambda status: error(status.message)


OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"  #: the write may be stored; only a repeat can tell

#: By google.rpc.ErrorInfo.reason: all that a node sends.
REASONS: Mapping[str, Callable[[Status], TempoliteError]] = {
    "NOT_FOUND": _plain(NotFound),
    "ALREADY_EXISTS": _plain(AlreadyExists),
    "CLOSED": _plain(FailedPrecondition),
    "WRONG_STATE": _plain(FailedPrecondition),
    "WAIT_CYCLE": _plain(FailedPrecondition),
    "NON_DETERMINISM": _plain(FailedPrecondition),
    "STALE_EPOCH": _plain(FailedPrecondition),
    "QUEUE_FULL": _queue_full,
    "OVERLOADED": _queue_full,
    "INVALID_ARGUMENT": _invalid_argument,
    "PAYLOAD_TOO_LARGE": _invalid_argument,
    "UNAUTHENTICATED": _plain(Unauthenticated),
    "PERMISSION_DENIED": _plain(PermissionDenied),
    "UNAVAILABLE": _plain(Unavailable),
    "NO_QUORUM": _plain(Unavailable),
    OUTCOME_UNKNOWN: _plain(OutcomeUnknown),
    "DEADLINE_EXCEEDED": _plain(DeadlineExceeded),
    "STORAGE_FAILED": _plain(Unavailable),
    "INTERNAL": _plain(NodeFault),
}

#: For errors that carry no reason that we know: made by gRPC itself, a proxy, or a newer node.
CODES: Mapping[StatusCode, Callable[[Status], TempoliteError]] = {
    StatusCode.NOT_FOUND: _plain(NotFound),
    StatusCode.ALREADY_EXISTS: _plain(AlreadyExists),
    StatusCode.FAILED_PRECONDITION: _plain(FailedPrecondition),
    StatusCode.ABORTED: _plain(FailedPrecondition),
    StatusCode.RESOURCE_EXHAUSTED: _queue_full,
    StatusCode.INVALID_ARGUMENT: _invalid_argument,
    StatusCode.OUT_OF_RANGE: _invalid_argument,
    StatusCode.UNAUTHENTICATED: _plain(Unauthenticated),
    StatusCode.PERMISSION_DENIED: _plain(PermissionDenied),
    StatusCode.UNAVAILABLE: _plain(Unavailable),
    StatusCode.CANCELLED: _plain(Unavailable),
    StatusCode.DEADLINE_EXCEEDED: _plain(DeadlineExceeded),
    StatusCode.UNIMPLEMENTED: _plain(NodeFault),
    StatusCode.UNKNOWN: _plain(NodeFault),
    StatusCode.INTERNAL: _plain(NodeFault),
    StatusCode.DATA_LOSS: _plain(NodeFault),
}


def exception_of(status: Status) -> TempoliteError:
    if (size := _too_large(status)) is not None:
        return InvalidArgument(_size_told(size))
    return (REASONS.get(status.reason) or CODES[status.code])(status)


_BROKEN_STREAM = ("RST_STREAM", "Stream removed", "Internal error from Core")


def is_connection_lost(status: Status) -> bool:
    """Whether the reply was lost on its way, so that only a repeat can tell what became of the request.

    A stream reset by a node that stops reaches us as CANCELLED (our own cancels never come through here), one cut by
    a broken connection as INTERNAL or UNKNOWN without any details of the node.
    """
    match status.code:
        case StatusCode.UNAVAILABLE:
            return not is_untrusted(status)
        case StatusCode.CANCELLED:
            return True
        case StatusCode.INTERNAL | StatusCode.UNKNOWN:
            return not status.reason and any(sign in status.message for sign in _BROKEN_STREAM)
        case _:
            return False


_NOT_CONNECTED = re.compile(r"Failed to connect to remote host: (?:connect: )?(?P<why>.+?)(?: \(\d+\))?$")
_NOT_RESOLVED = re.compile(r"DNS resolution failed for |lookup failed for ")


def why_unreachable(status: Status) -> str | None:
    """Why no connection came about, in a few words of gRPC's many; None: the failure is of another kind."""
    if status.code is not StatusCode.UNAVAILABLE or status.reason:
        return None
    if (found := _NOT_CONNECTED.search(status.message)) is not None:
        return found["why"].lower()
    if (found := _NOT_RESOLVED.search(status.message)) is not None:
        return "there is no such host"
    return None


class CallFailed(Exception):
    """What a `grpc.RpcError` is to a call of its own, to one inside a session."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(status.message)


_CODES_BY_NUMBER: Mapping[int, StatusCode] = {code.value[0]: code for code in StatusCode}


def status_of_reply(packed: status_pb2.Status) -> Status:
    """Of an error inside a session."""
    code = _CODES_BY_NUMBER.get(packed.code, StatusCode.UNKNOWN)
    return _with_details(Status(code, packed.message), packed)


def read_status(error: grpc.RpcError | CallFailed) -> Status:
    if isinstance(error, CallFailed):
        return error.status
    code: StatusCode = error.code()
    message: str = error.details() or code.name
    status = Status(code, message, leader=leader_of(error.initial_metadata()))
    packed = _packed_details(error)
    return status if packed is None else _with_details(status, packed)


def leader_of(metadata: Iterable[tuple[str, Any]] | None) -> str:
    """The address of the cluster's leader; "": none is named."""
    for key, value in metadata or ():
        if key == LEADER_KEY:
            return str(value)
    return ""


def _packed_details(error: grpc.RpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None  # not from a node of ours; code and message still tell
    return None


def _with_details(status: Status, packed: status_pb2.Status) -> Status:
    reason, retry_after = "", None
    violations: tuple[FieldViolation, ...] = ()
    for detail in packed.details:
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason = info.reason
        elif detail.Unpack(bad_request):
            violations = tuple(FieldViolation(each.field, each.description) for each in bad_request.field_violations)
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return replace(status, reason=reason, violations=violations, retry_after=retry_after)


_MESSAGE_SIZE = re.compile(r"(CLIENT: Received|SERVER: Sent)?[^(]*message larger than max \((\d+) vs\. (\d+)\)")


def _too_large(status: Status) -> re.Match[str] | None:
    """What gRPC itself says of a message that it refused, on either side, before the node saw it."""
    if status.code is not StatusCode.RESOURCE_EXHAUSTED or status.reason:
        return None
    return _MESSAGE_SIZE.search(status.message)


def _size_told(refused: re.Match[str]) -> str:
    is_response, size, limit = refused[1], int(refused[2]), int(refused[3])
    if is_response:
        return (
            f"the response has {size:,} bytes, and at most {limit:,} are taken: ask for less (page_size=, max_nodes=)"
        )
    return (
        f"the request has {size:,} bytes; at most {limit:,} are allowed "
        "(the node's api.limits.message_bytes, and for each payload in it api.limits.payload_bytes)"
    )


def is_untrusted(status: Status) -> bool:
    """Whether the node could not show that it is one of ours. It will not a moment later; another endpoint may."""
    return "CERTIFICATE_VERIFY_FAILED" in status.message
