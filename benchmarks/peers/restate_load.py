"""A Restate server with its service, both of this run alone, and the work that is sent to them."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import rate
from benchmarks.measures import Measure, percentile
from benchmarks.peers.environment import Unmeasured, environ

STEPS = 10
_SERVICE = Path(__file__).with_name("restate_peer.py")
_START_S = 60
_ANSWER_S = 60


class Ingress:
    """HTTP over a server's Unix socket, on as many connections as there are calls under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: list[tuple[StreamReader, StreamWriter]] = []

    async def post(self, target: str, body: bytes = b"") -> bytes:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_unix_connection(str(self._path))
        kind = "content-type: application/json\r\n" if body else ""
        head = f"POST {target} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        status, answer = await _answer(reader)
        self._idle.append((reader, writer))
        if status >= 300:
            raise Unmeasured(f"{target}: {status} {answer[:200]!r}")
        return answer

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def _answer(reader: StreamReader) -> tuple[int, bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    status = int(first.split(" ")[1])
    if headers.get("transfer-encoding") != "chunked":
        return status, await reader.readexactly(int(headers.get("content-length", "0")))
    answer = b""
    while size := int(await reader.readline(), 16):
        answer += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, answer


@dataclass(frozen=True, slots=True)
class Restate:
    ingress: Ingress
    service: Process

    async def said(self) -> Any:
        """The service's next line."""
        return await said(self.service)


async def said(service: Process) -> Any:
    assert service.stdout is not None
    try:
        line = await asyncio.wait_for(service.stdout.readline(), _ANSWER_S)
    except TimeoutError:
        raise Unmeasured(f"the service was not called within {_ANSWER_S} s") from None
    if not line:
        raise Unmeasured("the service ended")
    return json.loads(line)


async def _end(process: Process) -> None:
    """It has nothing that is worth keeping."""
    if process.returncode is None:
        process.kill()
    await process.wait()


@asynccontextmanager
async def a_restate(program: Path, python: Path) -> AsyncIterator[Restate]:
    directory = Path(tempfile.mkdtemp(prefix="tempolite-bench-"))
    try:
        async with _server(program, directory) as sockets, _service(python, directory) as (service, port):
            admin, ingress = Ingress(sockets / "admin.sock"), Ingress(sockets / "ingress.sock")
            await _register(admin, port)
            admin.close()
            yield Restate(ingress, service)
            ingress.close()
    finally:
        shutil.rmtree(directory)


@asynccontextmanager
async def _server(program: Path, directory: Path) -> AsyncIterator[Path]:
    """The directory of its sockets. It listens nowhere else, and has its default settings but for the telemetry."""
    config = directory / "server.toml"
    config.write_text('disable-telemetry = true\nbind-ip = "127.0.0.1"\nadvertised-host = "127.0.0.1"\n')
    options = ["--no-logo", "--listen-mode", "unix", "--node-name", "bench", "--base-dir", str(directory)]
    env = {**environ(), "RUST_LOG": "warn"}
    with (directory / "server.log").open("w") as log:
        server = await asyncio.create_subprocess_exec(
            program, "--config-file", config, *options, stdout=log, stderr=log, env=env
        )
    try:
        yield directory / "bench"
    finally:
        await _end(server)


@asynccontextmanager
async def _service(python: Path, directory: Path) -> AsyncIterator[tuple[Process, int]]:
    with (directory / "service.log").open("w") as log:
        service = await asyncio.create_subprocess_exec(python, _SERVICE, stdout=PIPE, stderr=log, env=environ())
    try:
        yield service, (await said(service))["port"]
    finally:
        await _end(service)


async def _register(admin: Ingress, port: int) -> None:
    deployment = json.dumps({"uri": f"http://127.0.0.1:{port}"}).encode()
    began = time.monotonic()
    while True:
        try:
            await admin.post("/deployments", deployment)
        except (OSError, EOFError, Unmeasured) as error:
            if time.monotonic() - began > _START_S:
                raise Unmeasured(f"the server did not start: {error}") from error
            await asyncio.sleep(0.1)
        else:
            return


async def measure(restate: Restate, family: str, seconds: float) -> list[Measure]:
    """Names are without the peer's."""
    match family:
        case "executions":
            return [await _executions(restate, seconds, in_flight) for in_flight in (1, 64, 512)]
        case "steps":
            steps = STEPS * await rate(seconds, 64, lambda: restate.ingress.post("/Bench/steps"))
            return [Measure(name=f"steps, 64 × {STEPS}", value=steps, unit="1/s")]
        case _:
            taken = [await _woken_after(restate) for _ in range(round(50 * seconds))]
            p50 = percentile(taken, 0.5) * 1_000
            return [Measure(name="message sent to waiter woken: p50", value=p50, unit="ms")]


async def _executions(restate: Restate, seconds: float, in_flight: int) -> Measure:
    reached = await rate(seconds, in_flight, lambda: restate.ingress.post("/Bench/noop"))
    return Measure(name=f"executions, {in_flight} in flight", value=reached, unit="1/s")


async def _woken_after(restate: Restate) -> float:
    waiter = asyncio.create_task(restate.ingress.post("/Bench/wait_for_signal"))
    awakeable = (await restate.said())["awakeable"]
    await asyncio.sleep(0.02)  # the service tells of the awakeable a moment before it waits for it
    sent = time.monotonic()
    await restate.ingress.post(f"/restate/awakeables/{awakeable}/resolve", b"null")
    return float(await waiter) - sent
