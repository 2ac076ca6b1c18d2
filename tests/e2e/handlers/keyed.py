"""Handlers of which only one with the same key is to be under way."""

from __future__ import annotations

from world import happened, pass_gate

from tempolite_sdk import AsyncHandlerContext, HandlerContext


def sync(ctx: HandlerContext, key: str, number: int) -> int:
    """Under way from its beginning to its end, over a side effect and a wait."""
    happened(f"{key} begin {number}")
    pass_gate(f"{key}.{number}")
    ctx.side_effect("middle", lambda: happened(f"{key} middle {number}"))
    ctx.sleep(0.01)
    ctx.side_effect("end", lambda: happened(f"{key} end {number}"))
    return number


def listen(ctx: HandlerContext) -> str:
    happened(f"{ctx.execution_id} listens")
    return ctx.receive_signal("word", str)


def descend(ctx: HandlerContext, levels: int) -> int:
    """Enqueues itself with its own key, and waits."""
    if levels == 0:
        return 0
    child = ctx.options(concurrency_key="one").enqueue(descend, levels - 1)
    return 1 + ctx.wait_for_completion(child)


async def descend_async(ctx: AsyncHandlerContext, levels: int) -> int:
    if levels == 0:
        return 0
    child = await ctx.options(concurrency_key="one").enqueue(descend_async, levels - 1)
    return 1 + await ctx.wait_for_completion(child)


def family(ctx: HandlerContext, children: int) -> list[int]:
    """Its children have one key, which is not its own."""
    options = ctx.options(concurrency_key="children")
    handles = [options.enqueue(sync, "children", number) for number in range(children)]
    return [ctx.wait_for_completion(handle) for handle in handles]


def misname(ctx: HandlerContext) -> None:
    ctx.options(concurrency_key="").enqueue("listen")


def run(ctx: HandlerContext) -> str:
    happened(f"{ctx.execution_id} runs")
    pass_gate(ctx.execution_id)
    return ctx.side_effect("done", lambda: happened(f"{ctx.execution_id} done") or "done")
