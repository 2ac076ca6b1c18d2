"""What this node, and the others, know of executions beside the store: slots, stacks, worker hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.runs import RunningAttempt
from tempolite_node.engine.model import Component, NodeState
from tempolite_node.explain.facts import SHOWN_MAX, Look, PoolLook, RunLook
from tempolite_node.node.driver_client import DriverClient


class Peers(Protocol):
    """The other nodes of the cluster."""

    async def look(self, node_id: str, execution_ids: Sequence[str]) -> Look | None: ...


class Looks:
    """Belongs to the event loop's thread."""

    def __init__(
        self,
        node_id: str,
        *,
        driver: Driver,
        client: DriverClient,
        nodes: Callable[[], Mapping[str, NodeState]],
        draining: Callable[[], bool],
        peers: Peers | None,
    ) -> None:
        """driver: inspected in its own thread alone. peers: None: the node is alone."""
        self._node_id = node_id
        self._driver = driver
        self._client = client
        self._nodes = nodes
        self._draining = draining
        self._peers = peers

    def nodes(self) -> Mapping[str, NodeState]:
        return self._nodes()

    async def look(self, executions: Mapping[str, Sequence[str]]) -> Mapping[str, Look]:
        """What each node that answers knows of these executions, by its id."""
        found = await asyncio.gather(*(self._at(node_id, ids) for node_id, ids in executions.items()))
        return {look.node_id: look for look in found if look is not None}

    async def _at(self, node_id: str, execution_ids: Sequence[str]) -> Look | None:
        if node_id == self._node_id:
            return await self.own(execution_ids)
        node = self._nodes().get(node_id)
        if self._peers is None or node is None or not node.live:
            return None
        return await self._peers.look(node_id, execution_ids)

    async def own(self, execution_ids: Sequence[str]) -> Look:
        draining = self._draining()
        return await self._client.inspect(lambda: look_at(self._node_id, self._driver, execution_ids, draining))


def look_at(node_id: str, driver: Driver, execution_ids: Sequence[str], draining: bool = False) -> Look:
    """To be called in the driver's thread, between two rounds."""
    dispatch = driver.dispatch
    runs = {execution_id: dispatch.run_at(execution_id) for execution_id in execution_ids}
    lingering = dispatch.hosts.lingering.executions
    starting = dispatch.pools[Component.SIDE_EFFECT].starting
    waiting = {
        execution_id: {
            due.frame.key: place
            for place, due in enumerate(starting)
            if due.run is run and not due.run.over and not due.frame.over
        }
        for execution_id, run in runs.items()
        if run is not None and starting
    }
    return Look(
        node_id=node_id,
        draining=draining,
        registered=driver.registered,
        hosts_up=0 if dispatch.hosts.all_are_unfit else len(dispatch.hosts.up),
        pools={component: _pool(dispatch, component) for component in Component},
        runs={id: _run(run, waiting.get(id, {})) for id, run in runs.items() if run is not None},
        code_goes_on=tuple(execution_id for execution_id in execution_ids if execution_id in lingering),
        tried_alone=dispatch.tried_alone or "",
    )


def _pool(dispatch: Dispatch, component: Component) -> PoolLook:
    pool = dispatch.pools[component]
    return PoolLook(
        workers=pool.workers,
        busy=pool.busy,
        paused=pool.paused,
        rate_limit=pool.rate.per_s,
        rate_wait_ms=round(dispatch.rate_wait_s(component) * 1_000),
        holders=tuple(dispatch.holders(component, SHOWN_MAX)),
        leased=dispatch.leased if component is Component.SIDE_EFFECT else 0,
    )


def _run(run: RunningAttempt, side_effects_waiting: Mapping[str, int]) -> RunLook:
    return RunLook(
        runs=run.root.slot,
        wakes=run.root.waking is not None,
        side_effects_running=tuple(frame.key for frame in run.frames.values() if frame.key and frame.slot),
        side_effects_waiting=side_effects_waiting,
    )
