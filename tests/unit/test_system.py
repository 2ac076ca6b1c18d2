"""What the operating system tells a node's processes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import tests.portable
from tempolite_node.system import Terminals, tells_memory


def test_a_terminal_that_was_closed_is_known_and_a_file_is_none() -> None:
    try:
        window, terminal = pty.openpty()
    except OSError:
        pytest.skip("there are no pseudo-terminals here (/dev/pts is not mounted)")
    file = os.open(os.devnull, os.O_RDONLY)
    terminals = Terminals((file, terminal))
    try:
        assert not terminals.closed

        os.close(window)

        assert terminals.closed
        assert not Terminals((file,)).closed
    finally:
        os.close(terminal)
        os.close(file)


_ENDS_A_FAMILY = """
import os, subprocess, sys
from tempolite_node.system import adopt_orphans, end_descendants

adopt_orphans()
CHILD = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
parent = os.fork()
if parent == 0:
    os.setsid()
    for own_session in map(int, sys.argv[1]):
        child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, start_new_session=own_session)
        print(child.stdout.readline().decode(), flush=True)
    os._exit(0)
os.waitpid(parent, 0)
end_descendants(parent)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="it looks into /proc for what lives on")
@pytest.mark.parametrize(
    ("path", "own_sessions"), [("", "01"), (str(Path(tests.portable.__file__).parent), "0")], ids=["linux", "portable"]
)
def test_of_a_family_whose_parent_has_ended_nobody_lives_on(path: str, own_sessions: str) -> None:
    """Where orphans can't be adopted, nobody of its process group does."""
    program = [sys.executable, "-c", _ENDS_A_FAMILY, own_sessions]
    ran = subprocess.run(program, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, timeout=60)
    pids = ran.stdout.split()

    assert len(pids) == len(own_sessions)
    assert [pid for pid in pids if Path("/proc", pid.decode(), "exe").exists()] == []


#: Four processes that share 64 MiB, below one that has none of it and measures them.
SHARING = """
import os, signal, time
from tempolite_node.system import memory_of_descendants, memory_of_descendants_in_shares

ready, tell = os.pipe()
first = os.fork()
if first == 0:
    os.setsid()
    held = b"x" * (64 * 1024**2)
    os.fork(), os.fork()
    os.write(tell, b"!")
    time.sleep(600)
for _ in range(4):
    os.read(ready, 1)
print(memory_of_descendants(), memory_of_descendants_in_shares())
os.killpg(first, signal.SIGKILL)
"""


@pytest.mark.skipif(not tells_memory(), reason="this system does not tell it")
def test_memory_that_processes_share_counts_for_each_or_once() -> None:
    told = subprocess.run([sys.executable, "-c", SHARING], capture_output=True, check=True).stdout
    whole, shares = map(int, told.split())

    assert whole > 4 * 64 * 1024**2
    assert 64 * 1024**2 < shares < 2 * 64 * 1024**2
