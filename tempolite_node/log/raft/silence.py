"""Which followers a leader has not heard from for too long, as far as it is in a position to say."""

from __future__ import annotations

from collections.abc import Collection


class Silence:
    """Called by the raft thread."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._acknowledged: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._since = -float("inf")  #: from when on it could have heard them: it leads, and runs
        self._looked = -float("inf")

    def acknowledged(self, peer: str, now: float) -> None:
        """The peer has answered an AppendEntries: words reach it, and its own come back."""
        self._acknowledged[peer] = now
        self._told.pop(peer, None)

    def look(self, members: Collection[str], now: float, *, leads: bool) -> list[str]:
        """Members that have been silent for the timeout; each again after another one, if it still is."""
        stood_still = now - self._looked > self._timeout_s / 2  # this process did, and they may have spoken
        self._looked = now
        if not leads or stood_still:
            self._since = now
            return []
        silent = [
            member
            for member in members
            if now - max(self._acknowledged.get(member, 0.0), self._told.get(member, 0.0), self._since)
            >= self._timeout_s
        ]
        self._told.update(dict.fromkeys(silent, now))
        return silent
