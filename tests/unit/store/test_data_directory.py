"""The data directory tells the next daemon what became of the last one."""

from __future__ import annotations

from pathlib import Path

from tempolite_node.store.data_directory import DataDir

NOW_MS = 1_700_000_000_000


def test_a_daemon_that_died_has_left_its_last_sign_of_life(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    assert directory.last_alive_ms() is None
    for now_ms in (NOW_MS, NOW_MS + 5_000):
        directory.give_sign_of_life(now_ms)

    assert DataDir(tmp_path).last_alive_ms() == NOW_MS + 5_000


def test_one_that_was_stopped_has_left_none(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.open()
    directory.give_sign_of_life(NOW_MS)
    directory.close()

    assert DataDir(tmp_path).last_alive_ms() is None


def test_signs_that_can_not_be_given_disturb_nobody(tmp_path: Path) -> None:
    directory = DataDir(tmp_path / "gone")
    directory.give_sign_of_life(NOW_MS)
    assert directory.last_alive_ms() is None
