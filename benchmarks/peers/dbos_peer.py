"""DBOS at the work of benchmarks/throughput.py: `python dbos_peer.py DATABASE_URL FAMILY SECONDS`.

It runs in the peer's own environment and prints a JSON line per figure. DBOS is a library, so its workflows run in the
process that starts them, with no network between. Its settings are its defaults; it reports to nobody unless told to.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from statistics import median

from dbos import DBOS

from benchmarks.load import rate

STEPS = 10


@DBOS.workflow()
async def noop() -> None:
    pass


@DBOS.step()
async def one() -> int:
    return 1


@DBOS.workflow()
async def steps() -> int:
    total = 0
    for _ in range(STEPS):
        total += await one()
    return total


@DBOS.workflow()
async def wait_for_message() -> float:
    await DBOS.recv_async("go", timeout_seconds=600)
    return time.monotonic()


def say(name: str, value: float, unit: str) -> None:
    print(json.dumps({"name": name, "value": value, "unit": unit}), flush=True)


async def executions(seconds: float, in_flight: tuple[int, ...]) -> None:
    async def once() -> None:
        handle = await DBOS.start_workflow_async(noop)
        await handle.get_result()

    for many in in_flight:
        say(f"executions, {many} in flight", await rate(seconds, many, once), "1/s")


async def durable_steps(seconds: float) -> None:
    async def once() -> None:
        handle = await DBOS.start_workflow_async(steps)
        await handle.get_result()

    say(f"steps, 64 × {STEPS}", STEPS * await rate(seconds, 64, once), "1/s")


async def messages(seconds: float) -> None:
    """The pauses vary by the second at which DBOS polls where the database cannot notify it."""

    async def woken_after() -> float:
        handle = await DBOS.start_workflow_async(wait_for_message)
        await asyncio.sleep(0.2 + random.random())
        sent = time.monotonic()
        await DBOS.send_async(handle.workflow_id, None, "go")
        return float(await handle.get_result()) - sent

    taken = [await woken_after() for _ in range(10 + round(2 * seconds))]
    say("message sent to waiter woken: p50", median(taken) * 1_000, "ms")


def main(url: str, family: str, seconds: float) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    match family:
        case "executions":
            # SQLite has one writer, and DBOS waits for its lock: more in flight wait longer, and some too long.
            asyncio.run(executions(seconds, (1, 64) if url.startswith("sqlite") else (1, 64, 512)))
        case "steps":
            asyncio.run(durable_steps(seconds))
        case "messages":
            asyncio.run(messages(seconds))
        case _:
            raise SystemExit(f"no family {family!r}")
    DBOS.destroy()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
