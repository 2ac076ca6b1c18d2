from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon

Start = Callable[..., Daemon]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes: node("module:function", ...) with further config sections by keyword."""
    with _starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """The same, for nodes that the tests of a module share."""
    with _starting(tmp_path_factory.mktemp("nodes")) as start:
        yield start


@contextmanager
def _starting(directory: Path) -> Iterator[Start]:
    daemons: list[Daemon] = []

    def start(*targets: str | dict[str, Any], **config: Any) -> Daemon:
        handlers = [{"target": target} if isinstance(target, str) else target for target in targets]
        home = directory / f"node-{len(daemons)}"
        home.mkdir()
        daemon = Daemon(home, {"handlers": handlers, **config})
        daemons.append(daemon)
        return daemon.start()

    yield start
    for daemon in daemons:
        daemon.close()
        print(
            daemon.directory.name, "logged last:", *daemon.log[-15:], sep="\n  "
        )  # pytest shows it of a test that failed
