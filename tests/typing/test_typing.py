"""A type checker sees the handlers' own types through the client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..snippets import python_snippets

pytestmark = pytest.mark.timeout(300)  # mypy may have no cache yet

ROOT = Path(__file__).parents[2]
SNIPPETS = python_snippets(ROOT)
HERE = Path(__file__).parent


def mypy_errors(path: Path, **environment: str) -> dict[int, str]:
    """By line. mypy exits with 0 or 1 when it has checked the file, and otherwise could not."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(path)]
    environ = {**os.environ, **environment}
    checked = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=240, check=False)
    assert checked.returncode in (0, 1), checked.stderr
    errors = [line.split(":", 2) for line in checked.stdout.splitlines() if ": error:" in line]
    assert all(Path(file).name == path.name for file, _, _ in errors), checked.stdout
    return {int(line): text for _, line, text in errors}


def test_correct_calls_are_accepted_with_their_exact_types() -> None:
    assert mypy_errors(HERE / "accepted.py") == {}


def test_each_wrong_call_is_refused_and_nothing_else() -> None:
    path = HERE / "rejected.py"
    wrong = {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# refused")}
    assert mypy_errors(path).keys() == wrong


@pytest.mark.parametrize("page", SNIPPETS)
def test_a_pages_snippets_are_correct_together(page: str, tmp_path: Path) -> None:
    program = ""
    for snippet in SNIPPETS[page]:
        if snippet.file is not None:
            (tmp_path / snippet.file).write_text(snippet.code)
        elif not snippet.is_fragment:
            program += snippet.code
    path = tmp_path / "program.py"
    path.write_text(program)

    assert mypy_errors(path, MYPYPATH=str(tmp_path)) == {}
