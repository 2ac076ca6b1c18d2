"""How long a call is repeated, and with which pauses. Pure but for the clock and the dice."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

import grpc

from tempolite_sdk.calls.call import Call
from tempolite_sdk.errors import Unavailable
from tempolite_sdk.status import CallFailed, Status, exception_of, is_connection_lost, read_status

INITIAL_PAUSE = 0.05  #: seconds
MAXIMUM_PAUSE = 2.0  #: seconds; a node restarts in about as long
#: A long poll is given this much longer than the node may hold it; then its connection counts as lost.
POLL_GRACE = 2.0


class Tries:
    """The tries of one call: what each may take, and the pause before the next.

    Repeats are safe because a request says the same each time, its request_id included. Backoff is exponential with
    full jitter, so that the clients of a node that restarts do not come back in step.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(
        self,
        patience: float,
        hold: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """
        patience: seconds after which a call is given up.
        hold: seconds for which the node may hold a long poll. The patience with it starts at the first failure.
        """
        self._patience = patience
        self._hold = hold
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._give_up_at = math.inf if hold is not None else clock() + patience

    @classmethod
    def of(cls, call: Call[Any], patience: float) -> Tries:
        return cls(patience if call.patience is None else min(patience, call.patience), call.hold)

    @property
    def timeout(self) -> float | None:
        """Seconds for the next try; None: no limit."""
        if self._hold is None:
            return max(self._give_up_at - self._clock(), 0.001)
        return None if self._hold == math.inf else self._hold + POLL_GRACE

    def pause_after(self, error: grpc.RpcError | CallFailed) -> float:
        """Seconds to wait before the next try. Raises the error, as one of ours, when there is none."""
        status = read_status(error)
        if not self._may_repeat(status):
            raise exception_of(status) from error
        now = self._clock()
        self._give_up_at = min(self._give_up_at, now + self._patience)
        pause = max(self._backoff(), status.retry_after or 0.0)
        if now + pause >= self._give_up_at:
            raise Unavailable(f"given up after {self._patience:g} s: {status.message}") from error
        self._failures += 1
        return pause

    def succeeded(self) -> None:
        """The connection works: a later failure gets the whole patience again. For streams."""
        self._failures = 0
        self._give_up_at = math.inf

    def _may_repeat(self, status: Status) -> bool:
        # The deadline of a long poll is ours alone: the node would have answered before it.
        return is_connection_lost(status) or (
            self._hold is not None and status.code is grpc.StatusCode.DEADLINE_EXCEEDED
        )

    def _backoff(self) -> float:
        ceiling: float = min(INITIAL_PAUSE * 2**self._failures, MAXIMUM_PAUSE)
        return self._jitter(0.0, ceiling)
