"""What the package index is told of the project, by the metadata that it was installed with."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def test_the_node_is_the_only_extra() -> None:
    assert metadata("tempolite").get_all("Provides-Extra") == ["node"]


def test_nothing_that_only_the_project_itself_needs_is_published() -> None:
    published = metadata("tempolite").get_all("Requires-Dist") or []
    groups = PYPROJECT["dependency-groups"].values()
    internal = {entry for group in groups for entry in group if isinstance(entry, str)}

    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in published}
    assert names.isdisjoint(re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in internal)


def test_the_index_says_where_the_project_is() -> None:
    urls = dict(url.split(", ", 1) for url in metadata("tempolite").get_all("Project-URL") or [])

    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Source", "Issues"}
    assert all(url.startswith(PYPROJECT["project"]["urls"]["Homepage"]) for url in urls.values())


def test_the_readme_on_the_index_has_no_link_that_leads_nowhere_there() -> None:
    description = metadata("tempolite")["Description"]
    links = _LINK.findall(description)

    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []


def test_each_file_that_the_readme_links_to_is_there() -> None:
    links = [link.partition("#")[0] for link in _LINK.findall((ROOT / "README.md").read_text())]

    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_each_requirement_has_a_lowest_version() -> None:
    project = PYPROJECT["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["node"]]

    assert [requirement for requirement in requirements if not re.search(r"[>=]=\s*\d", requirement)] == []
