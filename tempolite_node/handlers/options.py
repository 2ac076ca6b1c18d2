"""Which settings hold for a piece of work: those of the call, else the handler's, the pool's, the default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from tempolite_node.config import Config, RetryConfig
from tempolite_node.engine.model import (
    MAX_JOURNAL_BYTES,
    MAX_OPERATIONS,
    Component,
    Options,
    RetryPolicy,
    ServedHandler,
)
from tempolite_node.protocol.messages import CallOptions, HandlerSpec

T = TypeVar("T")

DEFAULT_RETRY = RetryPolicy(maximum_attempts=3)
#: A compensation that gives up leaves a saga STUCK for an operator, so it tries harder.
DEFAULT_COMPENSATION_RETRY = RetryPolicy(maximum_attempts=10)


class Resolved(NamedTuple):
    options: Options
    priority: int
    delay_ms: int
    max_duration_ms: int | None


def served_handler(
    config: Config,
    name: str,
    component: Component,
    *,
    function: str = "",
    signals: tuple[str, ...] = (),
    stepped: bool = False,
) -> ServedHandler:
    """How executions of a configured handler are run where a call sets nothing: by handler, pool and default.

    component: HANDLER or SAGA. function: "module:qualified name". signals: names of those that it declares.
    stepped: as in `ServedHandler`.
    """
    handler = config.handler(name)
    assert handler is not None, f"handler {name} is loaded and not configured"
    pool, compensation = config.pools.of_executions(component), config.pools.compensation
    return ServedHandler(
        name=name,
        component=component,
        function=function,
        signals=signals,
        stepped=stepped,
        options=Options(
            retry=_merged(handler.retry, pool.retry, default=DEFAULT_RETRY),
            compensation_retry=_merged(
                handler.compensation.retry, compensation.retry, default=DEFAULT_COMPENSATION_RETRY
            ),
            attempt_timeout_ms=_first(handler.attempt_timeout_ms, pool.attempt_timeout_ms),
            compensation_attempt_timeout_ms=_first(
                handler.compensation.attempt_timeout_ms, compensation.attempt_timeout_ms
            ),
            queue_timeout_ms=_first(handler.queue_timeout_ms, pool.queue_timeout_ms),
            heartbeat_timeout_ms=handler.heartbeat_timeout_ms,
            isolation=handler.isolation,
            max_crashes=handler.max_crashes,
            max_operations=_set([handler.max_operations, pool.max_operations], MAX_OPERATIONS),
            max_journal_bytes=_set([handler.max_journal_bytes, pool.max_journal_bytes], MAX_JOURNAL_BYTES),
        ),
        priority=handler.priority,
        max_duration_ms=_first(handler.max_duration_ms, pool.max_duration_ms),
        queue_limit=queue_limit(config, component),
        concurrency_key_limit=handler.concurrency_key_limit,
    )


def resolve(served: ServedHandler, call: CallOptions) -> Resolved:
    """How one execution is run: by what the call sets, else as its handler is served.

    A priority of 0 in the call leaves the handler's.
    """
    defaults = served.options
    options = replace(
        defaults,
        retry=_merged(_of_call(call), default=defaults.retry),
        attempt_timeout_ms=_first(call.attempt_timeout_ms, defaults.attempt_timeout_ms),
        queue_timeout_ms=_first(call.queue_timeout_ms, defaults.queue_timeout_ms),
        heartbeat_timeout_ms=_first(call.heartbeat_timeout_ms, defaults.heartbeat_timeout_ms),
    )
    return Resolved(
        options=options,
        priority=call.priority or served.priority,
        delay_ms=call.delay_ms,
        max_duration_ms=_first(call.max_duration_ms, served.max_duration_ms),
    )


def pool_retry(config: Config, component: Component) -> RetryPolicy:
    """Of the pool, for handlers that set nothing."""
    default = DEFAULT_COMPENSATION_RETRY if component is Component.COMPENSATION else DEFAULT_RETRY
    return _merged(config.pools.of(component).retry, default=default)


def queue_limit(config: Config, component: Component) -> int:
    """How many may wait for their first slot of the pool; 0: no limit."""
    if component in (Component.HANDLER, Component.SAGA):
        return config.pools.of_executions(component).queue_limit
    return 0


def handler_specs(config: Config) -> tuple[HandlerSpec, ...]:
    """What a worker host needs to know of the handlers."""
    pool = config.pools.side_effect
    return tuple(
        HandlerSpec(
            name=handler.name,
            target=handler.target,
            params=bytes(handler.params),
            secret_params=handler.params.secrets,
            side_effect_retry=_merged(handler.side_effect.retry, pool.retry, default=DEFAULT_RETRY),
            side_effect_timeout_ms=_first(handler.side_effect.attempt_timeout_ms, pool.attempt_timeout_ms),
            heartbeat_timeout_ms=handler.heartbeat_timeout_ms,
            memory_limit=handler.memory_limit,
        )
        for handler in config.handlers
    )


def _merged(*levels: RetryConfig, default: RetryPolicy) -> RetryPolicy:
    """Field by field from the first level that sets it."""
    return RetryPolicy(
        maximum_attempts=_set([level.maximum_attempts for level in levels], default.maximum_attempts),
        initial_interval_ms=_set([level.initial_interval_ms for level in levels], default.initial_interval_ms),
        backoff_coefficient=_set([level.backoff_coefficient for level in levels], default.backoff_coefficient),
        maximum_interval_ms=_set([level.maximum_interval_ms for level in levels], default.maximum_interval_ms),
        jitter=_set([level.jitter for level in levels], default.jitter),
        non_retryable_errors=_set([level.non_retryable_errors for level in levels], default.non_retryable_errors),
        retry_spent=_set([level.retry_spent for level in levels], default.retry_spent),
    )


def _of_call(call: CallOptions) -> RetryConfig:
    # Validated where the call came in; the config's bounds are for its file.
    return RetryConfig.model_construct(
        maximum_attempts=call.maximum_attempts,
        initial_interval_ms=call.initial_interval_ms,
        backoff_coefficient=call.backoff_coefficient,
        maximum_interval_ms=call.maximum_interval_ms,
        jitter=call.jitter,
        non_retryable_errors=call.non_retryable_errors,
        retry_spent=call.retry_spent,
    )


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)


def _set(values: Sequence[T | None], default: T) -> T:
    found = _first(*values)
    return default if found is None else found
