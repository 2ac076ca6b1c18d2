"""A type checker sees the handlers' own types through the client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(300)  # mypy may have no cache yet

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


Errors = dict[str, dict[int, str]]  #: by file and line


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """What mypy says of all together. It exits with 0 or 1 when it has checked them, and otherwise could not."""
    guide = (ROOT / "docs" / "client.md").read_text()
    snippets = tmp_path_factory.mktemp("guide") / "snippets.py"
    snippets.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", guide, flags=re.MULTILINE | re.DOTALL)))
    files = [HERE / "accepted.py", HERE / "rejected.py", snippets]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", *map(str, files)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert checked.returncode in (0, 1), checked.stderr
    found: Errors = {path.name: {} for path in files}
    for file, line, text in (each.split(":", 2) for each in checked.stdout.splitlines() if ": error:" in each):
        found.setdefault(Path(file).name, {})[int(line)] = text
    return found


def test_errors_are_in_no_other_files(errors: Errors) -> None:
    assert errors.keys() == {"accepted.py", "rejected.py", "snippets.py"}, errors


def test_correct_calls_are_accepted_with_their_exact_types(errors: Errors) -> None:
    assert errors["accepted.py"] == {}


def test_each_wrong_call_is_refused_and_nothing_else(errors: Errors) -> None:
    lines = (HERE / "rejected.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert errors["rejected.py"].keys() == wrong


def test_the_guides_snippets_are_correct_together(errors: Errors) -> None:
    assert errors["snippets.py"] == {}
