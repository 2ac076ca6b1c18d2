"""Places sample orders on a running node, approves them, and audits the shop's books."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from examples.orders import ledger
from examples.orders.audit import Outcome, audit
from examples.orders.handlers import Order, Receipt, place_order
from examples.orders.samples import CARDS, CARRIERS, PRODUCTS, Kind, approval_of, sample_orders
from examples.progress import display
from tempolite_sdk import Client, ExecutionError, ExecutionHandle, FailedPrecondition, Stats


@dataclass(frozen=True)
class Placed:
    order: Order
    kind: Kind
    execution: ExecutionHandle[Receipt]


def open_shop(books: str) -> None:
    ledger.create(books, PRODUCTS, CARDS, CARRIERS)


def place_orders(client: Client, orders: Sequence[tuple[Order, Kind]]) -> list[Placed]:
    return [Placed(order, kind, client.options(id=order.id).enqueue(place_order, order)) for order, kind in orders]


def approve(placed: Sequence[Placed]) -> None:
    """Says yes or no to each order. Whether it waits for that already, or not yet, does not matter."""
    for each in placed:
        with suppress(FailedPrecondition):  # it has ended already: there was nothing left to sell
            each.execution.send_signal("approve", approval_of(each.order))


def follow(client: Client, ended_before: int, total: int, on_progress: Callable[[int, int], None]) -> None:
    """Tells how many orders have ended, until all have. Goes on by itself when the node is killed and comes back."""

    def all_have_ended(stats: Stats) -> bool:
        done = ended(stats) - ended_before
        on_progress(done, total)
        return done >= total

    client.wait(all_have_ended)


def ended(stats: Stats) -> int:
    """Sagas that came to an end, good or bad, since the node's store was made."""
    return stats.saga.completed + stats.saga.failed


def outcome_of(placed: Placed) -> Outcome:
    try:
        receipt = placed.execution.result()
    except ExecutionError:
        receipt = None  # its status tells why
    progress = [signal.payload for signal in placed.execution.receive_signals("progress", type=str)]
    return Outcome(placed.order, placed.kind, placed.execution.info().status, receipt, progress)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.orders.main", description=__doc__)
    parser.add_argument("orders", nargs="?", type=int, default=100, help="how many [%(default)s]")
    parser.add_argument("--directory", default=os.environ.get("ORDERS_DIR"), help="that of the node [$ORDERS_DIR]")
    arguments = parser.parse_args()
    if arguments.directory is None:
        parser.error("set ORDERS_DIR, as for the node")
    count, books = arguments.orders, f"{arguments.directory}/shop.db"
    open_shop(books)

    with Client() as client:
        before = ended(client.stats())
        placed = place_orders(client, sample_orders(count, prefix=uuid.uuid4().hex[:8]))
        approve(placed)
        with display("orders") as progress:
            follow(client, before, count, progress.update)
        outcomes = [outcome_of(each) for each in placed]

    for (kind, status), number in sorted(Counter((each.kind.name, str(each.status)) for each in outcomes).items()):
        print(f"{number:6} {kind}: {status}")
    wrong = audit(books, outcomes)
    print("\n".join(wrong) if wrong else "the books balance, to the cent")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
