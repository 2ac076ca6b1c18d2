"""Ids that are made here, so that a repeated request names the same thing.

An id is formatted without `uuid.UUID`: one is made on the path of every execution.
"""

from __future__ import annotations

import os
import time


def new_execution_id() -> str:
    """Ids made later sort later (to the millisecond), which keeps the node's index compact."""
    return uuid7(time.time_ns() // 1_000_000)


def new_request_id() -> str:
    return os.urandom(16).hex()


def uuid7(at_ms: int) -> str:
    """A UUID, version 7: 48 bits of Unix milliseconds, 74 random ones. Source: RFC 9562, section 5.7."""
    return uuid_of(at_ms.to_bytes(6, "big") + os.urandom(10), version=7)


def uuid_of(octets: bytes, *, version: int) -> str:
    """What `uuid.UUID` writes of these 16, but for the bits that say version and variant."""
    digits = octets.hex()
    variant = "89ab"[octets[8] >> 4 & 3]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
