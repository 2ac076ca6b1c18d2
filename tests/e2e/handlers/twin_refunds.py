"""As `twin_orders`; its handler is served under another name."""

from __future__ import annotations

import sys

import twin_unserved

from tempolite_sdk import Client, HandlerContext, NotFound


def process(_ctx: HandlerContext, number: int) -> str:
    return f"refund {number} paid"


def parent(ctx: HandlerContext, number: int) -> list[str]:
    """What its children say, of which the node serves but one."""
    told = [ctx.wait_for_completion(ctx.enqueue(process, number))]
    try:
        ctx.enqueue(twin_unserved.process, number)
    except NotFound as error:
        told.append(str(error))
    return told


if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        print(client.execute(process, 7))
