"""Which followers a leader has not heard from for too long, as far as it is in a position to say.

What counts is the process that is registered for a node. A process that was started in its place may answer long before
it has caught up, and can't do what the registered one was given: its answers must not keep that one live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLiveness:
    """What the node around the log knows of the nodes' processes. Called in the raft thread; must not block."""

    timeout_s: float  #: of silence
    boot_id: Callable[[], str]  #: names the process of this node that speaks now; told to the leader
    live_boot_ids: Callable[[], Mapping[str, str]]  #: by node: the process that is registered and held to be live
    on_silence: Callable[[str, str], None]  #: at the leader: the node, and its process that is silent


NOBODY_IS_WATCHED = PeerLiveness(
    timeout_s=float("inf"), boot_id=lambda: "", live_boot_ids=dict, on_silence=lambda _node_id, _boot_id: None
)


class Silence:
    """Called by the raft thread."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._boot_ids: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._since = -float("inf")  #: from when on it could have heard them: it leads, and runs
        self._looked = -float("inf")

    def heard(self, peer: str, boot_id: str, now: float) -> None:
        """The peer has answered an AppendEntries, or proposes: words reach it, and its own come back.

        boot_id: the process that said so; empty: the peer is of a version that does not tell.
        """
        if boot_id in ("", self._boot_ids.get(peer)):
            self._heard[peer] = now
            self._told.pop(peer, None)

    def look(self, boot_ids: Mapping[str, str], now: float, *, leads: bool) -> list[tuple[str, str]]:
        """Peers whose process has been silent for the timeout, and which; each again after another one, if it still is.

        boot_ids: by peer, the process that counts.
        """
        stood_still = now - self._looked > self._timeout_s / 2  # this process did, and they may have spoken
        self._looked = now
        if boot_ids != self._boot_ids:
            self._follow(boot_ids, now)
        if not leads or stood_still:
            self._since = now
            return []
        silent = [
            (peer, boot_id)
            for peer, boot_id in boot_ids.items()
            if now - max(self._heard[peer], self._told.get(peer, 0.0), self._since) >= self._timeout_s
        ]
        self._told.update((peer, now) for peer, _ in silent)
        return silent

    def _follow(self, boot_ids: Mapping[str, str], now: float) -> None:
        """What a process said before it was known to be registered did not count: it has the whole timeout."""
        self._heard = {
            peer: self._heard.get(peer, now) if self._boot_ids.get(peer) == boot_ids[peer] else now for peer in boot_ids
        }
        self._told = {peer: at for peer, at in self._told.items() if self._boot_ids.get(peer) == boot_ids.get(peer)}
        self._boot_ids = dict(boot_ids)
