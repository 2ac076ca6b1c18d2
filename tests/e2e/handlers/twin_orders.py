"""One of several modules with a handler of one name; also a program that runs its own handler on a node."""

from __future__ import annotations

import sys

from tempolite_sdk import Client, HandlerContext


def process(_ctx: HandlerContext, number: int) -> str:
    return f"order {number} shipped"


def waits(ctx: HandlerContext) -> None:
    ctx.receive_signal("go")


if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        print(client.execute(process, 7))
