"""The threads of synchronous code: used again, and what one function sets the next does not see."""

from __future__ import annotations

import decimal
import threading
from collections.abc import Callable
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any

from tempolite_node.worker_host.sync_runtime import Threads

_TENANT: ContextVar[str] = ContextVar("tenant", default="none")
_LOCAL = threading.local()


class _Local(threading.local):
    tenant = "none"


_OF_A_CLASS = _Local()


def run(threads: Threads, function: Callable[[], Any]) -> Any:
    """What it returns, once its thread is idle again or has ended."""
    answers: SimpleQueue[Any] = SimpleQueue()
    threads.start(lambda: answers.put((function(), threading.current_thread())))
    answer, thread = answers.get(timeout=60)
    while thread.is_alive() and not threads._idle:
        thread.join(0.001)
    return answer


def test_a_thread_is_used_again() -> None:
    threads = Threads()

    assert run(threads, threading.get_native_id) == run(threads, threading.get_native_id)


def test_context_variables_and_the_decimal_context_are_of_one_function() -> None:
    threads = Threads()

    def set_all() -> int:
        _TENANT.set("ann")
        decimal.getcontext().prec = 3
        return threading.get_native_id()

    def see() -> tuple[int, str, int]:
        return threading.get_native_id(), _TENANT.get(), decimal.getcontext().prec

    thread = run(threads, set_all)
    assert run(threads, see) == (thread, "none", decimal.DefaultContext.prec)


def test_thread_locals_are_not_seen_by_the_next_function() -> None:
    threads = Threads()

    def set_all() -> None:
        _LOCAL.tenant = "ann"
        _OF_A_CLASS.tenant = "ann"

    run(threads, set_all)

    assert run(threads, lambda: (getattr(_LOCAL, "tenant", "none"), _OF_A_CLASS.tenant)) == ("none", "none")
