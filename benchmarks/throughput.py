"""Rates and latencies of an otherwise idle node."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import handlers
from benchmarks.load import in_turns, latencies, rate
from benchmarks.loop import run
from benchmarks.measures import Measure, percentile
from benchmarks.node import Node, a_node, workers
from benchmarks.raw import echo_server, unary_rate
from tempolite_sdk import AsyncClient

Limits = Mapping[str, float]


def at_least(name: str, value: float, unit: str, wanted: float, beside: str = "", *, also: bool = True) -> Measure:
    return Measure(
        name=name,
        value=value,
        unit=unit,
        beside=beside,
        target=f"at least {wanted:,.0f}",
        met=value >= wanted and also,
    )


def at_most(name: str, value: float, unit: str, wanted: float, beside: str = "") -> Measure:
    return Measure(name=name, value=value, unit=unit, beside=beside, target=f"at most {wanted:g}", met=value <= wanted)


async def executions(node: Node, _limits: Limits, seconds: float) -> list[Measure]:
    async with AsyncClient(node.address, sessions=False) as client:
        single = await latencies(round(100 * seconds), lambda: client.execute(handlers.noop))
        with echo_server() as address:
            echo, unary = await in_turns(
                lambda: unary_rate(address, seconds / 2, 64),
                lambda: rate(seconds / 2, 64, lambda: client.execute(handlers.noop)),
            )
    async with AsyncClient(node.address) as client:
        streamed = [await rate(seconds, n, lambda: client.execute(handlers.noop)) for n in (1, 64, 512)]
    return [
        at_most("execution, one in flight, unary: p50", percentile(single, 0.5) * 1_000, "ms", 2),
        Measure(
            name="executions, 64 in flight, unary",
            value=unary,
            unit="1/s",
            beside=f"{unary / echo:.0%} of the unary echo ({echo:,.0f}/s in turns with it)",
            target="at least half of the unary echo",
            met=unary >= echo / 2,
        ),
        Measure(name="executions, 1 in flight, session", value=streamed[0], unit="1/s"),
        Measure(name="executions, 64 in flight, session", value=streamed[1], unit="1/s"),
        at_least("executions, 512 in flight, session", streamed[2], "1/s", 8_000),
    ]


async def side_effects(node: Node, limits: Limits, seconds: float) -> list[Measure]:
    each = 10
    async with AsyncClient(node.address) as client:
        sync = each * await rate(seconds, 64, lambda: client.execute(handlers.side_effects, each))
        asynchronous = each * await rate(seconds, 64, lambda: client.execute(handlers.side_effects_async, each))
    commit = limits["group commit, 64"]
    return [
        at_least("side effects, sync, 64 × 10", sync, "1/s", 12_000, f"{sync / commit:.0%} of the group commit"),
        at_least(
            "side effects, async, 64 × 10",
            asynchronous,
            "1/s",
            20_000,
            f"{asynchronous / commit:.0%} of the group commit",
        ),
    ]


async def sagas_and_children(node: Node, _limits: Limits, seconds: float) -> list[Measure]:
    async with AsyncClient(node.address) as client:
        sagas = await rate(seconds, 64, lambda: client.execute(handlers.saga, 5))
        children = 10 * await rate(seconds, 64, lambda: client.execute(handlers.parent, 10))
        children_async = 10 * await rate(seconds, 64, lambda: client.execute(handlers.parent_async, 10))
    return [
        at_least("sagas of 5 steps, 64 in flight", sagas, "1/s", 1_500),
        at_least("children enqueued and waited for, sync, 64 × 10", children, "1/s", 4_000),
        at_least("children enqueued and waited for, async, 64 × 10", children_async, "1/s", 4_000),
    ]


async def batches(node: Node, limits: Limits, seconds: float) -> list[Measure]:
    size = round(10_000 * min(seconds, 2))
    async with AsyncClient(node.address) as client:
        await client.pause_pool("handler")
        began = time.monotonic()
        await client.enqueue_many(handlers.noop, [()] * size)
        accepted = size / (time.monotonic() - began)
        await client.resume_pool("handler")
        began = time.monotonic()
        await client.wait(lambda stats: stats.handler.active == 0, timeout=600)
        drained = size / (time.monotonic() - began)
    commit = limits["group commit, 512"]
    return [
        at_least(
            "batch enqueue, accepted",
            accepted,
            "1/s",
            20_000,
            f"{accepted / commit:.0%} of the group commit",
            also=accepted >= commit / 4,
        ),
        Measure(name="queued executions run to their end", value=drained, unit="1/s"),
    ]


async def signals(node: Node, _limits: Limits, seconds: float) -> list[Measure]:
    async def woken_after(client: AsyncClient) -> float:
        handle = await client.enqueue(handlers.wait_for_signal)
        await client.wait(lambda stats: stats.handler.waiting > 0, interval=0.0)
        sent = time.monotonic()
        await handle.send_signal("go")
        return await handle.result() - sent

    async with AsyncClient(node.address) as client:
        taken = [await woken_after(client) for _ in range(round(50 * seconds))]
    return [
        at_most("signal sent to handler woken: p50", percentile(taken, 0.5) * 1_000, "ms", 1.5),
        at_most("signal sent to handler woken: p99", percentile(taken, 0.99) * 1_000, "ms", 10),
    ]


def measure(limits: Limits, seconds: float) -> list[Measure]:
    """The median of three passes, which are minutes apart: a shared machine is slow for minutes."""
    passes = [_measure(limits, seconds / 2) for _ in range(3)]
    return [sorted(same, key=lambda row: row.value)[1] for same in zip(*passes, strict=True)]


def _measure(limits: Limits, seconds: float) -> list[Measure]:
    """Each on a node of its own, so that none pays for what an earlier one left."""
    rows: list[Measure] = []
    for family in (executions, side_effects, sagas_and_children, batches, signals):
        with a_node(workers(512)) as node:
            rows += run(family(node, limits, seconds))
    return rows


def over_concurrency(seconds: float) -> list[tuple[int, float, float]]:
    """In flight, executions per second, and the seconds that each took, over sessions."""
    points = []
    with a_node(workers(1_024)) as node:
        for in_flight in (1, 4, 16, 64, 256, 1_024):
            points.append((in_flight, *run(_at(node, seconds, in_flight))))
    return points


async def _at(node: Node, seconds: float, in_flight: int) -> tuple[float, float]:
    taken: list[float] = []
    async with AsyncClient(node.address) as client:

        async def once() -> None:
            began = time.monotonic()
            await client.execute(handlers.noop)
            taken.append(time.monotonic() - began)

        reached = await rate(seconds, in_flight, once)
    return reached, percentile(taken, 0.5)
