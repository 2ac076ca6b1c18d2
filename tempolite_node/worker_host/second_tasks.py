"""Tasks that asynchronous code of a side effect or a step makes beside its own: what they ask for needs keys.

An automatic key is counted in the order of the calls. That of one task is the same each time the body is run; which of
several tasks comes first is for chance to say, on a loop that all attempts share.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tempolite_node.engine.model import KEY_SEPARATOR
from tempolite_node.worker_host.beside import innermost_frame
from tempolite_node.worker_host.scopes import Scope
from tempolite_sdk import operations
from tempolite_sdk.errors import ContextMisuse

#: What takes a key, by its name in contexts, each with how it is given one.
_ASKED: Mapping[type[Any], tuple[str, str]] = {
    operations.EnqueueChild: ("enqueue", 'ctx.options(key="receipt").enqueue(...)'),
    operations.WaitForCompletion: ("wait_for_completion", 'ctx.wait_for_completion(child, key="receipt")'),
    operations.ReceiveSignal: ("receive_signal", 'ctx.receive_signal("paid", key="first")'),
    operations.SendSignal: ("send_signal", 'ctx.send_signal("paid", to=order, key="first")'),
    operations.Cancel: ("cancel", 'ctx.cancel(child, key="late")'),
    operations.Sleep: ("sleep", 'ctx.sleep(60, key="pause"), or use asyncio.sleep(60)'),
}

_WAIT_FOR = asyncio.wait_for.__code__


def check_key(operation: operations.Operation, scope: Scope, own: asyncio.Task[Any] | None) -> None:
    """ContextMisuse: the operation would get an automatic key, in another task than the one that runs the body.

    scope: of the body. own: the task that runs it; None: it does not run any more.
    """
    if own is None or not _is_counted(operation):
        return
    task = asyncio.current_task()
    if task is own or _is_waited_for_by(own, task):
        return
    if isinstance(operation, operations.Memoize):
        asked, fix = operation.name, "It takes none: ask for it in the body itself, and hand the value to the task"
    else:
        asked, keyed = _ASKED[type(operation)]
        fix = f"Give it a key: {keyed}"
    raise ContextMisuse(
        f"{asked} without a key in a second task of {_named(scope)}: automatic keys are counted in the order of the "
        "calls, and that of tasks may be another one when the body is run again after a crash, so that one would get "
        f"what is recorded of the other. {fix}"
    )


def _is_counted(operation: operations.Operation) -> bool:
    """Whether it gets an automatic key."""
    if isinstance(operation, operations.EnqueueChild):
        return operation.options.get("key") is None
    return isinstance(operation, operations.Memoize) or (type(operation) in _ASKED and operation.key is None)  # type: ignore[union-attr]


def _named(scope: Scope) -> str:
    """ "side_effect charge", of the innermost body."""
    around = scope.prefix.removesuffix(KEY_SEPARATOR).rpartition(KEY_SEPARATOR)[2]
    return around.replace(":", " ", 1)


def _is_waited_for_by(own: asyncio.Task[Any], task: asyncio.Task[Any] | None) -> bool:
    """Whether it stands for the body's own task, which waits for it in `asyncio.wait_for`; up to Python 3.11."""
    waiting: asyncio.Task[Any] | None = own
    while waiting is not None and waiting is not task:
        waiting = _task_of_wait_for(waiting)
    return waiting is not None


def _task_of_wait_for(task: asyncio.Task[Any]) -> asyncio.Task[Any] | None:
    frame = innermost_frame(task)
    if frame is None or frame.f_code is not _WAIT_FOR:
        return None
    made = frame.f_locals.get("fut")
    return made if isinstance(made, asyncio.Task) else None
