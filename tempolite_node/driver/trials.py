"""Executions that are tried alone, since nodes may have died of them. See docs/design/crashes.md."""

from __future__ import annotations

from tempolite_node.engine.trials import SUSPECT_FOR_MS

#: An execution that was given out longer ago is not held to blame when the node dies.
_TRIAL_S = SUSPECT_FOR_MS / 1_000


class Trials:
    """Which one is tried now. Belongs to the driver's thread alone, as `Dispatch` does."""

    def __init__(self) -> None:
        self.wanted = False  #: there may be some that wait to be tried
        self._tried: str | None = None
        self._until_s = 0.0
        self._holding_s: float | None = None  #: since when nothing is given out, so that one can be tried

    @property
    def active(self) -> bool:
        return self.wanted or self._tried is not None

    @property
    def trying(self) -> str | None:
        """The one that is tried now."""
        return self._tried

    @property
    def holds(self) -> bool:
        """Whether nothing else is to be given out."""
        return self._tried is not None or self._holding_s is not None

    def under_way(self, now_s: float) -> bool:
        """A trial ends by itself after a minute."""
        if self._tried is not None and now_s >= self._until_s:
            self._tried = None
        return self._tried is not None

    def may_begin(self, now_s: float, *, nothing_runs: bool) -> bool:
        """If not now, then when nothing runs, or when all that does was given out too long ago to be to blame."""
        if self._holding_s is None:
            self._holding_s = now_s
        return nothing_runs or now_s - self._holding_s >= _TRIAL_S

    def give_up(self) -> None:
        """None of those that wait can begin."""
        self._holding_s = None

    def begin(self, execution_id: str, now_s: float) -> None:
        self._tried, self._until_s, self._holding_s = execution_id, now_s + _TRIAL_S, None

    def over(self, execution_id: str) -> None:
        """It has ended, has recorded something, or only waits."""
        if self._tried == execution_id:
            self._tried = None

    def due_s(self, now_s: float) -> float | None:
        """Seconds until others may be given out, or until one can be tried whatever runs."""
        if self._tried is not None:
            return max(0.0, self._until_s - now_s)
        return None if self._holding_s is None else max(0.0, self._holding_s + _TRIAL_S - now_s)
