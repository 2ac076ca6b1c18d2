"""Answers what the API asks of the store: reads, and the ends of executions that have ended already."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.engine.model import Execution, Status
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.read_barrier import SharedBarrier
from tempolite_node.node.watch import Watch
from tempolite_node.store.queries import Queries
from tempolite_node.store.readers import Readers
from tempolite_node.store.writer import StoreWriter
from tempolite_node.views import Consistency

T = TypeVar("T")


class Reads:
    def __init__(
        self, *, readers: Readers, executions: StoreWriter, driver: DriverClient, watch: Watch, in_cluster: bool
    ) -> None:
        """executions: but for its visible index, inspected in the driver's thread alone."""
        self._readers = readers
        self._executions = executions
        self._driver = driver
        self._watch = watch
        self._barrier = SharedBarrier(driver.barrier) if in_cluster else None

    async def read(self, query: Callable[[Queries], T], consistency: Consistency = Consistency.LINEARIZABLE) -> T:
        if self._barrier is not None and consistency is Consistency.LINEARIZABLE:
            await self._barrier.passed()
        found = await self._readers.read(query)
        if self._barrier is None:
            await self._watch.changed_after(self._executions.visible_index - 1)  # what was seen is on disk by then
        return found

    async def wait_closed(self, execution_id: str) -> Execution | Rejection:
        """The execution, once it has ended; the last run, of those that continue it. NOT_FOUND: no node knows it."""
        while True:
            with self._watch.closing(execution_id) as closing:
                execution = await self.known_execution(execution_id)
                if execution is None:
                    return Rejection(Reason.NOT_FOUND, f"no execution {execution_id}")
                if execution.status is not Status.CONTINUED_AS_NEW:
                    return execution if execution.closed else await closing
            last = await self._last_run(execution.mailbox_row)
            if last is None or last.row <= execution.row:
                return Rejection(Reason.NOT_FOUND, f"what execution {execution_id} went on as was deleted")
            execution_id = last.id

    async def _last_run(self, mailbox: int) -> Execution | None:
        return await self._driver.inspect(lambda: self._executions.last_run(mailbox))

    async def known_execution(self, execution_id: str) -> Execution | None:
        """As this node has it; None: no node knows it."""
        execution = await self._execution(execution_id)
        if execution is None and self._barrier is not None:
            await self._barrier.passed()  # it may be known to the others
            execution = await self._execution(execution_id)
        return execution

    async def _execution(self, execution_id: str) -> Execution | None:
        return await self._driver.inspect(lambda: self._executions.execution(execution_id))
