"""Random programs of synchronous handlers that begin operations, each disturbed: unwound, killed, and both.

After each answer a program sends a signal with what it was. In a replay that goes another way this is another payload,
and the execution is suspended.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tempolite_node.driver.inputs import HostMessages
from tempolite_node.engine.model import Options, RetryPolicy, Status
from tempolite_sdk import Begun, Cancelled, HandlerContext, SideEffectContext, SideEffectFailed, WaitTimeout
from tempolite_sdk import RetryPolicy as Policy

from .hosted import HostedNode, hosted

PROGRAMS = int(os.environ.get("BEGUN_PROGRAMS", "25"))
NAMES = ("a", "b", "c")
STEPS_MAX = 4_000
TRIED = Options(retry=RetryPolicy(maximum_attempts=1), max_operations=100_000)
QUICKLY = Policy(maximum_attempts=2, initial_interval=0.5, jitter=0)


def program(seed: int) -> Callable[..., Any]:
    """A handler that does the same each time."""

    def body(ctx: HandlerContext, child: int = 0) -> Any:
        if child:
            return _child(ctx, child)
        run = _Run(ctx, random.Random(seed))
        try:
            run.steps(random.Random(seed).randint(4, 12))
        except Cancelled as cancelled:
            run.tell("cancelled", cancelled.reason)
            run.steps(3)
        return run.told

    return body


def _child(ctx: HandlerContext, number: int) -> int:
    if number % 3 == 0:
        raise ValueError("no")
    ctx.sleep(number % 5)
    return number


class _Run:
    def __init__(self, ctx: HandlerContext, choose: random.Random) -> None:
        self.ctx = ctx
        self.choose = choose
        self.open: list[Any] = []
        self.names: dict[Any, str] = {}
        self.told: list[Any] = []
        self.made = 0

    def tell(self, *what: Any) -> None:
        self.told.append(list(what))
        self.ctx.send_signal("trace", list(what))

    def steps(self, count: int) -> None:
        for _ in range(count):
            begin, wait_any = self.begin, self.wait_any
            others = (self.wait_all, self.result, self.give_up, self.plain, self.plain_side_effect)
            self.choose.choice((begin, begin, begin, wait_any, wait_any, *others))()

    def begin(self) -> None:
        ctx, self.made = self.ctx, self.made + 1
        number, seconds = self.made, self.choose.randint(0, 5)
        kind = self.choose.choice(("signal", "timer", "effect", "failing", "waiting", "child"))
        begun: Any
        if kind == "signal":
            begun = ctx.start_signal(self.choose.choice(NAMES), timeout=self.choose.choice((None, 3)))
        elif kind == "timer":
            begun = ctx.start_timer(seconds)
        elif kind == "effect":
            begun = ctx.start_side_effect(f"e{number}", partial(_value, number), timeout=60)
        elif kind == "failing":
            begun = ctx.start_side_effect(f"e{number}", lambda: _fail(number), type=int, retry=QUICKLY)
        elif kind == "waiting":
            begun = ctx.start_side_effect(f"e{number}", lambda inner: _wait(inner, seconds), type=int)
        else:
            begun = ctx.options(key=f"c{number}").enqueue("h", number)
        self.open.append(begun)
        self.names[_known(begun)] = f"{kind}{number}"

    def some(self) -> list[Any]:
        return self.choose.sample(self.open, self.choose.randint(1, len(self.open)))

    def wait_any(self) -> None:
        if not self.open:
            return
        try:
            done = self.ctx.wait_any(self.some(), timeout=self.choose.choice((None, 0, 2, 4)))
        except WaitTimeout:
            self.tell("timeout")
            return
        self.tell("first", self.names[_known(done)])
        if self.choose.random() < 0.7:
            self.open.remove(done)
            self.tell("came to", self.outcome(done))

    def wait_all(self) -> None:
        if not self.open:
            return
        some = self.some()
        try:
            self.tell("all", self.ctx.wait_all(some, timeout=self.choose.choice((None, 2, 4))))
        except Exception as error:
            self.tell("not all", type(error).__name__)
        else:
            self.open = [each for each in self.open if each not in some]

    def outcome(self, begun: Any) -> Any:
        try:
            return begun.result() if isinstance(begun, Begun) else self.ctx.wait_for_completion(begun)
        except Exception as error:
            return type(error).__name__

    def result(self) -> None:
        if self.open:
            begun = self.open.pop(self.choose.randrange(len(self.open)))
            self.tell("result", self.outcome(begun))

    def give_up(self) -> None:
        if not self.open:
            return
        begun = self.open.pop(self.choose.randrange(len(self.open)))
        self.ctx.give_up(begun)
        name = self.names[_known(begun)]
        if name.startswith("effect") and self.choose.random() < 0.5:
            number = int(name.removeprefix("effect"))
            self.tell("again", self.ctx.side_effect(f"e{number}", partial(_value, number)))

    def plain(self) -> None:
        try:
            self.tell("received", self.ctx.receive_signal(self.choose.choice(NAMES), timeout=3))
        except WaitTimeout:
            self.tell("received nothing")

    def plain_side_effect(self) -> None:
        self.made += 1
        number = self.made
        try:
            if self.choose.random() < 0.5:
                self.tell("ran", self.ctx.side_effect(f"p{number}", lambda: number, type=int))
            else:
                self.tell("waited", self.ctx.side_effect(f"p{number}", lambda inner: _wait(inner, 1), type=int))
        except SideEffectFailed:
            self.tell("failed")


def _known(begun: Any) -> Any:
    return begun if isinstance(begun, Begun) else begun.id


def _value(number: int) -> int:
    return number


def _fail(number: int) -> int:
    raise ConnectionError(number)


def _wait(inner: SideEffectContext, seconds: int) -> int:
    inner.sleep(seconds)
    return seconds


class World:
    """Sends signals and lets time pass, and disturbs."""

    def __init__(self, node: HostedNode, seed: int, *, kill_each: int) -> None:
        self.node = node
        self.body = program(seed)
        self.choose = random.Random(f"{seed} {kill_each} {node.parked_max}")
        self.kill_each = kill_each
        self.sent = 0
        self.cancels = self.choose.random() < 0.3
        self.cancelled = False

    def run(self) -> Any:
        node = self.node
        node.serve(self.body, asynchronous=False)
        node.enqueue(options=TRIED)
        messages = 0
        for _ in range(STEPS_MAX):
            execution = node.execution()
            if execution.closed or execution.status is Status.SUSPENDED:
                break
            try:
                said = node.said.queue.get(timeout=0.002)
            except Exception:
                self.something_happens()
                continue
            node.round(HostMessages(host=node._host, calls=[said]))  # type: ignore[list-item]
            messages += 1
            if self.kill_each and messages % self.kill_each == 0 and self.choose.random() < 0.5:
                node.serve(self.body, asynchronous=False)
            if self.choose.random() < 0.1:
                self.something_happens()
        return execution

    def something_happens(self) -> None:
        node, what = self.node, self.choose.random()
        if what < 0.45 and self.sent < 40:
            self.sent += 1
            node.signal(self.choose.choice(NAMES), f"signal {self.sent}")
        elif what < 0.48 and self.cancels:
            self.cancels, self.cancelled = False, True
            node.cancel()
        else:
            node.advance(self.choose.choice((100, 1_000, 2_000)))


@pytest.mark.parametrize("how", ["undisturbed", "unwound", "killed", "both"])
def test_each_replay_goes_the_way_that_was_gone(how: str) -> None:
    first = int(os.environ.get("BEGUN_FIRST", "0"))
    for seed in range(first, first + PROGRAMS):
        with hosted(workers=1 + seed % 2) as node:
            if how in ("unwound", "both"):
                node.parked_max = 0
            world = World(node, seed, kill_each=1 + seed % 4 if how in ("killed", "both") else 0)
            execution = world.run()
            cancelled = execution.status is Status.CANCELLED and world.cancelled  # when the body had returned
            assert execution.status is Status.COMPLETED or cancelled, (seed, how, execution.status, execution.failure)
            seen = re.findall(r"signal \d+", (execution.result or b"").decode())
            assert len(seen) == len(set(seen)), f"{seed}: a signal was seen twice"
