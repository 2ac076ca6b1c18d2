"""What is loaded for what: counted in modules, which no slow machine changes."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import click
import pytest

import tempolite_sdk
from tempolite_node.__main__ import NODE_EXTRA

ROOT = Path(__file__).parents[2]
OF_HANDLERS = [
    name
    for name in tempolite_sdk.__all__
    if name.endswith(("Context", "SideEffect", "SagaStep")) or name in ("ChildHandle", "RetryPolicy", "Cancelled")
]

_REPORT = "\nimport json, sys; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"


def loaded_by(code: str) -> set[str]:
    """Names of the modules that a new process has when it has run the code."""
    ran = subprocess.run([sys.executable, "-c", code + _REPORT], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(ran.stderr.splitlines()[-1]))


def foreign(modules: set[str]) -> set[str]:
    """Packages among them that are neither Python's own nor ours."""
    packages = {name.partition(".")[0] for name in modules}
    return packages - sys.stdlib_module_names - {"__main__", "tempolite_sdk", "tempolite_node"} - loaded_by_site()


@cache
def loaded_by_site() -> set[str]:
    """What an environment loads in each of its processes, such as the hooks of editable installs."""
    return {name.partition(".")[0] for name in loaded_by("")}


def run_node(*arguments: str, interpreter: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *interpreter, "-m", "tempolite_node", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


# --- the SDK


def test_importing_the_sdk_loads_next_to_nothing() -> None:
    loaded = loaded_by("import tempolite_sdk")

    assert foreign(loaded) == set()
    assert {name for name in loaded if name.startswith("tempolite_sdk")} == {"tempolite_sdk"}


def test_a_module_of_handlers_loads_no_grpc_and_no_client() -> None:
    loaded = loaded_by(f"from tempolite_sdk import {', '.join(OF_HANDLERS)}")

    assert foreign(loaded) - {"typing_extensions"} == {"msgspec"}  # which takes the extensions where they are
    assert {name for name in loaded if name.startswith("tempolite_sdk.client")} == set()
    assert len(OF_HANDLERS) == 17


def test_every_public_name_is_there_and_type_checkers_see_the_same_ones() -> None:
    seen = {
        alias.name: node.module
        for node in ast.walk(ast.parse(Path(tempolite_sdk.__file__).read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("tempolite_sdk.")
        for alias in node.names
    }

    assert sorted(seen) == sorted(tempolite_sdk.__all__)
    for name, module in seen.items():
        assert getattr(tempolite_sdk, name).__module__ == module


def test_the_public_names_are_listed_before_they_are_loaded_and_all_come_with_a_star() -> None:
    listed = loaded_by("import tempolite_sdk as sdk; assert set(sdk.__all__) <= set(dir(sdk))")
    starred = loaded_by("from tempolite_sdk import *\nassert Client.__name__ == 'Client' and SagaStep")

    assert "grpc" not in listed
    assert "grpc" in starred


def test_a_name_that_is_not_public_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'tempolite_sdk' has no attribute 'Klient'"):
        tempolite_sdk.Klient  # noqa: B018


# --- the command


def test_the_version_is_told_without_loading_anything_of_a_node() -> None:
    told = run_node("--version")
    loaded = loaded_by(
        "import sys; from tempolite_node.__main__ import main\n"
        "sys.argv = ['tempolite-node', '--version']\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0"
    )

    assert (told.returncode, told.stdout.startswith("tempolite-node, version ")) == (0, True)
    assert foreign(loaded) == {"click"}
    own = {name for name in loaded if name.startswith("tempolite") and not name.startswith("tempolite_node.cli")}
    assert own <= {"tempolite_node", "tempolite_node.__main__", "tempolite_node.errors", "tempolite_node.roles"}
    assert "asyncio" not in loaded


def test_a_node_that_is_alone_loads_nothing_of_raft() -> None:
    loaded = loaded_by("import tempolite_node.node.daemon, tempolite_node.cli.logging")

    assert {
        name for name in loaded if name.startswith(("tempolite_node.log.raft", "pysyncobj", "cryptography"))
    } == set()
    assert "tempolite_node.log.replicated" not in loaded


@pytest.mark.parametrize("arguments", [["--version"], ["--config", "node.yaml"], ["cluster", "status"]])
def test_with_the_sdk_alone_installed_the_command_says_what_to_install(arguments: list[str]) -> None:
    told = run_node(*arguments, interpreter=["-S"])  # without site-packages

    assert told.returncode == 1
    assert told.stderr == "tempolite-node: a node needs click, which is not installed: pip install 'tempolite[node]'\n"
    assert told.stdout == ""


def test_with_a_part_of_the_extra_installed_it_is_told_as_well(tmp_path: Path) -> None:
    (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    config = tmp_path / "node.yaml"
    config.write_text("")
    command = [sys.executable, "-S", "-m", "tempolite_node", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)

    assert told.returncode == 1
    assert told.stderr.endswith("which is not installed: pip install 'tempolite[node]'\n")
    assert "Traceback" not in told.stderr


def test_what_the_command_asks_for_is_the_extra_as_it_is_published() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    published = {re.split("[<>=~!]", each)[0] for each in project["optional-dependencies"]["node"]}

    installing = packages_distributions()
    found = {distribution for module in NODE_EXTRA for distribution in installing[module]}
    assert found - {"ruamel.yaml.clib"} == published  # which earlier versions of ruamel.yaml bring along
    assert project["scripts"]["tempolite-node"] == "tempolite_node.__main__:main"
