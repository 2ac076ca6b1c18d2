"""Functions that are no handlers."""

from __future__ import annotations

from tempolite_sdk import AsyncHandlerContext, HandlerContext

NUMBER = 1


def without_context(number: int) -> int:
    return number


async def with_the_wrong_context(_ctx: HandlerContext) -> None: ...


def with_the_other_wrong_context(_ctx: AsyncHandlerContext) -> None: ...
