"""Reads for the API, each on a read-only connection of the thread that asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import apsw

from tempolite_node.engine.model import EndedAttempt, Execution, Operation, OperationKind, Signal, Status
from tempolite_node.store.events import events
from tempolite_node.store.rows import ATTEMPTS, EXECUTIONS, INBOX, OPERATIONS
from tempolite_node.store.trees import Trees
from tempolite_node.views import EventPlace, ExecutionEvent, ExecutionFilter, Span

T = TypeVar("T")


class Queries:
    """What is committed. Each method sees one moment of it; two calls may see two.

    bytes_max: of payloads, where it is asked for. The first value is taken whatever it has; the next one that goes
    beyond it is the last of the list, and shows that there are more.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.trees = Trees(connection)

    def execution(self, execution_id: str) -> Execution | None:
        row = self._connection.execute(f"{EXECUTIONS.select} WHERE id = ?", (execution_id,)).fetchone()
        return EXECUTIONS.value(row) if row else None

    def last_run(self, execution: Execution) -> Execution:
        """Of those that continue it, the one that is continued no more; itself, if it is not."""
        if execution.status is not Status.CONTINUED_AS_NEW:
            return execution
        sql = f"{EXECUTIONS.select} WHERE mailbox = ? ORDER BY row DESC LIMIT 1"
        row = self._connection.execute(sql, (execution.mailbox_row,)).fetchone()
        return EXECUTIONS.value(row) if row else execution  # what continued it was deleted

    def run_of(self, execution: Execution, run: int) -> Execution | None:
        """That run, of those that had the execution's id in turn up to this one."""
        earlier: Execution | None = execution
        while earlier is not None and earlier.run > run:
            sql = f"{EXECUTIONS.select} WHERE row = ?"
            row = self._connection.execute(sql, (earlier.previous,)).fetchone()
            earlier = EXECUTIONS.value(row) if row else None
        return earlier if earlier is not None and earlier.run == run else None

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation | None:
        sql = f"""{OPERATIONS.select} WHERE execution_row = (SELECT row FROM executions WHERE id = ?)
                  AND kind = ? AND key = ?"""
        row = self._connection.execute(sql, (execution_id, kind, key)).fetchone()
        return OPERATIONS.value(row) if row else None

    def operations(self, execution_row: int, limit: int, *, bytes_max: int | None = None) -> list[Operation]:
        """In the order in which they were recorded."""
        sql = f"{OPERATIONS.select} WHERE execution_row = ? ORDER BY seq LIMIT ?"
        found = map(OPERATIONS.value, self._connection.execute(sql, (execution_row, limit)))
        return _up_to(bytes_max, found, _bytes_of_operation)

    def pending(self, execution_row: int) -> list[Operation]:
        """The waits that are not over."""
        sql = f"""{OPERATIONS.select} INDEXED BY operations_pending
                  WHERE execution_row = ? AND status = 'pending' AND kind <> 'compensation' ORDER BY seq LIMIT 100"""
        return [OPERATIONS.value(row) for row in self._connection.execute(sql, (execution_row,))]

    def events(
        self, execution: Execution, after: EventPlace | None, limit: int, *, bytes_max: int
    ) -> list[ExecutionEvent]:
        """What happened to it and in it, in order; those behind `after`."""
        return events(self._connection, execution, after, limit, bytes_max)

    def execution_at(self, row: int) -> Execution | None:
        found = self._connection.execute(f"{EXECUTIONS.select} WHERE row = ?", (row,)).fetchone()
        return EXECUTIONS.value(found) if found else None

    def operation_at(self, execution_row: int, kind: OperationKind, key: str) -> Operation | None:
        sql = f"{OPERATIONS.select} WHERE execution_row = ? AND kind = ? AND key = ?"
        row = self._connection.execute(sql, (execution_row, kind, key)).fetchone()
        return OPERATIONS.value(row) if row else None

    def retrying(self, execution_row: int, limit: int) -> list[Operation]:
        """Operations between two attempts."""
        sql = f"""{OPERATIONS.select} INDEXED BY operations_retrying
                  WHERE execution_row = ? AND status = 'retrying' ORDER BY seq LIMIT ?"""
        return [OPERATIONS.value(row) for row in self._connection.execute(sql, (execution_row, limit))]

    def last_attempt(self, execution_row: int, kind: OperationKind | None, key: str) -> EndedAttempt | None:
        """That ended, of the execution or of one of its operations."""
        sql = f"""{ATTEMPTS.select} INDEXED BY attempts_by_operation
                  WHERE execution_row = ? AND kind IS ? AND key = ? ORDER BY rowid DESC LIMIT 1"""
        row = self._connection.execute(sql, (execution_row, kind, key)).fetchone()
        return ATTEMPTS.value(row) if row else None

    def open_children(self, execution_row: int, limit: int) -> list[Execution]:
        """Those that have not ended, oldest first."""
        sql = f"{EXECUTIONS.select} WHERE parent_row = ? AND closed_ms IS NULL ORDER BY row LIMIT ?"
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (execution_row, limit))]

    def count_ahead(self, execution: Execution, limit: int) -> int:
        """Executions before it, up to the limit, in the queue of its pool or among those that wait for its key."""
        bindings: dict[str, Any] = {"priority": execution.priority, "row": execution.row, "limit": limit}
        if execution.waits_for_place:
            where = """handler = :handler AND concurrency_key = :key AND status = 'queued' AND ready_at IS NULL
                       AND (priority > :priority OR (priority = :priority AND row < :row))"""
            bindings |= {"handler": execution.handler, "key": execution.concurrency_key}
        elif execution.ready_at is not None:
            where = """owner = :owner AND pool = :pool AND ready_at IS NOT NULL
                       AND (resumes > :resumes OR (resumes = :resumes
                            AND (priority > :priority OR (priority = :priority AND row < :row))))"""
            bindings |= {"owner": execution.owner, "pool": execution.pool, "resumes": execution.resumes}
        else:
            return 0
        sql = f"SELECT count(*) FROM (SELECT 1 FROM executions WHERE {where} LIMIT :limit)"
        return int(self._connection.execute(sql, bindings).get)

    def spans(self, execution_row: int, limit: int) -> list[Span]:
        """When its operations, and its own attempts that have ended, began and ended: so many at most."""
        sql = """SELECT NULL, started_ms, ended_ms FROM attempts INDEXED BY attempts_by_operation
                 WHERE execution_row = :row AND kind IS NULL
                 UNION ALL SELECT kind, started_ms, closed_ms FROM operations WHERE execution_row = :row LIMIT :limit"""
        rows = self._connection.execute(sql, {"row": execution_row, "limit": limit})
        return [Span(kind and OperationKind(kind), start, end) for kind, start, end in rows]

    def key_holders(self, execution: Execution, limit: int) -> list[str]:
        """Ids of executions that hold the concurrency key which the execution waits for; of others, none."""
        if not execution.waits_for_place:
            return []
        sql = """SELECT id FROM executions WHERE handler = ? AND concurrency_key = ? AND place IS NOT NULL LIMIT ?"""
        bindings = (execution.handler, execution.concurrency_key, limit)
        return [row[0] for row in self._connection.execute(sql, bindings)]

    def attempts(self, execution_row: int) -> list[EndedAttempt]:
        """Ended attempts of the execution and of its operations: the latest 1,000, oldest first."""
        sql = f"{ATTEMPTS.select} WHERE execution_row = ? ORDER BY rowid DESC LIMIT 1000"
        return [ATTEMPTS.value(row) for row in self._connection.execute(sql, (execution_row,))][::-1]

    def children(self, execution_row: int, limit: int, *, bytes_max: int | None = None) -> list[Execution]:
        """Oldest first."""
        sql = f"{EXECUTIONS.select} WHERE parent_row = ? ORDER BY row LIMIT ?"
        found = map(EXECUTIONS.value, self._connection.execute(sql, (execution_row, limit)))
        return _up_to(bytes_max, found, _bytes_of_execution)

    def list_executions(
        self, filter: ExecutionFilter, limit: int, after: int | None, *, bytes_max: int | None = None
    ) -> list[Execution]:
        """Newest first; those created before the one at the row `after`."""
        where, bindings = _where(filter)
        if after is not None:
            where += " AND row < :after"
            bindings["after"] = after
        bindings["limit"] = limit
        sql = f"{EXECUTIONS.select} WHERE {where} ORDER BY row DESC LIMIT :limit"
        return _up_to(bytes_max, map(EXECUTIONS.value, self._connection.execute(sql, bindings)), _bytes_of_execution)

    def count_executions(self, filter: ExecutionFilter) -> int:
        where, bindings = _where(filter)
        return int(self._connection.execute(f"SELECT count(*) FROM executions WHERE {where}", bindings).get)

    def unconsumed_signals(self, mailbox: int, limit: int) -> list[Signal]:
        """That it received and did not take, those that were set aside too; by sequence."""
        sql = f"{INBOX.select} WHERE execution_row = ? AND consumed = 0 ORDER BY seq LIMIT ?"
        return [INBOX.value(row) for row in self._connection.execute(sql, (mailbox, limit))]

    def outbox(self, mailbox: int, name: str, after: int, limit: int, *, bytes_max: int | None = None) -> list[Signal]:
        """By sequence, above `after`. name: "" for all names."""
        sql = """SELECT execution_row, seq, name, payload, at_ms, NULL, 0, '', NULL, NULL FROM outbox
                 WHERE execution_row = :row AND seq > :after AND (:name = '' OR name = :name)
                 ORDER BY seq LIMIT :limit"""
        bindings = {"row": mailbox, "after": after, "name": name, "limit": limit}
        found = map(INBOX.value, self._connection.execute(sql, bindings))
        return _up_to(bytes_max, found, lambda signal: len(signal.payload))


def _up_to(bytes_max: int | None, values: Iterable[T], bytes_of: Callable[[T], int]) -> list[T]:
    """Those that fit, and one more if there is one."""
    if bytes_max is None:
        return list(values)
    taken: list[T] = []
    size = 0
    for value in values:
        size += bytes_of(value)
        taken.append(value)
        if size > bytes_max and len(taken) > 1:
            break
    return taken


def _bytes_of_execution(execution: Execution) -> int:
    return len(execution.arguments) + len(execution.result or b"") + len(execution.heartbeat or b"")


def _bytes_of_operation(operation: Operation) -> int:
    return len(operation.input or b"") + len(operation.result or b"")


def _where(filter: ExecutionFilter) -> tuple[str, dict[str, Any]]:
    """The condition of a filter, and what is bound to it."""
    conditions = ["1"]
    bindings: dict[str, Any] = {}
    for column, values in (
        ("status", filter.statuses),
        ("handler", filter.handlers),
        ("component", filter.components),
    ):
        if values:
            named = {f"{column}_{number}": str(value) for number, value in enumerate(sorted(values))}
            conditions.append(f"{column} IN ({', '.join(f':{name}' for name in named)})")
            bindings |= named
    if filter.parent_id is not None:
        conditions.append("parent_row = (SELECT row FROM executions WHERE id = :parent_id)")
        bindings["parent_id"] = filter.parent_id
    if filter.roots_only:
        conditions.append("parent_row IS NULL")
    if filter.created_after_ms is not None:
        conditions.append("created_ms > :created_after_ms")
        bindings["created_after_ms"] = filter.created_after_ms
    if filter.created_before_ms is not None:
        conditions.append("created_ms < :created_before_ms")
        bindings["created_before_ms"] = filter.created_before_ms
    return " AND ".join(conditions), bindings
