"""How cost grows with what a node holds: waiting, queued and finished executions, and what was under way at SIGKILL."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import handlers
from benchmarks.load import in_turns, rate
from benchmarks.loop import run
from benchmarks.measures import Measure
from benchmarks.node import Node, a_node, workers
from benchmarks.throughput import at_most
from tempolite_node.store.database import open_writer
from tempolite_node.store.writer import claim_store
from tempolite_sdk import AsyncClient, Client, Stats

MIB = 1024 * 1024


def _enqueue(client: Client, handler: Any, count: int) -> None:
    for done in range(0, count, 10_000):
        client.enqueue_many(handler, [()] * min(10_000, count - done))


async def _rates(nodes: Sequence[Node], seconds: float) -> dict[str, list[float]]:
    """Executions and side effects per second, of each node, in turns."""

    def executions(client: AsyncClient) -> Awaitable[float]:
        return rate(seconds / 2, 64, lambda: client.execute(handlers.noop))

    def side_effects(client: AsyncClient) -> Awaitable[float]:
        return rate(seconds / 2, 64, lambda: client.execute(handlers.side_effects, 10))

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(node.address)) for node in nodes]
        executed = await in_turns(*(partial(executions, client) for client in clients))
        ended = await in_turns(*(partial(side_effects, client) for client in clients))
    return {"executions": executed, "side effects": [10 * each for each in ended]}


def _beside_an_empty_node(node: Node, seconds: float, holds: str) -> tuple[list[Measure], dict[str, list[float]]]:
    """The node's rates, and what part they are of those of a node that holds nothing. Also both: empty, full."""
    with a_node(workers(512)) as empty:
        rates = run(_rates([empty, node], seconds))
    rows = [
        Measure(
            name=f"{name} with {holds}",
            value=full,
            unit="1/s",
            beside=f"{full / beside:.0%} of an empty node's in turns with it",
            target="at least 85 % of it",
            met=full >= 0.85 * beside,
        )
        for name, (beside, full) in rates.items()
    ]
    return rows, rates


def _waiting(count: int) -> Callable[[Stats], bool]:
    return lambda stats: stats.handler.waiting >= count


def waiting(count: int, seconds: float) -> tuple[list[Measure], list[tuple[int, float]]]:
    """Executions that wait for a signal. Also how the memory grows with them, as points (waiting, MiB)."""
    label = f"{count:,} waiting"
    points: list[tuple[int, float]] = []
    with a_node(workers(512)) as node, Client(node.address) as client:
        points.append((0, node.memory_bytes() / MIB))
        began = time.monotonic()
        for step in range(1, 5):
            _enqueue(client, handlers.wait_for_signal, count // 4)
            client.wait(_waiting(step * (count // 4)), timeout=3_600)
            points.append((step * (count // 4), node.memory_bytes() / MIB))
        filled = count / (time.monotonic() - began)
        idle_s = 10.0
        before = sum(node.cpu_s())
        time.sleep(idle_s)
        idle = (sum(node.cpu_s()) - before) / idle_s
        memory = node.memory_bytes() / MIB
        compared, _ = _beside_an_empty_node(node, seconds, label)
        node.kill()
        started_s = node.start()
    rows = [
        Measure(name="executions brought to wait for a signal", value=filled, unit="1/s"),
        at_most(f"memory of node and host with {label}", memory, "MiB", 600),
        at_most(f"processor of an idle node with {label}", idle * 100, "% of a core", 1),
        at_most(f"start after SIGKILL with {label}", started_s, "s", 10),
        *compared,
    ]
    return rows, points


def queued(count: int) -> list[Measure]:
    """Executions that wait for a slot. They are in the store and nowhere else."""
    with a_node(workers(64)) as node, Client(node.address) as client:
        client.pause_pool("handler")
        _enqueue(client, handlers.noop, count // 10)
        tenth = node.memory_bytes() / MIB
        began = time.monotonic()
        _enqueue(client, handlers.noop, count - count // 10)
        accepted = (count - count // 10) / (time.monotonic() - began)
        full = node.memory_bytes() / MIB
        disk = node.disk_bytes() / count
    return [
        Measure(name=f"batch enqueue up to {count:,} queued", value=accepted, unit="1/s"),
        Measure(
            name=f"memory of node and host with {count:,} queued",
            value=full,
            unit="MiB",
            beside=f"{full - tenth:+.0f} MiB since a tenth of it",
            target="flat",
            met=full - tenth < 100,
        ),
        Measure(name="disk of a queued execution", value=disk, unit="bytes"),
    ]


def at_kill(count: int) -> list[Measure]:
    """How soon after a restart everything that was under way is under way again."""
    with a_node(workers(1_000)) as node, Client(node.address) as client:
        _enqueue(client, handlers.wait_for_signal, count)
        client.wait(_waiting(count), timeout=600)
        node.kill()
        started_s = node.start()
        began = time.monotonic()
        with Client(node.address) as again:
            again.wait(
                lambda stats: stats.handler.queued + stats.handler.running + stats.handler.waiting >= count, timeout=600
            )
        resumed_s = time.monotonic() - began
    return [
        Measure(name="start of the node", value=started_s, unit="s"),
        at_most(f"{count:,} in flight at SIGKILL queued or running again", resumed_s, "s after the start", 2),
    ]


# --- finished executions, written straight into the store of a node that is down

_EXECUTION = (
    "INSERT INTO executions (row, id, handler, component, status, owner, created_ms, arguments, options, priority, "
    "epoch, attempt, failures, generation, crashes, attached, pending, pool, resumes, started_ms, closed_ms, result, "
    "cancel_requested, cancel_delivered, reason, waiters, awaited, has_children, inbox, consumed, outbox) "
    "VALUES (?, ?, ?, 'handler', ?, 'bench', ?, x'5b5d', '{}', 0, 2, 1, 0, 0, 0, 0, 0, 'handler', 0, ?, ?, x'31', "
    "0, 0, '', 0, 0, 0, 0, 0, 0)"
)
_OPERATION = (
    "INSERT INTO operations (execution_row, kind, key, seq, status, target, digest, generation, attempt, result, "
    "in_doubt, started_ms, closed_ms) VALUES (?, 'side_effect', ?, ?, 'completed', '', x'', 0, 1, x'31', 0, ?, ?)"
)
_OPERATIONS_EACH = 10


def _finished(first: int, count: int) -> Iterator[tuple[Any, ...]]:
    for row in range(first, first + count):
        status = "failed" if row % 100 == 0 else "completed"
        handler = "side_effects" if row % 2 else "noop"
        yield row, str(uuid.UUID(int=row)), handler, status, row, row, row + 5


def _operations(first: int, count: int) -> Iterable[tuple[Any, ...]]:
    for row in range(first, first + count):
        for each in range(_OPERATIONS_EACH):
            yield row, f"k{each}", row * _OPERATIONS_EACH + each, row, row + 1


def _fill(path: Path, count: int) -> None:
    path.parent.mkdir(exist_ok=True)
    connection = open_writer(path)
    claim_store(connection, "bench")
    for first in range(1, count + 1, 20_000):
        chunk = min(20_000, count + 1 - first)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_EXECUTION, _finished(first, chunk))
        connection.executemany(_OPERATION, _operations(first, chunk))
        connection.execute("UPDATE meta SET last_row = ?", ((first + chunk) * _OPERATIONS_EACH,))
        connection.execute("COMMIT")
    connection.pragma("wal_checkpoint", "TRUNCATE")
    connection.close()


def finished(counts: tuple[int, ...], seconds: float) -> tuple[list[Measure], list[tuple[int, float, float]]]:
    """Executions that have ended, with ten operations each. Points: (finished, rates in % of an empty node's)."""
    points: list[tuple[int, float, float]] = []
    rows: list[Measure] = []
    for count in counts:
        with a_node(workers(512), started=False) as node:
            _fill(node.data_dir / "store.db", count)
            bytes_each = node.disk_bytes() / count
            started_s = node.start()
            with Client(node.address) as client:
                listed_s = _median_s(lambda: _first(client, status="failed"), 20)
                by_handler_s = _median_s(lambda: _first(client, handler="noop"), 20)
                counted_s = _median_s(lambda: client.count(status="failed"), 20)
            label = f"{count:,} finished"
            compared, rates = _beside_an_empty_node(node, seconds, label)
        executed, ended = (100 * full / empty for empty, full in rates.values())
        points.append((count, executed, ended))
        rows = [
            *compared,
            Measure(name=f"start with {label}", value=started_s, unit="s"),
            at_most(f"list by status with {label}", listed_s * 1_000, "ms", 20),
            at_most(f"list by handler with {label}", by_handler_s * 1_000, "ms", 20),
            at_most(f"count by status with {label}", counted_s * 1_000, "ms", 20),
            Measure(name="disk of a finished execution of 10 operations", value=bytes_each, unit="bytes"),
        ]
    return rows, points


def _first(client: Client, **filter: Any) -> None:
    next(iter(client.list(page_size=100, **filter)))


def _median_s(once: Any, times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.monotonic()
        once()
        taken.append(time.monotonic() - began)
    return sorted(taken)[times // 2]


# --- for hours


def soak(minutes: float) -> list[Measure]:
    """At about half load: what grows although nothing should."""
    with a_node(workers(64)) as node:
        early = run(_steady(node, minutes * 60 * 0.2))
        late = run(_steady(node, minutes * 60 * 0.8))
    return [
        Measure(
            name=f"{name} after {minutes:g} minutes of load",
            value=late[name],
            unit=unit,
            beside=f"{late[name] - early[name]:+,.0f} since a fifth of the time",
            target="flat",
            met=late[name] - early[name] < allowed,
        )
        for name, unit, allowed in (
            ("memory", "MiB", 50),
            ("file descriptors", "", 10),
            ("threads", "", 10),
            ("WAL", "MiB", 50),
        )
    ]


async def _steady(node: Node, seconds: float) -> dict[str, float]:
    """Half as many executions as the node can do, then what it takes."""
    async with AsyncClient(node.address) as client:
        full = await rate(5, 64, lambda: client.execute(handlers.side_effects, 3))
        pause_s = 64 / (full / 2)
        began = time.monotonic()

        async def now_and_then() -> None:
            while time.monotonic() - began < seconds:
                due = time.monotonic() + pause_s
                await client.execute(handlers.side_effects, 3)
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        await asyncio.gather(*(now_and_then() for _ in range(64)))
    return _taken(node)


def _taken(node: Node) -> dict[str, float]:
    wal = node.data_dir / "store.db-wal"
    return {
        "memory": node.memory_bytes() / MIB,
        "file descriptors": sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in node.pids),
        "threads": sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in node.pids),
        "WAL": wal.stat().st_size / MIB if wal.exists() else 0.0,
    }
