"""The catalog: a SQLite database of files by package, in which a package changes as a whole.

Every write is safe to repeat. The rows of a package are kept by publication: a new one is staged beside the one that
readers see, swapped in by moving a pointer, and swapped out by moving it back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict

from examples.catalog.files import FileFacts

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (  -- of every publication that is staged, shown, or shown before
    package     TEXT    NOT NULL,
    publication TEXT    NOT NULL,
    path        TEXT    NOT NULL,
    lines       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    sha256      TEXT    NOT NULL,
    functions   INTEGER NOT NULL,
    classes     INTEGER NOT NULL,
    problem     TEXT    NOT NULL,
    PRIMARY KEY (package, publication, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS packages (
    package  TEXT PRIMARY KEY,
    shown    TEXT,  -- the publication that readers see
    previous TEXT   -- the one that they saw before
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS totals (  -- of the publication that readers see
    package   TEXT    PRIMARY KEY,
    files     INTEGER NOT NULL,
    lines     INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    functions INTEGER NOT NULL,
    classes   INTEGER NOT NULL,
    problems  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""


@contextmanager
def _transaction(database: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def create(database: str) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        connection.executescript(_SCHEMA)


# --- staging

_INSERT = """
INSERT OR REPLACE INTO files
VALUES (:package, :publication, :path, :lines, :bytes, :sha256, :functions, :classes, :problem)
"""
_DELETE = "DELETE FROM files WHERE package = :package AND publication = :publication"


def stage(database: str, package: str, publication: str, rows: Sequence[FileFacts]) -> None:
    """Keeps the rows where no reader sees them yet."""
    named = {"package": package, "publication": publication}
    with _transaction(database) as connection:
        connection.executemany(_INSERT, [asdict(row) | named for row in rows])


def unstage(database: str, package: str, publication: str) -> None:
    with _transaction(database) as connection:
        connection.execute(_DELETE, {"package": package, "publication": publication})


# --- swapping

_DROP_PREVIOUS = """
DELETE FROM files WHERE package = :package AND publication = (
    SELECT previous FROM packages WHERE package = :package AND shown IS NOT :publication)
"""
_SWAP_IN = """
INSERT INTO packages (package, shown) VALUES (:package, :publication)
ON CONFLICT (package) DO UPDATE SET previous = shown, shown = :publication WHERE shown IS NOT :publication
"""
_SWAP_OUT = """
UPDATE packages SET shown = previous, previous = NULL WHERE package = :package AND shown = :publication
"""


def swap_in(database: str, package: str, publication: str) -> None:
    """Readers see the publication. The one before it is kept, those before that are not."""
    with _transaction(database) as connection:
        connection.execute(_DROP_PREVIOUS, {"package": package, "publication": publication})
        connection.execute(_SWAP_IN, {"package": package, "publication": publication})


def swap_out(database: str, package: str, publication: str) -> None:
    """Readers see again what they saw before the publication."""
    with _transaction(database) as connection:
        connection.execute(_SWAP_OUT, {"package": package, "publication": publication})


# --- totals

_DELETE_TOTALS = "DELETE FROM totals WHERE package = :package"
_INSERT_TOTALS = """
INSERT INTO totals
SELECT package, count(*), sum(lines), sum(bytes), sum(functions), sum(classes), sum(problem <> '')
FROM files WHERE package = :package AND publication = :publication GROUP BY package
"""
_PREVIOUS = "SELECT previous FROM packages WHERE package = :package AND shown = :publication"


def count_totals(database: str, package: str, publication: str) -> None:
    """Makes the package's totals those of the publication; of none, when it has no rows."""
    with _transaction(database) as connection:
        _count_totals(connection, package, publication)


def restore_totals(database: str, package: str, publication: str) -> None:
    """Makes the package's totals those of what was shown before the publication."""
    with _transaction(database) as connection:
        found = connection.execute(_PREVIOUS, {"package": package, "publication": publication}).fetchone()
        if found is not None:
            _count_totals(connection, package, found[0] or "")


def _count_totals(connection: sqlite3.Connection, package: str, publication: str) -> None:
    connection.execute(_DELETE_TOTALS, {"package": package})
    connection.execute(_INSERT_TOTALS, {"package": package, "publication": publication})


# --- the catalog as a whole

_PACKAGES = "SELECT package FROM packages ORDER BY package"
_RETIRE = (
    "DELETE FROM packages WHERE package = :package",
    "DELETE FROM totals WHERE package = :package",
    "DELETE FROM files WHERE package = :package",
)


def retire_others(database: str, packages: Sequence[str]) -> list[str]:
    """Drops the packages that are none of these, and tells which."""
    with _transaction(database) as connection:
        known = [package for (package,) in connection.execute(_PACKAGES)]
        retired = [package for package in known if package not in packages]
        for statement in _RETIRE:
            connection.executemany(statement, [{"package": package} for package in retired])
    return retired


_SHOWN = """
SELECT path, lines, bytes, sha256, functions, classes, problem
FROM files JOIN packages ON files.package = packages.package AND files.publication = packages.shown
ORDER BY files.package, path
"""
_TOTALS = "SELECT package, files, lines, bytes, functions, classes, problems FROM totals ORDER BY package"


def dump(database: str) -> str:
    """The catalog as its readers see it: a line per file, then a line per package."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = [*connection.execute(_SHOWN), *connection.execute(_TOTALS)]
    return "".join("\t".join(map(str, row)) + "\n" for row in rows)
