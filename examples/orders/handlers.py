"""The saga that takes an order: quote, reserve, ask for approval, charge, ship. Or undo it all.

Kill the node wherever you like: no card is charged twice, and no order is left half done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from examples.orders import ledger
from tempolite_sdk import (
    CompensationContext,
    NonRetryable,
    SagaContext,
    SagaStep,
    SideEffect,
    SideEffectContext,
    TransactionContext,
)


@dataclass
class ShopParams:
    """From node.yaml."""

    books: str  #: path of the ledger


@dataclass
class Order:
    id: str
    sku: str
    quantity: int
    card: str
    country: str


@dataclass
class Approval:
    """Sent to the order as signal "approve"."""

    by: str
    granted: bool = True


@dataclass
class Receipt:
    order_id: str
    cents: int
    carrier: str


class OrderRejected(NonRetryable):
    pass


#: What an order that goes well tells its clients, one signal "progress" after the other.
STAGES = ("quoted", "reserved", "charged", "shipped")


def place_order(ctx: SagaContext[ShopParams], order: Order) -> Receipt:
    """Sells what is ordered, or leaves the shop's books as they were."""
    books = ctx.params.books

    cents = ctx.side_effect("quote", Quote(books, order.sku, order.quantity))
    ctx.send_signal("progress", "quoted")

    ctx.step(ReserveStock(books, order.id, order.sku, order.quantity))
    ctx.send_signal("progress", "reserved")

    approval = ctx.receive_signal("approve", Approval, timeout=timedelta(days=2))
    if not approval.granted:
        raise OrderRejected(f"{approval.by} said no")

    ctx.step(ChargeCard(books, order.id, order.card, cents))
    ctx.send_signal("progress", "charged")

    shipment = ctx.step(Ship(books, order.id, order.country))
    ctx.send_signal("progress", "shipped")
    return Receipt(order.id, cents, shipment.carrier)


@dataclass
class Quote(SideEffect[int]):
    """The price in cents. Recorded once: the customer pays what was quoted, whatever the price is by then."""

    books: str
    sku: str
    quantity: int

    def run(self, ctx: SideEffectContext) -> int:
        return ledger.price(self.books, self.sku) * self.quantity


@dataclass
class ReserveStock(SagaStep):
    books: str
    order_id: str
    sku: str
    quantity: int

    def transaction(self, ctx: TransactionContext) -> None:
        ledger.reserve(self.books, key=ctx.operation_id, order_id=self.order_id, sku=self.sku, quantity=self.quantity)

    def compensation(self, ctx: CompensationContext) -> None:
        ledger.release(self.books, key=ctx.operation_id, order_id=self.order_id)


@dataclass
class ChargeCard(SagaStep):
    books: str
    order_id: str
    card: str
    cents: int

    def transaction(self, ctx: TransactionContext) -> None:
        ledger.charge(self.books, key=ctx.operation_id, order_id=self.order_id, card=self.card, cents=self.cents)

    def compensation(self, ctx: CompensationContext) -> None:
        ledger.refund(self.books, key=ctx.operation_id, order_id=self.order_id)


@dataclass
class Ship(SagaStep):
    books: str
    order_id: str
    country: str
    carrier: str = ""  #: known once the transaction is through

    def transaction(self, ctx: TransactionContext) -> None:
        self.carrier = ledger.ship(self.books, key=ctx.operation_id, order_id=self.order_id, country=self.country)

    def compensation(self, ctx: CompensationContext) -> None:
        ledger.call_back(self.books, key=ctx.operation_id, order_id=self.order_id)
