"""Three nodes on one machine, beside a node that is alone on the same machine in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta

from benchmarks import handlers
from benchmarks.load import latencies, rate
from benchmarks.loop import run
from benchmarks.measures import Measure, percentile
from benchmarks.node import Node, a_cluster, a_node, workers
from benchmarks.throughput import at_most
from tempolite_sdk import AsyncClient
from tempolite_sdk.errors import TempoliteError

MIB = 1024 * 1024
NODE_TIMEOUT_S = 5.0
LATER = timedelta(days=1)


def endpoints(nodes: list[Node]) -> str:
    return ",".join(node.address for node in nodes)


def measure(seconds: float, commands: int, store_mib: int) -> list[Measure]:
    """commands: to be put through the log. store_mib: size of the store of which a snapshot is taken."""
    return [*writes(seconds), *failover(), *many_commands(commands), *snapshot(store_mib)]


# --- writes


def writes(seconds: float) -> list[Measure]:
    with a_node(workers(64)) as node:
        alone = run(_writes(node.address, seconds))
    with a_cluster(workers(64)) as nodes:
        together = run(_writes(endpoints(nodes), seconds))
    return [
        Measure(name="enqueues, 64 in flight: one node", value=alone[0], unit="1/s"),
        Measure(
            name="enqueues, 64 in flight: three nodes",
            value=together[0],
            unit="1/s",
            beside=f"{together[0] / alone[0]:.0%} of the one node",
            target="at least a third of the one node",
            met=together[0] >= alone[0] / 3,
        ),
        Measure(name="executions, 64 in flight: one node", value=alone[1], unit="1/s"),
        Measure(
            name="executions, 64 in flight: three nodes",
            value=together[1],
            unit="1/s",
            beside=f"{together[1] / alone[1]:.0%} of the one node",
        ),
        Measure(name="enqueue, one in flight: p50, one node", value=alone[2], unit="ms"),
        at_most("enqueue, one in flight: p50, three nodes", together[2], "ms", 10),
    ]


async def _writes(address: str, seconds: float) -> tuple[float, float, float]:
    async with AsyncClient(address) as client:
        await _first_write(client)
        enqueues = await rate(seconds, 64, lambda: client.options(delay=LATER).enqueue(handlers.noop))
        executions = await rate(seconds, 64, lambda: client.execute(handlers.noop))
        single = await latencies(round(50 * seconds), lambda: client.options(delay=LATER).enqueue(handlers.noop))
    return enqueues, executions, percentile(single, 0.5) * 1_000


async def _first_write(client: AsyncClient) -> None:
    """Returns when the nodes have found each other."""
    while True:
        with contextlib.suppress(TempoliteError):
            await client.execute(handlers.noop)
            return


# --- a leader that dies


def failover() -> list[Measure]:
    with a_cluster(workers(8)) as nodes:
        accepted_s, running_s = run(_failover(nodes))
    return [
        at_most("leader killed: until a write is accepted", accepted_s, "s", 3),
        at_most("leader killed: until all its executions have ended elsewhere", running_s, "s", NODE_TIMEOUT_S + 3),
    ]


async def _failover(nodes: list[Node]) -> tuple[float, float]:
    async with AsyncClient(endpoints(nodes)) as client:
        await _first_write(client)
        leader = await _leader(nodes)
        waiting = [await client.enqueue(handlers.wait_for_signal) for _ in range(30)]
        others = endpoints([node for node in nodes if node is not leader])
    async with AsyncClient(others) as client:
        leader.kill()
        killed = time.monotonic()
        await client.execute(handlers.noop)
        accepted_s = time.monotonic() - killed
        for handle in waiting:
            await client.handle(handle.id).send_signal("go")
        await asyncio.gather(*(client.handle(handle.id).result() for handle in waiting))
        return accepted_s, time.monotonic() - killed


async def _leader(nodes: list[Node]) -> Node:
    async with AsyncClient(nodes[0].address) as client:
        cluster = await client.cluster()
    return next(node for node in nodes if node.id == cluster.leader)


# --- a long log


def many_commands(count: int) -> list[Measure]:
    """An execution is three commands: it is enqueued, started and completed."""
    with a_cluster(workers(64)) as nodes:
        early, late = run(_many(nodes, count // 3))
        journals = [(node.data_dir / "raft.db").stat().st_size / MIB for node in nodes]
    growth = max(after - before for before, after in zip(early, late, strict=True))
    return [
        at_most(f"{count:,} commands: growth of a node's memory since a fifth of them", growth, "MiB", 100),
        Measure(
            name=f"{count:,} commands: journal of the log",
            value=max(journals),
            unit="MiB",
            target="bounded",
            met=max(journals) < 200,
        ),
    ]


async def _many(nodes: list[Node], executions: int) -> tuple[list[float], list[float]]:
    async with AsyncClient(endpoints(nodes)) as client:
        await _first_write(client)
        await _run_all(client, executions // 5)
        early = [node.memory_bytes() / MIB for node in nodes]
        await _run_all(client, executions - executions // 5)
        return early, [node.memory_bytes() / MIB for node in nodes]


async def _run_all(client: AsyncClient, executions: int) -> None:
    left = executions

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await client.execute(handlers.noop)

    await asyncio.gather(*(some() for _ in range(256)))


# --- a snapshot


def snapshot(store_mib: int) -> list[Measure]:
    with a_cluster(workers(8)) as nodes:
        slowest_s, taken_s = run(_snapshot(nodes, store_mib))
    return [
        at_most(f"a snapshot of {store_mib:,} MiB is shipped: slowest write meanwhile", slowest_s * 1_000, "ms", 200),
        Measure(name="until the empty node has it", value=taken_s, unit="s"),
    ]


async def _snapshot(nodes: list[Node], store_mib: int) -> tuple[float, float]:
    async with AsyncClient(endpoints(nodes)) as client:
        await _first_write(client)
        leader = await _leader(nodes)
        payload = "x" * MIB
        for _ in range(store_mib):
            await client.options(delay=LATER).enqueue(handlers.echo, payload)
        newcomer = next(node for node in nodes if node is not leader)
        newcomer.kill()
        newcomer.forget_everything()
    writing, taken = [0.0], asyncio.Event()
    async with AsyncClient(endpoints([node for node in nodes if node is not newcomer])) as client:
        await client.options(delay=LATER).enqueue(handlers.noop)

        async def write() -> None:
            while not taken.is_set():
                writing.extend(await latencies(1, lambda: client.options(delay=LATER).enqueue(handlers.noop)))

        load = asyncio.create_task(write())
        began = time.monotonic()
        await asyncio.get_running_loop().run_in_executor(None, newcomer.start)
        async with AsyncClient(leader.address) as asking:
            await _until_caught_up(asking, newcomer.id)
        taken.set()
        await load
    return max(writing), time.monotonic() - began


async def _until_caught_up(client: AsyncClient, node_id: str) -> None:
    lag: int | None = None
    while lag is None or lag > 100:
        cluster = await client.cluster()
        lag = next(member.lag for member in cluster.members if member.node_id == node_id)
        await asyncio.sleep(0.1)
