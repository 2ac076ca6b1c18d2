"""Which level's setting holds: call, handler, pool, default."""

import pytest

from tempolite_node.config import Config
from tempolite_node.engine.model import Component, Isolation, RetryPolicy
from tempolite_node.handlers.options import handler_specs, pool_retry, queue_limit, resolve, served_handler
from tempolite_node.protocol.messages import CallOptions


def config(handler: dict | None = None, pools: dict | None = None) -> Config:
    return Config.model_validate(
        {
            "node": {"id": "n", "data_dir": "unused"},
            "pools": pools or {},
            "handlers": [{"target": "shop:fulfil"} | (handler or {})],
        }
    )


CALL = CallOptions()


def resolved(config: Config, call: CallOptions = CALL, component: Component = Component.HANDLER):
    return resolve(served_handler(config, "fulfil", component), call)


def test_without_settings_the_defaults_hold():
    options, priority, delay_ms, max_duration_ms = resolved(config())

    assert options.retry == RetryPolicy(maximum_attempts=3)
    assert options.compensation_retry.maximum_attempts == 10
    assert (options.attempt_timeout_ms, options.queue_timeout_ms, max_duration_ms) == (None, None, None)
    assert (priority, delay_ms) == (0, 0)


@pytest.mark.parametrize(
    ("call", "handler", "pool", "expected"),
    [(4, 5, 6, 4), (None, 5, 6, 5), (None, None, 6, 6), (None, None, None, None), (None, 0, 6, 0)],
)
def test_the_nearest_level_that_sets_something_decides(call, handler, pool, expected):
    def settings(value: int | None) -> dict:
        if value is None:
            return {}
        return {"retry": {"maximum_attempts": value}, "attempt_timeout_ms": value + 1, "max_duration_ms": value + 1}

    asked = CallOptions(
        maximum_attempts=call,
        attempt_timeout_ms=None if call is None else call + 1,
        max_duration_ms=None if call is None else call + 1,
    )

    options, _, _, max_duration_ms = resolved(config(settings(handler), {"handler": settings(pool)}), asked)

    expected_ms = None if expected is None else expected + 1
    assert options.retry.maximum_attempts == (3 if expected is None else expected)
    assert (options.attempt_timeout_ms, max_duration_ms) == (expected_ms, expected_ms)


def test_how_much_may_be_recorded_is_set_by_handler_or_pool():
    pools = {"handler": {"max_operations": 1_000, "max_journal_bytes": 2_000_000}}

    of_pool = resolved(config(pools=pools)).options
    of_handler = resolved(config({"max_operations": 2_000}, pools)).options
    default = resolved(config()).options

    assert (of_pool.max_operations, of_pool.max_journal_bytes) == (1_000, 2_000_000)
    assert (of_handler.max_operations, of_handler.max_journal_bytes) == (2_000, 2_000_000)
    assert (default.max_operations, default.max_journal_bytes) == (50_000, 1024**3)


def test_each_field_of_a_retry_policy_is_resolved_by_itself():
    settings = config({"retry": {"jitter": 0.5}}, {"saga": {"retry": {"initial_interval_ms": 7, "jitter": 0.1}}})

    policy = resolved(settings, CallOptions(backoff_coefficient=1.5), Component.SAGA).options.retry

    assert policy == RetryPolicy(backoff_coefficient=1.5, jitter=0.5, initial_interval_ms=7)


def test_the_pool_is_the_one_of_the_component():
    settings = config(pools={"handler": {"queue_limit": 1}, "saga": {"queue_limit": 2, "queue_timeout_ms": 9}})

    assert resolved(settings, component=Component.SAGA).options.queue_timeout_ms == 9
    assert [queue_limit(settings, component) for component in Component] == [1, 2, 0, 0]
    assert served_handler(settings, "fulfil", Component.SAGA).queue_limit == 2


def test_the_limit_of_a_concurrency_key_is_the_handlers_and_one_by_default():
    assert served_handler(config(), "fulfil", Component.SAGA).concurrency_key_limit == 1
    assert served_handler(config({"concurrency_key_limit": 4}), "fulfil", Component.SAGA).concurrency_key_limit == 4


def test_compensations_and_side_effects_have_settings_of_their_own():
    settings = config(
        {"side_effect": {"retry": {"maximum_attempts": 8}}, "compensation": {"attempt_timeout_ms": 5}},
        {"side_effect": {"attempt_timeout_ms": 6}, "compensation": {"retry": {"maximum_attempts": 0}}},
    )

    options = resolved(settings, CallOptions(maximum_attempts=2, attempt_timeout_ms=1)).options
    [spec] = handler_specs(settings)

    assert (options.compensation_retry.maximum_attempts, options.compensation_attempt_timeout_ms) == (0, 5)
    assert (spec.side_effect_retry.maximum_attempts, spec.side_effect_timeout_ms) == (8, 6)
    assert pool_retry(settings, Component.COMPENSATION).maximum_attempts == 0


def test_a_call_without_a_priority_has_the_handlers():
    settings = config({"priority": 5, "isolation": "process", "max_crashes": 2})

    assert resolved(settings).priority == 5
    assert resolved(settings, CallOptions(priority=-1)).priority == -1
    assert resolved(settings).options.isolation is Isolation.PROCESS
    assert resolved(settings).options.max_crashes == 2
