"""What the documentation shows runs as it stands, against a real node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ..snippets import Reader, Snippet, python_snippets, snippets_of
from .daemon import Process

ROOT = Path(__file__).parents[2]
SNIPPETS = python_snippets(ROOT)


class Node(Process):
    """The node of a page: its files in a directory, its config among them, on a port that is free."""

    def __init__(self, directory: Path, files: Sequence[Snippet]) -> None:
        super().__init__(directory / "world")
        self._config = directory / "node.yaml"
        for snippet in files:
            assert snippet.file is not None
            (directory / snippet.file).write_text(snippet.code)
        self._text = self._config.read_text()

    def arguments(self) -> Sequence[str]:
        self._config.write_text(f"{self._text}\napi: {{listen: '{self.address or '127.0.0.1:0'}'}}\n")
        return "--config", str(self._config)


def files_of(page: str) -> list[Snippet]:
    return [snippet for snippet in snippets_of(ROOT, page) if snippet.file is not None]


def programs_of(page: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS[page] if snippet.file is None and not snippet.is_fragment]


@pytest.mark.parametrize("page", SNIPPETS)
def test_every_snippet_of_a_page_runs_one_after_the_other(page: str, tmp_path: Path) -> None:
    node = Node(tmp_path, files_of(page))
    node.start(SHOP_API_KEY="secret")
    reader = Reader(tmp_path, node.address)
    try:
        for snippet in programs_of(page):
            reader.run(snippet)
    finally:
        reader.close()
        node.close()


def test_the_five_minutes_end_the_same_though_the_node_is_killed_between_their_steps(tmp_path: Path) -> None:
    node = Node(tmp_path, files_of("README.md"))
    node.start()
    printed = ""
    try:
        for snippet in programs_of("README.md"):
            reader = Reader(tmp_path, node.address)  # a terminal of its own, and nothing of the one before
            try:
                printed = reader.run(snippet)
            finally:
                reader.close()
            node.kill()
            node.start()
    finally:
        node.close()

    assert printed.startswith("Hello, Ann! — Hi!\n")


@pytest.mark.parametrize("snippet", [each for page in SNIPPETS.values() for each in page], ids=str)
def test_every_snippet_is_python(snippet: Snippet) -> None:
    compile(snippet.code, str(snippet), "exec")


def test_at_most_one_snippet_in_ten_is_a_fragment() -> None:
    snippets = [each for page in SNIPPETS.values() for each in page]

    assert 10 * sum(snippet.is_fragment for snippet in snippets) <= len(snippets)


def test_what_is_marked_says_so_by_a_known_word() -> None:
    assert {each.info for page in SNIPPETS.values() for each in page} <= {"", "fragment"}
