"""The daemon, with less than root may do: python -m tests.e2e.confined_daemon --config …

CONFINED: "by permissions", which else do not hold for root, or "in size": no file grows beyond FILE_BYTES_MAX.

A process of its own that becomes the daemon: what is done between a fork and an exec of the tests' own process would be
done beside the threads of gRPC, which do not survive a fork.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

FILE_BYTES_MAX = 6 << 20

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2

if __name__ == "__main__":
    match os.environ["CONFINED"]:
        case "by permissions":
            for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
                ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)  # the next exec heeds it
        case "in size":
            resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
        case other:
            raise ValueError(other)
    os.execv(sys.executable, [sys.executable, "-m", "tempolite_node", *sys.argv[1:]])
