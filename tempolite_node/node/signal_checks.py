"""Whether a signal is one that its receiver declares: looked at when a client or another execution sends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from tempolite_node.driver.calls import Undecided
from tempolite_node.engine.commands import SendSignalFromAttempt
from tempolite_node.engine.effects import Reason, Refused
from tempolite_node.engine.model import Execution
from tempolite_node.errors import NodeError
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.node.reads import Reads
from tempolite_node.protocol.messages import Violation
from tempolite_node.supervisor.supervisor import Supervisor
from tempolite_sdk.signals import not_declared


class Peers(Protocol):
    """The other nodes of the cluster."""

    async def check_signal(self, handler: str, name: str, payload: bytes) -> Sequence[Violation]: ...


class Executions(Protocol):
    def execution(self, execution_id: str) -> Execution | None: ...


class SignalChecks:
    """Belongs to the event loop's thread, but for what is said otherwise."""

    def __init__(
        self,
        catalog: HandlerCatalog,
        supervisor: Supervisor,
        executions: Executions,
        *,
        reads: Reads,
        peers: Peers | None,
    ) -> None:
        """executions: for the driver's thread. peers: None: the node is alone."""
        self._catalog = catalog
        self._supervisor = supervisor
        self._executions = executions
        self._reads = reads
        self._peers = peers
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[None]] = set()

    # --- sent by clients

    async def check_signal(self, execution_id: str, name: str, payload: bytes) -> Sequence[Violation]:
        """What is wrong with a signal to the execution. Unavailable: who can tell does not answer."""
        if not self._catalog.declares_signals:
            return ()
        target = await self._reads.known_execution(execution_id)
        if target is None or target.closed:
            return ()  # the engine says so
        return await self._violations(target.handler, name, payload)

    async def _violations(self, handler: str, name: str, payload: bytes) -> Sequence[Violation]:
        found = self._look(handler, name, payload)
        if found is None:
            checker = self._supervisor if handler in self._supervisor.handlers or self._peers is None else self._peers
            found = _within_payload(await checker.check_signal(handler, name, payload))
        return found

    def _look(self, handler: str, name: str, payload: bytes) -> Sequence[Violation] | None:
        """What can be told at once, in any thread. None: a worker host, or another node, has to be asked."""
        declared = self._catalog.signals_of(handler)
        if not declared:
            return ()
        if name not in declared:
            return (Violation("name", not_declared(handler, name, declared)),)
        if handler in self._supervisor.handlers:
            found = self._supervisor.check_plain_signal(handler, name, payload)
            return None if found is None else _within_payload(found)
        return () if self._peers is None else None

    # --- sent by attempts

    def of_attempt(self, request: SendSignalFromAttempt) -> Refused | Undecided | None:
        """In the driver's thread. None: nothing is wrong with it that can be told here."""
        if request.to is None or not self._catalog.declares_signals:
            return None
        target = self._executions.execution(request.to)
        if target is None or target.closed:
            return None  # the engine says so
        found = self._look(target.handler, request.name, request.payload)
        if found is None:
            return Undecided(partial(self._ask_later, target.handler, request))
        return _refused(target.handler, request.name, found)

    def _ask_later(
        self, handler: str, request: SendSignalFromAttempt, decided: Callable[[Refused | None], None]
    ) -> None:
        self._loop.call_soon_threadsafe(self._ask, handler, request, decided)

    def _ask(self, handler: str, request: SendSignalFromAttempt, decided: Callable[[Refused | None], None]) -> None:
        task = self._loop.create_task(self._asked(handler, request, decided))
        self._asking.add(task)  # the loop alone would not keep it
        task.add_done_callback(self._asking.discard)

    async def _asked(
        self, handler: str, request: SendSignalFromAttempt, decided: Callable[[Refused | None], None]
    ) -> None:
        try:
            found = await self._violations(handler, request.name, request.payload)
        except NodeError:
            found = ()  # nobody can tell now; should it not fit, whoever receives it sets it aside
        decided(_refused(handler, request.name, found))


def _within_payload(violations: Sequence[Violation]) -> Sequence[Violation]:
    return [Violation(".".join(filter(None, ("payload", each.field))), each.description) for each in violations]


def _refused(handler: str, name: str, violations: Sequence[Violation]) -> Refused | None:
    if not violations:
        return None
    told = "; ".join(f"{each.field}: {each.description}" for each in violations)
    return Refused(reason=Reason.INVALID_ARGUMENT, message=f"signal {name!r} to {handler}: {told}")
