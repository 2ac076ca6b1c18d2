"""Where the directories of the handlers stand on Python's path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tempolite_node.worker_host.python_path import extend

STANDARD = [p for p in sys.path if p.endswith((".zip", "lib-dynload")) or (Path(p) / "os.py").exists()]


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/of/PYTHONPATH", *STANDARD, "/venv/site-packages", "/editable/project"])


def test_they_stand_between_the_standard_library_and_what_is_installed() -> None:
    extend(["/app", "/app/lib"])

    assert sys.path == [
        "/of/PYTHONPATH",
        *STANDARD,
        "/app",
        "/app/lib",
        "/venv/site-packages",
        "/editable/project",
    ]


def test_a_directory_stands_there_once_wherever_it_was_before() -> None:
    extend(["/editable/project", "/editable/project"])

    assert sys.path == ["/of/PYTHONPATH", *STANDARD, "/editable/project", "/venv/site-packages"]
