"""A type checker sees the handlers' own types through the client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


def mypy_errors(path: Path) -> dict[int, str]:
    """By line. mypy exits with 0 or 1 when it has checked the file, and otherwise could not."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(path)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
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


def test_the_guides_snippets_are_correct_together(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "client.md").read_text()
    snippets = tmp_path / "snippets.py"
    snippets.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)))
    assert mypy_errors(snippets) == {}
