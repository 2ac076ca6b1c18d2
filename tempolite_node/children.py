"""Makes commands out of what attempts ask for their children: ids, settings and owners are chosen here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from tempolite_node.config import Config
from tempolite_node.engine.commands import EnqueueChild
from tempolite_node.engine.effects import Reason, Refused
from tempolite_node.frames import ChildRequest, HandlerDescription
from tempolite_node.ids import new_id
from tempolite_node.options import Resolver


class Children:
    def __init__(self, config: Config, handlers: Callable[[], Mapping[str, HandlerDescription]]) -> None:
        self._config = config
        self._handlers = handlers
        self._resolve = Resolver(config)

    def __call__(self, request: ChildRequest, at_ms: int) -> EnqueueChild | Refused:
        """The engine's request for a child, or why there can be none."""
        description = self._handlers().get(request.handler)
        if description is None:
            served = ", ".join(sorted(self._handlers()))
            message = f"this node serves no handler {request.handler!r}; it serves: {served}"
            return Refused(reason=Reason.NOT_FOUND, message=message)
        resolved = self._resolve(request.handler, description.component, request.options)
        return EnqueueChild(
            key=request.key,
            digest=request.digest,
            execution_id=request.execution_id or new_id(at_ms),
            handler=request.handler,
            component=description.component,
            arguments=request.arguments,
            options=replace(resolved.options, close_policy=request.close_policy),
            owner=self._config.node.id,
            priority=resolved.priority,
            delay_ms=resolved.delay_ms,
            max_duration_ms=resolved.max_duration_ms,
        )
