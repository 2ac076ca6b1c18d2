"""How long the node has listened to its worker hosts: only that long can one of them have been silent."""

from __future__ import annotations

from tempolite_node.supervisor.connection import SocketReader


class HostLiveness:
    def __init__(self, reader: SocketReader, now_s: float, *, most_s: float) -> None:
        """most_s: that counts at once; what goes beyond it was spent by a loop that was held up."""
        self._reader = reader
        self._most_s = most_s
        self._counted_s = now_s
        self._looks = reader.looks

    def since(self, now_s: float) -> float:
        """Seconds that count since the last call.

        When the node itself was held up, in the event loop or in the thread that reads the sockets, there may be
        answers that it has not read: no host is to blame for that.
        """
        reader = self._reader
        held_up = reader.looks == self._looks and not reader.sleeps
        passed_s = 0.0 if held_up else min(now_s - self._counted_s, self._most_s)
        self._counted_s, self._looks = now_s, reader.looks
        return passed_s
