"""How many bytes the engine's values take, as far as they grow: what was given by users, and the keys it is under.

What holds them by the thousand (caches, frames to worker hosts) is bounded by these, and the limits of an execution are
counted in them: so they hang on nothing but the value itself.
"""

from __future__ import annotations

import msgspec

from tempolite_node.engine.model import Execution, Failure, Operation

_BASE = 500  #: of a value by itself, with its keys, about


def of_execution(execution: Execution) -> int:
    size = _BASE + len(execution.arguments) + len(execution.id)
    if execution.result is not None:
        size += len(execution.result)
    if execution.heartbeat is not None:
        size += len(execution.heartbeat)
    if execution.failure is not None:
        size += of_failure(execution.failure)
    if execution.compensating is not None:
        size += len(execution.compensating)
    if execution.reason:
        size += len(execution.reason)
    return size


def of_operation(operation: Operation) -> int:
    size = _BASE + len(operation.key) + len(operation.target)
    if operation.result is not None:
        size += len(operation.result)
    if operation.input is not None:
        size += len(operation.input)
    if operation.failure is not None:
        size += of_failure(operation.failure)
    return size


def of_record(operation: Operation) -> int:
    """What an operation adds to its journal, to the byte, since that is decided by. The store counts the same."""
    size = 0 if operation.result is None else len(operation.result)
    if operation.input is not None:
        size += len(operation.input)
    if operation.failure is not None:
        size += len(msgspec.json.encode(operation.failure).decode())
    return size


def of_failure(failure: Failure | None) -> int:
    """With all that caused it."""
    size = 0
    while failure is not None:
        size += _BASE + len(failure.type) + len(failure.message) + len(failure.traceback)
        failure = failure.cause
    return size
