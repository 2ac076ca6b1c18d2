"""A worker host in the process of its node. Asynchronous code runs in the thread of whoever turns the host."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, cast

from tempolite_node.engine.effects import AnyAnswer
from tempolite_node.protocol import messages
from tempolite_node.worker_host.async_runtime import AttemptLoop
from tempolite_node.worker_host.attempt import Attempt, Services
from tempolite_node.worker_host.begun import BegunOperations
from tempolite_node.worker_host.beside import BodyLoop
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.leased_slots import LOOK_S, LeasedSlots
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.registry import Handler, Registry
from tempolite_node.worker_host.runner import Runner
from tempolite_node.worker_host.scopes import Scope, current_scope
from tempolite_node.worker_host.sync_runtime import SleepingThread

_PATIENCE_S = 20.0  #: with code in a thread, which goes on by itself
_GLANCE_S = 0.000_5


class _Said:
    """The way from the host to the node."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[messages.FromHost | None] = SimpleQueue()
        self.open = True

    def add(self, message: messages.FromHost) -> None:
        if self.open:
            self._queue.put(message)

    send = add

    def flush(self) -> None: ...

    def wake(self) -> None:
        self._queue.put(None)

    def take(self, timeout_s: float = 0.0) -> list[messages.FromHost]:
        taken: list[messages.FromHost] = []
        while True:
            try:
                message = self._queue.get(timeout=timeout_s) if timeout_s and not taken else self._queue.get_nowait()
            except Empty:
                return taken
            timeout_s = 0.0
            if message is not None:
                taken.append(message)


class _Sleepers:
    """Threads that sleep until they are woken. Counted here, since nobody else can tell whether they do yet."""

    def __init__(self) -> None:
        self._asleep: set[SleepingThread] = set()
        sleep, wake = SleepingThread.sleep, SleepingThread.wake

        def noted_sleep(thread: SleepingThread) -> AnyAnswer | None:
            self._asleep.add(thread)
            return sleep(thread)

        def noted_wake(thread: SleepingThread, answer: AnyAnswer | None) -> None:
            self._asleep.discard(thread)
            wake(thread, answer)

        SleepingThread.sleep = noted_sleep  # type: ignore[method-assign]
        SleepingThread.wake = noted_wake  # type: ignore[method-assign]

    def of(self, attempt: Attempt) -> int:
        waiters: list[Any] = [waiter for waiter, _ in list(attempt._calls.values())]
        if isinstance(attempt.begun, BegunOperations):
            waiters.append(attempt.begun._sleeper)
        return sum(each in self._asleep for each in waiters)


_sleepers = _Sleepers()


class _SteppedLoop(AttemptLoop):
    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = BodyLoop(self._selector)
        return self._loop

    def turn(self) -> None:
        """Runs all that can run by itself."""
        if self._loop is not None:
            self._selector.when_idle.append(self._loop.stop)
            self._loop.run_forever()

    def close(self) -> None:
        if self._loop is not None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self.turn()
            self._loop.close()
        self._selector.close()


class Host:
    """Serves handlers.

    parked_max: beyond it stacks that wait are unwound; 0 unwinds each when it has nothing to do but to wait.
    looks: whether it tells the node at once of side effects that run in leased slots.
    """

    def __init__(self, number: int, handlers: Iterable[Handler], *, parked_max: int, looks: bool) -> None:
        self.number = number
        self._held: Counter[Scope] = Counter()  #: threads, by the scopes of their attempts
        self._lock = threading.Lock()
        self._looks = looks
        self._clock_s = 0.0
        self._said = _Said()
        channel = cast(Channel, self._said)
        self.services = Services(
            channel=channel,
            registry=Registry(handlers),
            parking=Parking(parked_max=parked_max, ttl_s=3_600.0, clock=lambda: self._clock_s),
            slots=LeasedSlots(
                lambda slots: channel.send(messages.ReturnSlots(slots=slots)), clock=lambda: self._clock_s
            ),
            payload_bytes_max=1 << 20,
        )
        self._runner = Runner(self.services)
        self._loop = self._runner._loop = _SteppedLoop(channel)

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return tuple(self.services.registry.handlers.values())

    @property
    def alive(self) -> bool:
        return self._said.open

    # --- between it and the node

    def take(self, batch: Iterable[messages.ToHost]) -> None:
        for message in batch:
            self._take(message)
        self._runner.deliver()

    def _take(self, message: messages.ToHost) -> None:
        match message:
            case messages.Reply():
                self._runner.reply(message)
            case messages.RunHandler() | messages.RunCompensation():
                self._runner.start(message)
            case messages.JournalPart():
                self._runner.go_on(message)
            case messages.AskForMore():
                self._said.add(messages.SendMore())
            case messages.LeaseSlots():
                self.services.slots.leased(message.slots)
            case messages.CancelAttempt():
                self._runner.cancel(message)
            case messages.AbandonAttempt():
                self._runner.abandon(message)
            case _:
                raise AssertionError(f"a host in the node's process is not told {type(message).__name__}")

    def holds(self) -> Callable[[], None]:
        """The thread waits for something outside of the node. Its code calls it; who lets it go, what comes back."""
        scope = current_scope()
        assert scope is not None
        with self._lock:
            self._held[scope.root()] += 1
        self._said.wake()
        return partial(self._releases, scope.root())

    def _releases(self, scope: Scope) -> None:
        with self._lock:
            self._held[scope] -= 1

    def said(self) -> list[messages.FromHost]:
        """Lets it do all that it can do by itself, and says what comes of that."""
        self._loop.turn()
        said = self._said.take()
        patience_s = time.monotonic() + _PATIENCE_S
        while not said and any(not self._stands(attempt) for attempt in self._threaded()):
            assert time.monotonic() < patience_s, "the code of an attempt neither asks, nor ends, nor stands still"
            said = self._said.take(_GLANCE_S)
        return said or self._said.take()

    def _threaded(self) -> list[Attempt]:
        """Attempts whose code runs in threads."""
        return [each for each in list(self._runner._with_code.values()) if not each.handler.asynchronous]

    def _stands(self, attempt: Attempt) -> bool:
        """Whether none of its threads can go on by itself."""
        with self._lock:
            held = self._held[attempt.scope]
        return held + _sleepers.of(attempt) == attempt.code._under_way

    def look(self) -> None:
        """Time goes by: the node is told of side effects that last, and gets slots that nobody takes."""
        if self._looks:
            for _ in range(2):
                self._clock_s += 2 * LOOK_S
                self.services.slots.look()

    def unwind(self) -> None:
        """All that is parked."""
        self._clock_s += 7_200.0
        self.services.parking.unwind_expired()

    # --- the end

    def die(self) -> None:
        """Nothing is heard of it any more. Its stacks stay where they are; those of threads, where they next ask."""
        patience_s = time.monotonic() + _PATIENCE_S
        while any(not self._stands(attempt) for attempt in self._threaded()) and time.monotonic() < patience_s:
            self._said.take(_GLANCE_S)
        self._said.open = False

    def bury(self) -> None:
        """Lets go of the stacks of one that has died."""
        for attempt in list(self._runner._with_code.values()):
            attempt.abandon()
        self._loop.turn()
        self._loop.close()
