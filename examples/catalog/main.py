"""Catalogs a source tree on a running node, and compares the catalog with a direct computation."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from examples.catalog import catalog, direct
from examples.catalog.files import STANDARD_LIBRARY
from examples.catalog.handlers import Progress, Summary, catalog_tree
from examples.progress import display
from tempolite_sdk import Client, ExecutionHandle


def follow(job: ExecutionHandle[Summary], on_progress: Callable[[int, int], None]) -> Summary:
    """Tells how far the job is, until it has ended. Goes on by itself when the node is killed and comes back."""
    for signal in job.receive_signals("progress", type=Progress):
        on_progress(signal.payload.done, signal.payload.total)
    return job.result()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.catalog.main", description=__doc__)
    parser.add_argument("root", nargs="?", default=STANDARD_LIBRARY, help="directory to catalog [%(default)s]")
    parser.add_argument("--directory", default=os.environ.get("CATALOG_DIR"), help="that of the node [$CATALOG_DIR]")
    arguments = parser.parse_args()
    if arguments.directory is None:
        parser.error("set CATALOG_DIR, as for the node")
    root = str(Path(arguments.root).resolve())

    with Client() as client, display("files") as progress:
        job = client.enqueue(catalog_tree, root)
        summary = follow(job, progress.update)
    print(f"{summary.files} files in {summary.packages} packages, {summary.problems} with problems")

    same = catalog.dump(f"{arguments.directory}/catalog.db") == direct.dump(root)
    print("equal to a direct computation, to the byte" if same else "NOT what a direct computation gives")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
