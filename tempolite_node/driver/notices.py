"""What operators read in the node's log about single executions."""

from __future__ import annotations

import structlog

from tempolite_node.engine.effects import SignalSetAside

logger = structlog.get_logger("executions")


def tell_set_aside(effect: SignalSetAside) -> None:
    signal = effect.signal
    logger.warning(
        "a signal was set aside: its payload is not what the handler reads; the execution waits for another one",
        execution_id=effect.execution_id,
        handler=effect.handler,
        signal=signal.name,
        sequence=signal.seq,
        sender=signal.sender,
        error=signal.set_aside,
    )
