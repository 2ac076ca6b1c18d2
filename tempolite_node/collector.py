"""The garbage collector of a process that makes little garbage of the kind that needs one, and many values."""

from __future__ import annotations

import gc

#: Objects more than there were, after which the young are looked through. Python's own 700 has each value of a round
#: looked at several times, and next to none of them is ever part of a cycle.
_YOUNG = 20_000


def settle() -> None:
    """To be called when a process has all that it keeps for life: the collector never looks at that again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
