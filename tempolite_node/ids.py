"""Ids and keys of executions: what a caller may choose, and what is made for one who does not."""

from __future__ import annotations

import os
import re
from hashlib import sha1

from tempolite_sdk.ids import uuid_of

#: Fixed for ever: another one would make a repeated request start a second execution.
_REQUESTS = bytes.fromhex("6f1d4c7e2b0a5e529c0e7a1f9d3b8e64")

#: What an execution may be called by whoever enqueues it.
CHOSEN_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,200}")
CHOSEN_ID_TOLD = 'must be 1 to 200 letters, digits, and "-_.:@"'

#: What executions that are not to run beside each other may have in common.
CONCURRENCY_KEY = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,200}")
CONCURRENCY_KEY_TOLD = "must be 1 to 200 printable characters; leave it out where there is none"


def new_boot_id() -> str:
    """Names a process of a node: no two have the same."""
    return os.urandom(8).hex()


def id_of_request(request_id: str) -> str:
    """The same id for the same request, on every node: a UUID, version 5 (RFC 9562, section 5.5)."""
    hashed = sha1(_REQUESTS + request_id.encode(), usedforsecurity=False).digest()
    return uuid_of(hashed[:16], version=5)
