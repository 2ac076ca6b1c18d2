"""How the interpreter is set in the processes of a node: how values are looked through, and threads take turns."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Mapping
from typing import Any

#: Objects more than there were, after which the young are looked through. Python's own 700 has each value of a round
#: looked at several times, and next to none of them is ever part of a cycle.
_YOUNG = 20_000

#: For how long a thread keeps the interpreter when another one wants it. Each time that one thread has read a socket or
#: stepped a statement, it must get the interpreter back from the others: Python's own 5 ms would be waited out often.
_SWITCH_S = 0.000_5


def settle() -> None:
    """To be called when a process has all that it keeps for life: the collector never looks at that again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])


def hand_on_soon() -> None:
    """For the core, whose two busy threads wait for each other. The many threads of a host would only change places."""
    sys.setswitchinterval(_SWITCH_S)


def thread_state() -> Mapping[str, Any]:
    """What the interpreter keeps for the thread that asks, as long as it lives: its thread-locals are part of it."""
    found = ctypes.pythonapi.PyThreadState_GetDict
    found.restype = ctypes.c_void_p
    state: Mapping[str, Any] = ctypes.cast(found(), ctypes.py_object).value
    return state


def has_thread_locals(state: Mapping[str, Any]) -> bool:
    """Whether code of the thread has touched a `threading.local`. Python 3.13 and later keep them elsewhere: False."""
    return any(str(name).startswith("thread.local.") for name in tuple(state))
