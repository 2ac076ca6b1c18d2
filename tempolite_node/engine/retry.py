"""When a failed attempt is made again, and why it is not."""

from __future__ import annotations

import math

from msgspec import UNSET

from tempolite_node.engine.model import Failure, RetryPolicy, RetryState
from tempolite_node.engine.times import later


def retry_at_ms(
    policy: RetryPolicy,
    *,
    failure: Failure,
    failures: int,
    failed_at_ms: int,
    jitter: float,
    deadline_ms: int | None,
    retry_spent: bool = False,
) -> int | RetryState:
    """When the next attempt may start, or why there is none.

    failures: how many attempts have failed, this one included.
    failed_at_ms, deadline_ms: Unix milliseconds, from the command and never from the clock.
    retry_spent: where the policy does not say whether a failure that is `spent` is retried.
    jitter: drawn from [-1, 1) when the command was made; the result is stored, so it is drawn once.
    Source: exponential backoff with Temporal's fields; an error's own delay goes before the backoff.
    """
    if failure.spent and not (retry_spent if policy.retry_spent is UNSET else policy.retry_spent):
        return RetryState.NON_RETRYABLE_FAILURE
    if failure.non_retryable or not set(policy.non_retryable_errors).isdisjoint((failure.type, *failure.bases)):
        return RetryState.NON_RETRYABLE_FAILURE
    if policy.maximum_attempts and failures >= policy.maximum_attempts:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    due_ms = later(failed_at_ms, _delay_ms(policy, failure, failures, jitter))
    if deadline_ms is not None and due_ms >= deadline_ms:
        return RetryState.TIMEOUT
    return due_ms


def _delay_ms(policy: RetryPolicy, failure: Failure, failures: int, jitter: float) -> int:
    if failure.retry_after_ms is not None:
        return failure.retry_after_ms
    # Past 2**64 every policy has reached its maximum, and the power itself would overflow. Without a limit on either
    # side 0 * log2(inf) would be no number at all.
    doublings = (failures - 1) * min(math.log2(policy.backoff_coefficient), 64.0)
    grown: float = policy.initial_interval_ms * 2.0 ** min(doublings, 64.0)
    return round(min(grown, policy.maximum_interval_ms) * (1 + policy.jitter * jitter))
