"""Runs programs on a whole node in one process, disturbed or not, and says what is wrong with how they went.

What happens around a program is a part of it: when a side effect ends, a signal comes, a child ends, a timer becomes
due. It is told as moves, each made when neither the node nor its host has anything left to do. A move that a crash
undid is made again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from tempolite_node.engine.model import Execution, OperationKind, OperationStatus, Status
from tempolite_node.engine.work import Work
from tempolite_node.worker_host.exact.run import ExactRun
from tempolite_sdk import AsyncHandlerContext, AsyncSideEffectContext, HandlerContext, NonRetryable, SideEffectContext

from ..kit.host import Host
from ..kit.node import Crash, node
from .acts import AsyncActs, SyncActs
from .interpreter import Interpreter, Program, run_at_once

_ID = "program"
_MOVES_MAX = 400


@dataclass(frozen=True)
class Setting:
    """All of a run but how it is disturbed."""

    program: Program
    moves: Sequence[int]  #: which of those that may be made; again and again
    asynchronous: bool = True
    cancel_after: int | None = None  #: so many moves
    workers: int = 4
    looks: bool = True
    one_by_one: bool = False


@dataclass(frozen=True)
class Disturbance:
    name: str
    unwinds: bool = False  #: at every wait
    crashes: bool = False  #: at each commit: before the one, after the next


UNDISTURBED = Disturbance("undisturbed")
DISTURBANCES = (
    UNDISTURBED,
    Disturbance("unwound", unwinds=True),
    Disturbance("crashed", crashes=True),
    Disturbance("both", unwinds=True, crashes=True),
)


@dataclass
class Trace:
    """Of one pass over the body: what it saw, what it asked for, and what was released."""

    host: Host
    lines: list[tuple[Any, ...]] = field(default_factory=list)
    released: list[tuple[str, str]] = field(default_factory=list)  #: operations, in order, and what they came to
    is_cut: bool = False

    @property
    def goes_on(self) -> bool:
        return self.host.alive and not self.is_cut

    def note(self, *what: Any) -> None:
        if self.goes_on:
            self.lines.append(what)

    def cut(self) -> None:
        self.is_cut = True


@dataclass
class Act:
    """Of a side effect in the world."""

    crashes: int  #: of the node before
    state: str = "begun"  #: "failed", "cancelled", "ended", "recorded"


@dataclass
class Gate:
    """A side effect that goes on when the world lets it."""

    host: Host
    go: Callable[[], object]
    name: tuple[str, int]  #: its place, and the number of its attempt


Move = tuple[str, ...]


class World:
    """Around one program, in one run of it."""

    def __init__(self, setting: Setting, disturbance: Disturbance) -> None:
        self._setting = setting
        self._disturbance = disturbance
        self._numbers = itertools.count(1)  #: of its side effects' bodies, each in a thread of its own
        self._acts: dict[str, Act] = {}
        self._by_number: dict[int, Act] = {}
        self._gates: dict[tuple[str, int], Gate] = {}
        self._opened: set[tuple[str, int]] = set()
        self._room = Counter(
            {name: json.dumps(setting.program).count(f'["signal", "{name}"') for name in "ab"}
        )  #: of each name, how many are sent at most
        self._ended: set[str] = set()  #: children
        self._commits: set[Any] = set()  #: at which it has crashed
        self._acknowledged: set[str] = set()  #: signals
        self.made: list[Move] = []
        self.passes: list[Trace] = []
        self.wrong: list[str] = []
        handlers: dict[str, Callable[..., Any]] = (
            {"program": self._async_program, "child": _async_child}
            if setting.asynchronous
            else {"program": self._sync_program, "child": _sync_child}
        )
        self._handlers = {name: _plain(function) for name, function in handlers.items()}

    # --- the program

    async def _async_program(self, ctx: AsyncHandlerContext, program: list[Any]) -> str:
        trace = self._begin_pass()
        asyncio.get_running_loop().trace = trace  # type: ignore[attr-defined]
        return await Interpreter(AsyncActs(ctx, trace, self)).main(program)

    def _sync_program(self, ctx: HandlerContext, program: list[Any]) -> str:
        acts = SyncActs(ctx, self._begin_pass(), self)
        return run_at_once(Interpreter(acts, asynchronous=False).main(program))

    def _begin_pass(self) -> Trace:
        trace = Trace(self._node.host)
        if trace.goes_on:
            self.passes.append(trace)
        return trace

    # --- its side effects

    async def body(self, at: str, how: str, ctx: AsyncSideEffectContext) -> str:
        host = self._node.host
        act, value = self._begin(at, how)
        try:
            if how == "nested":
                await ctx.side_effect(f"{at}i", lambda: self._inner(f"{at}i"), str)
                await ctx.sleep(0.04)
            if how != "quick":
                gate = asyncio.get_running_loop().create_future()
                self._wait_at(Gate(host, lambda: gate.done() or gate.set_result(None), (at, ctx.attempt)))
                await gate
        except asyncio.CancelledError:
            if not host.alive or how not in ("stubborn", "spoiled"):
                act.state = "cancelled"
                raise
            act.state = "ended"
            if how == "spoiled":
                raise NonRetryable(value) from None
            return value
        return self._end(act, value, how, ctx.attempt)

    async def _inner(self, at: str) -> str:
        act, value = self._begin(at, "quick")
        return self._end(act, value, "quick", 1)

    def sync_body(self, at: str, how: str, ctx: SideEffectContext) -> str:
        host = self._node.host
        act, value = self._begin(at, how)
        if how == "nested":
            ctx.side_effect(f"{at}i", lambda: run_at_once(self._inner(f"{at}i")), str)
            ctx.sleep(0.04)
        if how != "quick":
            gate = threading.Event()
            releases: list[Callable[[], None]] = []
            self._wait_at(Gate(host, lambda: ([each() for each in releases], gate.set()), (at, ctx.attempt)))
            releases.append(host.holds())
            gate.wait()
        return self._end(act, value, how, ctx.attempt)

    def _begin(self, at: str, how: str) -> tuple[Act, str]:
        last = self._acts.get(at)
        cut = last is not None and last.crashes < self._node.crashes and last.state != "recorded"
        if last is not None and not cut and last.state not in ("failed", "cancelled") and how != "nested":
            self.wrong.append(f"the side effect {at} runs again, which had {last.state}")
        number = next(self._numbers)
        act = self._acts[at] = self._by_number[number] = Act(self._node.crashes)
        return act, f"{at}~{number}"

    def _end(self, act: Act, value: str, how: str, attempt: int) -> str:
        if how == "retried" and attempt == 1:
            act.state = "failed"
            raise ConnectionError(value)
        act.state = "ended"
        if how == "fails":
            raise NonRetryable(value)
        return value

    def _wait_at(self, gate: Gate) -> None:
        self._gates[gate.name] = gate

    def _let_go(self, gate: Gate) -> None:
        del self._gates[gate.name]
        gate.go()

    # --- commits

    def _at_commit(self, moment: str, work: Work) -> None:
        if moment == "after":
            for operation in (each for of_one in work.operations.values() for each in of_one.values()):
                if operation.kind is OperationKind.SIDE_EFFECT:
                    self._note_recorded(operation.status, operation.result, operation.failure)
        if self._disturbance.crashes:
            told = _told_of(work)
            if told not in self._commits and moment == self._moment():
                self._commits.add(told)
                raise Crash

    def _moment(self) -> str:
        """Of the next crash: in turn, and where both disturb it, the other way round."""
        return ("before", "after")[(len(self._commits) + self._disturbance.unwinds) % 2]

    def _note_recorded(self, status: OperationStatus, result: bytes | None, failure: Any) -> None:
        told = ""
        if status is OperationStatus.COMPLETED:
            told = (result or b"").decode()
        elif status is OperationStatus.FAILED and failure is not None:
            told = failure.message
        if found := re.search(r"~(\d+)", told):
            self._by_number[int(found[1])].state = "recorded"

    # --- moves

    def run(self) -> Run:
        setting = self._setting
        settings = {"workers": setting.workers, "looks": setting.looks, "one_by_one": setting.one_by_one}
        with node(self._handlers, parked_max=0 if self._disturbance.unwinds else 1_000, **settings) as self._node:
            self._node.at_commit = self._at_commit
            try:
                while self._node.store.execution(_ID) is None:
                    self._node.enqueue("program", setting.program, id=_ID)
                self._go_on()
                return self._result()
            finally:
                self._node.host.die()
                for gate in list(self._gates.values()):
                    self._let_go(gate)

    def _go_on(self) -> None:
        for number in range(_MOVES_MAX):
            self._settle()
            if all(each.closed or each.status is Status.SUSPENDED for each in self._node.executions()):
                return
            options = self._options()
            if number == self._setting.cancel_after and not self._over:
                self._make(("cancel",))
            elif options:
                drawn = self._setting.moves[number % len(self._setting.moves)]
                self._make(options[drawn % len(options)])
                if drawn >= 192 and len(options) > 1:
                    self._make(options[(drawn + 1) % len(options)])
            else:
                self._make(("terminate",) if ("cancel",) in self.made else ("cancel",))
        self.wrong.append("it does not end")

    @property
    def _over(self) -> bool:
        return self._node.execution(_ID).closed

    def _options(self) -> list[Move]:
        options: list[Move] = [("gate", *map(str, name)) for name in sorted(self._gates)]
        options += [("child", each) for each in sorted(self._children())]
        if not self._over:
            options += [("signal", name, str(room)) for name, room in sorted(self._room.items()) if room > 0]
        if self._node.next_due_ms is not None:
            options.append(("time",))
        return options

    def _children(self) -> dict[str, Execution]:
        """That are not over, and were not told to end, by their place in the program."""
        found = {}
        for each in self._node.executions():
            if each.handler == "child" and not each.closed and each.id not in self._ended:
                found[f"{_first_of(each.arguments)} {each.id}"] = each
        return found

    def _make(self, move: Move) -> None:
        self.made.append(move)
        self._node.now_ms += 1
        match move:
            case ("signal", name, _):
                self._room[name] -= 1
            case ("child", name):
                self._ended.add(name.rpartition(" ")[2])
            case ("gate", at, attempt):
                self._opened.add((at, int(attempt)))
            case ("time",):
                self._node.now_ms = max(self._node.now_ms, self._node.next_due_ms or 0)
        self._do(move)

    def _do(self, move: Move) -> None:
        """Again, if the node has crashed since: what has been taken is not taken twice."""
        node = self._node
        match move:
            case ("signal", name, number) if not self._over:
                payload = name + number
                if node.signal(_ID, name, payload, request_id=payload):
                    self._acknowledged.add(payload)
            case ("child", name):
                id = name.rpartition(" ")[2]
                if not node.execution(id).closed:
                    node.signal(id, "end", "now", request_id="end")
            case ("gate", at, attempt):
                if gate := self._gates.get((at, int(attempt))):
                    self._let_go(gate)
            case ("time",):
                node.round()
            case ("cancel",) if not (self._over or node.execution(_ID).cancel_requested):
                node.cancel(_ID, "enough")
            case ("terminate",) if not self._over:
                node.terminate(_ID, "enough")

    def _settle(self) -> None:
        crashes = -1
        while True:
            self._node.settle()
            self._gates = {name: gate for name, gate in self._gates.items() if gate.host.alive}
            again = [gate for name, gate in sorted(self._gates.items()) if name in self._opened]
            for gate in again:
                self._let_go(gate)
            if crashes == self._node.crashes and not again:
                return
            if crashes != self._node.crashes:
                crashes = self._node.crashes
                for move in self.made[-2:]:
                    self._do(move)

    # --- what comes of it

    def _result(self) -> Run:
        execution = self._node.execution(_ID)
        inbox = {str(each.request_id): each for each in self._node.inbox(_ID)}
        self.wrong += [f"{each} is not in the inbox" for each in sorted(self._acknowledged - inbox.keys())]
        return Run(
            name=self._disturbance.name,
            status=execution.status,
            result=None if execution.result is None else json.loads(execution.result),
            failure="" if execution.failure is None else f"{execution.failure.type}({execution.failure.message})",
            passes=self.passes,
            moves=self.made,
            sent=list(inbox),
            left=[payload for payload, signal in inbox.items() if signal.in_line],
            told=[json.loads(each.payload) for each in self._node.outbox(_ID)],
            ends=[
                (each.kind, each.key, each.status)
                for each in sorted(self._node.operations(_ID), key=lambda operation: operation.end_seq)
            ],
            recorded={number for number, act in self._by_number.items() if act.state == "recorded"},
            crashes=self._node.crashes,
            asynchronous=self._setting.asynchronous,
            wrong=self.wrong,
        )


def _first_of(arguments: bytes) -> str:
    given = json.loads(arguments)
    return str(given[0] if isinstance(given, list) else next(iter(given.values())))


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A bound method as a function, which is what handlers are."""
    if not hasattr(function, "__self__"):
        return function
    if asyncio.iscoroutinefunction(function):

        @wraps(function)
        async def async_handler(ctx: AsyncHandlerContext, program: list[Any]) -> Any:
            return await function(ctx, program)

        return async_handler

    @wraps(function)
    def handler(ctx: HandlerContext, program: list[Any]) -> Any:
        return function(ctx, program)

    return handler


async def _async_child(ctx: AsyncHandlerContext, at: str, how: str) -> str:
    await ctx.receive_signal("end")
    if how == "fails":
        raise NonRetryable(at)
    return f"{at}!"


def _sync_child(ctx: HandlerContext, at: str, how: str) -> str:
    ctx.receive_signal("end")
    if how == "fails":
        raise NonRetryable(at)
    return f"{at}!"


def _told_of(work: Work) -> Any:
    """What a commit has of executions: enough to tell those that get on from those that repeat."""
    executions = sorted(
        (_first_of(each.arguments), each.status, each.attached, each.inbox, each.failures)
        for each in work.executions.values()
    )
    operations = sorted(
        (row, each.kind, each.key, each.status, each.attempt)
        for row, of_one in work.operations.items()
        for each in of_one.values()
    )
    return tuple(executions), tuple(operations)


# --- what is told of runs on a loop of their own


def _telling_asked(ask: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(ask)
    def tell(self: ExactRun, operation: Any, end: Any) -> None:
        if (trace := getattr(self.loop, "trace", None)) is not None:
            trace.note("asked", *_place(operation))
        ask(self, operation, end)

    return tell


def _telling_released(release: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(release)
    def tell(self: ExactRun, seq: int, number: int, at_ms: int, answer: Any, of: Any) -> None:
        if (trace := getattr(self.loop, "trace", None)) is not None:
            trace.note("released", seq, at_ms, *_place(of))
        release(self, seq, number, at_ms, answer, of)

    return tell


def _place(operation: Any) -> tuple[str, str]:
    place = getattr(operation, "place_in_log", None)
    return ("cancel", "") if place is None else (str(place.kind), place.key)


ExactRun.ask = _telling_asked(ExactRun.ask)  # type: ignore[method-assign]
ExactRun._release = _telling_released(ExactRun._release)  # type: ignore[method-assign]


# --- demands


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of a program."""

    name: str
    status: Status
    result: str | None
    failure: str
    passes: list[Trace]
    moves: list[Move]
    sent: list[str]
    left: list[str]
    told: list[str]
    ends: list[tuple[Any, ...]]  #: operations, in the order in which they ended
    recorded: set[int]
    crashes: int
    asynchronous: bool
    wrong: list[str]

    @property
    def end(self) -> tuple[str, str]:
        return str(self.status), _timeless(self.failure if self.result is None else self.result)

    @property
    def schedule(self) -> tuple[Any, ...]:
        """The answers, in the order in which they were released, and what they brought; and what is recorded."""
        return tuple(_timeless(str(line)) for line in (*self.passes[-1].lines, *self.ends))


_TIMES = re.compile(r"~\d+|child-\d+|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00:00")


def _timeless(told: str) -> str:
    """Without what differs between runs that go the same way."""
    return _TIMES.sub("_", told)


def wrong_with(run: Run) -> list[str]:
    return [*run.wrong, *_wrong_end(run), *_wrong_passes(run), *_wrong_effects(run), *_wrong_signals(run)]


def _wrong_end(run: Run) -> list[str]:
    """It is the one that the last pass leads to."""
    saw = next((line[2] for line in reversed(run.passes[-1].lines) if line[:2] == ("r", "caught")), None)
    match run.status:
        case Status.COMPLETED:
            right = saw is not None and (run.result or "").startswith(f"{saw}; received")
        case Status.CANCELLED:
            right = ("cancel",) in run.moves
        case Status.TERMINATED:
            right = ("terminate",) in run.moves
        case Status.FAILED:  # in gather, anyio does not always know its own cancel
            right = saw == "cancelled" and run.failure.startswith("CancelledError")
        case _:
            right = False
    return [] if right else [f"it is {run.status}: {run.result}{run.failure}, and its last pass saw {saw}"]


def _wrong_passes(run: Run) -> list[str]:
    """Each pass sees what those before it saw before they were cut, and goes on from there.

    Synchronous code asks for what it begins before it comes to what it waited for, so a crash may cut it earlier than
    the one before.
    """
    wrong = []
    before: list[tuple[Any, ...]] = []
    for number, trace in enumerate(run.passes):
        seen = _seen(trace)
        both = min(len(before), len(seen))
        may_be_shorter = not trace.host.alive and not run.asynchronous
        if before[:both] != seen[:both] or (both < len(before) and not may_be_shorter):
            at = next((place for place in range(both) if before[place] != seen[place]), both)
            wrong.append(
                f"pass {number} of {len(run.passes)} saw {seen[at : at + 1]} at {at}, "
                f"and one before it {before[at : at + 1]}"
            )
        before = max(before, seen, key=len)
    return wrong


#: Parts of a program that ask for something; what the others come to hangs on their own parts alone.
_ASK = ("effect", "signal", "sleep", "child", "now", "refused", "tell")


def _seen(trace: Trace) -> list[tuple[Any, ...]]:
    """As far as it is recorded: what a body was told of its cancel is, when it asks for something."""
    lines = trace.lines
    asked = max((number for number, line in enumerate(lines) if line[1] in _ASK), default=-1)
    unrecorded = next((number for number in range(asked + 1, len(lines)) if lines[number][1] == "look"), len(lines))
    return lines[:unrecorded]


def _wrong_effects(run: Run) -> list[str]:
    """What the last pass saw of a side effect was recorded."""
    seen = {int(number) for line in run.passes[-1].lines for number in re.findall(r"~(\d+)", str(line))}
    return [f"~{number} was seen, which is not recorded" for number in sorted(seen - run.recorded)]


def _wrong_signals(run: Run) -> list[str]:
    """Each was received once, or waits in the inbox."""
    received = [line[2] for line in run.passes[-1].lines if line[1] == "signal" and line[2] in run.sent]
    wrong = [f"{each} was received {count} times" for each, count in Counter(received).items() if count > 1]
    if sorted({*received, *run.left}) != sorted(run.sent) or set(received) & set(run.left):
        wrong.append(f"{run.sent} were sent, {received} received, and {run.left} are in the inbox")
    told = [line[0] for line in run.passes[-1].lines if line[1] == "tell" and line[2] == "None"]
    if run.status is Status.COMPLETED and not set(told) <= set(run.told):
        wrong.append(f"it told {told}, and clients hear {run.told}")
    wrong += [f"{each} was told {count} times" for each, count in Counter(run.told).items() if count > 1]
    return wrong


def wrong_between(runs: Sequence[Run]) -> list[str]:
    """Where the schedule of answers is the same, so is the end."""
    ends: dict[tuple[Any, ...], Run] = {}
    wrong = []
    for run in runs:
        first = ends.setdefault(run.schedule, run)
        if first.end != run.end:
            wrong.append(f"{first.name} came to {first.end}, and {run.name}, with the same answers, to {run.end}")
    return wrong
