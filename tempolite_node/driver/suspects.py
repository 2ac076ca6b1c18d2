"""Processes of attempts that a crash isolated: few of them are alive at a time. See docs/design/crashes.md."""

from __future__ import annotations

from tempolite_node.driver.runs import RunningAttempt

#: Processes of suspects that are alive at a time, if the config says nothing else.
SUSPECTS_MAX = 4


class Suspects:
    """Who has a place among them. Belongs to the driver's thread alone, as `Dispatch` does."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._starting: set[str] = set()  #: executions that a place is kept for until they are handed out
        self._alive: dict[int, RunningAttempt] = {}  #: by host: until its process has ended
        self._unwinding: set[int] = set()  #: hosts that were asked for their place

    @property
    def full(self) -> bool:
        return len(self._alive) + len(self._starting) >= self._most

    def start(self, execution_id: str) -> None:
        self._starting.add(execution_id)

    def start_failed(self, execution_id: str) -> None:
        self._starting.discard(execution_id)

    def started(self, run: RunningAttempt) -> None:
        self._starting.discard(run.execution_id)
        self._alive[run.host] = run

    def process_ended(self, host: int) -> None:
        self._alive.pop(host, None)
        self._unwinding.discard(host)

    def forget_starts(self) -> None:
        self._starting.clear()

    def to_unwind(self, wanted: int) -> list[int]:
        """Hosts whose attempt only waits, for as many as want a place. Each is named once."""
        going = len(self._unwinding) + sum(run.over for run in self._alive.values())
        found = [host for host, run in self._alive.items() if host not in self._unwinding and run.only_waits]
        asked = found[: max(0, wanted - going)]
        self._unwinding.update(asked)
        return asked
