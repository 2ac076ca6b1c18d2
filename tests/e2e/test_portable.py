"""A node where there is nothing of Linux's own, as on macOS."""

from __future__ import annotations

from pathlib import Path

import tests.portable

from .conftest import Start
from .daemon import PATIENCE_S

PORTABLE = str(Path(tests.portable.__file__).parent)


def test_a_node_runs_on_what_every_posix_system_has(node: Start) -> None:
    daemon = node("processes:list_what_linux_has", "misbehaving:listen", {"target": "misbehaving:exit_at_once"})
    assert daemon.stop() == 0
    daemon.start(PYTHONPATH=PORTABLE)

    with daemon.client() as client:
        assert client.execute("list_what_linux_has") == []
        waiting = client.enqueue("listen", "through the end of its host")
        assert client.execute("exit_at_once", 1) == "lives", "in another host, since the first one ended"
        waiting.send_signal("word", "heard")
        assert waiting.result(PATIENCE_S) == "heard"
    assert daemon.stop() == 0
