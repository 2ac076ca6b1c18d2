"""The daemon of an earlier version, as far as its format of the log goes: python -m tests.e2e.earlier_daemon --config …

It knows format 1 alone, so executions that are enqueued at it go on by the rules of that time.
"""

from __future__ import annotations

from tempolite_node.cli.main import main
from tempolite_node.engine import formats

formats.FORMAT = 1
main(prog_name="tempolite-node")
