"""Tells what this node is, what it serves, and how much it holds and does."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from tempolite_node import __version__
from tempolite_node.clock import wall_clock_ms
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.stats import stats_of
from tempolite_node.node.watch import Watch
from tempolite_node.protocol.messages import HandlerDescription
from tempolite_node.store.database import sqlite_version
from tempolite_node.store.writer import StoreWriter
from tempolite_node.supervisor.supervisor import Supervisor
from tempolite_node.views import NodeInfo, Stats


class NodeStatus:
    def __init__(
        self,
        node_id: str,
        *,
        dispatch: Dispatch,
        executions: StoreWriter,
        driver: DriverClient,
        supervisor: Supervisor,
        watch: Watch,
    ) -> None:
        """dispatch, executions: inspected in the driver's thread alone."""
        self.draining = False
        self._node_id = node_id
        self._dispatch = dispatch
        self._executions = executions
        self._driver = driver
        self._supervisor = supervisor
        self._watch = watch
        self._started_ms = wall_clock_ms()

    def handlers(self) -> Sequence[HandlerDescription]:
        return sorted(self._supervisor.handlers.values(), key=lambda handler: handler.name)

    async def info(self) -> NodeInfo:
        return await self._driver.inspect(self._info)

    def _info(self) -> NodeInfo:
        own = self._executions.nodes().get(self._node_id)
        return NodeInfo(
            node_id=self._node_id,
            version=__version__,
            started_ms=self._started_ms,
            incarnation=own.incarnation if own is not None else 0,
            applied_index=self._executions.applied_index,
            draining=self.draining,
            python_version=platform.python_version(),
            sqlite_version=sqlite_version(),
            hosts=self._supervisor.describe(self._dispatch.hosts.attempts_of, self._dispatch.hosts.lingering_in),
        )

    async def stats(self) -> Stats:
        return await self._driver.inspect(lambda: stats_of(self._executions, self._dispatch))

    async def wait_stats(self, after_revision: int) -> None:
        await self._watch.changed_after(after_revision)
