"""Pages carry checksums: what the disk changes is found when it is read."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tempolite_node.store.database import explained, open_reader, open_writer
from tempolite_node.store.writer import claim_store


def filled_store(path: Path) -> None:
    """With enough rows that they fill pages of their own, all in the file itself."""
    connection = open_writer(path)
    claim_store(connection, "n1")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO timers (execution_row, name, due_ms) VALUES (?, 'start', ?)", ((row, row) for row in range(20_000))
    )
    connection.execute("COMMIT")
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()


def flip_a_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def read_everything(path: Path) -> int:
    """By the index, which has all of it too, and from the table."""
    reader = open_reader(path)
    reader.execute("SELECT sum(due_ms) FROM timers INDEXED BY timers_due").fetchall()
    return sum(len(name) for (name,) in reader.execute("SELECT name FROM timers ORDER BY execution_row, name"))


def test_a_store_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    filled_store(tmp_path / "store.db")
    assert read_everything(tmp_path / "store.db") == 20_000 * len("start")


@pytest.mark.parametrize("place", [0.5, 0.7, 0.9])
def test_a_flipped_bit_fails_the_read_instead_of_changing_what_is_read(tmp_path: Path, place: float) -> None:
    path = tmp_path / "store.db"
    filled_store(path)
    flip_a_bit(path, int(path.stat().st_size * place))
    with pytest.raises(apsw.IOError):
        read_everything(path)


def written_by_another_program(path: Path) -> None:
    """As SQLite's own shell does when it is the last to close a store that a killed node left with a WAL."""
    plain = apsw.Connection(str(path), vfs="unix")
    plain.execute("UPDATE timers SET due_ms = due_ms + 1")
    plain.pragma("wal_checkpoint", "TRUNCATE")
    plain.close()


def test_a_store_that_another_program_wrote_to_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    filled_store(path)
    written_by_another_program(path)
    with pytest.raises(apsw.IOError) as refused:
        read_everything(path)
    assert "tempolite-node store repair" in explained(refused.value)
