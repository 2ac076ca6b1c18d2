"""What handlers of tests do to the world outside: lines in a file, each written whole."""

from __future__ import annotations

import os


def happened(effect: str) -> None:
    world = os.open(os.environ["WORLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(world, f"{effect}\n".encode())
    finally:
        os.close(world)
