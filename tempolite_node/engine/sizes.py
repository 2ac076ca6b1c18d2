"""How many bytes the engine's values take, as far as they grow: what was given by users, and the keys it is under.

What holds them by the thousand (caches, frames to worker hosts) is bounded by these, and the limits of an execution are
counted in them: so they hang on nothing but the value itself.
"""

from __future__ import annotations

import msgspec

from tempolite_node.engine.model import Execution, Failure, Operation

_BASE = 500  #: of a value by itself, with its keys, about


def of_execution(execution: Execution) -> int:
    return (
        _BASE
        + len(execution.arguments)
        + _of_bytes(execution.result)
        + _of_bytes(execution.heartbeat)
        + of_failure(execution.failure)
        + len(execution.id)
        + len(execution.reason)
        + len(execution.compensating or "")
    )


def of_operation(operation: Operation) -> int:
    return (
        _BASE
        + len(operation.key)
        + len(operation.target)
        + _of_bytes(operation.input)
        + _of_bytes(operation.result)
        + of_failure(operation.failure)
    )


def of_record(operation: Operation) -> int:
    """What an operation adds to its journal, to the byte, since that is decided by. The store counts the same."""
    size = _of_bytes(operation.input) + _of_bytes(operation.result)
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


def _of_bytes(value: bytes | None) -> int:
    return 0 if value is None else len(value)
