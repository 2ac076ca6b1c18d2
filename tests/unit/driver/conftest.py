"""Simulated nodes, and what is done to them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tempolite_node.engine.commands import (
    BeginStep,
    CompleteAttempt,
    CompleteStep,
    Enqueue,
    ReceiveSignal,
    SendSignal,
)
from tempolite_node.engine.model import Component, Options, RetryPolicy

from ..engine.story import new_store
from .simulated import Settings, SimulatedNode

RETRIES = Options(
    retry=RetryPolicy(maximum_attempts=2), compensation_retry=RetryPolicy(maximum_attempts=2), max_crashes=2
)


@contextmanager
def simulated(window_max: int = 10_000, **workers: int) -> Iterator[SimulatedNode]:
    pools = {component: Settings(workers.get(component, 1)) for component in Component}
    with tempfile.TemporaryDirectory() as directory:
        node = SimulatedNode(new_store(Path(directory, "store.db")), pools, window_max=window_max)
        yield node
        node.close()


@pytest.fixture
def node() -> Iterator[SimulatedNode]:
    """One worker in each pool, and a worker host."""
    with simulated() as node:
        node.host_up()
        yield node


def enqueue(node: SimulatedNode, execution_id: str, component: Component = Component.HANDLER, **fields: Any) -> None:
    node.ask(enqueue_command(node, execution_id, component, **fields))


def enqueue_command(
    node: SimulatedNode, execution_id: str, component: Component = Component.HANDLER, **fields: Any
) -> Enqueue:
    defaults: dict[str, Any] = {"options": RETRIES, "handler": "h", "arguments": b"[]"}
    return Enqueue(
        at_ms=node.now_ms,
        execution_id=execution_id,
        component=component,
        **(defaults | fields),
    )


def busy(node: SimulatedNode) -> dict[Component, int]:
    return {component: pool.busy for component, pool in node.dispatch.pools.items() if pool.busy}


def receive(node: SimulatedNode, execution_id: str, frame: str = "") -> None:
    attempt = node.attempts[execution_id]
    node.say(attempt, frame, ReceiveSignal(key=attempt.key_in(frame), name="go"))


def signal(node: SimulatedNode, execution_id: str) -> None:
    node.ask(SendSignal(at_ms=node.now_ms, execution_id=execution_id, name="go", payload=b"1"))


def complete(node: SimulatedNode, execution_id: str) -> None:
    node.end(node.attempts[execution_id], CompleteAttempt(result=b"1"))


def saga_with_a_step(node: SimulatedNode, execution_id: str) -> None:
    enqueue(node, execution_id, Component.SAGA)
    attempt = node.attempts[execution_id]
    node.say(attempt, "", BeginStep(key="S#1", target="m:S", input=b"{}", digest=b""))
    node.say(attempt, "", CompleteStep(key="S#1", data=b"{}"))
