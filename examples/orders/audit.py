"""Do the shop's books agree with what the customers were told?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from examples.orders import ledger
from examples.orders.handlers import STAGES, Order, Receipt
from examples.orders.samples import PRODUCTS, Kind
from tempolite_sdk import ExecutionStatus


@dataclass(frozen=True)
class Outcome:
    """How an order ended, as its client sees it."""

    order: Order
    kind: Kind
    status: ExecutionStatus
    receipt: Receipt | None
    progress: Sequence[str]  #: what it told on its way


def audit(books: str, outcomes: Sequence[Outcome]) -> list[str]:
    """Everything that is wrong; nothing, if the books balance."""
    nets = ledger.nets(books)
    wrong = [problem for outcome in outcomes for problem in _of_order(outcome, nets)]
    sold = sum(outcome.receipt.cents for outcome in outcomes if outcome.receipt is not None)
    booked = sum(nets.get(outcome.order.id, ledger.Net()).cents for outcome in outcomes)
    if booked != sold:
        wrong.append(f"the receipts come to {ledger.euros(sold)}, the payments to {ledger.euros(booked)}")
    return wrong


def _of_order(outcome: Outcome, nets: dict[str, ledger.Net]) -> Iterator[str]:
    order = outcome.order
    net = nets.get(order.id, ledger.Net())
    about = f"{order.id} ({outcome.kind.name}, {outcome.status})"
    if outcome.kind.completes:
        if outcome.status is not ExecutionStatus.COMPLETED or outcome.receipt is None:
            yield f"{about}: did not complete"
            return
        if outcome.receipt.cents != _price(order):
            yield f"{about}: paid {ledger.euros(outcome.receipt.cents)} instead of {ledger.euros(_price(order))}"
        if net != ledger.Net(order.quantity, outcome.receipt.cents, parcels=1, entries=3):
            yield f"{about}: the books have {net}"
        if tuple(outcome.progress) != STAGES:
            yield f"{about}: told {', '.join(outcome.progress)}"
    else:
        # FAILED: at its first step, with nothing to undo. Was the node killed in that very step, its outcome is not
        # known, so that it is undone to be sure: COMPENSATED.
        if outcome.status not in (ExecutionStatus.COMPENSATED, ExecutionStatus.FAILED):
            yield f"{about}: should not have ended so"
        if (net.quantity, net.cents, net.parcels) != (0, 0, 0):
            yield f"{about}: something of it is left: {net}"
        if tuple(outcome.progress) != STAGES[: len(outcome.progress)]:
            yield f"{about}: told {', '.join(outcome.progress)}"


def _price(order: Order) -> int:
    return order.quantity * next(product.price_cents for product in PRODUCTS if product.sku == order.sku)
