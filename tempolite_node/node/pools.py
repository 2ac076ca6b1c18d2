"""Shows the pools to operators, and changes them while the node runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from tempolite_node.config import Config
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.pools import RateLimit
from tempolite_node.engine.commands import RegisterNode
from tempolite_node.engine.model import Component
from tempolite_node.handlers.options import pool_retry, queue_limit
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.stats import stats_of
from tempolite_node.store.writer import StoreWriter
from tempolite_node.views import PoolState


class Pools:
    def __init__(
        self,
        config: Config,
        *,
        dispatch: Dispatch,
        executions: StoreWriter,
        driver: DriverClient,
        registration: Callable[[], RegisterNode] | None,
    ) -> None:
        """dispatch, executions: inspected and changed in the driver's thread alone.

        registration: what the other nodes have to know of this one, as of now; None: it is alone.
        """
        self._config = config
        self._dispatch = dispatch
        self._executions = executions
        self._driver = driver
        self._registration = registration

    async def state(self, component: Component) -> PoolState:
        return await self._driver.inspect(lambda: self._state(component))

    def _state(self, component: Component) -> PoolState:
        pool = self._dispatch.pools[component]
        stats = getattr(stats_of(self._executions, self._dispatch), component.value)
        return PoolState(
            component=component,
            workers=pool.workers,
            busy=stats.busy,
            paused=pool.paused,
            queued=stats.queued,
            queue_limit=queue_limit(self._config, component),
            rate_limit=self._config.pools.of(component).rate_limit,
            retry=pool_retry(self._config, component),
        )

    async def scale(self, component: Component, workers: int) -> PoolState:
        def scale() -> None:
            self._dispatch.pools[component].workers = workers

        await self._driver.reconfigure(scale)
        if self._registration is not None:
            await self._driver.submit(self._registration())  # executions are placed by slots
        return await self.state(component)

    async def pause(self, component: Component) -> PoolState:
        return await self._set_paused(component, True)

    async def resume(self, component: Component) -> PoolState:
        return await self._set_paused(component, False)

    async def _set_paused(self, component: Component, paused: bool) -> PoolState:
        def set_paused() -> None:
            self._dispatch.pools[component].paused = paused

        await self._driver.reconfigure(set_paused)
        return await self.state(component)

    async def take(self, config: Config) -> None:
        """Has the pools follow the config. What is the same in both keeps what an operator has made of it meanwhile."""

        def take() -> None:
            for component, pool in self._dispatch.pools.items():
                before, after = self._config.pools.of(component), config.pools.of(component)
                if before.workers != after.workers:
                    pool.workers = after.workers
                if before.rate_limit != after.rate_limit:
                    pool.rate = RateLimit(after.rate_limit, time.monotonic())
            self._config = config

        await self._driver.reconfigure(take)

    async def drain(self) -> None:
        """Pauses those that start executions: side effects of attempts that are to end still need theirs."""

        def pause() -> None:
            for component, pool in self._dispatch.pools.items():
                if component is not Component.SIDE_EFFECT:
                    pool.paused = True

        await self._driver.reconfigure(pause)
