"""How long the node has listened to its worker hosts: only that long can one of them have been silent."""

from __future__ import annotations

from tempolite_node.driver.inputs import Inputs


class HostLiveness:
    def __init__(self, inputs: Inputs, now_s: float, *, most_s: float) -> None:
        """most_s: that counts at once; what goes beyond it was spent by a loop that was held up."""
        self._inputs = inputs
        self._most_s = most_s
        self._counted_s = now_s
        self._looks = inputs.looks

    def since(self, now_s: float) -> float:
        """Seconds that count since the last call.

        When the node itself was held up, in the event loop or in the thread that reads the sockets, there may be
        answers that it has not read: no host is to blame for that.
        """
        inputs = self._inputs
        held_up = inputs.looks == self._looks and not inputs.sleeps
        passed_s = 0.0 if held_up else min(now_s - self._counted_s, self._most_s)
        self._counted_s, self._looks = now_s, inputs.looks
        return passed_s
