"""Takes orders for a shop: a saga per order, against a ledger that must balance to the cent."""
