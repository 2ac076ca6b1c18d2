"""As `twin_orders`; no node serves its handler."""

from __future__ import annotations

from tempolite_sdk import HandlerContext


def process(_ctx: HandlerContext, number: int) -> str:
    return f"{number} never"
