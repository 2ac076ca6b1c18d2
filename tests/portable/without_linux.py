"""Takes away the functions that Linux alone has, as on macOS."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from typing import Any


def take_away() -> None:
    """To be called before anything is imported that looks for them."""
    for module, prefixes in (
        (os, ("eventfd", "EFD_", "pidfd_open", "fdatasync", "waitid")),
        (select, ("epoll",)),
        (signal, ("pidfd_send_signal",)),
        (time, ("CLOCK_BOOTTIME",)),
    ):
        for name in dir(module):
            if name.startswith(prefixes):
                delattr(module, name)
    found = ctypes.CDLL.__getattr__

    def find(library: ctypes.CDLL, name: str) -> Any:
        if name == "prctl":
            raise AttributeError(name)
        return found(library, name)

    ctypes.CDLL.__getattr__ = find  # type: ignore[method-assign]
