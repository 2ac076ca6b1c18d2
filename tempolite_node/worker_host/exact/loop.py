"""An event loop that turns when it is told to, knows no time but that which it is given, and does no I/O."""

from __future__ import annotations

import asyncio
import gc
import sys
from asyncio import Handle, TimerHandle
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context, copy_context
from threading import get_ident
from typing import Any, NoReturn
from weakref import ref

from tempolite_node.worker_host.exact.tasks import ExactFuture, ExactTask, PlacingLoop, shortened

#: Turns in which a callback scheduled itself again and nothing new came of any, before the loop is taken to be quiet:
#: while something is to come from outside, and while nothing is. So anyio cancels the tasks of a scope until they end.
_SPINS_MAX = 64
_SPINS_ALONE_MAX = 1_000

_EAGER_FACTORY = getattr(asyncio, "eager_task_factory", None)


class ExactHandle(Handle):
    """As `Handle`, made in one call: one is for each answer that a task waits for."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: ExactLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class ExactTimer(TimerHandle):
    """Set by `call_later` and `call_at`. Once the loop was quiet with it, an operation outside makes it due."""

    __slots__ = ("number", "operation", "path")

    def __init__(
        self,
        when_s: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: ExactLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when_s, callback, args, loop, context)
        task = asyncio.current_task(loop)
        self.path = task.path if isinstance(task, ExactTask) else "0"
        self.number = loop.next_timer(self.path)  #: among those of the task that set it
        self.operation: asyncio.Future[Any] | None = None


class ExactLoop(PlacingLoop):
    """Tasks run on it as on any loop, but in an order that hangs on nothing but what it was told.

    misuse: makes the error for what would need the world outside.
    on_error: of what nobody handles, with its context.
    """

    def __init__(
        self,
        *,
        now_s: float,
        misuse: Callable[[str], Exception],
        on_trespass: Callable[[Exception], object],
        on_error: Callable[[dict[str, Any]], object],
    ) -> None:
        self.misuse = misuse
        self._on_trespass = on_trespass
        self._on_error = on_error
        self._now_s = now_s
        self._ready: deque[Handle] = deque()
        self.new_timers: list[ExactTimer] = []  #: that are no operation yet, in the order in which they were set
        self._timer_numbers: dict[str, int] = {}
        self._loose_tasks = 0
        self._task_factory: Any = None
        self._exception_handler: Any = None
        self.tasks: dict[int, asyncio.Task[Any]] = {}  #: by place; those that are done leave it now and then
        self._tasks_max = 64
        self._generators: dict[int, tuple[int, ref[AsyncGenerator[Any, Any]]]] = {}  #: by id, with their number
        self._generators_begun = 0
        #: Dropped by the cyclic collector, which comes at any time.
        self._collected: list[tuple[int, AsyncGenerator[Any, Any]]] = []
        self._running: Any = None  #: handle of the callback that runs
        self._spun = False  #: a callback scheduled itself again
        self.progress = 0  #: grows with each task, timer and operation, and with what becomes of them
        self.closed = False
        self._thread = get_ident()
        self._hooks = (self._generator_begins, self._generator_dropped)

    # --- turns

    def turn(self, *, may_spin: Callable[[], bool], turns_max: int | None = None) -> None:
        """Runs all that can run by itself.

        may_spin: whether callbacks that schedule themselves again may be left alone, since something is to come.
        """
        ready = self._ready
        outer, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
        self._thread = get_ident()
        self.open = True
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio._set_running_loop(self)
        spins = turns = 0
        try:
            while True:
                if self.new_timers:
                    self._fire_due()
                if not ready or turns == turns_max:
                    return
                turns += 1
                self._spun, progress = False, self.progress
                for _ in range(len(ready)):
                    handle: Any = ready.popleft()
                    if handle._cancelled:
                        continue
                    self._running = handle
                    try:  # as `Handle._run`, which would be one more call for each callback
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        pass  # the task that raised it has it too
                    except BaseException as error:
                        self._callback_failed(handle, error)
                spins = spins + 1 if self._spun and self.progress == progress else 0
                if spins >= _SPINS_MAX and (spins >= _SPINS_ALONE_MAX or may_spin()):
                    return
        finally:
            self._running = None
            self.open = False
            asyncio._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)

    def _callback_failed(self, handle: Handle, error: BaseException) -> None:
        told = f"Exception in callback {handle!r}"
        self.call_exception_handler({"message": told, "exception": error, "handle": handle})

    def set_time(self, now_s: float) -> None:
        """Never goes back."""
        if now_s > self._now_s:
            self._now_s = now_s

    def time(self) -> float:
        return self._now_s

    # --- callbacks

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        running = self._running
        if running is None:
            if not self.open and not self.closed:
                raise self.misuse("setting an asyncio object of the handler from outside of it")
        elif running._callback == callback and running._args == args:
            self._spun = True
        handle = ExactHandle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        if self.open and get_ident() == self._thread:
            return self.call_soon(callback, *args, context=context)
        error = self.misuse("a callback from another thread")
        self._on_trespass(error)
        raise error

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> ExactTimer:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> ExactTimer:
        if not self.open:
            raise self.misuse("setting a timer of the handler's loop from outside of it")
        self.progress += 1
        timer = ExactTimer(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        self.new_timers.append(timer)
        return timer

    def _fire_due(self) -> None:
        due = [timer for timer in self.new_timers if timer._when <= self._now_s]  # type: ignore[attr-defined]
        if due:
            self.new_timers = [timer for timer in self.new_timers if timer not in due]
            for timer in sorted(due, key=TimerHandle.when):
                self.fire(timer)

    def fire(self, timer: ExactTimer) -> None:
        """Its time has come."""
        timer._scheduled = False  # type: ignore[attr-defined]
        self._ready.append(timer)

    def take_new_timers(self) -> list[ExactTimer]:
        """Those that are still set, in the order in which they were."""
        new, self.new_timers = self.new_timers, []
        return new

    def _timer_handle_cancelled(self, timer: ExactTimer) -> None:
        """Called by the handle itself."""
        self.progress += 1
        if timer.operation is not None:
            timer.operation.cancel()
        else:
            self.new_timers = [each for each in self.new_timers if each is not timer]

    def next_timer(self, path: str) -> int:
        number = self._timer_numbers[path] = self._timer_numbers.get(path, 0) + 1
        return number

    # --- tasks and futures

    def create_future(self) -> ExactFuture:
        return ExactFuture(self)

    def create_first_task(self, coro: Coroutine[Any, Any, Any]) -> ExactTask:
        """Whose path is ""; before any other."""
        self.open = True
        try:
            task = ExactTask(coro, loop=self, name=None, path="")
        finally:
            self.open = False
        self.tasks[task.place] = task
        return task

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        factory = self._task_factory
        if factory is None or factory is _EAGER_FACTORY:
            if factory is not None:
                options.setdefault("eager_start", True)
            task: ExactTask = self._make_task(self, coro, name=name, context=context, **options)
        else:
            task = factory(self, coro, **({} if context is None else {"context": context}), **options)
            if not isinstance(task, ExactTask):
                task.cancel()
                raise self.misuse("a task factory that makes tasks by itself")
            if name is not None:
                task.set_name(name)
        self.progress += 1
        if not task.done():  # an eager one may be
            self._keep(task)
        return task

    def _make_task(
        self,
        _loop: ExactLoop,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
        **options: Any,
    ) -> ExactTask:
        """As a task factory has it."""
        return ExactTask(coro, loop=self, name=name, path=self._next_path(), context=context, **options)

    def _next_path(self) -> str:
        creator = asyncio.current_task(self)
        if isinstance(creator, ExactTask):
            return creator.next_path()
        self._loose_tasks += 1  # made by a callback
        return shortened(f"0.{self._loose_tasks}")

    def _keep(self, task: ExactTask) -> None:
        """A task that waits must not be collected: that would come at any time."""
        self.tasks[task.place] = task
        if len(self.tasks) > self._tasks_max:
            self.tasks = {place: each for place, each in self.tasks.items() if not each.done()}
            self._tasks_max = max(64, 2 * len(self.tasks))

    def all_tasks(self) -> set[asyncio.Task[Any]]:
        """Those that are not done."""
        return {task for task in self.tasks.values() if not task.done()}

    def set_task_factory(self, factory: Any) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """Never None: who wraps it, as Sentry does, has the tasks made by this loop."""
        return self._task_factory or self._make_task

    # --- asynchronous generators

    def _generator_begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators_begun += 1
        self._generators[id(generator)] = (self._generators_begun, ref(generator))

    def _generator_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """The last reference to it is gone, as when a loop over it is left by `break`."""
        number, _ = self._generators.pop(id(generator), (0, None))
        if self.open and get_ident() == self._thread and not _collector.collects:
            self.call_soon(self.create_task, generator.aclose())
        elif not self.closed:
            self._collected.append((number, generator))

    def take_generators(self) -> list[AsyncGenerator[Any, Any]]:
        """Those that have begun, and were not closed, in the order in which they began."""
        begun = [(number, generator()) for number, generator in self._generators.values()]
        left = sorted([*begun, *self._collected], key=lambda each: each[0])
        self._generators.clear()
        self._collected.clear()
        return [generator for _, generator in left if generator is not None and _goes_on(generator)]

    async def shutdown_asyncgens(self) -> None:
        """They are closed when the handler ends."""

    # --- what goes wrong

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._exception_handler is None:
            self._on_error(context)
            return
        try:
            self._exception_handler(self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._on_error({"message": "an error in the exception handler", "exception": error, "context": context})

    # --- the rest of a loop

    def is_running(self) -> bool:
        return self.open

    def is_closed(self) -> bool:
        return self.closed

    def close(self) -> None:
        """Nothing is called any more. Not for its own code, which is refused."""
        if self.open:
            raise self.misuse("closing the handler's loop")
        self.closed = True
        self._ready.clear()
        self.new_timers = []

    get_debug = bool  #: False; each future asks, so it is a function of C

    def set_debug(self, enabled: bool) -> None:
        pass


def _goes_on(generator: Any) -> bool:
    return getattr(generator, "ag_frame", None) is not None


_WORLD = [
    "run_forever",
    "run_until_complete",
    "stop",
    "run_in_executor",
    "set_default_executor",
    "shutdown_default_executor",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "start_tls",
    "create_unix_connection",
    "create_unix_server",
    "connect_accepted_socket",
    "create_datagram_endpoint",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_shell",
    "subprocess_exec",
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "sendfile",
    "add_signal_handler",
    "remove_signal_handler",
]


def _refused(name: str) -> Callable[..., NoReturn]:
    def refuse(self: ExactLoop, *_: Any, **__: Any) -> NoReturn:
        raise self.misuse(f"loop.{name}")

    refuse.__name__ = name
    return refuse


for _name in _WORLD:
    setattr(ExactLoop, _name, _refused(_name))
ExactLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


class _Collector:
    """Whether the cyclic collector runs: what it drops, it drops at any time."""

    collects = False

    def __call__(self, phase: str, _info: dict[str, int]) -> None:
        self.collects = phase == "start"


_collector = _Collector()
gc.callbacks.append(_collector)
