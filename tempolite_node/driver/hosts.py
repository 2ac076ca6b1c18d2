"""Which worker hosts are up, how many attempts each has, and when one is to be replaced, or ended.

A host is replaced when code goes on in it that nobody waits for, when it is worn out, and when it has another hash seed
than all nodes have agreed on. See docs/design/lingering-code.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tempolite_node.driver.lingering import Lingering
from tempolite_node.driver.retiring import Retiring


class Hosts:
    """Belongs to the driver's thread alone, as `Dispatch` does. Those of isolated attempts have numbers below zero."""

    def __init__(
        self,
        clock_s: Callable[[], float],
        *,
        hash_seed: int,
        lingering_timeout_s: float,
        lingering_max: int,
        retiring_timeout_s: float,
    ) -> None:
        """See `Dispatch`."""
        self.hash_seed = hash_seed  #: that a host must have which is given work
        self.up: dict[int, int] = {}  #: shared ones, with their number of attempts
        self.lingering = Lingering()
        self._clock_s = clock_s
        self._unfit: set[int] = set()  #: those of them that have another hash seed
        self._lingering_timeout_s = lingering_timeout_s
        self._lingering_max = lingering_max
        self._isolated_timeout_s = lingering_timeout_s + retiring_timeout_s  #: as long as it may take in a shared host
        self._isolated = 0  #: how many there were of isolated attempts
        self._isolated_ended: set[int] = set()  #: for code that lingered in them
        self._retiring = Retiring(retiring_timeout_s)
        self._to_replace: dict[int, str] = {}

    def host_up(self, host: int, hash_seed: int) -> int | None:
        """A shared one. The host that it replaces, which gets no new work from here on."""
        self.up[host] = 0
        if hash_seed != self.hash_seed:  # it was on its way when another one was decided
            self._replace_unfit(host)
            return None
        return self._retiring.host_up(self._clock_s())

    def host_down(self, host: int) -> list[str]:
        """The executions of which no code lingers any more."""
        self.up.pop(host, None)
        self._unfit.discard(host)
        self._retiring.host_down(host)
        self._isolated_ended.discard(host)
        return self.lingering.host_down(host)

    # --- attempts

    def isolated(self) -> int:
        """The number of a new one, for one attempt."""
        self._isolated -= 1
        return self._isolated

    def least_loaded(self) -> int:
        if len(self.up) == 1:
            return next(iter(self.up))
        return min(self.up, key=self._fitness)

    def _fitness(self, host: int) -> tuple[bool, int, int, int]:
        """The least is the best to be given an attempt."""
        return (host in self._unfit, self._retiring.turn(host), self.up[host], host)

    def attempts_of(self, host: int) -> int:
        return self.up.get(host, 0)

    def attempt_began(self, host: int) -> None:
        if host in self.up:
            self.up[host] += 1

    def attempt_ended(self, host: int) -> None:
        if host in self.up:
            self.up[host] -= 1

    @property
    def all_are_unfit(self) -> bool:
        return self._unfit.issuperset(self.up)

    @property
    def are_full(self) -> bool:
        """Whether new work waits for a host that is not full of memory."""
        return self._retiring.full and self._retiring.are_full(self.up, self._clock_s())

    # --- code that goes on

    def code_lingers(self, host: int, execution_id: str, epoch: int, *, abandoned: bool) -> None:
        """The code of an attempt goes on that was abandoned, or bodies of its side effects whose time is up."""
        if host in self.up or host < 0:
            self.lingering.begins((host, execution_id, epoch, abandoned), self._clock_s())
            if host > 0 and self.lingering.count_in(host) > self._lingering_max:
                self.replace(host, f"code of more than {self._lingering_max:,} ended attempts goes on in it")

    def lingering_in(self, host: int) -> int:
        """Executions of which code lingers in the host. From any thread."""
        return self.lingering.count_in(host)

    # --- replacing them

    def look_after(self) -> list[int]:
        """Replaces those in which code lingers for too long. Once a round.

        Those that are to be ended: that were replaced, and isolated ones in which code lingers for too long.
        """
        if not (self.lingering or self._retiring):
            return []
        now_s = self._clock_s()
        for host in self.lingering.longer_than(self._lingering_timeout_s, now_s):
            self.replace(host, "code goes on in it that nobody waits for")
        # The attempt of an isolated one may wait for that code, and is alone in it.
        long = self.lingering.longer_than(self._isolated_timeout_s, now_s) - self._isolated_ended
        isolated = [host for host in long if host < 0]
        self._isolated_ended.update(isolated)
        return [*isolated, *self._retiring.to_end(self.up, now_s)]

    def due_s(self) -> float | None:
        """Seconds until one is to be looked after."""
        if not (self.lingering or self._retiring):
            return None
        now_s = self._clock_s()
        lingering_s = self.lingering.due_s(self._lingering_timeout_s, now_s, self._retiring.hosts)
        isolated_s = self.lingering.due_s(self._isolated_timeout_s, now_s, self._isolated_ended, isolated=True)
        dues = (lingering_s, isolated_s, self._retiring.due_s(now_s))
        return min((s for s in dues if s is not None), default=None)

    def worn_out(self, host: int, reason: str, *, full: bool) -> None:
        """full: of memory, so that it gets no new work until its successor is up."""
        self.replace(host, reason)
        if full and host in self.up:
            self._retiring.fill(host, self._clock_s())

    def replace(self, host: int, reason: str) -> None:
        """Has a successor started for a shared one, unless that was done before."""
        if host in self.up and self._retiring.replace(host):
            self._to_replace[host] = reason

    def use_hash_seed(self, hash_seed: int) -> None:
        """All nodes have agreed on it. Hosts that have another one are replaced, and get no work from here on."""
        if hash_seed != self.hash_seed:
            self.hash_seed = hash_seed
            for host in self.up:
                self._replace_unfit(host)

    def _replace_unfit(self, host: int) -> None:
        self._unfit.add(host)
        self.replace(host, "all nodes have one hash seed, and it has another one")

    def take_to_replace(self) -> Mapping[int, str]:
        """Those that a successor is to be started for, each with the reason."""
        hosts, self._to_replace = self._to_replace, {}
        return hosts
