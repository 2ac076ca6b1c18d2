"""A call, a conversation of several, and what all of them share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from tempolite_sdk.client import convert
from tempolite_sdk.client.cluster_info import Consistency
from tempolite_sdk.client.info import Component
from tempolite_sdk.durations import Duration, seconds_of

T = TypeVar("T")

#: How long the node may hold a long poll, in seconds: shorter than what proxies and firewalls cut off.
POLL_HOLD = 20.0

#: Seconds that a call gets even when its deadline is due, so that a wait of 0 seconds asks once.
LAST_TRY = 1.0


class Affinity:
    """The node that answered an earlier call of a conversation, for calls that only make sense there."""

    __slots__ = ("link",)

    def __init__(self) -> None:
        self.link: Any = None  #: None: not answered yet; any node will do


class Call(Struct, Generic[T], frozen=True):
    """One request to one method. It may be sent again, also to another node: repeats are answered as the first."""

    method: str  #: "<service>/<method>"
    request: Any
    read: Callable[[Any], T]  #: what the caller gets of the response
    hold: float | None = None  #: seconds for which the node may hold its answer, of a long poll or stream
    patience: float | None = None  #: seconds after which to give up, where they are fewer than the client's timeout
    until: float = math.inf  #: of time.monotonic(): when the caller's own time is up
    again: Callable[[], Call[T]] | None = None  #: makes the repeat, of a wait for the rest of its time; None: the same
    affinity: Affinity | None = None  #: goes to that node, or notes in it which one answered
    pinned: bool = False  #: is about the very node that it was sent to first: not repeated at another one

    def repeated(self) -> Call[T]:
        return self if self.again is None else self.again()


Conversation = Generator[Call[Any], Any, T]


def ask(call: Call[T]) -> Conversation[T]:
    answer: T = yield call
    return answer


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a wait of several calls is over."""

    timeout: float  #: seconds; infinite: never
    at: float = field(repr=False)  #: of time.monotonic()

    @classmethod
    def after(cls, timeout: Duration | None) -> Deadline:
        seconds = math.inf if timeout is None else seconds_of("timeout", timeout)
        return cls(seconds, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        return max(self.at - time.monotonic(), 0.0)

    @property
    def is_over(self) -> bool:
        return self.remaining == 0.0

    @property
    def hold(self) -> float:
        """For the next long poll."""
        return min(POLL_HOLD, self.remaining)

    def ask(self, call: Call[T]) -> Conversation[T]:
        """The call, given up at the deadline; `DeadlineExceeded` when no node could be reached until then."""
        return ask(replace(call, until=max(self.at, time.monotonic() + LAST_TRY)))


def to_choice(name: str, prefix: str, choices: type[StrEnum], value: str | None) -> Any:
    """The name of the API's value, or None: unset. Any, since the generated types take numbers or exact literals."""
    return None if value is None else convert.to_enum(prefix, convert.parse_choice(name, choices, value))


def to_component(component: Component | str) -> str:
    return convert.to_enum("COMPONENT", convert.parse_choice("component", Component, component))


def to_consistency(consistency: Consistency | str) -> Any:
    """As `to_choice`."""
    return to_choice("consistency", "CONSISTENCY", Consistency, consistency)
