"""Pages carry checksums: what the disk changes is found when it is read."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from tempolite_node.store.database import explained

from .filled import ADDRESS, ROWS, fill_store, flip_a_bit, read_everything, write_by_another_program


def test_a_store_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    fill_store(tmp_path / "store.db")
    assert read_everything(tmp_path / "store.db") == ROWS * len(ADDRESS)


@pytest.mark.parametrize("place", [0.5, 0.7, 0.9])
def test_a_flipped_bit_fails_the_read_instead_of_changing_what_is_read(tmp_path: Path, place: float) -> None:
    path = tmp_path / "store.db"
    fill_store(path)
    flip_a_bit(path, int(path.stat().st_size * place))
    with pytest.raises(apsw.IOError):
        read_everything(path)


def test_a_store_that_another_program_wrote_to_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill_store(path)
    write_by_another_program(path)
    with pytest.raises(apsw.IOError) as refused:
        read_everything(path)
    assert "tempolite-node store repair" in explained(refused.value)
