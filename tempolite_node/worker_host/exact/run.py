"""One run of some code on a loop of its own, and the order in which it gets its answers.

The loop is turned until it is quiet. Then, and only then, one answer is released: of the operations that the code has
asked for and that have an end, the one whose end the log decided first. An answer that is recorded and one that comes
now are the same thing, so the code goes in its first run as in every replay.
"""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from tempolite_node.engine.model import OperationKind
from tempolite_node.worker_host.exact.loop import ExactLoop, ExactTimer
from tempolite_node.worker_host.exact.tasks import ExactFuture, ExactTask


class End(NamedTuple):
    """The place of an operation's end in the order of the log, and its time."""

    seq: int
    at_ms: int


class Operation(ExactFuture):
    """Something that the code has asked of the world around its loop.

    A *lasting* one has a body of its own: cancelling it cancels the body, and how that ends is what it comes to. Of any
    other the code takes leave at once.
    """

    # Read and written for each answer: in the dictionary that a future has, that would take far longer.
    __slots__ = ("begun", "lasting", "live", "run", "timer", "waits")

    def __init__(self, run: ExactRun, *, lasting: bool = False) -> None:
        super().__init__(run.loop)
        self.run = run
        self.lasting = lasting
        self.begun = False  #: the loop was quiet with it open
        self.live = False  #: it was carried out, for nothing recorded was left before it
        self.timer: ExactTimer | None = None  #: that becomes due with it
        self.waits: tuple[OperationKind, str] | None = None  #: for what it waits, if it does nothing else

    def cancel(self, msg: Any | None = None) -> bool:
        if self.done():
            return False
        if self.lasting and self.begun:
            self.cancel_body(msg)
            return True
        super().cancel(msg)
        self.run.given_up(self)
        return True

    def end_cancelled(self, msg: Any | None = None) -> None:
        """Its body ended by being cancelled."""
        super().cancel(msg)

    @abstractmethod
    def begin(self) -> None:
        """Carries it out."""

    @abstractmethod
    def deliver(self, answer: Any) -> None:
        """Comes to an end with the answer, or goes on. answer: None: the recorded one."""

    @abstractmethod
    def give_up(self) -> None:
        """Nobody waits for it any more. Called after the loop was quiet with it open."""

    def cancel_body(self, msg: Any | None) -> None:
        """Of a lasting one. May be called again and again."""


class World(Protocol):
    """What a run asks of its surroundings."""

    def timer(self, path: str, number: int, duration_s: float) -> tuple[Operation, End | None]:
        """An operation that waits for so long, and its end if that is recorded."""
        ...

    def quiet(self) -> None:
        """All is asked that will be, until another answer comes."""
        ...

    def ended(self, first: ExactTask) -> None:
        """No task is left."""
        ...

    def released_cancel(self, reason: str) -> None:
        """The cancel of the execution has its place here."""
        ...


class _Cancel(NamedTuple):
    reason: str


#: An end that is to be released: its place, its number, its time, the answer, and of what it is. answer: None: it is
#: recorded, and so was decided before all that comes now. A plain tuple: one is made for each answer.
_Pending = tuple[int, int, int, Any, "Operation | _Cancel"]


_ANSWER, _OF = 3, 4


class ExactRun:
    def __init__(self, loop: ExactLoop, world: World, *, recorded_max: int = 0) -> None:
        """recorded_max: the latest place of what is recorded."""
        self.loop = loop
        self._world = world
        self._recorded_max = recorded_max
        self.released = 0  #: place of the last answer that was
        self.seen = 0  #: the same, with those that the code had taken leave of
        self.over = False
        self.was_cut = False
        self.delivering: Operation | None = None
        self.delivered_seq = self.delivered_ms = 0  #: place and time of what was released last
        self._first: ExactTask | None = None
        self._asked: list[Operation] = []  #: since the loop was quiet
        self._held: list[Operation] = []  #: open, to be carried out once no recorded answer is left before them
        self._ends: list[_Pending] = []  #: a heap
        self._ends_pushed = 0
        self._moved = False  #: since the loop was turned
        self._went_live = False
        #: What the code has asked for and has no answer to, by their place, and so in the order in which it has.
        self.open: dict[int, Operation] = {}
        self._closing = False

    # --- by the code, while the loop turns

    def ask(self, operation: Operation, end: End | None) -> None:
        """end: of the operation, if it is recorded."""
        self.open[operation.place] = operation
        self.loop.progress += 1
        self._asked.append(operation)
        if end is not None:
            self._push(*end, None, operation)

    def given_up(self, operation: Operation) -> None:
        self.loop.progress += 1
        if self.open.pop(operation.place, None) is not None and operation.begun:
            operation.give_up()

    @property
    def quiet(self) -> bool:
        """Whether its code can't go on before another answer comes."""
        return not (self.over or self._moved or self._ends or self._asked)

    @property
    def replaying(self) -> bool:
        """Whether the code does again what it did before; or only cleans up, when it was cut."""
        return self.was_cut or (not self._went_live and self.released < self._recorded_max)

    # --- by the world

    def start(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._first = self.loop.create_first_task(coro)
        self._moved = True

    def answer(self, operation: Operation, seq: int, at_ms: int, answer: Any) -> None:
        """The end of an operation is decided. Released by `go_on`."""
        self._ends_pushed = number = self._ends_pushed + 1
        heapq.heappush(self._ends, (seq, number, at_ms, answer, operation))

    def cancel(self, end: End, reason: str, *, recorded: bool = False) -> None:
        """The cancel of the execution is decided."""
        self._push(*end, None if recorded else (), _Cancel(reason))

    def _push(self, seq: int, at_ms: int, answer: Any, of: Operation | _Cancel) -> None:
        self._ends_pushed = number = self._ends_pushed + 1
        heapq.heappush(self._ends, (seq, number, at_ms, answer, of))

    def go_on(self) -> None:
        """Turns the loop, and releases answers, until nothing can go on without another one."""
        loop, ends, first = self.loop, self._ends, self._first
        assert first is not None
        while not self.over:
            if self._moved:
                self._moved = False
                loop.turn(may_spin=self._something_is_to_come)
                if (first.done() and self._all_done(first)) or self._moved:
                    continue
            if loop.new_timers:
                self._ask_for_timers()
            if self._asked:
                for operation in self._asked:
                    operation.begun = True
                self._held += self._asked
                self._asked = []
            if ends:
                self._drop_left()
            if self._held and (not ends or ends[0][_ANSWER] is not None):
                self._go_live()
            if self.over or not ends:
                break
            self._release(*heapq.heappop(ends))
        if not self.over:
            self._world.quiet()

    def _something_is_to_come(self) -> bool:
        return bool(self.open or self._ends or self.loop.new_timers)

    def _ask_for_timers(self) -> None:
        for timer in self.loop.take_new_timers():
            operation, end = self._world.timer(timer.path, timer.number, timer.when() - self.loop.time())
            operation.timer, timer.operation = timer, operation
            self.ask(operation, end)

    def _go_live(self) -> None:
        held, self._held = self._held, []
        for operation in held:
            if operation.place in self.open and not operation.live:
                self._went_live = True
                operation.live = True
                operation.begin()

    def _drop_left(self) -> None:
        """Ends of what the code has taken leave of."""
        ends = self._ends
        while ends and isinstance(of := ends[0][_OF], Operation) and of.place not in self.open:
            self.saw(heapq.heappop(ends)[0])

    def saw(self, seq: int) -> None:
        """An answer that nobody waits for any more."""
        if seq > self.seen:
            self.seen = seq

    def _release(self, seq: int, _number: int, at_ms: int, answer: Any, of: Operation | _Cancel) -> None:
        if seq > self.released:
            self.released = seq
        if seq > self.seen:
            self.seen = seq
        self.delivered_seq, self.delivered_ms = seq, at_ms
        loop = self.loop
        loop.set_time(at_ms / 1_000)
        self._moved = True
        loop.open = True
        try:
            if isinstance(of, Operation):
                if answer is None:
                    of.live = True
                self.delivering = of
                of.deliver(answer)
                if of.done():
                    self.open.pop(of.place, None)
                    if of.timer is not None:
                        loop.fire(of.timer)
            else:
                self._deliver_cancel(of.reason)
        finally:
            self.delivering = None
            loop.open = False

    def _deliver_cancel(self, reason: str) -> None:
        self._world.released_cancel(reason)
        if self._first is not None and not self._first.done():
            self._first.cancel(reason or None)

    # --- the end

    def _all_done(self, first: ExactTask) -> bool:
        """Whether no task is left. The first is done: the others are cancelled and waited for."""
        if not self._closing:
            self._closing = True
            if self._cancel_others():
                return False
        if any(not task.done() for task in self.loop.tasks.values()):
            return False
        if generators := self.loop.take_generators():
            self.loop.open = True
            try:
                for generator in generators:
                    self.loop.create_task(generator.aclose())
            finally:
                self.loop.open = False
            self._moved = True
            return False
        self.over = True
        self._world.ended(first)
        self.loop.close()
        return True

    def _cancel_others(self) -> bool:
        others = [task for _, task in sorted(self.loop.tasks.items()) if not task.done()]
        self.loop.open = True
        try:
            for task in others:
                task.cancel()
        finally:
            self.loop.open = False
        self._moved = bool(others)
        return self._moved

    def cut(self, error: BaseException, *, turns_max: int = 1_000) -> None:
        """Ends the run where it is: its tasks get the error, and what their cleanup still asks for is refused."""
        self.over = self.was_cut = True
        loop = self.loop
        for _ in range(3):
            loop.open = True
            try:
                for operation in list(self.open.values()):
                    if not operation.done():
                        operation.set_exception(error)
                        operation.exception()  # whether somebody fetches it is of no interest
                self.open.clear()
            finally:
                loop.open = False
            loop.turn(may_spin=lambda: True, turns_max=turns_max)
            left = [task for task in loop.tasks.values() if not task.done()]
            if not left:
                break
            loop.open = True
            try:
                for task in left:
                    task.cancel()
            finally:
                loop.open = False
            loop.turn(may_spin=lambda: True, turns_max=turns_max)
        loop.close()
