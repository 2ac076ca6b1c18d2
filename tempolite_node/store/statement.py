"""SQL statements over many rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import apsw

_ROWS = (32, 8, 1)  #: of one run of a statement: few sizes, so that each is prepared once


class Statement:
    """A statement over rows of so many values, run over as many rows at a time as may be.

    SQLite works without the interpreter's lock, for which a busy thread has to queue up again after each run: the more
    one run does, the longer other threads have the lock meanwhile, and the less often it changes hands.
    """

    def __init__(self, sql: str, width: int, *, single: str | None = None) -> None:
        """sql: has {rows} where the placeholders of the rows belong.

        single: what does the same to one row, where that is less work.
        """
        row = f"({', '.join('?' * width)})"
        self._sizes = [(size, sql.format(rows=", ".join([row] * size))) for size in _ROWS]
        if single is not None:
            self._sizes[-1] = (1, single)

    def run(self, connection: apsw.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Over rows that do not depend on each other."""
        done, count = 0, len(rows)
        for size, sql in self._sizes:
            while count - done >= size:
                connection.execute(sql, tuple(chain.from_iterable(rows[done : done + size])))
                done += size
