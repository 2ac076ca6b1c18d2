"""Which of a client's endpoints is in use. Pure but for the clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from tempolite_sdk.client.channel import Endpoint

#: Seconds for which an endpoint that failed is not gone back to because another node names it as the leader: a node
#: names a leader that is dead until the next one is elected. Not following costs a hop inside the cluster, no more.
LEADER_REST = 10.0


class Link(Protocol):
    """The way to one endpoint."""

    @property
    def endpoint(self) -> Endpoint: ...


L = TypeVar("L", bound=Link)


class Route(Generic[L]):
    """The links in the caller's order, the first in use at first. Safe to share between threads.

    Only what concerns the link in use moves the client: of ten thousand calls that fail together the first one moves
    it, and what comes late, from a link that is no longer in use, changes nothing.
    """

    def __init__(self, links: Sequence[L], *, clock: Callable[[], float] = time.monotonic) -> None:
        assert links
        self.links = tuple(links)
        self.has_choice = len(links) > 1
        self.in_use = self.links[0]
        self._clock = clock
        self._lock = threading.Lock()
        self._by_address = {str(link.endpoint): link for link in links}
        self._failed_at: dict[Endpoint, float] = {}
        self._silent: set[Endpoint] = set()  #: that could not be reached since any link answered last

    @property
    def fails(self) -> bool:
        """Whether a link could not be reached and none has answered since."""
        return bool(self._silent)

    def failed(self, link: L, leader: str = "", *, unreachable: bool = False) -> bool:
        """The link can't be reached, or refuses: the leader that it names, or else the next one, is in use from now on.

        leader: as named in the refusal. unreachable: no connection came about.
        Returns whether none can be reached by now, for the first time since one answered: that is news, and told once.
        """
        with self._lock:
            self._failed_at[link.endpoint] = self._clock()
            if link is self.in_use:
                self.in_use = self._leader(leader) or self._after(link)
            if not unreachable:
                return False
            before = len(self._silent)
            self._silent.add(link.endpoint)
            return before < len(self._silent) == len(self.links)

    def answered(self) -> None:
        """A link works, whatever it answered."""
        with self._lock:
            self._silent.clear()

    def note_leader(self, link: L, leader: str) -> None:
        """An answer names the leader: new calls go there, if it is one of the endpoints. leader: "": it names none."""
        if not leader or self._by_address.get(leader) is link:
            return
        with self._lock:
            if link is self.in_use:
                self.in_use = self._leader(leader) or link

    def _after(self, link: L) -> L:
        return self.links[(self.links.index(link) + 1) % len(self.links)]

    def _leader(self, address: str) -> L | None:
        """The link to it; None: there is none, or it failed of late."""
        link = self._by_address.get(address)
        if link is None:
            return None
        failed_at = self._failed_at.get(link.endpoint)
        return link if failed_at is None or self._clock() - failed_at >= LEADER_REST else None
