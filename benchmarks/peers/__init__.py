"""Peers at the same work, in the same run: `scripts/bench --peers`.

Each comes from its public package at a pinned version, with the settings it comes with, and has an environment of its
own: the project depends on none of them. What is not there, or cannot be installed, is told and left out.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.loop import run
from benchmarks.measures import Measure
from benchmarks.peers import postgres, restate_load
from benchmarks.peers.environment import Unmeasured, environ, last_line, npm_with, python_with

DBOS = "3.4.0"
RESTATE_SERVER = "1.7.12"
RESTATE_SDK = "1.3.0"
HYPERCORN = "0.18.0"
PSYCOPG = "3.3.9"

_FAMILIES = ("executions", "steps", "messages")
_FAMILY_S_MAX = 300


def dbos_on_sqlite(seconds: float) -> list[Measure]:
    rows: list[Measure] = []
    for family in _FAMILIES:
        with tempfile.TemporaryDirectory(prefix="tempolite-bench-") as directory:
            rows += _dbos(f"sqlite:///{directory}/dbos.sqlite", family, seconds)
    return _named(f"DBOS {DBOS} on SQLite", rows)


def dbos_on_postgres(seconds: float) -> list[Measure]:
    rows: list[Measure] = []
    for family in _FAMILIES:
        with postgres.a_postgres() as directory:
            rows += _dbos(f"postgresql://{postgres.USER}@/dbos?host={directory}", family, seconds)
    return _named(f"DBOS {DBOS} on PostgreSQL {postgres.version()}", rows)


def restate(seconds: float) -> list[Measure]:
    modules = npm_with("restate-server", f"@restatedev/restate-server@{RESTATE_SERVER}")
    # The package's own command is a script that starts this program, which another package brings for each machine.
    program = next((modules / "@restatedev").glob("restate-server-*/bin/restate-server"), None)
    if program is None:
        raise Unmeasured("its package has no server for this machine")
    python = python_with("restate", [f"restate-sdk=={RESTATE_SDK}", f"hypercorn=={HYPERCORN}"])

    async def measured(family: str) -> list[Measure]:
        async with restate_load.a_restate(program, python) as server:
            return await restate_load.measure(server, family, seconds)

    try:
        rows = [row for family in _FAMILIES for row in run(measured(family))]
    except (OSError, EOFError) as error:
        raise Unmeasured(f"a connection broke: {error}") from error
    return _named(f"Restate {RESTATE_SERVER}", rows)


_PEERS: dict[str, Callable[[float], list[Measure]]] = {
    "DBOS on SQLite": dbos_on_sqlite,
    "DBOS on PostgreSQL": dbos_on_postgres,
    "Restate": restate,
}


def measure(seconds: float) -> list[Measure]:
    """What can be measured here. Each family of figures has a database, or a server, of its own."""
    rows: list[Measure] = []
    for name, measured in _PEERS.items():
        try:
            rows += measured(seconds)
        except Unmeasured as why:
            click.echo(f"peer: {name}: skipped: {why}")
    return rows


def _dbos(url: str, family: str, seconds: float) -> list[Measure]:
    python = python_with("dbos", [f"dbos=={DBOS}", f"psycopg[binary]=={PSYCOPG}"])
    program = Path(__file__).with_name("dbos_peer.py")
    try:
        done = subprocess.run(
            [python, program, url, family, str(seconds)],
            env=environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_FAMILY_S_MAX,
        )
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"{family}: not done after {_FAMILY_S_MAX} s") from None
    if done.returncode != 0:
        raise Unmeasured(f"{family}: {last_line(done.stderr)}")
    return [Measure(**json.loads(line)) for line in done.stdout.splitlines()]


def _named(peer: str, rows: list[Measure]) -> list[Measure]:
    return [replace(row, name=f"peer: {peer}: {row.name}") for row in rows]
