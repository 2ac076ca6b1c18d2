"""A PostgreSQL server of its own, as Debian's packages bring it, in a temporary directory."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import Unmeasured, last_line

USER = "bench"


def programs() -> Path:
    """The directory of the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise Unmeasured("no PostgreSQL server is installed")
    return found[-1].parent


def version() -> str:
    return programs().parent.name


def _unprivileged(directory: Path) -> dict[str, Any]:
    """PostgreSQL refuses to be root's; its package comes with a user."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        raise Unmeasured("PostgreSQL cannot run as root, and there is no user 'postgres'") from None
    os.chown(directory, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


@contextmanager
def a_postgres() -> Iterator[str]:
    """Where its socket is: in a directory that nobody else may enter. It listens nowhere else.

    Its settings are those it comes with, so a commit is on disk when it is confirmed.
    """
    bin_dir = programs()
    directory = Path(tempfile.mkdtemp(prefix="tempolite-bench-"))
    try:
        with _running(bin_dir, directory, _unprivileged(directory)):
            yield str(directory)
    finally:
        shutil.rmtree(directory)


@contextmanager
def _running(bin_dir: Path, directory: Path, who: dict[str, Any]) -> Iterator[None]:
    data = str(directory / "data")
    made = subprocess.run(
        [str(bin_dir / "initdb"), "--pgdata", data, "--username", USER, "--auth", "trust", "--no-sync"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        **who,
    )
    if made.returncode != 0:
        raise Unmeasured(f"initdb: {last_line(made.stderr)}")
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={directory}"]
    command = [str(bin_dir / "postgres"), "-D", data, *settings]
    with (directory / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, **who)
    try:
        _wait_ready(bin_dir, directory, server)
        yield
    finally:
        server.send_signal(signal.SIGINT)  # does not wait for clients that stay connected
        server.wait()


def _wait_ready(bin_dir: Path, directory: Path, server: subprocess.Popen[Any]) -> None:
    asked = [str(bin_dir / "pg_isready"), "--quiet", "--host", str(directory)]
    while subprocess.run(asked, check=False).returncode != 0:
        if server.poll() is not None:
            raise Unmeasured(f"PostgreSQL did not start: {last_line((directory / 'log').read_text())}")
        time.sleep(0.05)
