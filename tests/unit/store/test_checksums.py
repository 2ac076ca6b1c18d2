"""Pages carry checksums: what the disk changes is found when it is read."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tempolite_node.store.database import open_reader, open_writer
from tempolite_node.store.executions import register_start


def filled_store(path: Path) -> None:
    """With enough rows that they fill pages of their own, all in the file itself."""
    connection = open_writer(path)
    register_start(connection, "n1")
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
    reader = open_reader(path)
    return int(reader.execute("SELECT sum(length(name)) FROM timers").get)


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
