"""`tempolite-node`, run in this process: what a shell would see of it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from tempolite_node.cli.main import main


@dataclass
class Result:
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Result:
    """Not by click's own runner, which tells the two streams apart in its later versions alone."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            main(arguments, prog_name="tempolite-node")
        except SystemExit as end:
            exit_code = end.code
    assert isinstance(exit_code, int)
    return Result(exit_code, stdout.getvalue(), stderr.getvalue())
