"""Ids that a client makes itself, so that a repeated request names the same thing."""

from __future__ import annotations

import os
import sys
import time
import uuid


def new_execution_id() -> str:
    """A UUID of version 7: ids made later sort later (to the millisecond), which keeps the node's index compact."""
    return str(uuid7())


def new_request_id() -> str:
    return os.urandom(16).hex()


if sys.version_info >= (3, 14):
    uuid7 = uuid.uuid7
else:

    def uuid7() -> uuid.UUID:
        """48 bits of Unix milliseconds, version, 12 random bits, variant, 62 random bits. Source: RFC 9562, 5.7."""
        milliseconds = time.time_ns() // 1_000_000
        random = int.from_bytes(os.urandom(10), "big")
        value = (milliseconds & (1 << 48) - 1) << 80 | random
        value = value & ~(0xF << 76) | 0x7 << 76
        value = value & ~(0x3 << 62) | 0x2 << 62
        return uuid.UUID(int=value)
