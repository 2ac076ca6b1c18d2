"""How the event loop asks the driver: for a decision, or to look at its state between two commits.

Belongs to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from tempolite_node.driver.driver import Driver
from tempolite_node.driver.inputs import Barrier, Input, Inspect, Reconfigure, Submit, SubmitBatch
from tempolite_node.engine.commands import AnyCommand
from tempolite_node.engine.effects import AnyOutcome
from tempolite_node.errors import NodeError, Overloaded, StorageFailed, Unavailable

T = TypeVar("T")

#: Commands of clients that may wait for the driver; more are refused before anything is stored.
WAITING_INPUTS_MAX = 50_000


class DriverClient:
    """Whatever is asked raises Unavailable once the node stops, and what broke the driver if that is what happens."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._loop = asyncio.get_running_loop()
        self._asked: set[asyncio.Future[Any]] = set()  #: who waits for the driver's next commit
        self._stopped = False

    def now_ms(self) -> int:
        """Unix milliseconds, by the clock that decides what is due."""
        return self._driver.now_ms()

    async def submit(self, command: AnyCommand) -> AnyOutcome:
        """The outcome, once it is on disk. Overloaded: too much waits; nothing was stored."""
        self._refuse_if_overloaded()
        outcome: AnyOutcome = await self._ask(lambda answer: Submit(command, answer))
        return outcome

    async def submit_all(self, commands: Sequence[AnyCommand]) -> Sequence[AnyOutcome]:
        """Their outcomes, in order, once all are on disk. Overloaded: as above."""
        self._refuse_if_overloaded()
        outcomes: list[AnyOutcome] = await self._ask(lambda answer: SubmitBatch(commands, answer))
        return outcomes

    def _refuse_if_overloaded(self) -> None:
        if self._driver.waiting_inputs() > WAITING_INPUTS_MAX:
            raise Overloaded(f"more than {WAITING_INPUTS_MAX} requests wait for the node's disk")

    async def inspect(self, inspect: Callable[[], T]) -> T:
        """Runs in the driver's thread, between two commits."""
        seen: T = await self._ask(lambda answer: Inspect(inspect, answer))
        return seen

    async def reconfigure(self, change: Callable[[], None]) -> None:
        """Changes which work starts, in the driver's thread, and has what may start by then started."""
        await self._ask(lambda answer: Reconfigure(change, answer))

    async def barrier(self) -> None:
        """Returns when everything that any node acknowledged before is applied here. NoQuorum: nobody can tell."""
        await self._ask(Barrier)

    async def _ask(self, given: Callable[[Callable[[Any], None]], Input]) -> Any:
        if self._stopped:
            raise Unavailable("the node is stopping")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked.add(future)
        self._driver.put(given(partial(_resolve, future)))
        try:
            return await future
        finally:
            self._asked.discard(future)

    def stop(self) -> None:
        """From here on nothing is taken. What was asked before is answered."""
        self._stopped = True

    def fail(self, error: BaseException) -> None:
        """From here on nothing is taken, and nobody is answered any more."""
        self.stop()
        known = isinstance(error, StorageFailed | Unavailable)
        for future in list(self._asked):
            if not future.done():
                future.set_exception(error if known else Unavailable("the node failed"))


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Who asked may have given up meanwhile."""
    if future.done():
        return
    if isinstance(value, NodeError):
        future.set_exception(value)
    else:
        future.set_result(value)
