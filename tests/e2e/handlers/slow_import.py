"""A module that takes long to import."""

from __future__ import annotations

from world import happened, pass_gate

from tempolite_sdk import HandlerContext

happened("slow_import is imported")
pass_gate("import")


def serve(_ctx: HandlerContext) -> None:
    """Nobody gets here."""
