"""Signals to a whole process group or control group: a worker host goes on, and ends when its node wants it to."""

from __future__ import annotations

import os
import signal
from types import FrameType

from tempolite_node.system import GROUP_SIGNALS


def leave_group_signals_to_the_node() -> None:
    """Has the process answer GROUP_SIGNALS by doing nothing. In the main thread; may be called again.

    By a function, not by SIG_IGN: a program that a handler starts would inherit that, and its `terminate()` would do
    nothing. A child that is forked and runs on without an exec gets Python's own handlers back for the same reason.
    """
    for number in GROUP_SIGNALS:
        if signal.getsignal(number) is not _do_nothing:
            signal.signal(number, _do_nothing)
        signal.siginterrupt(number, False)  # calls in C code of other threads are not interrupted either
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """What the signal means is the node's to decide."""


def _restore() -> None:
    for number in GROUP_SIGNALS:
        if signal.getsignal(number) is _do_nothing:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


os.register_at_fork(after_in_child=_restore)
