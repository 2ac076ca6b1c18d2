"""A store on disk, its writer and a reader, and executions to put into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tempolite_node.engine.model import Component, Execution, Options, Status
from tempolite_node.engine.work import Work
from tempolite_node.store.database import open_reader, open_writer
from tempolite_node.store.queries import Queries
from tempolite_node.store.writer import StoreWriter, claim_store

NOW_MS = 1_700_000_000_000


def execution(row: int, **fields: Any) -> Execution:
    """An execution that is queued, unless told otherwise, made as many milliseconds after the start as its row."""
    defaults: dict[str, Any] = {
        "id": f"order-{row}",
        "handler": "fulfil",
        "component": Component.HANDLER,
        "pool": Component.HANDLER,
        "status": Status.QUEUED,
        "owner": "node-1",
        "created_ms": NOW_MS + row,
        "arguments": b"[]",
        "options": Options(),
    }
    if fields.get("status") is Status.COMPLETED:
        defaults["closed_ms"] = NOW_MS
    return Execution(row=row, **(defaults | fields))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def writer(path: Path) -> apsw.Connection:
    connection = open_writer(path)
    claim_store(connection, "node-1")
    return connection


@pytest.fixture
def executions(writer: apsw.Connection) -> StoreWriter:
    return StoreWriter(writer)


@pytest.fixture
def reader(writer: apsw.Connection) -> apsw.Connection:
    return open_reader(Path(writer.filename))


@pytest.fixture
def queries(reader: apsw.Connection) -> Queries:
    return Queries(reader)


def put(executions: StoreWriter, *values: Execution) -> None:
    work = Work(executions)
    for value in values:
        work.last_row = max(work.last_row, value.row)
        work.put(value)
    executions.save(work, executions.applied_index + 1)


def plan(connection: apsw.Connection, query: Callable[[], object]) -> list[str]:
    """How SQLite finds the rows of the statements that a query makes."""
    statements: list[tuple[str, Any]] = []

    def note(_: apsw.Cursor, sql: str, bindings: Any) -> bool:
        statements.append((sql, bindings))
        return True

    connection.exec_trace = note
    query()
    connection.exec_trace = None
    return [
        str(detail)
        for sql, bindings in statements
        for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
    ]
