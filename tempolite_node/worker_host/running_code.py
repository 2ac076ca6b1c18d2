"""What user code of an attempt runs, in threads and tasks. The node is told when what it has abandoned has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tempolite_node.protocol import messages
from tempolite_node.worker_host.scopes import Scope


class RunningCode:
    """Of one attempt. Any thread may call it."""

    def __init__(self, execution_id: str, epoch: int, tell: Callable[[messages.FromHost], None]) -> None:
        self._execution_id = execution_id
        self._epoch = epoch
        self._tell = tell
        self._lock = threading.Lock()
        self._under_way = 0
        self._abandoned = False
        #: What goes on, though nobody waits for it: with the prefixes of its scope, and of those around.
        self._left: list[tuple[frozenset[str], Future[Any]]] = []
        self.when_ended: Callable[[], object] = lambda: None  #: called when none is under way any more

    def begins(self) -> None:
        with self._lock:
            self._under_way += 1

    def ends(self) -> None:
        with self._lock:
            self._under_way -= 1
            over = self._under_way == 0
            tells = over and self._abandoned
        if over:
            self.when_ended()
        if tells:
            self._say_ended(abandoned=True)

    def abandon(self) -> None:
        """The node is told when none is under way any more: at once, if there is none."""
        with self._lock:
            tells = self._under_way == 0 and not self._abandoned
            self._abandoned = True
        if tells:
            self._say_ended(abandoned=True)

    # --- bodies of side effects whose time is up, and threads of such that were given up

    def leave_behind(self, scope: Scope, work: Future[Any]) -> None:
        """It is waited for by what begins again in a scope like this, or like one around it, and by the next attempt of
        the execution, wherever that is.
        """
        left = frozenset(each.prefix for each in scope.outwards()), work
        with self._lock:
            self._left.append(left)
            first = len(self._left) == 1
        if first:
            self._tell(messages.CodeLingers(execution_id=self._execution_id, epoch=self._epoch))
        work.add_done_callback(lambda _work: self._left_behind_ended(left))

    def _left_behind_ended(self, left: tuple[frozenset[str], Future[Any]]) -> None:
        with self._lock:
            self._left.remove(left)
            last = not self._left
        if last:
            self._say_ended(abandoned=False)

    def left_behind(self, scope: Scope) -> list[Future[Any]]:
        """What an earlier body of such a scope has left, and what was left in scopes inside of it."""
        if not self._left:
            return []
        with self._lock:
            return [work for prefixes, work in self._left if scope.prefix in prefixes]

    def _say_ended(self, *, abandoned: bool) -> None:
        self._tell(messages.CodeEnded(execution_id=self._execution_id, epoch=self._epoch, abandoned=abandoned))
