"""An execution tree as text, and the ids that a client makes."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta

from tempolite_sdk.client.info import (
    AttemptInfo,
    Component,
    ExecutionInfo,
    ExecutionStatus,
    OperationInfo,
    OperationKind,
    OperationStatus,
    UnconsumedSignal,
)
from tempolite_sdk.client.tree import ExecutionTree
from tempolite_sdk.errors import FailureInfo
from tempolite_sdk.ids import new_execution_id

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def execution(id: str, handler: str, status: ExecutionStatus, **fields: object) -> ExecutionInfo:
    fields = {"start_time": START, "close_time": START + timedelta(seconds=2.34), "attempt": 1, **fields}
    return ExecutionInfo(id=id, handler=handler, component=Component.HANDLER, status=status, **fields)  # type: ignore[arg-type]


def operation(kind: OperationKind, key: str, status: OperationStatus, **fields: object) -> OperationInfo:
    fields = {"start_time": START, "close_time": START + timedelta(milliseconds=12), "attempt": 1, **fields}
    return OperationInfo(id=f"e1/{kind}/{key}", execution_id="e1", kind=kind, key=key, status=status, **fields)  # type: ignore[arg-type]


DECLINED = FailureInfo("Declined", "card\nexpired", cause=FailureInfo("Timeout", "bank"))

TREE = ExecutionTree(
    execution=execution("e1", "fulfil", ExecutionStatus.COMPLETED, attempt=2),
    operations=(
        operation(
            OperationKind.SIDE_EFFECT,
            "quote",
            OperationStatus.COMPLETED,
            attempt=2,
            attempts=(AttemptInfo(number=1, failure=FailureInfo("IOError", "down"), start_time=START, end_time=START),),
        ),
        operation(OperationKind.CHILD, "place_order#1", OperationStatus.COMPLETED, target="e2"),
        operation(OperationKind.SIGNAL, "approve#1", OperationStatus.PENDING, target="approve", close_time=None),
    ),
    children=(
        ExecutionTree(
            execution=execution("e2", "place_order", ExecutionStatus.COMPENSATED, failure=DECLINED),
            operations=(
                operation(OperationKind.STEP, "Reserve#1", OperationStatus.COMPLETED, target="shop:Reserve"),
                operation(
                    OperationKind.STEP, "Charge#1", OperationStatus.FAILED, target="shop:Charge", failure=DECLINED
                ),
                operation(OperationKind.COMPENSATION, "Reserve#1", OperationStatus.COMPLETED),
            ),
        ),
    ),
)


def test_a_tree_shows_statuses_attempts_durations_and_errors() -> None:
    assert TREE.render().splitlines() == [
        "fulfil e1  COMPLETED  attempt 2  2.3 s",
        "├─ side_effect quote  completed  attempt 2  12 ms",
        "│     ✗ attempt 1: IOError: down",
        "├─ child place_order e2  COMPENSATED  2.3 s",
        "│  │  ✗ Declined: card expired",
        "│  │    caused by Timeout: bank",
        "│  ├─ step Reserve#1  → shop:Reserve  completed  12 ms",
        "│  ├─ step Charge#1  → shop:Charge  failed  12 ms",
        "│  │     ✗ Declined: card expired",
        "│  │       caused by Timeout: bank",
        "│  └─ compensation Reserve#1  completed  12 ms",
        "└─ signal approve#1  → approve  pending",
    ]


def test_a_tree_shows_who_holds_a_key_that_is_waited_for() -> None:
    waiting = execution("e1", "sync", ExecutionStatus.QUEUED, close_time=None, waits_for_key="held by e0")
    assert ExecutionTree(execution=waiting).render() == "sync e1  QUEUED  waits: held by e0"


def test_a_tree_shows_signals_that_were_not_received_and_what_is_wrong_with_those_set_aside() -> None:
    signals = [
        UnconsumedSignal(sequence=1, name="go", sender="client ipv4:10.0.0.7:41", set_aside="by: is\nrequired"),
        *(UnconsumedSignal(sequence=number, name=name) for number, name in [(2, "go"), (4, "stop"), (5, "stop")]),
    ]
    told = execution("e1", "sync", ExecutionStatus.COMPLETED, unconsumed_signals=4, unconsumed=tuple(signals))

    assert ExecutionTree(execution=told).render().splitlines() == [
        "sync e1  COMPLETED  2.3 s",
        "   ⚠ signal go (sequence 1) of client ipv4:10.0.0.7:41 is set aside: by: is required",
        "   ⚠ 3 unconsumed signals: 1 go, 2 stop",
    ]


def test_a_tree_is_walked_parents_first() -> None:
    assert [each.execution.id for each in TREE] == ["e1", "e2"]


def test_a_truncated_tree_says_so() -> None:
    tree = ExecutionTree(execution=TREE.execution, truncated=True)
    assert tree.render().splitlines()[-1].startswith("…")


def test_an_execution_id_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(new_execution_id())
    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_ids_carry_the_time_and_differ() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_execution_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == 1_000
    assert all(before <= uuid.UUID(id).int >> 80 <= after for id in ids)
