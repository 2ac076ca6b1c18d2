"""The service that a Restate server calls, at the work of benchmarks/handlers.py: `python restate_peer.py`.

It runs in the peer's own environment and prints JSON lines: first the port that it serves, then each awakeable that
somebody waits for.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

STEPS = 10
bench = restate.Service("Bench")


async def one() -> int:
    return 1


@bench.handler()
async def noop(_ctx: restate.Context) -> None:
    pass


@bench.handler()
async def steps(ctx: restate.Context) -> int:
    total = 0
    for _ in range(STEPS):
        total += await ctx.run_typed("one", one)
    return total


@bench.handler()
async def wait_for_signal(ctx: restate.Context) -> float:
    name, woken = ctx.awakeable()
    say(awakeable=name)
    await woken
    return time.monotonic()


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.accesslog = None
    config.loglevel = "ERROR"
    # The server keeps few connections, each for long, with as many calls as are under way.
    config.h2_max_concurrent_streams = config.keep_alive_max_requests = 2**31 - 1
    config.keep_alive_timeout = 3_600
    say(port=listener.getsockname()[1])
    await serve(restate.app(services=[bench]), config)


if __name__ == "__main__":
    asyncio.run(main())
