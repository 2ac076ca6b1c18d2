"""Checks single fields of a request and collects what is wrong, so that a caller learns of every mistake at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from tempolite_node.api.status import InvalidRequest
from tempolite_node.config.section import NODE_ID, parse_address
from tempolite_node.engine.model import DURATION_MS_MAX, PRIORITY_MAX, Component, Status
from tempolite_node.engine.times import LATEST_MS
from tempolite_node.ids import CHOSEN_ID, CHOSEN_ID_TOLD, CONCURRENCY_KEY, CONCURRENCY_KEY_TOLD
from tempolite_node.protocol.messages import CallOptions, Violation
from tempolite_node.views import Consistency
from tempolite_sdk.pb.tempolite.v1 import common_pb2, execution_service_pb2

E = TypeVar("E", bound=StrEnum)

ATTEMPTS_MAX = 1_000_000
TEXT_MAX = 1_000

_KNOWN_ID = re.compile(r"[A-Za-z0-9_.:@~-]{1,240}")  #: an earlier execution of the same id has a suffix "~n"
_NODE_ID = re.compile(NODE_ID)
_FUNCTION = re.compile(r"[^:\x00-\x1f\x7f]+:[^:\x00-\x1f\x7f]+")
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")


@lru_cache(maxsize=1024)
def _is_function(value: str) -> bool:
    """Calls name the same few, thousands of times a second."""
    return _FUNCTION.fullmatch(value) is not None


class Checks:
    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def report(self, field: str, description: str) -> None:
        self.violations.append(Violation(field, description))

    def finish(self) -> None:
        if self.violations:
            raise InvalidRequest(self.violations)

    # --- text

    def new_id(self, field: str, value: str) -> None:
        if not CHOSEN_ID.fullmatch(value):
            self.report(field, CHOSEN_ID_TOLD)

    def known_id(self, field: str, value: str) -> None:
        if not _KNOWN_ID.fullmatch(value):
            self.report(field, "must be the id of an execution" if value else "is required")

    def concurrency_key(self, field: str, value: str) -> None:
        if not CONCURRENCY_KEY.fullmatch(value):
            self.report(field, CONCURRENCY_KEY_TOLD)

    def name(self, field: str, value: str, *, required: bool = True) -> None:
        if required and not value:
            self.report(field, "is required")
        elif len(value) > 200 or not _PRINTABLE.fullmatch(value):
            self.report(field, "must be at most 200 printable characters")

    def function(self, field: str, value: str) -> None:
        if len(value) > TEXT_MAX or not _is_function(value):
            self.report(field, "must be the module and the qualified name of a function, as in shop.orders:fulfil")

    def node_id(self, field: str, value: str) -> None:
        if not _NODE_ID.fullmatch(value):
            self.report(field, "must be the id of a node" if value else "is required")

    def address(self, field: str, value: str, *, loopback_only: bool) -> None:
        """Where a node reaches another one."""
        try:
            address = parse_address(value)
        except ValueError as error:
            self.report(field, str(error) if value else "is required")
            return
        if address.wildcard or not address.port:
            self.report(field, "must be where the other nodes reach it")
        elif loopback_only and not address.loopback:
            self.report(field, "must be a loopback address, unless the nodes have cluster.tls")

    def text(self, field: str, value: str) -> None:
        if len(value) > TEXT_MAX:
            self.report(field, f"must be at most {TEXT_MAX:,} characters")

    # --- numbers

    def number(self, field: str, value: float, minimum: float, maximum: float) -> None:
        if math.isnan(value) or not minimum <= value <= maximum:
            self.report(field, f"must be from {minimum:,g} to {maximum:,g}")

    def duration_ms(self, message: Any, name: str, *, within: str = "", minimum_ms: int = 1) -> int | None:
        """None when the field is not set. A part of a millisecond counts as a whole one."""
        if not message.HasField(name):
            return None
        duration = getattr(message, name)
        milliseconds = int(duration.seconds) * 1_000 + -(-int(duration.nanos) // 1_000_000)
        if not minimum_ms <= milliseconds <= DURATION_MS_MAX or not 0 <= duration.nanos < 1_000_000_000:
            self.report(within + name, "must be " + ("positive" if minimum_ms else "at least 0") + ", up to ten years")
        return milliseconds

    def timestamp_ms(self, message: Any, name: str, *, within: str = "") -> int | None:
        """None when the field is not set. Rounded down to the millisecond."""
        if not message.HasField(name):
            return None
        timestamp = getattr(message, name)
        milliseconds = int(timestamp.seconds) * 1_000 + int(timestamp.nanos) // 1_000_000
        if not 0 <= milliseconds <= LATEST_MS:
            self.report(within + name, "must be from 1970 to 9999")
        return milliseconds

    # --- choices

    def choice(self, field: str, value: int, choices: Mapping[int, E], default: E | None = None) -> E:
        """0 stands for the default, and is a mistake where there is none."""
        if value == 0 and default is not None:
            return default
        if value not in choices:
            self.report(field, "is required" if value == 0 else "is not one of its enum's values")
            return next(iter(choices.values()))
        return choices[value]

    # --- payloads

    def payload(self, field: str, payload: common_pb2.Payload, *, bytes_max: int, absent: bytes) -> bytes:
        """The data, or what stands for it when there is none."""
        data = payload.data
        if payload.encoding not in ("", "json"):
            self.report(f"{field}.encoding", 'must be "json"')
        elif len(data) > bytes_max:
            self.report(
                f"{field}.data",
                f"has {len(data):,} bytes; at most {bytes_max:,} are allowed (api.limits.payload_bytes)",
            )
        elif data and not _is_json(data):
            self.report(f"{field}.data", "is not UTF-8 JSON")
        return data or absent

    # --- options of a call

    def options(self, options: execution_service_pb2.ExecutionOptions, field: str = "options") -> CallOptions:
        within = f"{field}."
        self.number(within + "priority", options.priority, -PRIORITY_MAX, PRIORITY_MAX)
        retry = options.retry_policy
        in_retry = f"{within}retry_policy."
        if retry.HasField("maximum_attempts"):
            self.number(in_retry + "maximum_attempts", retry.maximum_attempts, 0, ATTEMPTS_MAX)
        if retry.HasField("backoff_coefficient"):
            self.number(in_retry + "backoff_coefficient", retry.backoff_coefficient, 1, 1_000)
        if retry.HasField("jitter"):
            self.number(in_retry + "jitter", retry.jitter, 0, 1)
        self._error_names(in_retry + "non_retryable_errors", retry.non_retryable_errors)
        return CallOptions(
            maximum_attempts=retry.maximum_attempts if retry.HasField("maximum_attempts") else None,
            initial_interval_ms=self.duration_ms(retry, "initial_interval", within=in_retry),
            backoff_coefficient=retry.backoff_coefficient if retry.HasField("backoff_coefficient") else None,
            maximum_interval_ms=self.duration_ms(retry, "maximum_interval", within=in_retry),
            jitter=retry.jitter if retry.HasField("jitter") else None,
            non_retryable_errors=tuple(retry.non_retryable_errors) or None,
            retry_spent=retry.retry_spent if retry.HasField("retry_spent") else None,
            attempt_timeout_ms=self.duration_ms(options, "attempt_timeout", within=within),
            max_duration_ms=self.duration_ms(options, "max_duration", within=within),
            queue_timeout_ms=self.duration_ms(options, "queue_timeout", within=within),
            heartbeat_timeout_ms=self.duration_ms(options, "heartbeat_timeout", within=within),
            priority=options.priority,
            delay_ms=self.duration_ms(options, "delay", within=within, minimum_ms=0) or 0,
        )

    def _error_names(self, field: str, names: Sequence[str]) -> None:
        if len(names) > 100:
            self.report(field, "has more than 100 entries")
            return
        for index, name in enumerate(names):
            self.name(f"{field}[{index}]", name)


def _is_json(data: bytes) -> bool:
    try:
        data.decode("utf-8")
        msgspec.json.decode(data, type=msgspec.Raw)  # checked, and no objects made
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return True


# --- enums of the API and of the engine, by name


def _by_name(prefix: str, wire: Any, engine: type[E]) -> dict[int, E]:
    return {wire.Value(f"{prefix}_{member.name}"): member for member in engine}


CONSISTENCIES: Mapping[int, Consistency] = _by_name("CONSISTENCY", common_pb2.Consistency, Consistency)
COMPONENTS: Mapping[int, Component] = _by_name("COMPONENT", common_pb2.Component, Component)
STATUSES: Mapping[int, Status] = _by_name("EXECUTION_STATUS", common_pb2.ExecutionStatus, Status)
