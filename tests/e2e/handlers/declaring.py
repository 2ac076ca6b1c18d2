"""Handlers that declare the signals that they receive, and those that send to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from tempolite_sdk import AsyncHandlerContext, HandlerContext, InvalidArgument, SagaContext, Signal


@dataclass
class Approval:
    by: str
    level: int = 1


ANSWER = Signal("answer", str)
APPROVE = Signal("approve", Approval)
PROGRESS = Signal("progress", list[int])


def ask(ctx: Annotated[HandlerContext, ANSWER, APPROVE]) -> str:
    """Asks, and tells who has approved of the answer."""
    answer = ctx.receive_signal(ANSWER)
    approval = ctx.receive_signal("approve")  # as it is declared
    ctx.send_signal(PROGRESS, [1, 2])
    return f"{answer}, approved by {approval.by}"


async def ask_async(ctx: Annotated[AsyncHandlerContext, ANSWER]) -> str:
    async for answer in ctx.signals(ANSWER):
        return answer
    return ""


def ask_in_saga(ctx: Annotated[SagaContext[dict[str, Any]], APPROVE]) -> str:
    return ctx.receive_signal(APPROVE).by


def mistaken(ctx: Annotated[HandlerContext, ANSWER]) -> str:
    return ctx.receive_signal("anwser", str)


def tell(ctx: HandlerContext, to: str, name: str, payload: Any) -> str:
    """Sends to another execution, by a name that it was given."""
    try:
        ctx.send_signal(name, payload, to=to)
    except InvalidArgument as error:
        return str(error)
    return "sent"


def tell_wrongly(ctx: HandlerContext) -> None:
    ctx.send_signal(PROGRESS, ["one"])  # type: ignore[list-item]
