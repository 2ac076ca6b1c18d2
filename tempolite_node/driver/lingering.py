"""Code of attempts that have lost their right to run, and that still runs: Python can't stop a thread from outside.

What follows an attempt must not overtake it: its execution starts again when that code has ended, or its process has.
"""

from __future__ import annotations

from collections import Counter

#: Of a host: an execution under an epoch, and whether all of its code is meant or bodies of side effects alone.
Code = tuple[int, str, int, bool]


class Lingering:
    """Belongs to the driver's thread alone, as `Dispatch` does."""

    def __init__(self) -> None:
        self._since_s: dict[Code, float] = {}  #: oldest first
        self.executions: Counter[str] = Counter()  #: of which code lingers, each with how often
        self._in: Counter[int] = Counter()  #: by host

    def __bool__(self) -> bool:
        return bool(self._since_s)

    def begins(self, code: Code, now_s: float) -> None:
        if code not in self._since_s:
            self._since_s[code] = now_s
            self.executions[code[1]] += 1
            self._in[code[0]] += 1

    def ends(self, code: Code) -> bool:
        """Whether nothing of the execution lingers any more that did."""
        if self._since_s.pop(code, None) is None:
            return False
        host, execution_id = code[:2]
        self._in[host] -= 1
        if not self._in[host]:
            del self._in[host]
        self.executions[execution_id] -= 1
        if self.executions[execution_id]:
            return False
        del self.executions[execution_id]
        return True

    def count_in(self, host: int) -> int:
        return self._in.get(host, 0)

    def host_down(self, host: int) -> list[str]:
        """The executions of which nothing lingers any more."""
        codes = [code for code in self._since_s if code[0] == host]
        return [code[1] for code in codes if self.ends(code)]

    def longer_than(self, limit_s: float, now_s: float) -> set[int]:
        """The hosts in which something has lingered for so long."""
        hosts: set[int] = set()
        for (host, *_), since_s in self._since_s.items():
            if since_s + limit_s > now_s:
                break
            hosts.add(host)
        return hosts

    def due_s(self, limit_s: float, now_s: float, handled: set[int], *, isolated: bool = False) -> float | None:
        """Seconds until something has lingered for so long in a host that is not handled yet; None: never.

        isolated: of hosts of one attempt, and not of shared ones.
        """
        dues = (
            since_s for (host, *_), since_s in self._since_s.items() if (host < 0) is isolated and host not in handled
        )
        since_s = next(dues, None)
        return None if since_s is None else max(0.0, since_s + limit_s - now_s)
