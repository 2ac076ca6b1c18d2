"""Saves what the engine decided: one SQLite file, one writer, a few readers.

Knows SQL and rows; must not know gRPC, worker hosts or what a change means. Read schema.sql first.
"""
