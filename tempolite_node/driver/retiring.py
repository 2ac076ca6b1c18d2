"""Shared hosts that are replaced. Each goes on until its successor is up, and gets no new work from then on.

It is ended when it is idle, or its time is up. One that is full of memory gets no new work from then on; if no other is
up, new work waits for the successor, but not for longer than what runs may go on: it may not come up at all.
"""

from __future__ import annotations

from collections.abc import Collection


class Retiring:
    """Belongs to the driver's thread alone, as `Dispatch` does."""

    def __init__(self, timeout_s: float) -> None:
        """timeout_s: for which what runs in a host may go on once its successor is up."""
        self._timeout_s = timeout_s
        self._waiting: dict[int, None] = {}  #: for their successors, in order
        self._retired_s: dict[int, float] = {}  #: since when they get no new work
        self._full_s: dict[int, float] = {}  #: since when they are full

    def __bool__(self) -> bool:
        return bool(self._waiting or self._retired_s)

    @property
    def hosts(self) -> set[int]:
        return {*self._waiting, *self._retired_s}

    def replace(self, host: int) -> bool:
        """Whether it was not to be replaced before."""
        if host in self._waiting or host in self._retired_s:
            return False
        self._waiting[host] = None
        return True

    def fill(self, host: int, now_s: float) -> None:
        self._full_s.setdefault(host, now_s)

    def are_full(self, hosts: Collection[int], now_s: float) -> bool:
        """Whether new work is to wait for a host that is not."""
        full_s, others = self._full_s, [host for host in hosts if host not in self._retired_s]
        full = all(host in full_s and now_s < full_s[host] + self._timeout_s for host in others)
        return full and bool(others)

    def turn(self, host: int) -> int:
        """In which hosts get new work, smaller first."""
        return 2 if host in self._retired_s else 1 if host in self._full_s else 0

    @property
    def full(self) -> bool:
        """Whether there is one that is."""
        return bool(self._full_s)

    def host_up(self, now_s: float) -> int | None:
        """A host has come up: the one whose successor it is gets no new work from here on."""
        if not self._waiting:
            return None
        host = next(iter(self._waiting))
        del self._waiting[host]
        self._retired_s[host] = now_s
        return host

    def host_down(self, host: int) -> None:
        self._waiting.pop(host, None)
        self._retired_s.pop(host, None)
        self._full_s.pop(host, None)

    def to_end(self, runs: dict[int, int], now_s: float) -> list[int]:
        """Those that are idle, or whose time is up. runs: of each host."""
        over = [
            host
            for host, since_s in self._retired_s.items()
            if not runs.get(host) or since_s + self._timeout_s <= now_s
        ]
        for host in over:
            self._retired_s[host] = float("inf")  # once
        return over

    def due_s(self, now_s: float) -> float | None:
        """Seconds until the time of one is up, or until one that is full gets new work again; None: of none."""
        since = [since_s for since_s in self._retired_s.values() if since_s != float("inf")]
        since += [since_s for since_s in self._full_s.values() if since_s + self._timeout_s > now_s]
        dues = [since_s + self._timeout_s - now_s for since_s in since]
        return max(0.0, min(dues)) if dues else None
