"""The synchronous half of the SDK is generated from the asynchronous one, and the two say the same."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tempolite_sdk
from tempolite_sdk.begun import SyncBegins

ROOT = Path(__file__).parents[3]
TWINS = [
    (name, name.removeprefix("Async"))
    for name in tempolite_sdk.__all__
    if name.startswith("Async") and name.removeprefix("Async") in tempolite_sdk.__all__
]


def generate(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "scripts" / "generate_sync"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the SDK that may be changed."""
    pytest.importorskip("ruff")
    shutil.copytree(ROOT / "tempolite_sdk", tmp_path / "tempolite_sdk", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "generate_sync", tmp_path / "scripts")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "ruff").symlink_to(Path(sys.executable).parent / "ruff")
    return tmp_path


def test_what_is_committed_is_what_the_asynchronous_half_gives(checkout: Path) -> None:
    checked = generate(checkout, "--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_change_of_one_half_alone_is_found_and_generating_ends_it(checkout: Path) -> None:
    source = checkout / "tempolite_sdk" / "async_contexts.py"
    source.write_text(source.read_text().replace("async def heartbeat(", "async def beat("))

    stale = generate(checkout, "--check")
    assert stale.returncode == 1
    assert "tempolite_sdk/contexts.py is stale: run scripts/generate_sync" in stale.stderr
    assert "sync_client.py" not in stale.stderr

    assert generate(checkout).returncode == 0
    assert "    def beat(self" in (checkout / "tempolite_sdk" / "contexts.py").read_text()
    assert generate(checkout, "--check").returncode == 0


def test_nothing_asynchronous_is_left_in_what_is_generated() -> None:
    for name in ("contexts.py", "client/sync_client.py", "client/sync_handle.py"):
        source = (ROOT / "tempolite_sdk" / name).read_text()
        assert source.startswith("# Generated from async_")
        code = "\n".join(line for line in source.split("\n") if not line.startswith("# Generated"))
        assert not any(word in code for word in ("await ", "async ", "Async", "async_", "__aenter__", "Awaitable"))


@pytest.mark.parametrize(("asynchronous", "synchronous"), TWINS)
def test_both_halves_have_the_same_members_with_the_same_parameters(asynchronous: str, synchronous: str) -> None:
    def members(name: str) -> dict[str, list[str]]:
        return {
            member: list(inspect.signature(value).parameters)
            for member, value in inspect.getmembers(getattr(tempolite_sdk, name), callable)
            if not member.startswith("_")
        }

    alone = {name for name in vars(SyncBegins) if not name.startswith("_")}  # asynchronous code has tasks for these
    found = members(synchronous)
    assert members(asynchronous) == {name: found[name] for name in found if name not in alone}
    assert alone <= members("HandlerContext").keys() & members("SagaContext").keys()
    assert len(TWINS) == 9
