"""Handlers that run for long, and that start processes of their own."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

from world import happened, pass_gate

from tempolite_sdk import (
    AsyncHandlerContext,
    CompensationContext,
    HandlerContext,
    RetryPolicy,
    SagaContext,
    SagaStep,
    SideEffectContext,
    TransactionContext,
)

#: Says that it is ready, and stays: without a word of its own on signals.
_CHILD = "import time; print('ready', flush=True); time.sleep(600)"


def run_long(ctx: HandlerContext, name: str) -> int:
    """The attempt that ended, once its gate is open."""
    happened(f"{name} runs in {os.getpid()}")
    pass_gate(name)
    return ctx.attempt


def take_memory(ctx: HandlerContext, how: str) -> list[str]:
    """Too much of it, in its first attempt."""
    result = ctx.side_effect("before", lambda: happened(f"{how} begins") or "recorded")
    if ctx.attempt == 1 and how == "itself":
        held = b"x" * (400 * 1024**2)  # in one go, with the GIL
        raise AssertionError(f"it was not held back from {len(held)} bytes")
    if ctx.attempt == 1 and how == "in a program":
        hold = "held = b'x' * (400 * 1024**2); import time; time.sleep(600)"
        subprocess.run([sys.executable, "-c", hold], check=True)
        raise AssertionError("its program was not held back")
    return [result, str(ctx.attempt)]


async def wait_beside_a_side_effect(ctx: AsyncHandlerContext) -> list[str]:
    async def run() -> str:
        happened("the side effect runs")
        await asyncio.to_thread(pass_gate, "effect")
        return "done"

    return list(await asyncio.gather(ctx.receive_signal("go", str), ctx.side_effect("run", run)))


@dataclass
class Charge(SagaStep):
    def transaction(self, _ctx: TransactionContext) -> None:
        happened("the charge begins")
        pass_gate("charge")
        happened("the charge ends")

    def compensation(self, _ctx: CompensationContext) -> None:
        happened("the refund")


def charge(ctx: SagaContext) -> None:
    ctx.step(Charge())


def time_out_once(ctx: HandlerContext) -> str:
    def run(inner: SideEffectContext) -> str:
        happened(f"body {inner.attempt} begins")
        if inner.attempt == 1:
            pass_gate("body")
        happened(f"body {inner.attempt} ends")
        return f"body {inner.attempt}"

    return ctx.side_effect("run", run, timeout=0.2, retry=RetryPolicy(initial_interval=0.001))


def terminate_children(_ctx: HandlerContext) -> dict[str, int | None]:
    """How each kind of child ended that was asked to, by name; None: it went on."""
    started = subprocess.Popen([sys.executable, "-c", _CHILD], stdout=subprocess.PIPE)
    assert started.stdout is not None
    started.stdout.readline()
    started.terminate()
    ready = multiprocessing.get_context("fork").Event()
    forked = multiprocessing.get_context("fork").Process(target=_stay, args=(ready,))
    forked.start()
    ready.wait(60)
    forked.terminate()
    forked.join(60)
    ended = {"started": _exit_code(started), "forked": forked.exitcode}
    started.kill()
    forked.kill()
    return ended


def _stay(ready: object) -> None:
    ready.set()  # type: ignore[attr-defined]
    time.sleep(600)


def _exit_code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        return None


def wait_through_signals(_ctx: HandlerContext, name: str) -> int:
    """Bytes that it read, though its host got signals while it waited for them."""
    reading, writing = os.pipe()
    happened(f"{name} runs in {os.getpid()}")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(os.getpid(), number)
    pass_gate(name)
    os.write(writing, b"all")
    return len(os.read(reading, 10))


def leave_orphans(_ctx: HandlerContext) -> list[str]:
    """Of processes that were left to the first one of the container: those that nobody has reaped."""
    script = "sleep 0.05 & echo $!"
    left = [subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True).stdout.strip() for _ in range(5)]
    deadline = time.monotonic() + 60
    while (there := [pid for pid in left if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return there


#: Loses its parent at once, and has neither its session nor its environment.
_DAEMON = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); "
_STAYS = "print(os.getpid(), flush=True); time.sleep(600)"


def start_programs(_ctx: HandlerContext, name: str) -> None:
    """Starts a child, one in a session of its own and a daemon, and stays."""
    programs = ("import os, time; ", False), ("import os, time; ", True), (_DAEMON, True)
    started = []
    for program, alone in programs:
        command = [sys.executable, "-c", program + _STAYS]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={} if alone else None, start_new_session=alone, text=True
        )
        assert child.stdout is not None
        started.append(child.stdout.readline().strip())
    happened(f"{name} runs in {os.getpid()} with {' '.join(started)}")
    pass_gate(name)


def whisper(_ctx: HandlerContext, word: str) -> None:
    logging.getLogger("shop").debug(word)


def fail_in_a_side_effect(ctx: HandlerContext) -> None:
    def fail() -> None:
        raise OSError("no answer")

    ctx.side_effect("fail", fail)


def list_what_linux_has(_ctx: HandlerContext) -> list[str]:
    """Of what a node would use, where it is there."""
    of = {"epoll": select, "eventfd": os, "pidfd_open": os}
    return [name for name, module in of.items() if hasattr(module, name)]
