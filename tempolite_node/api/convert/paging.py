"""Page tokens: where the next page of a list starts, and of which list."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from tempolite_node.api.convert.checks import Checks
from tempolite_node.engine.model import Execution
from tempolite_node.views import EventPlace, ExecutionFilter

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000
EVENTS_DEFAULT = 1_000
EVENTS_MAX = 10_000


class _Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    row: int  #: of the last execution listed
    list: bytes  #: digest of the filter; a token continues its own list only


def page_token(filter: ExecutionFilter, after: int) -> str:
    return _text(msgspec.msgpack.encode(_Token(after, _digest(filter))))


def parse_page_token(checks: Checks, text: str, filter: ExecutionFilter) -> int | None:
    if not text:
        return None
    try:
        token = msgspec.msgpack.decode(_bytes(text), type=_Token)
    except (ValueError, msgspec.DecodeError):
        checks.report("page_token", "is not a token that a list returned")
        return None
    if token.list != _digest(filter):
        checks.report("page_token", "is of a list with another filter")
    if not 0 <= token.row < 1 << 63:
        checks.report("page_token", "is not a token that a list returned")
    return token.row


class _EventToken(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    place: EventPlace  #: of the last event listed
    row: int  #: of the execution; a token continues its own list only


def event_token(execution: Execution, place: EventPlace) -> str:
    return _text(msgspec.msgpack.encode(_EventToken(place, execution.row)))


def parse_event_token(checks: Checks, text: str) -> tuple[EventPlace, int] | None:
    """The place to go on behind, and the row of the execution."""
    if not text:
        return None
    try:
        token = msgspec.msgpack.decode(_bytes(text), type=_EventToken)
    except (ValueError, msgspec.DecodeError):
        checks.report("page_token", "is not a token that a list returned")
        return None
    if not all(-(1 << 63) <= number < 1 << 63 for number in (*token.place, token.row)):
        checks.report("page_token", "is not a token that a list returned")
    return token.place, token.row


def _text(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _digest(filter: ExecutionFilter) -> bytes:
    encoded = msgspec.msgpack.encode(filter, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=8).digest()
