"""The way out to the node: whatever is ready goes in one frame."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque

import msgspec

from tempolite_node.protocol import framing, messages

_BATCH_MAX = 1_000  #: messages of one frame


class Channel:
    """Any thread may send. The one that comes first writes for all that come meanwhile, so no thread hop is paid.

    A message is encoded by who sends it, so that one that can't be stands in nobody else's way.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unsent: deque[msgspec.Raw] = deque()
        self._writing = threading.Lock()

    def send(self, message: messages.FromHost) -> None:
        self.add(message)
        self.flush()

    def add(self, message: messages.FromHost) -> None:
        """To be sent by whoever calls `flush` next."""
        self._unsent.append(framing.encode_message(message))

    def flush(self) -> None:
        # Looked at again after the release: a message that came just before it would else stay behind.
        while self._unsent and self._writing.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._writing.release()

    def _write(self) -> None:
        unsent = self._unsent
        # Answers come in batches, and wake many threads at once: those that have the next thing to say say it before
        # this write, and not in a frame of their own.
        os.sched_yield()
        while unsent:
            batch = [unsent.popleft() for _ in range(min(len(unsent), _BATCH_MAX))]
            try:
                self._connection.sendall(framing.encode(batch))
            except OSError:
                os._exit(0)  # the node is gone: what runs here has lost its right to run
