"""Reads for the API, each on a read-only connection of the thread that asks."""

from __future__ import annotations

from typing import Any

import apsw

from tempolite_node.engine.model import Attempt, Execution, Operation, OperationKind, Signal
from tempolite_node.store.rows import ATTEMPTS, EXECUTIONS, INBOX, OPERATIONS
from tempolite_node.views import ExecutionFilter


class Queries:
    """What is committed. Each method sees one moment of it; two calls may see two."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execution(self, execution_id: str) -> Execution | None:
        row = self._connection.execute(f"{EXECUTIONS.select} WHERE id = ?", (execution_id,)).fetchone()
        return EXECUTIONS.value(row) if row else None

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation | None:
        sql = f"""{OPERATIONS.select} WHERE execution_row = (SELECT row FROM executions WHERE id = ?)
                  AND kind = ? AND key = ?"""
        row = self._connection.execute(sql, (execution_id, kind, key)).fetchone()
        return OPERATIONS.value(row) if row else None

    def operations(self, execution_row: int, limit: int) -> list[Operation]:
        """In the order in which they were recorded."""
        sql = f"{OPERATIONS.select} WHERE execution_row = ? ORDER BY seq LIMIT ?"
        return [OPERATIONS.value(row) for row in self._connection.execute(sql, (execution_row, limit))]

    def pending(self, execution_row: int) -> list[Operation]:
        """The waits that are not over."""
        sql = f"""{OPERATIONS.select} INDEXED BY operations_pending
                  WHERE execution_row = ? AND status = 'pending' AND kind <> 'compensation' ORDER BY seq LIMIT 100"""
        return [OPERATIONS.value(row) for row in self._connection.execute(sql, (execution_row,))]

    def key_holders(self, execution: Execution, limit: int) -> list[str]:
        """Ids of executions that hold the concurrency key which the execution waits for; of others, none."""
        if not execution.waits_for_place:
            return []
        sql = """SELECT id FROM executions WHERE handler = ? AND concurrency_key = ? AND place IS NOT NULL LIMIT ?"""
        bindings = (execution.handler, execution.concurrency_key, limit)
        return [row[0] for row in self._connection.execute(sql, bindings)]

    def attempts(self, execution_row: int) -> list[Attempt]:
        """Ended attempts of the execution and of its operations: the latest 1,000, oldest first."""
        sql = f"{ATTEMPTS.select} WHERE execution_row = ? ORDER BY rowid DESC LIMIT 1000"
        return [ATTEMPTS.value(row) for row in self._connection.execute(sql, (execution_row,))][::-1]

    def children(self, execution_row: int, limit: int) -> list[Execution]:
        """Oldest first."""
        sql = f"{EXECUTIONS.select} WHERE parent_row = ? ORDER BY row LIMIT ?"
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, (execution_row, limit))]

    def list_executions(self, filter: ExecutionFilter, limit: int, after: int | None) -> list[Execution]:
        """Newest first; those created before the one at the row `after`."""
        where, bindings = _where(filter)
        if after is not None:
            where += " AND row < :after"
            bindings["after"] = after
        bindings["limit"] = limit
        sql = f"{EXECUTIONS.select} WHERE {where} ORDER BY row DESC LIMIT :limit"
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, bindings)]

    def count_executions(self, filter: ExecutionFilter) -> int:
        where, bindings = _where(filter)
        return int(self._connection.execute(f"SELECT count(*) FROM executions WHERE {where}", bindings).get)

    def unconsumed_signals(self, execution_row: int, limit: int) -> list[Signal]:
        """That it received and did not take, those that were set aside too; by sequence."""
        sql = f"{INBOX.select} WHERE execution_row = ? AND consumed = 0 ORDER BY seq LIMIT ?"
        return [INBOX.value(row) for row in self._connection.execute(sql, (execution_row, limit))]

    def outbox(self, execution_row: int, name: str, after: int, limit: int) -> list[Signal]:
        """By sequence, above `after`. name: "" for all names."""
        sql = """SELECT execution_row, seq, name, payload, at_ms, NULL, 0, '', NULL FROM outbox
                 WHERE execution_row = :row AND seq > :after AND (:name = '' OR name = :name)
                 ORDER BY seq LIMIT :limit"""
        bindings = {"row": execution_row, "after": after, "name": name, "limit": limit}
        return [INBOX.value(row) for row in self._connection.execute(sql, bindings)]


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
