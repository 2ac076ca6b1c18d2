"""Removes, step by step, what runs have left behind that were continued as new."""

from __future__ import annotations

from typing import Any

import apsw

from tempolite_node.engine.lifecycle import CLEARING
from tempolite_node.engine.work import Clearing

ROWS_MAX = 1_000  #: of each table, in one step. Part of the log's format: each node removes the same
_BYTES_MAX = 4_194_304  #: of a journal's values, in one step; an operation that has more goes by itself

_OPERATIONS = """SELECT kind, key, ifnull(length(input), 0) + ifnull(length(result), 0) + ifnull(length(failure), 0)
                 FROM operations WHERE execution_row = :row ORDER BY kind, key LIMIT :limit"""
_CLEAR_OPERATIONS = "DELETE FROM operations WHERE execution_row = :row AND (kind, key) <= (:kind, :key)"
_CLEAR_ATTEMPTS = """DELETE FROM attempts WHERE rowid IN
                     (SELECT rowid FROM attempts WHERE execution_row = :row ORDER BY rowid LIMIT :limit)"""
_CLEAR_INBOX = """DELETE FROM inbox WHERE execution_row = :mailbox AND seq IN
                  (SELECT seq FROM inbox WHERE execution_row = :mailbox AND seq <= :inbox
                   AND consumed = 1 AND ifnull(taken_by, 0) <= :previous ORDER BY seq LIMIT :limit)"""
_CLEAR_OUTBOX = """DELETE FROM outbox WHERE execution_row = :mailbox AND seq IN
                   (SELECT seq FROM outbox WHERE execution_row = :mailbox AND seq <= :outbox
                    ORDER BY seq LIMIT :limit)"""
_CLEAR_TIMER = "DELETE FROM timers WHERE execution_row = :row AND name = :name"


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
