"""What a worker host asks of the kernel for itself."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_ASK = """
import ctypes, sys
from tempolite_node.system import _PR_FUTEX_HASH, make_room_for_waiting

make_room_for_waiting(int(sys.argv[1]))
print(ctypes.CDLL(None).prctl(_PR_FUTEX_HASH, 2, 0, 0, 0))
"""


@pytest.mark.parametrize(("parked", "places"), [(0, 1_024), (2_000, 2_048), (1_000_000, 131_072)])
def test_a_host_has_a_place_of_its_own_for_each_lock_that_a_parked_thread_waits_for(parked: int, places: int) -> None:
    """In a process of its own: what is set stays set."""
    if not hasattr(ctypes.CDLL(None), "prctl"):
        pytest.skip("this system has no such table")
    asked = [sys.executable, "-c", _ASK, str(parked)]
    slots = int(subprocess.run(asked, capture_output=True, check=True, text=True).stdout)
    if slots < 0:
        pytest.skip("this kernel keeps the locks of all processes in one table")

    assert slots == places
