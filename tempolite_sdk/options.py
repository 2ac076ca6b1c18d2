"""How one execution is enqueued and run: the options that a client and a context share, and those of children."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

from tempolite_sdk.durations import Duration
from tempolite_sdk.errors import InvalidArgument
from tempolite_sdk.handlers import RetryPolicy

ClosePolicy = Literal["abandon", "request_cancel", "terminate"]


class RunOptions(TypedDict, total=False):
    """How one execution is run. What is left out, the node's config decides. Durations: timedelta or seconds."""

    retry: RetryPolicy | None
    attempt_timeout: Duration | None  #: of one attempt
    max_duration: Duration | None  #: of all attempts, from the enqueue
    queue_timeout: Duration | None  #: until the first attempt starts
    heartbeat_timeout: Duration | None  #: between two heartbeats
    priority: int | None  #: higher first; -1000 to 1000; default 0
    delay: Duration | None  #: before the first attempt
    #: Of the executions of the handler with the same key, only so many are under way at a time, on all nodes, as the
    #: handler's `concurrency_key_limit` says (1 by default); the others wait, by priority and then by age.
    concurrency_key: str | None


class ChildOptions(RunOptions, total=False):
    """How one child is enqueued and run."""

    id: str | None  #: of the child; default: a new one
    key: str | None  #: of the operation that records it; default: "<handler>#n"
    close_policy: ClosePolicy | None  #: what happens to the child when its parent ends


NO_CHILD_OPTIONS: ChildOptions = {}


def check_names(known: type, given: Mapping[str, Any]) -> None:
    """TypeError for a name that the TypedDict does not have: what a signature would do, had it to list them again."""
    unknown = given.keys() - known.__annotations__.keys()
    if unknown:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(unknown))}")


def check_map(options: ChildOptions, max_in_flight: int, on_error: str) -> None:
    """InvalidArgument: children can't be enqueued one for each item like that."""
    if isinstance(max_in_flight, bool) or not isinstance(max_in_flight, int) or max_in_flight < 1:
        raise InvalidArgument(f"max_in_flight must be a whole number of at least 1, not {max_in_flight!r}")
    if on_error not in ("stop", "collect"):
        raise InvalidArgument(f'on_error must be "stop" or "collect", not {on_error!r}')
    for name in ("id", "key"):
        if options.get(name) is not None:
            raise InvalidArgument(f"options: {name} is of one child, and map enqueues one for each item")
