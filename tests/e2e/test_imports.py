"""What handlers import does not depend on where the node was started, nor on what lies there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemon import Daemon

COMMAND = str(Path(sys.executable).with_name("tempolite-node"))

SHOP = """
import random
from tempolite_sdk import HandlerContext
from prices import PRICES

def order(ctx: HandlerContext, item: str) -> int:
    import calendar, queue, secrets, statistics
    return ctx.side_effect("price", lambda: PRICES[item])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The handlers' directory, with a file named like each module of the standard library."""
    for name in sys.stdlib_module_names:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('the own {name}.py was imported')\n")
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "prices.py").write_text("PRICES = {'pen': 3}\n")
    return tmp_path


@pytest.fixture
def daemon(project: Path) -> Iterator[Daemon]:
    daemon = Daemon(project, {"handlers": [{"target": "shop:order"}], "hosts": {"python_path": ["."]}})
    yield daemon
    daemon.close()


def test_a_node_serves_where_files_have_the_names_of_the_standard_library(daemon: Daemon, project: Path) -> None:
    daemon.start("env", "-C", str(project), COMMAND)

    with daemon.client() as client:
        assert client.execute("order", "pen") == 3


def test_the_check_of_a_config_imports_as_the_node_does(daemon: Daemon, project: Path) -> None:
    checked = subprocess.run(
        [COMMAND, "config", "check", *daemon.arguments()], cwd=project, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr


def test_a_handler_in_a_file_that_the_standard_library_hides_is_told_so(daemon: Daemon, project: Path) -> None:
    daemon.configure(handlers=[{"target": "calendar:order"}])

    checked = subprocess.run([COMMAND, "config", "check", *daemon.arguments()], capture_output=True, text=True)

    assert checked.returncode == 2
    hidden = f"{project / 'calendar.py'} is hidden by a module of the standard library: rename it"
    assert hidden in checked.stderr
