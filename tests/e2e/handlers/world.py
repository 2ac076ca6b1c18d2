"""What handlers of tests do to the world outside, and what they wait for there."""

from __future__ import annotations

import contextlib
import fcntl
import os


def happened(effect: str) -> None:
    """A line in a file, written whole. Then the bell is rung, for a test that waits for it."""
    _write(os.environ["WORLD"], os.O_APPEND | os.O_CREAT, f"{effect}\n".encode())
    with contextlib.suppress(OSError):  # nobody listens, or has not listened for long
        _write(os.environ["WORLD"] + ".bell", os.O_NONBLOCK, b"!")


def _write(path: str, flags: int, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(file, data)
    finally:
        os.close(file)


def times(effect: str) -> int:
    """How often it happened."""
    with open(os.environ["WORLD"]) as world:
        return world.read().splitlines().count(effect)


def pass_gate(name: str) -> None:
    """Returns at once, unless a test holds the gate: then when it opens it, or ends."""
    gate = os.open(f"{os.environ['WORLD']}.{name}.gate", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(gate, fcntl.LOCK_SH)
    finally:
        os.close(gate)
