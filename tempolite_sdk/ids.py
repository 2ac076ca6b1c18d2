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
    return uuid_of((at_ms & (1 << 48) - 1) << 80 | int.from_bytes(os.urandom(10), "big"), version=7)


def uuid_of(bits: int, *, version: int) -> str:
    """What `uuid.UUID` writes of these bits, but for those that say version and variant."""
    digits = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | version << 76 | 0x2 << 62:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
