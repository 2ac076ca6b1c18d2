"""Environments of the peers' own, below .venv-peers, made at the first use and again when a pin changes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
_HOME = ROOT / ".venv-peers"
# Some packages report their installation, some programs their use.
QUIET = {"DO_NOT_TRACK": "1", "SCARF_ANALYTICS": "false"}


class Unmeasured(Exception):
    """Why a peer has no figures here."""


def environ() -> dict[str, str]:
    """For the processes of a peer."""
    return {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}


def python_with(name: str, pins: Sequence[str]) -> Path:
    """The interpreter of an environment with these packages."""
    home = _HOME / name
    python = home / "bin" / "python"
    if not _is_current(home, pins):
        click.echo(f"installing {', '.join(pins)}")
        _install([sys.executable, "-m", "venv", "--clear", str(home)], pins)
        _install([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pins], pins)
        _stamp(home).write_text("\n".join(pins))
    return python


def npm_with(name: str, pin: str) -> Path:
    """The directory node_modules with this package. No script of a package runs."""
    npm = shutil.which("npm")
    if npm is None:
        raise Unmeasured("npm is not installed")
    home = _HOME / name
    if not _is_current(home, [pin]):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        click.echo(f"installing {pin}")
        _install([npm, "install", "--prefix", str(home), "--no-audit", "--no-fund", "--ignore-scripts", pin], [pin])
        _stamp(home).write_text(pin)
    return home / "node_modules"


def _stamp(home: Path) -> Path:
    return home / "installed"


def _is_current(home: Path, pins: Sequence[str]) -> bool:
    return _stamp(home).exists() and _stamp(home).read_text() == "\n".join(pins)


def _install(command: Sequence[str], pins: Sequence[str]) -> None:
    done = subprocess.run(command, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unmeasured(f"{', '.join(pins)} could not be installed: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
