"""What the operating system tells a node's processes."""

from __future__ import annotations

import os
import pty

from tempolite_node.system import Terminals


def test_a_terminal_that_was_closed_is_known_and_a_file_is_none() -> None:
    window, terminal = pty.openpty()
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
