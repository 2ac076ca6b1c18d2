"""The pools of the components, and how their work is retried."""

from __future__ import annotations

from typing import Annotated

from tempolite_node.config.bounds import duration, number, size, whole
from tempolite_node.config.section import LONG, Name, Section, Timeout
from tempolite_node.engine.model import Component

WORKERS_MAX = 10_000


#: Of one execution: each replay goes through all of its journal, in the memory of a worker host.
MaxOperations = Annotated[int, whole(10, 10_000_000, "each replay goes through all of them")]
MaxJournal = Annotated[int, size("64KiB", "64GiB", "each replay holds all of it in memory")]


class RetryConfig(Section):
    """Unset fields take the next level's value: call, handler, pool, default."""

    maximum_attempts: Annotated[int, whole(0, 1_000_000, "0: no limit")] | None = None
    initial_interval_ms: Annotated[int, duration("1ms", "365d", LONG)] | None = None
    backoff_coefficient: Annotated[float, number(1, 1_000, "below 1 the delays would shrink")] | None = None
    maximum_interval_ms: Annotated[int, duration("1ms", "365d", LONG)] | None = None
    jitter: Annotated[float, number(0, 1, "the delay is drawn from 1 - jitter to 1 + jitter")] | None = None
    non_retryable_errors: tuple[Name, ...] | None = None


class PoolConfig(Section):
    """Slots and defaults of one component."""

    workers: Annotated[int, whole(1, WORKERS_MAX, "each is a thread or task that runs user code")] = 1
    retry: RetryConfig = RetryConfig()
    attempt_timeout_ms: Timeout | None = None
    rate_limit: Annotated[float, number(0, 1_000_000, "starts per second; 0: no limit")] = 0.0


class ExecutionPoolConfig(PoolConfig):
    """Of the components whose work waits in a queue that clients fill."""

    max_duration_ms: Timeout | None = None
    queue_timeout_ms: Timeout | None = None
    max_operations: MaxOperations | None = None
    max_journal_bytes: MaxJournal | None = None
    queue_limit: Annotated[int, whole(0, 100_000_000, "executions that wait to start; 0: no limit")] = 0


class PoolsConfig(Section):
    handler: ExecutionPoolConfig = ExecutionPoolConfig()
    saga: ExecutionPoolConfig = ExecutionPoolConfig()
    compensation: PoolConfig = PoolConfig()
    side_effect: PoolConfig = PoolConfig()

    def of(self, component: Component) -> PoolConfig:
        match component:
            case Component.HANDLER:
                return self.handler
            case Component.SAGA:
                return self.saga
            case Component.COMPENSATION:
                return self.compensation
            case Component.SIDE_EFFECT:
                return self.side_effect

    def of_executions(self, component: Component) -> ExecutionPoolConfig:
        assert component in (Component.HANDLER, Component.SAGA), f"no executions in the {component} pool"
        return self.saga if component is Component.SAGA else self.handler
