"""Catalogs a source tree into a SQLite database, a durable execution per file."""
