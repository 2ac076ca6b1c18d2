"""Reads of whole trees, for who is about to delete them: what is open in one, and its parts from below."""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw
import msgspec

from tempolite_node.engine.lifecycle import CLEARING
from tempolite_node.engine.model import FINAL, KEPT_SEPARATOR, Execution, Status
from tempolite_node.store.rows import EXECUTIONS

_OPEN = ", ".join(f"'{status}'" for status in Status if status not in FINAL)

#: Of the trees below the executions at these rows, and of these.
_BELOW = """WITH RECURSIVE below (row, depth) AS (
                SELECT value, 0 FROM json_each(:rows)
                UNION ALL
                SELECT child.row, depth + 1 FROM below JOIN executions AS child ON child.parent_row = below.row
            )"""


class Part(NamedTuple):
    """An execution of a tree, and how much is to be deleted with it."""

    row: int
    id: str
    records: int  #: rows of its journal, its attempts and its signals
    bytes: int  #: of them, and of its own arguments and result


class Trees:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def runs(self, execution_id: str) -> list[Execution]:
        """All that had the id in turn, the one that has it last. execution_id: also as an earlier one is kept."""
        own_id = execution_id.partition(KEPT_SEPARATOR)[0]
        sql = f"{EXECUTIONS.select} WHERE id = :id OR (id > :first AND id < :end) ORDER BY row"
        first = own_id + KEPT_SEPARATOR
        bindings = {"id": own_id, "first": first, "end": own_id + chr(ord(KEPT_SEPARATOR) + 1)}
        return [EXECUTIONS.value(row) for row in self._connection.execute(sql, bindings)]

    def root_of(self, execution: Execution) -> Execution:
        while execution.parent_row is not None:
            sql = f"{EXECUTIONS.select} WHERE row = ?"
            row = self._connection.execute(sql, (execution.parent_row,)).fetchone()
            if row is None:
                break
            execution = EXECUTIONS.value(row)
        return execution

    def open(self, rows: list[int], limit: int) -> list[tuple[str, str]]:
        """Ids and statuses of what has not ended: in the trees below these rows, and of the later runs of their ids."""
        sql = f"""{_BELOW}
                  SELECT of.id, of.status FROM below JOIN executions AS of USING (row) WHERE of.closed_ms IS NULL
                  UNION
                  SELECT later.id, later.status FROM below JOIN executions AS of USING (row)
                  JOIN executions AS later ON later.id = substr(of.id, 1, instr(of.id, '{KEPT_SEPARATOR}') - 1)
                  WHERE instr(of.id, '{KEPT_SEPARATOR}') > 0 AND of.status <> 'continued_as_new'
                  AND later.closed_ms IS NULL
                  ORDER BY 1 LIMIT :limit"""
        found: list[Any] = self._connection.execute(sql, {"rows": _json(rows), "limit": limit}).fetchall()
        return found

    def parts(self, row: int, limit: int, *, besides: bool = False) -> list[Part]:
        """Of the tree below the execution, and it itself unless `besides`: the deepest first."""
        sql = f"""{_BELOW},
                  first (row, depth) AS (
                      SELECT row, depth FROM below WHERE depth > 0 OR NOT :besides ORDER BY depth DESC, row LIMIT :limit
                  )
                  SELECT of.row, of.id,
                         (SELECT count(*) FROM operations WHERE execution_row = of.row)
                         + (SELECT count(*) FROM attempts WHERE execution_row = of.row)
                         + (SELECT count(*) FROM inbox WHERE execution_row = of.row)
                         + (SELECT count(*) FROM outbox WHERE execution_row = of.row),
                         length(of.arguments) + ifnull(length(of.result), 0)
                         + (SELECT ifnull(sum(ifnull(length(input), 0) + ifnull(length(result), 0)
                            + ifnull(length(failure), 0)), 0) FROM operations WHERE execution_row = of.row)
                         + (SELECT ifnull(sum(length(payload)), 0) FROM inbox WHERE execution_row = of.row)
                         + (SELECT ifnull(sum(length(payload)), 0) FROM outbox WHERE execution_row = of.row)
                  FROM first JOIN executions AS of USING (row) ORDER BY depth DESC, of.row"""
        bindings = {"rows": _json([row]), "limit": limit, "besides": besides}
        return [Part(*found) for found in self._connection.execute(sql, bindings)]

    def is_clearing(self, row: int) -> bool:
        """Whether what the execution recorded is being deleted, in steps."""
        sql = "SELECT 1 FROM timers WHERE execution_row = ? AND name = ?"
        return self._connection.execute(sql, (row, CLEARING)).fetchone() is not None

    def earlier_format(self, rows: list[int], format: int) -> tuple[str, str] | None:
        """Ids of an execution of these trees, and of one that has not ended, both enqueued before the format.

        The second may have waited for the first, and have no answer of its own. None: there are no two.
        """
        going_on = f"SELECT id FROM executions WHERE status IN ({_OPEN}) AND format < :format LIMIT 1"
        bindings = {"rows": _json(rows), "format": format}
        found = self._connection.execute(
            f"""{_BELOW}
                SELECT of.id FROM below JOIN executions AS of USING (row) WHERE of.format < :format LIMIT 1""",
            bindings,
        ).get
        if found is None:
            return None
        other = self._connection.execute(going_on, {"format": format}).get
        return None if other is None else (str(found), str(other))


def _json(rows: list[int]) -> str:
    return msgspec.json.encode(rows).decode()
