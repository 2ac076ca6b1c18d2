"""Ids of executions: what a caller may choose, and what is made for one who does not."""

from __future__ import annotations

import re
import secrets
import uuid

#: Fixed for ever: another one would make a repeated request start a second execution.
_REQUESTS = uuid.UUID("6f1d4c7e-2b0a-5e52-9c0e-7a1f9d3b8e64")

#: What an execution may be called by whoever enqueues it.
CHOSEN_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,200}")
CHOSEN_ID_TOLD = 'must be 1 to 200 letters, digits, and "-_.:@"'


def new_id(at_ms: int) -> str:
    """A UUID, version 7: sorts by time, to the millisecond (RFC 9562, section 5.7)."""
    value = (at_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))


def id_of_request(request_id: str) -> str:
    """The same id for the same request, on every node."""
    return str(uuid.uuid5(_REQUESTS, request_id))
