"""Page tokens: where the next page of a list starts, and of which list."""

from __future__ import annotations

import base64
import hashlib

import msgspec

from tempolite_node.api.convert.checks import Checks
from tempolite_node.views import ExecutionFilter

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000


class _Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    row: int  #: of the last execution listed
    list: bytes  #: digest of the filter; a token continues its own list only


def page_token(filter: ExecutionFilter, after: int) -> str:
    token = msgspec.msgpack.encode(_Token(after, _digest(filter)))
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def parse_page_token(checks: Checks, text: str, filter: ExecutionFilter) -> int | None:
    if not text:
        return None
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        token = msgspec.msgpack.decode(decoded, type=_Token)
    except (ValueError, msgspec.DecodeError):
        checks.report("page_token", "is not a token that a list returned")
        return None
    if token.list != _digest(filter):
        checks.report("page_token", "is of a list with another filter")
    if not 0 <= token.row < 1 << 63:
        checks.report("page_token", "is not a token that a list returned")
    return token.row


def _digest(filter: ExecutionFilter) -> bytes:
    encoded = msgspec.msgpack.encode(filter, order="deterministic")
    return hashlib.blake2b(encoded, digest_size=8).digest()
