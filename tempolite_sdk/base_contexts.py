"""What a context knows without asking its worker host: ids, attempt, deadline, parameters, logger.

These are the base classes of the sync and the async contexts; their operations are in `contexts` and `async_contexts`.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from tempolite_sdk.operations import Facts, Runtime
from tempolite_sdk.payload import decode

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    Params = TypeVarWithDefault("Params", default=Any)
else:
    Params = TypeVar("Params")

T = TypeVar("T")


class BaseContext:
    """What every context knows."""

    def __init__(self, runtime: Runtime, facts: Facts) -> None:
        self._runtime = runtime
        self._facts = facts

    @property
    def execution_id(self) -> str:
        """The id of the execution."""
        return self._facts.execution_id

    @property
    def attempt(self) -> int:
        """1-based: of the execution, or of the operation that the context belongs to."""
        return self._runtime.attempt_in(self._facts)

    @property
    def deadline(self) -> datetime | None:
        """When the execution times out (max_duration)."""
        deadline_ms = self._facts.deadline_ms
        return None if deadline_ms is None else datetime.fromtimestamp(deadline_ms / 1_000, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether cancel was requested: the next operation raises Cancelled, once."""
        return self._runtime.cancelled

    @property
    def unwinding(self) -> bool:
        """Whether this stack is given up while the execution waits: its code will come here again, by replay.

        For cleanup code alone (`finally`), which runs then too.
        """
        return self._runtime.unwinding

    @property
    def logger(self) -> logging.LoggerAdapter[Any]:
        """Logs with the execution's id. Silent while the code is replayed, and while its stack is unwound."""
        return _ContextLogger(logging.getLogger("tempolite.handlers"), self._runtime, self._facts)

    @overload
    def heartbeat_details(self, type: type[T]) -> T | None: ...
    @overload
    def heartbeat_details(self, type: Any = Any) -> Any: ...
    def heartbeat_details(self, type: Any = Any) -> Any:
        """The details of the last heartbeat before this attempt began, as the type has them; None: there was none."""
        return None if self._facts.heartbeat is None else decode(self._facts.heartbeat, type)


class _ContextLogger(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, logger: logging.Logger, runtime: Runtime, facts: Facts) -> None:
        super().__init__(logger, {"execution_id": facts.execution_id})
        self._runtime = runtime

    def isEnabledFor(self, level: int) -> bool:
        return not self._runtime.silent and super().isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


class OperationFacts(BaseContext):
    """What the contexts of operations know beside that."""

    @property
    def operation_id(self) -> str:
        """The same for every attempt, and for no other operation: give it to others as idempotency key.

        "<execution id>/<kind>/<key>", and from the second run of that id on "<execution id>/<run>/<kind>/<key>".
        """
        return self._facts.operation_id


class ExecutionFacts(BaseContext, Generic[Params]):
    """What the contexts of handlers and saga handlers know beside that."""

    @property
    def params(self) -> Params:
        """The handler's parameters, from the config of the node on which the execution first started.

        Values that come from the environment, and whatever is read inside a side effect or a transaction, are those of
        the node that runs the code now.
        """
        params: Params = self._runtime.params
        return params

    @property
    def continue_as_new_suggested(self) -> bool:
        """Whether the handler has done so much that it had better call `continue_as_new`.

        True from a tenth of what one run may record on. At each place of the code the same, whenever it is replayed.
        """
        return self._runtime.continue_as_new_suggested

    @property
    def parent_id(self) -> str | None:
        """The id of the execution that enqueued this one; None: a client did."""
        return self._facts.parent_id


def utc_now() -> datetime:
    return datetime.now(UTC)
