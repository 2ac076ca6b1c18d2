"""The snippets of a page of the documentation, and a process that runs them one by one, as its reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"\A# (?P<name>[\w/.-]+\.(?:py|yaml))\n")

#: Reads where a snippet is and how long, then the snippet itself, and runs it among what the earlier ones defined.
_RUNNER = """
import sys, traceback
namespace = {"__name__": "__main__"}
for header in sys.stdin:
    name, lines, size = header.split()
    code = "\\n" * int(lines) + sys.stdin.read(int(size))
    try:
        exec(compile(code, name, "exec"), namespace)
    except BaseException:
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        break
    print("\\0", flush=True)
"""


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page."""

    page: str
    line: int  #: 1-based, of the first line of code
    language: str
    info: str  #: what follows the language
    code: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is, told by its first line; None: it is to be run."""
        named = _FILE.match(self.code)
        return named["name"] if named is not None else None

    @property
    def is_fragment(self) -> bool:
        return self.info == "fragment"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets_of(root: Path, page: str) -> list[Snippet]:
    text = (root / page).read_text()
    return [
        Snippet(
            page, text[: found.start("code")].count("\n") + 1, found["language"], found["info"].strip(), found["code"]
        )
        for found in _FENCE.finditer(text)
    ]


def python_snippets(root: Path) -> dict[str, list[Snippet]]:
    """Those of each page that has any: README.md and all below docs/."""
    pages = sorted(str(path.relative_to(root)) for path in [root / "README.md", *root.glob("docs/**/*.md")])
    found = {page: [each for each in snippets_of(root, page) if each.language == "python"] for page in pages}
    return {page: snippets for page, snippets in found.items() if snippets}


class Reader:
    """Somebody who types in one snippet after the other, in the directory of the page's files."""

    def __init__(self, directory: Path, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUNNER],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TEMPOLITE_ADDRESS": address},
        )

    def run(self, snippet: Snippet) -> str:
        """What it prints. AssertionError: it does not run."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{snippet.page} {snippet.line - 1} {len(snippet.code)}\n{snippet.code}")
        self._process.stdin.flush()
        printed = "".join(self._printed())
        if self._process.poll() is not None or not printed.endswith("\0\n"):
            _, said = self._process.communicate()
            raise AssertionError(f"{snippet} does not run:\n{said}")
        return printed.removesuffix("\0\n")

    def _printed(self) -> Iterator[str]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield line
            if line.endswith("\0\n"):
                return

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
