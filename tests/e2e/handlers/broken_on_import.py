"""A module that can't be imported."""

from __future__ import annotations

from tempolite_sdk import HandlerContext


def handler(_ctx: HandlerContext) -> None: ...


raise RuntimeError("no database configured")
