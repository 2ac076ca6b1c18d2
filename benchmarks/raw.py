"""The machine's own limits, measured in the same run: what no node on it can exceed."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from benchmarks.loop import run
from benchmarks.measures import Measure
from tempolite_node.store.database import open_writer, sync

_ROW = (
    "INSERT INTO operations (execution_row, kind, key, seq, status, target, digest, generation, attempt, result, "
    "in_doubt, started_ms, closed_ms) VALUES (?, 'marker', ?, ?, 'completed', '', x'', 0, 1, ?, 0, 0, 0)"
)


def group_commit(seconds: float, batch: int) -> float:
    """Rows per second that a store takes in batches of this size, each batch one fsync."""
    with tempfile.TemporaryDirectory(prefix="tempolite-bench-") as directory:
        path = Path(directory) / "store.db"
        connection = open_writer(path)
        began = time.monotonic()
        rows = 0
        while time.monotonic() - began < seconds:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_ROW, [(row, f"k{row}", row, b"x" * 100) for row in range(rows, rows + batch)])
            connection.execute("COMMIT")
            sync(path)
            rows += batch
        elapsed = time.monotonic() - began
        connection.close()
    return rows / elapsed


async def _echo_one(request: bytes, _context: Any) -> bytes:
    return request


async def _echo_all(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def _serve_echo(ready: Connection) -> None:
    server = grpc.aio.server()
    methods = {
        "One": grpc.unary_unary_rpc_method_handler(_echo_one),
        "All": grpc.stream_stream_rpc_method_handler(_echo_all),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    ready.send(port)
    await server.wait_for_termination()


def _echo_process(ready: Connection) -> None:
    asyncio.run(_serve_echo(ready))


@contextmanager
def echo_server() -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    # Spawned: gRPC does not survive a fork.
    process = multiprocessing.get_context("spawn").Process(target=_echo_process, args=(theirs,), daemon=True)
    process.start()
    yield f"127.0.0.1:{ours.recv()}"
    process.kill()
    process.join()


async def unary_rate(address: str, seconds: float, in_flight: int) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        echo = channel.unary_unary("/Echo/One")
        await echo(b"")
        began, calls = time.monotonic(), 0

        async def ask() -> None:
            nonlocal calls
            while time.monotonic() - began < seconds:
                await echo(b"x" * 100)
                calls += 1

        await asyncio.gather(*(ask() for _ in range(in_flight)))
        return calls / (time.monotonic() - began)


def unary_echo(seconds: float, in_flight: int) -> float:
    """Calls per second of a server that only answers, over grpc.aio on both sides."""
    with echo_server() as address:
        return run(unary_rate(address, seconds, in_flight))


def _turn(seconds: float) -> float:
    began, turns = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        for _ in range(10_000):
            turns += 1
    return turns / seconds / 1e6


def interpreter(seconds: float, processes: int) -> float:
    """Millions of turns of an empty loop per second, in each of so many processes at a time.

    It tells how fast the machine is just now, which on a shared one changes by the minute.
    """
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return sum(pool.map(_turn, [seconds] * processes, chunksize=1)) / processes


def measure(seconds: float) -> tuple[dict[str, float], list[Measure]]:
    """The limits by name, and as rows."""
    limits = {
        "group commit, 1": group_commit(seconds, 1),
        "group commit, 64": group_commit(seconds, 64),
        "group commit, 512": group_commit(seconds, 512),
        "unary echo, 1 in flight": unary_echo(seconds, 1),
        "unary echo, 64 in flight": unary_echo(seconds, 64),
    }
    units = {name: "rows/s" if name.startswith("group") else "calls/s" for name in limits}
    rows = [Measure(name=f"raw: {name}", value=value, unit=units[name]) for name, value in limits.items()]
    return limits, [*_speed(seconds), *rows]


def _speed(seconds: float) -> list[Measure]:
    unit = "million turns/s in each"
    return [
        Measure(name=f"raw: interpreter, {what}", value=interpreter(seconds / 2, processes), unit=unit)
        for what, processes in (("one process", 1), ("two processes", 2))
    ]
