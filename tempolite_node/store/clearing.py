"""Removes what executions have left behind that were continued as new, or are deleted, in steps where it is much."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import apsw

from tempolite_node.engine.lifecycle import CLEARING
from tempolite_node.engine.work import Clearing
from tempolite_node.store.statement import Statement

ROWS_MAX = 1_000  #: of each table, in one step. Part of the log's format: each node removes the same
_BYTES_MAX = 4_194_304  #: of a journal's values, in one step; an operation that has more goes by itself

_OPERATIONS = """SELECT kind, key, ifnull(length(input), 0) + ifnull(length(result), 0) + ifnull(length(failure), 0)
                 FROM operations WHERE execution_row = :row ORDER BY kind, key LIMIT :limit"""
_CLEAR_OPERATIONS = "DELETE FROM operations WHERE execution_row = :row AND (kind, key) <= (:kind, :key)"
_CLEAR_ATTEMPTS = """DELETE FROM attempts WHERE rowid IN
                     (SELECT rowid FROM attempts WHERE execution_row = :row ORDER BY rowid LIMIT :limit)"""
_CLEAR_INBOX = """DELETE FROM inbox WHERE execution_row = :mailbox AND seq IN
                  (SELECT seq FROM inbox WHERE execution_row = :mailbox AND seq <= :inbox
                   AND (:whole OR (consumed = 1 AND ifnull(taken_by, 0) <= :previous)) ORDER BY seq LIMIT :limit)"""
_CLEAR_OUTBOX = """DELETE FROM outbox WHERE execution_row = :mailbox AND seq IN
                   (SELECT seq FROM outbox WHERE execution_row = :mailbox AND seq <= :outbox
                    ORDER BY seq LIMIT :limit)"""
_CLEAR_TIMER = "DELETE FROM timers WHERE execution_row = :row AND name = :name"

_DELETE = [
    Statement(f"DELETE FROM {table} WHERE execution_row IN (VALUES {{rows}})", 1)
    for table in ("operations", "attempts", "inbox", "outbox", "timers")
]
_DELETE_EXECUTIONS = Statement("DELETE FROM executions WHERE row IN (VALUES {rows})", 1)


def delete(connection: apsw.Connection, rows: Collection[int]) -> None:
    """Executions, with all that is theirs."""
    given = [(row,) for row in sorted(rows)]
    for statement in (*_DELETE, _DELETE_EXECUTIONS):
        statement.run(connection, given)


def clear_whole(connection: apsw.Connection, cleared: Mapping[int, bool]) -> None:
    """What executions recorded, in one go. cleared: by row, whether their mailboxes are emptied too."""
    journals = [(row,) for row in sorted(cleared)]
    mailboxes = [(row,) for row in sorted(cleared) if cleared[row]]
    operations, attempts, inbox, outbox, _ = _DELETE
    for statement, rows in ((operations, journals), (attempts, journals), (inbox, mailboxes), (outbox, mailboxes)):
        statement.run(connection, rows)


def clear(connection: apsw.Connection, clearing: Clearing) -> None:
    """One step; the last one clears the timer that asks for the next."""
    bindings = {**clearing._asdict(), "limit": ROWS_MAX, "name": CLEARING}
    more = _clear_operations(connection, bindings)
    for sql in (_CLEAR_ATTEMPTS, _CLEAR_INBOX, _CLEAR_OUTBOX):
        connection.execute(sql, bindings)
        more = connection.changes() == ROWS_MAX or more
    if not more:
        connection.execute(_CLEAR_TIMER, bindings)


def _clear_operations(connection: apsw.Connection, bindings: dict[str, Any]) -> bool:
    """Whether there may be more of them."""
    found: list[Any] = connection.execute(_OPERATIONS, bindings).fetchall()
    size = 0
    for count, (kind, key, length) in enumerate(found, start=1):
        size += length
        if size >= _BYTES_MAX or count == len(found):
            connection.execute(_CLEAR_OPERATIONS, {**bindings, "kind": kind, "key": key})
            return count < len(found) or count == ROWS_MAX
    return False
