"""The processes that the node starts: how they begin, and that each is reaped, by whoever waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tempolite_node.supervisor.children import ChildProcesses
from tempolite_node.system import GROUP_SIGNALS


async def ended(children: ChildProcesses, program: str, *arguments: str) -> int:
    """Exit code of a Python program that is run to its end."""
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    command = [sys.executable, "-c", program, *arguments]
    children.spawn(command, pass_fds=[], environment=os.environ, ended=code.set_result)
    return await code


async def test_a_child_has_a_session_of_its_own_and_begins_with_the_signals_of_a_group_blocked(tmp_path: Path) -> None:
    program = """
import os, signal, sys
blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
open(sys.argv[1], "w").write(f"{os.getsid(0) == os.getpid()} {sorted(map(int, blocked))}")
"""
    assert await ended(ChildProcesses(), program, str(tmp_path / "told")) == 0

    assert (tmp_path / "told").read_text() == f"True {sorted(map(int, GROUP_SIGNALS))}"
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(GROUP_SIGNALS), "here they are not blocked any more"


async def test_the_end_of_a_child_tells_its_exit_code_or_the_signal_that_ended_it() -> None:
    children = ChildProcesses()

    assert await ended(children, "raise SystemExit(3)") == 3
    assert await ended(children, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") == -signal.SIGKILL


_UNTIL_IT_IS_TO_END = "import os, sys; os.read(int(sys.argv[-1]), 1); raise SystemExit(7)"


async def test_a_child_is_told_to_end_once_and_may_have_ended_before() -> None:
    children = ChildProcesses()
    code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    command = [sys.executable, "-c", _UNTIL_IT_IS_TO_END]
    process = children.spawn(command, pass_fds=[], environment=os.environ, ended=code.set_result)
    children.end(process)
    children.end(process)

    assert await code == 7
    children.end(process)


async def test_a_child_that_can_not_be_started_leaves_nothing_open() -> None:
    before = sorted(os.listdir("/dev/fd"))
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            ChildProcesses().spawn(["/no/such/program"], pass_fds=[], environment={}, ended=print)

    assert sorted(os.listdir("/dev/fd")) == before


_ORPHAN = """
import asyncio, os, sys
from tempolite_node.supervisor.children import ChildProcesses

async def main():
    children = ChildProcesses()
    code = asyncio.get_running_loop().create_future()
    command = [sys.executable, "-c", "raise SystemExit(5)"]
    process = children.spawn(command, pass_fds=[], environment=os.environ, ended=code.set_result)
    orphan = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    for each in (process.pid, orphan):
        os.waitid(os.P_PID, each, os.WEXITED | os.WNOWAIT)  # until it has ended
    children.reap_orphans()
    assert await code == 5
    children.reap_orphans()
    try:
        os.waitpid(orphan, os.WNOHANG)
    except ChildProcessError:
        print("reaped")

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="it is for the first process of a container, on Linux")
def test_orphans_are_reaped_and_children_are_left_to_who_waits_for_them() -> None:
    """In a process of its own, whose children are these alone."""
    told = subprocess.run([sys.executable, "-c", _ORPHAN], capture_output=True, text=True, timeout=60)

    assert told.stdout == "reaped\n", told.stderr
