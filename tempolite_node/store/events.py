"""The history of one execution, told by what is stored of it: nothing is written down for it alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apsw

from tempolite_node.engine.model import Execution, OperationKind
from tempolite_node.store.rows import ATTEMPTS, INBOX, OPERATIONS
from tempolite_node.views import BEGINNING, EventKind, EventPlace, ExecutionEvent

# Ranks tell the order within one millisecond: what lets something happen comes before it. Within one rank it is the
# order in which the log decided it. A side effect is recorded when it ends. It has no beginning of its own here: who
# reads page by page would miss one that is told afterwards.
_PLACES = """
    SELECT created_ms AS at_ms, 0 AS rank, 0 AS place, 'enqueued' AS what, NULL AS kind, '' AS key
        FROM executions WHERE row = :row
    UNION ALL SELECT started_ms, 1, 0, 'started', NULL, '' FROM executions WHERE row = :row AND started_ms IS NOT NULL
    UNION ALL SELECT at_ms, 2, seq, 'signal_received', NULL, name FROM inbox
        WHERE execution_row = :mailbox AND at_ms >= :created_ms AND (:closed_ms IS NULL OR at_ms <= :closed_ms)
    UNION ALL SELECT cancelled_ms, 3, 0, 'cancel_requested', NULL, '' FROM executions
        WHERE row = :row AND cancelled_ms IS NOT NULL
    UNION ALL SELECT ended_ms, 4, rowid, 'attempt_ended', kind, key FROM attempts WHERE execution_row = :row
    UNION ALL SELECT closed_ms, 5, iif(end_seq > 0, end_seq, seq), 'operation_ended', kind, key FROM operations
        WHERE execution_row = :row AND closed_ms IS NOT NULL
    UNION ALL SELECT started_ms, 6, seq, 'operation_begun', kind, key FROM operations
        WHERE execution_row = :row AND kind <> 'side_effect' AND (closed_ms IS NULL OR closed_ms > started_ms)
    UNION ALL SELECT closed_ms, 9, 0, 'ended', NULL, '' FROM executions WHERE row = :row AND closed_ms IS NOT NULL
"""


def events(
    connection: apsw.Connection, execution: Execution, after: EventPlace | None, limit: int, bytes_max: int
) -> list[ExecutionEvent]:
    """The first behind `after`: as many as fit, and one more if there is one; see `Queries`."""
    taken: list[ExecutionEvent] = []
    size = 0
    for event in _events(connection, execution, after or BEGINNING, limit):
        size += event.payload_bytes
        taken.append(event)
        if size > bytes_max and len(taken) > 1:
            break
    return taken


def _events(
    connection: apsw.Connection, execution: Execution, after: EventPlace, limit: int
) -> Iterator[ExecutionEvent]:
    sql = f"""SELECT at_ms, rank, place, what, kind, key FROM ({_PLACES})
              WHERE (at_ms, rank, place) > (:at_ms, :rank, :place) ORDER BY at_ms, rank, place LIMIT :limit"""
    bindings = {
        "row": execution.row,
        "mailbox": execution.mailbox_row,
        "created_ms": execution.created_ms,
        "closed_ms": execution.closed_ms,
        "limit": limit,
        **after._asdict(),
    }
    rows: list[tuple[Any, ...]] = connection.execute(sql, bindings).fetchall()
    for at_ms, rank, place, what, kind, key in rows:
        found = ExecutionEvent(kind=EventKind(what), place=EventPlace(at_ms, rank, place))
        yield _with_details(connection, execution, found, None if kind is None else OperationKind(kind), key)


def _with_details(
    connection: apsw.Connection, execution: Execution, event: ExecutionEvent, kind: OperationKind | None, key: str
) -> ExecutionEvent:
    place = event.place
    match event.kind:
        case EventKind.OPERATION_BEGUN | EventKind.OPERATION_ENDED:
            sql = f"{OPERATIONS.select} WHERE execution_row = ? AND kind = ? AND key = ?"
            row = connection.execute(sql, (execution.row, kind, key)).fetchone()
            operation = OPERATIONS.value(row) if row else None
            return ExecutionEvent(kind=event.kind, place=place, operation=operation)
        case EventKind.ATTEMPT_ENDED:
            row = connection.execute(f"{ATTEMPTS.select} WHERE rowid = ?", (place.place,)).fetchone()
            return ExecutionEvent(kind=event.kind, place=place, attempt=ATTEMPTS.value(row) if row else None)
        case EventKind.SIGNAL_RECEIVED:
            sql = f"{INBOX.select} WHERE execution_row = ? AND seq = ?"
            row = connection.execute(sql, (execution.mailbox_row, place.place)).fetchone()
            return ExecutionEvent(kind=event.kind, place=place, signal=INBOX.value(row) if row else None)
        case _:
            return event
