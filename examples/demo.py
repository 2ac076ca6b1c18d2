"""Runs the examples on real nodes, kills each node in the middle of its work, and checks what comes out."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import examples.catalog.main as catalog_client
import examples.orders.main as orders_client
from examples.catalog import catalog, direct
from examples.catalog.files import STANDARD_LIBRARY
from examples.catalog.handlers import catalog_tree
from examples.daemon import Daemon, DaemonFailed, KillOnce
from examples.orders.audit import Outcome, audit
from examples.orders.samples import sample_orders
from examples.progress import display
from tempolite_sdk import Client, ExecutionStatus, ExecutionTree, OperationKind, TempoliteError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Options:
    root: str
    orders: int
    kill_at: float  #: part of the work, from 0 to 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--root", default=STANDARD_LIBRARY, help="source tree to catalog [%(default)s]")
    parser.add_argument("--orders", type=_at_least_one, default=240, metavar="N", help="[%(default)s]")
    parser.add_argument("--kill-at", type=_percent, default=0.4, metavar="PERCENT", help="of each example [40]")
    parser.add_argument("--directory", type=Path, help="an empty one, which is kept [a temporary one]")
    given = parser.parse_args(arguments)
    if given.directory is not None:
        given.directory.mkdir(parents=True, exist_ok=True)
        if any(given.directory.iterdir()):
            parser.error(f"--directory {given.directory}: is not empty")
    options = Options(str(Path(given.root).resolve()), given.orders, given.kill_at)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with _directory(given.directory) as directory:
            passed = [demo_catalog(directory / "catalog", options), demo_orders(directory / "orders", options)]
    except KeyboardInterrupt:
        print("interrupted; nothing is left running")
        return 128 + signal.SIGINT
    except (DaemonFailed, TempoliteError) as error:
        print(f"scripts/demo: {error}", file=sys.stderr)
        return 1
    print("\nAll checks passed." if all(passed) else "\nA CHECK FAILED.")
    return 0 if all(passed) else 1


def _at_least_one(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _percent(text: str) -> float:
    if not 0 <= (percent := float(text)) <= 100:
        raise ValueError(text)
    return percent / 100


@contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        yield chosen.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="tempolite-demo-") as temporary:
            yield Path(temporary)


def demo_catalog(directory: Path, options: Options) -> bool:
    print(f"Catalog: {options.root}")
    directory.mkdir()
    config = HERE / "catalog" / "node.yaml"
    with Daemon(config, directory, {"CATALOG_DIR": str(directory)}) as daemon, Client(daemon.address) as client:
        with display("files") as shown:
            started_s = time.monotonic()
            job = client.enqueue(catalog_tree, options.root)
            summary = catalog_client.follow(job, KillOnce(daemon, shown, at=options.kill_at))
            taken_s = time.monotonic() - started_s
        executions = client.count()
    print(f"{summary.files} files in {summary.packages} packages, {summary.problems} of them with problems")
    # A side effect for each file, one that lists them, and one that retires what is no longer there.
    _print_rates(taken_s, executions=executions, side_effects=summary.files + 2)
    print("computing the same directly, to compare …", flush=True)
    expected = direct.dump(options.root)
    return _checked(
        "the catalog equals the direct computation, to the byte",
        catalog.dump(str(directory / "catalog.db")) == expected,
    )


def demo_orders(directory: Path, options: Options) -> bool:
    print(f"\nOrders: {options.orders}, of every kind in turn")
    directory.mkdir()
    books = str(directory / "shop.db")
    orders_client.open_shop(books)
    config = HERE / "orders" / "node.yaml"
    with Daemon(config, directory, {"ORDERS_DIR": str(directory)}) as daemon, Client(daemon.address) as client:
        with display("orders") as shown:
            started_s = time.monotonic()
            placed = orders_client.place_orders(client, sample_orders(options.orders, prefix="order"))
            orders_client.approve(placed)
            orders_client.follow(client, 0, len(placed), KillOnce(daemon, shown, at=options.kill_at))
            taken_s = time.monotonic() - started_s
        outcomes = [orders_client.outcome_of(each) for each in placed]
        trees = [each.execution.tree() for each in placed]
    _print_endings(outcomes)
    _print_rates(taken_s, executions=len(trees), **_operations(trees))
    for status in (ExecutionStatus.COMPLETED, ExecutionStatus.COMPENSATED):
        _print_longest(trees, status)
    wrong = audit(books, outcomes)
    print()
    print("".join(f"  {problem}\n" for problem in wrong), end="")
    return _checked("the books balance to the cent, and every order ended as it should", not wrong)


def _print_endings(outcomes: Sequence[Outcome]) -> None:
    for (status, kind), number in sorted(Counter((str(each.status), each.kind.name) for each in outcomes).items()):
        print(f"  {number:4} {status}: {kind}")


def _operations(trees: Sequence[ExecutionTree]) -> dict[str, int]:
    """How many of each kind were recorded; of the kinds that run user code."""
    counted = Counter(operation.kind for tree in trees for operation in tree.operations)
    kinds = (OperationKind.SIDE_EFFECT, OperationKind.STEP, OperationKind.COMPENSATION)
    return {f"{kind}s": counted[kind] for kind in kinds}


def _print_longest(trees: Sequence[ExecutionTree], status: ExecutionStatus) -> None:
    """Of the executions that ended so, the one that took the most to get there."""
    ended_so = [tree for tree in trees if tree.execution.status is status]
    if ended_so:
        longest = max(ended_so, key=lambda tree: (len(tree.operations), tree.execution.attempt))
        print(f"\nan order that was {status}:\n{longest.render()}")


def _print_rates(taken_s: float, **counts: int) -> None:
    """Of the whole: killing, restarting and repeating included."""
    told = (f"{count} {what.replace('_', ' ')} ({count / taken_s:.0f}/s)" for what, count in counts.items())
    print(f"{', '.join(told)} in {taken_s:.1f} s, the restart included")


def _checked(what: str, holds: bool) -> bool:
    print(f"{'✓' if holds else '✗ NOT:'} {what}", flush=True)
    return holds


if __name__ == "__main__":
    sys.exit(main())
