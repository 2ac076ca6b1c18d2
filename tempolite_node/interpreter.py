"""How the interpreter is set in the processes of a node: how values are looked through, and threads take turns."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

#: Objects more than there were, after which the young are looked through. Python's own 700 has each value of a round
#: looked at several times, and next to none of them is ever part of a cycle.
_YOUNG = 20_000

#: For how long a thread keeps the interpreter when another one wants it. Each time that one thread has read a socket or
#: stepped a statement, it must get the interpreter back from the others: Python's own 5 ms would be waited out often.
_SWITCH_S = 0.000_5

_FIELDS_MAX = 64  #: of a thread's state, fewer than it has


def settle() -> None:
    """To be called when a process has all that it keeps for life: the collector never looks at that again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def hand_on_soon() -> None:
    """For the core, whose two busy threads wait for each other. The many threads of a host would only change places."""
    sys.setswitchinterval(_SWITCH_S)


def looks_for_thread_locals() -> Callable[[], bool]:
    """Tells, of the thread that asks for it, whether its code has touched a `threading.local` by now.

    Where the interpreter keeps that is its own matter: up to Python 3.12 in the dictionary of the thread's state, later
    in two fields of the state (`threading_local_key`; see CPython's Modules/_threadmodule.c). True where it is not
    found.
    """
    if sys.version_info >= (3, 13):
        place = _place_of_local_key()
        if place is None:
            return lambda: True
        key = ctypes.c_void_p.from_address(_thread_state() + place)
        return lambda: key.value is not None
    found = ctypes.pythonapi.PyThreadState_GetDict
    found.restype = ctypes.c_void_p
    kept: Mapping[str, Any] = ctypes.cast(found(), ctypes.py_object).value
    return lambda: bool(kept) and any(str(name).startswith("thread.local.") for name in tuple(kept))


def _thread_state() -> int:
    """Its address, of the thread that asks."""
    get = ctypes.pythonapi.PyThreadState_Get
    get.restype = ctypes.c_void_p
    address: int = get()
    return address


@cache
def _place_of_local_key() -> int | None:
    """In bytes from the beginning of a thread's state: what its first thread-local sets, with the field behind it."""
    found: list[int] = []

    def look() -> None:
        fields = (ctypes.c_void_p * _FIELDS_MAX).from_address(_thread_state())
        before = list(fields)
        threading.local().touched = True
        found.extend(place for place, was in enumerate(before) if was is None and fields[place] is not None)

    looking = threading.Thread(target=look)
    looking.start()
    looking.join()
    if len(found) != 2 or found[1] != found[0] + 1:
        return None
    return found[0] * ctypes.sizeof(ctypes.c_void_p)
