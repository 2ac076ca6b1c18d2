"""Makes commands out of what attempts ask for their children: ids and settings are chosen here."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from tempolite_node.engine.commands import EnqueueChild
from tempolite_node.engine.effects import Refused, Rejection
from tempolite_node.handlers.catalog import HandlerCatalog
from tempolite_node.protocol.messages import ChildRequest
from tempolite_sdk.ids import uuid7


class ChildResolver:
    def __init__(self, catalog: Callable[[], HandlerCatalog]) -> None:
        self._catalog = catalog

    def __call__(self, request: ChildRequest, at_ms: int) -> EnqueueChild | Refused:
        """The engine's request for a child, or why there can be none."""
        handlers = self._catalog().current()
        served = handlers.find(request.handler, request.function)
        if isinstance(served, Rejection):
            return Refused(reason=served.reason, message=served.message)
        resolved, policy = handlers.resolve(served, request.options), request.close_policy
        return EnqueueChild(
            key=request.key,
            digest=request.digest,
            execution_id=request.execution_id or uuid7(at_ms),
            handler=served.name,
            component=served.component,
            arguments=request.arguments,
            options=resolved.options if policy is None else replace(resolved.options, close_policy=policy),
            priority=resolved.priority,
            delay_ms=resolved.delay_ms,
            max_duration_ms=resolved.max_duration_ms,
            concurrency_key=request.concurrency_key,
        )
