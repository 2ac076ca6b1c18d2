"""A store with rows that fill pages of their own, and what may happen to its file."""

from __future__ import annotations

from pathlib import Path

import apsw

from tempolite_node.store.database import open_reader, open_writer
from tempolite_node.store.writer import claim_store

ROWS = 40_000  # of which one step of a backup copies a half
ADDRESS = "127.0.0.1:8367"


def fill_store(path: Path) -> None:
    """All of it is in the file itself."""
    writer = open_writer(path)
    claim_store(writer, "n1")
    writer.execute("BEGIN")
    writer.executemany(
        "INSERT INTO nodes (id, run, incarnation, live, draining, handlers, slots, address)"
        " VALUES (?, 'r', 1, 1, 0, '[]', '{}', ?)",
        ((f"n{number}", ADDRESS) for number in range(ROWS)),
    )
    writer.execute("COMMIT")
    close(writer)


def close(writer: apsw.Connection) -> None:
    writer.pragma("wal_checkpoint", "TRUNCATE")
    writer.close()


def write_by_another_program(path: Path) -> None:
    """As SQLite's own shell does when it is the last to close a store that a killed node left with a WAL."""
    plain = apsw.Connection(str(path), vfs="unix")
    plain.execute("UPDATE nodes SET incarnation = 2")
    close(plain)


def flip_a_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def read_everything(path: Path) -> int:
    """Characters of all addresses."""
    reader = open_reader(path, still=True)
    return sum(len(address) for (address,) in reader.execute("SELECT address FROM nodes"))
