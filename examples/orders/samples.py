"""A shop with something wrong in every corner, and orders that find it. How an order ends depends on it alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice

from examples.orders.handlers import Approval, Order
from examples.orders.ledger import Card, Carrier, Product

PRODUCTS = (
    Product("tea", price_cents=399, stock=1_000_000),
    Product("coffee", price_cents=1_235, stock=1_000_000),
    Product("unicorn", price_cents=99_999, stock=0),
)
CARDS = (Card("gold", limit_cents=10_000_00), Card("worn", limit_cents=5_00))
CARRIERS = (Carrier("FR", "La Poste"), Carrier("NO", "Posten", turns_away=1))


@dataclass(frozen=True)
class Kind:
    name: str
    completes: bool
    sku: str = "tea"
    quantity: int = 2
    card: str = "gold"
    country: str = "FR"


KINDS = (
    Kind("plain", completes=True),
    Kind("card declined", completes=False, card="worn"),
    Kind("several", completes=True, sku="coffee", quantity=7),
    Kind("no carrier", completes=False, country="AQ"),
    Kind("carrier busy at first", completes=True, sku="coffee", country="NO"),
    Kind("out of stock", completes=False, sku="unicorn"),
    Kind("abroad", completes=True, quantity=3, country="NO"),
    Kind("rejected", completes=False, quantity=500),
)


def sample_orders(count: int, prefix: str) -> list[tuple[Order, Kind]]:
    """Orders of every kind in turn. The prefix makes their ids unique."""
    return [
        (Order(f"{prefix}-{number:04}", kind.sku, kind.quantity, kind.card, kind.country), kind)
        for number, kind in enumerate(islice(cycle(KINDS), count), 1)
    ]


def approval_of(order: Order) -> Approval:
    """What the shop's manager says to an order."""
    return Approval(by="ann", granted=order.quantity < 100)
