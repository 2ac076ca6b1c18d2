"""Where a call is tried, how often, how long and with which pauses. Pure but for the clock, the dice and the log."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable
from typing import Any, Generic

import grpc

from tempolite_sdk.client.calls.call import Call
from tempolite_sdk.client.channel import Endpoint
from tempolite_sdk.client.route import L, Route
from tempolite_sdk.client.status import (
    OUTCOME_UNKNOWN,
    CallFailed,
    Status,
    exception_of,
    is_connection_lost,
    is_untrusted,
    read_status,
    why_unreachable,
)
from tempolite_sdk.errors import DeadlineExceeded, OutcomeUnknown, Unavailable

logger = logging.getLogger("tempolite.client")

INITIAL_PAUSE = 0.05  #: seconds
MAXIMUM_PAUSE = 2.0  #: seconds; a node restarts in about as long
#: A long poll is given this much longer than the node may hold it; then its connection counts as lost.
POLL_GRACE = 2.0
#: Seconds that a try gets at least, while there is another endpoint to go on with.
SHORTEST_TRY = 1.0


class Tries(Generic[L]):
    """The tries of one call: where each goes, what it may take, and the pause before the next.

    Repeats are safe because a request says the same each time, its request_id included, and any node of a cluster takes
    it. Backoff is exponential with full jitter, so that the clients of a node that restarts do not come back in step;
    it grows with each round of the endpoints.
    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    def __init__(
        self,
        route: Route[L],
        call: Call[Any],
        patience: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """patience: seconds after which the call is given up; with a long poll, they start at the first failure."""
        now = clock()
        self._route = route
        self._only = _only_link(route, call)
        self._links: tuple[L, ...] = route.links if self._only is None else (self._only,)
        self._link = self._only or route.in_use
        self._patience = patience if call.patience is None else min(patience, call.patience)
        self._holds = call.hold is not None
        self._until = call.until
        self._give_up_at = call.until if self._holds else min(call.until, now + self._patience)
        #: A node that says nothing at all must leave time for the others.
        self._share = max((self._give_up_at - now) / len(self._links), SHORTEST_TRY)
        self._clock = clock
        self._jitter = jitter
        self._failures = 0
        self._said: dict[Endpoint, Status] = {}  #: last words of each that failed
        self._outcome_unknown = False

    def next_link(self) -> L:
        """Where the next try goes."""
        self._link = self._only or self._route.in_use
        return self._link

    def timeout(self, call: Call[Any]) -> float | None:
        """Seconds for the next try; None: no limit."""
        if call.hold is not None:
            held = min(call.hold, max(self._until - self._clock(), 0.0))
            return None if held == math.inf else held + POLL_GRACE
        remaining = max(self._give_up_at - self._clock(), 0.001)
        return remaining if len(self._links) == 1 else min(remaining, self._share)

    def pause_after(self, error: grpc.RpcError | CallFailed) -> float:
        """Seconds to wait before the next try. Raises the error, as one of ours, when there is none.

        What gRPC raised is not chained to it: what it says is in the message, and its traceback is not the caller's.
        """
        status = read_status(error)
        before = self._said.get(self._link.endpoint)
        if before is not None and status.code is grpc.StatusCode.DEADLINE_EXCEEDED and not self._may_repeat(status):
            raise self._given_up(before) from None  # why it came to that is what the try before was told
        self._said[self._link.endpoint] = status
        self._outcome_unknown |= status.reason == OUTCOME_UNKNOWN
        if not self._may_repeat(status):
            self._route.answered()
            raise exception_of(status) from None
        unreachable = why_unreachable(status) is not None
        is_news = self._route.failed(self._link, status.leader, unreachable=unreachable)
        now = self._clock()
        self._give_up_at = min(self._give_up_at, now + self._patience)
        pause = self._pause(status)
        if now + pause >= self._give_up_at:
            raise self._given_up(status) from None
        if is_news:
            logger.warning("no node answers at %s: trying for %g s", self._where(), round(self._give_up_at - now, 1))
        self._failures += 1
        return pause

    def answered(self) -> None:
        """The try did what it was to do."""
        if self._route.fails:
            self._route.answered()

    def succeeded(self) -> None:
        """The connection works: a later failure gets the whole patience again. For streams."""
        self.answered()
        self._failures = 0
        self._give_up_at = math.inf
        self._said.clear()

    def _may_repeat(self, status: Status) -> bool:
        if is_untrusted(status):
            return not self._all_are_untrusted()
        # The deadline of a try is ours alone where another one may follow: the node would have answered before it.
        return is_connection_lost(status) or (
            status.code is grpc.StatusCode.DEADLINE_EXCEEDED and (self._holds or len(self._links) > 1)
        )

    def _all_are_untrusted(self) -> bool:
        return len(self._said) == len(self._links) and all(map(is_untrusted, self._said.values()))

    def _pause(self, status: Status) -> float:
        rounds, index = divmod(self._failures, len(self._links))
        ceiling: float = min(INITIAL_PAUSE * 2**rounds, MAXIMUM_PAUSE)
        pause = self._jitter(0.0, ceiling)
        # When a node says to come back is about that node: it counts once there is no other left to ask before.
        return max(pause, status.retry_after or 0.0) if index == len(self._links) - 1 else pause

    def _given_up(self, last: Status) -> DeadlineExceeded | Unavailable:
        unreachable = all(why_unreachable(status) is not None for status in self._said.values())
        said = last.message if len(self._links) == 1 else self._what_each_said()
        if unreachable:
            said = f"no node answers at {self._where()}"
        if self._give_up_at == self._until:
            return DeadlineExceeded(f"no answer before the timeout: {said}")
        what = f"given up after {self._patience:g} s"
        if self._outcome_unknown:
            return OutcomeUnknown(f"{what}; it may be stored or not, and a repeat with its request_id tells: {said}")
        if unreachable:
            said += (
                "; start it with `tempolite-node --config node.yaml`, or say where it is: address=, TEMPOLITE_ADDRESS"
            )
        return Unavailable(f"{what}: {said}")

    def _where(self) -> str:
        """Each address, and why it can't be reached."""

        def told(endpoint: Endpoint) -> str:
            status = self._said.get(endpoint)
            return str(endpoint) if status is None else f"{endpoint} ({why_unreachable(status) or status.message})"

        return ", ".join(told(link.endpoint) for link in self._links)

    def _what_each_said(self) -> str:
        def said_by(endpoint: Endpoint) -> str:
            status = self._said.get(endpoint)
            return f"{endpoint}: {'was not asked' if status is None else status.message}"

        return "; ".join(said_by(link.endpoint) for link in self._links)


def _only_link(route: Route[L], call: Call[Any]) -> L | None:
    """The link that the call must take; None: whichever is in use."""
    if call.affinity is not None and call.affinity.link is not None:
        link: L = call.affinity.link
        return link
    return route.in_use if call.pinned else None
