from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .daemon import Daemon

Start = Callable[..., Daemon]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Start]:
    """Starts nodes: node("module:function", ...) with further config sections by keyword."""
    daemons: list[Daemon] = []

    def start(*targets: str | dict[str, Any], **config: Any) -> Daemon:
        handlers = [{"target": target} if isinstance(target, str) else target for target in targets]
        directory = tmp_path / f"node-{len(daemons)}"
        directory.mkdir()
        daemon = Daemon(directory, {"handlers": handlers, **config})
        daemons.append(daemon)
        return daemon.start()

    yield start
    for daemon in daemons:
        daemon.close()
