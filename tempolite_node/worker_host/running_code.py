"""What user code of an attempt runs, in threads and tasks. The node is told when what it has abandoned has ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tempolite_node.protocol import messages


class RunningCode:
    """Of one attempt. Any thread may call it."""

    def __init__(self, execution_id: str, epoch: int, tell: Callable[[messages.FromHost], None]) -> None:
        self._execution_id = execution_id
        self._epoch = epoch
        self._tell = tell
        self._lock = threading.Lock()
        self._under_way = 0
        self._abandoned = False
        self._left = 0  #: bodies of side effects that go on, though their time is up
        self._bodies: dict[str, Future[Any]] = {}  #: of those, by the side effect's key
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

    # --- bodies of side effects whose time is up

    def leave_behind(self, key: str, body: Future[Any]) -> None:
        """It is waited for by the next attempt of its side effect, and by the execution's, wherever that is."""
        with self._lock:
            self._left += 1
            first = self._left == 1
            self._bodies[key] = body
        if first:
            self._tell(messages.CodeLingers(execution_id=self._execution_id, epoch=self._epoch))
        body.add_done_callback(lambda _body: self._left_behind_ended())

    def _left_behind_ended(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._say_ended(abandoned=False)

    def wait_for_left_behind(self, key: str) -> None:
        """Until the body of the side effect's last attempt has ended."""
        if self._bodies and (body := self._bodies.pop(key, None)) is not None:
            body.exception()

    def _say_ended(self, *, abandoned: bool) -> None:
        self._tell(messages.CodeEnded(execution_id=self._execution_id, epoch=self._epoch, abandoned=abandoned))
