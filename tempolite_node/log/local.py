"""The log of a single node. There is no second copy to agree with, so the store's transaction is the entry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple

from tempolite_node.engine.commands import AnyCommand
from tempolite_node.errors import NodeError
from tempolite_node.log.base import StateMachine

#: Commands: fewer are not worth a commit of their own, more only wait longer for it.
_ROUND_LEAST, _ROUND_MOST = 32, 128


class _Act(NamedTuple):
    """What waits for the disk; or, if nothing was saved since the one before it, only for its turn."""

    call: Callable[[], None]
    needs_sync: bool


class LocalLog:
    """Applies what is proposed at once. What follows in the same round joins it, so that both are one commit.

    A commit is not on disk yet. A thread of the log's has the disk keep it, one sync for all that was committed by
    then, while the driver goes on. When the driver has nothing to go on with, it does that itself.
    """

    idle = True
    leads = True
    is_current = True

    def __init__(
        self,
        machine: StateMachine,
        now_ms: Callable[[], int],
        *,
        sync: Callable[[], None],
        post: Callable[[Callable[[], None]], None],
    ) -> None:
        """sync: has the disk keep what was committed. post: has something called in the driver's thread."""
        self._machine = machine
        self._sync = sync
        self._post = post
        self._saved = False  #: something, since the last act
        self._acts: SimpleQueue[_Act | None] = SimpleQueue()
        self._given = 0  #: acts, to the thread
        self._done = 0  #: of those; written by the thread alone
        self._failure: BaseException | None = None  #: of the thread
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)
        self.now_ms = now_ms

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._acts.put(None)
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    @property
    def index(self) -> int:
        return self._machine.applied_index + 1

    def round_max(self, waiting: int) -> int:
        """Many enough to share a commit, and half of what waits.

        What came in at once must not stay together: while the driver commits the one half, the worker hosts run the
        other, and clients are told of what ended before. What always went round in one would always wait in one.
        """
        return min(max(waiting // 2, _ROUND_LEAST), _ROUND_MOST)

    def propose(self, commands: Sequence[AnyCommand]) -> int:
        self._machine.apply(commands, own=True)
        return len(commands)

    def renew(self) -> None:
        """It is always current."""

    def saved(self) -> None:
        self._saved = True

    def when_durable(self, act: Callable[[], None], *, idle: bool) -> None:
        needs_sync, self._saved = self._saved, False
        if self._done == self._given and (idle or not needs_sync):
            if needs_sync:
                self._sync()
            act()
        else:
            self._given += 1
            self._acts.put(_Act(act, needs_sync))

    def catch_up(self, caught_up: Callable[[], None]) -> None:
        caught_up()

    def barrier(self, answer: Callable[[NodeError | None], None]) -> None:
        answer(None)

    # --- its thread

    def _run(self) -> None:
        stopping = False
        try:
            while not stopping:
                acts = self._take()
                stopping = acts[-1] is None
                self._act([act for act in acts if act is not None])
        except BaseException as error:
            self._failure = error
            self._post(partial(_fail, error))

    def _take(self) -> list[_Act | None]:
        acts = [self._acts.get()]
        try:
            while acts[-1] is not None:
                acts.append(self._acts.get_nowait())
        except Empty:
            pass
        return acts

    def _act(self, acts: Sequence[_Act]) -> None:
        if any(act.needs_sync for act in acts):
            self._sync()
        for act in acts:
            act.call()
        self._done += len(acts)


def _fail(error: BaseException) -> None:
    raise error
