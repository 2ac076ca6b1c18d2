"""The shop's own books, in SQLite: what is for sale, and what was reserved, paid and shipped.

Nothing is ever changed or deleted: what is undone is entered once more with the opposite sign. Every entry has a key,
and a key is entered once, so that whoever does not know whether an entry was made makes it again. Money is in cents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass

from tempolite_sdk import NonRetryable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS products (
    sku         TEXT    PRIMARY KEY,
    price_cents INTEGER NOT NULL,
    stock       INTEGER NOT NULL  -- before any reservation
) STRICT;

CREATE TABLE IF NOT EXISTS cards (
    number      TEXT    PRIMARY KEY,
    limit_cents INTEGER NOT NULL  -- of one payment
) STRICT;

CREATE TABLE IF NOT EXISTS carriers (
    country    TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL,
    turns_away INTEGER NOT NULL   -- so many requests for each order, before it takes the parcel
) STRICT;

CREATE TABLE IF NOT EXISTS carrier_requests (order_id TEXT PRIMARY KEY, requests INTEGER NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS reservations (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, sku TEXT NOT NULL REFERENCES products, quantity INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS reservations_of_order ON reservations (order_id);
CREATE INDEX IF NOT EXISTS reservations_of_product ON reservations (sku, quantity);

CREATE TABLE IF NOT EXISTS payments (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, card TEXT NOT NULL REFERENCES cards, cents INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS payments_of_order ON payments (order_id);

CREATE TABLE IF NOT EXISTS shipments (
    key TEXT PRIMARY KEY, order_id TEXT NOT NULL, carrier TEXT NOT NULL, parcels INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS shipments_of_order ON shipments (order_id);
"""


class UnknownProduct(NonRetryable):
    pass


class OutOfStock(Exception):
    pass


class CardDeclined(NonRetryable):
    """Asking again would not help."""


class NoCarrier(Exception):
    """There may be one tomorrow."""


class CarrierBusy(Exception):
    pass


@dataclass(frozen=True)
class Product:
    sku: str
    price_cents: int
    stock: int


@dataclass(frozen=True)
class Card:
    number: str
    limit_cents: int


@dataclass(frozen=True)
class Carrier:
    country: str
    name: str
    turns_away: int = 0


@contextmanager
def _transaction(books: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(books, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def create(books: str, products: Sequence[Product], cards: Sequence[Card], carriers: Sequence[Carrier]) -> None:
    """Opens the shop; what is there already stays as it is."""
    with closing(sqlite3.connect(books, timeout=30, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT OR IGNORE INTO products VALUES (?, ?, ?)", map(astuple, products))
        connection.executemany("INSERT OR IGNORE INTO cards VALUES (?, ?)", map(astuple, cards))
        connection.executemany("INSERT OR IGNORE INTO carriers VALUES (?, ?, ?)", map(astuple, carriers))


# --- what an order does

_PRICE = "SELECT price_cents FROM products WHERE sku = ?"


def price(books: str, sku: str) -> int:
    with _transaction(books) as connection:
        found = connection.execute(_PRICE, (sku,)).fetchone()
    if found is None:
        raise UnknownProduct(f"there is no {sku}")
    return int(found[0])


_LEFT = """
SELECT stock - (SELECT coalesce(sum(quantity), 0) FROM reservations WHERE sku = :sku)
FROM products WHERE sku = :sku
"""
_RESERVE = "INSERT INTO reservations VALUES (:key, :order_id, :sku, :quantity)"
_RESERVED = "SELECT 1 FROM reservations WHERE key = :key"


def reserve(books: str, *, key: str, order_id: str, sku: str, quantity: int) -> None:
    entry = {"key": key, "order_id": order_id, "sku": sku, "quantity": quantity}
    with _transaction(books) as connection:
        if connection.execute(_RESERVED, entry).fetchone():
            return
        (left,) = connection.execute(_LEFT, entry).fetchone()
        if left < quantity:
            raise OutOfStock(f"{quantity} {sku} wanted, {left} left")
        connection.execute(_RESERVE, entry)


_LIMIT = "SELECT limit_cents FROM cards WHERE number = :card"
_PAY = "INSERT INTO payments VALUES (:key, :order_id, :card, :cents) ON CONFLICT (key) DO NOTHING"


def charge(books: str, *, key: str, order_id: str, card: str, cents: int) -> None:
    entry = {"key": key, "order_id": order_id, "card": card, "cents": cents}
    with _transaction(books) as connection:
        (limit,) = connection.execute(_LIMIT, entry).fetchone() or (0,)
        if cents > limit:
            raise CardDeclined(f"{euros(cents)} is more than the {euros(limit)} that card {card} is good for")
        connection.execute(_PAY, entry)


_CARRIER = "SELECT name, turns_away FROM carriers WHERE country = ?"
_REQUEST = """
INSERT INTO carrier_requests VALUES (?, 1) ON CONFLICT (order_id) DO UPDATE SET requests = requests + 1
RETURNING requests
"""
_SHIP = "INSERT INTO shipments VALUES (:key, :order_id, :carrier, 1) ON CONFLICT (key) DO NOTHING"


def ship(books: str, *, key: str, order_id: str, country: str) -> str:
    """Hands the parcel to a carrier, and tells which."""
    with _transaction(books) as connection:
        found = connection.execute(_CARRIER, (country,)).fetchone()
        (requests,) = connection.execute(_REQUEST, (order_id,)).fetchone()
    if found is None:
        raise NoCarrier(f"nobody delivers to {country}")
    carrier, turns_away = found
    if requests <= turns_away:
        raise CarrierBusy(f"{carrier} has no driver just now")
    with _transaction(books) as connection:
        connection.execute(_SHIP, {"key": key, "order_id": order_id, "carrier": carrier})
    return str(carrier)


# --- and how that is undone: whatever the order has net, which may be nothing, or not yet known

_RELEASE = """
INSERT INTO reservations SELECT :key, order_id, sku, -sum(quantity) FROM reservations WHERE order_id = :order_id
GROUP BY sku HAVING sum(quantity) <> 0
"""
_REFUND = """
INSERT INTO payments SELECT :key, order_id, card, -sum(cents) FROM payments WHERE order_id = :order_id
GROUP BY card HAVING sum(cents) <> 0
"""
_CALL_BACK = """
INSERT INTO shipments SELECT :key, order_id, carrier, -sum(parcels) FROM shipments WHERE order_id = :order_id
GROUP BY carrier HAVING sum(parcels) <> 0
"""


def release(books: str, *, key: str, order_id: str) -> None:
    _undo(_RELEASE, books, key, order_id)


def refund(books: str, *, key: str, order_id: str) -> None:
    _undo(_REFUND, books, key, order_id)


def call_back(books: str, *, key: str, order_id: str) -> None:
    _undo(_CALL_BACK, books, key, order_id)


def _undo(statement: str, books: str, key: str, order_id: str) -> None:
    with _transaction(books) as connection:
        connection.execute(statement, {"key": key, "order_id": order_id})


# --- balances


@dataclass(frozen=True)
class Net:
    """What an order comes to, and how many entries it took."""

    quantity: int = 0
    cents: int = 0
    parcels: int = 0
    entries: int = 0


_NET = """
SELECT order_id, sum(quantity), sum(cents), sum(parcels), count(*) FROM (
    SELECT order_id, quantity, 0 AS cents, 0 AS parcels FROM reservations
    UNION ALL SELECT order_id, 0, cents, 0 FROM payments
    UNION ALL SELECT order_id, 0, 0, parcels FROM shipments)
GROUP BY order_id ORDER BY order_id
"""


def nets(books: str) -> dict[str, Net]:
    """By order; of an order that got nowhere there is none."""
    with _transaction(books) as connection:
        return {order_id: Net(*rest) for order_id, *rest in connection.execute(_NET)}


def euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
