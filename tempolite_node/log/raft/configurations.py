"""Which members hold from which entry on, for the part of the log that is kept.

A configuration holds from the moment its entry is in the log, committed or not (Raft thesis, section 4.1); when the
entry is cut off again, the one before it holds.
"""

from __future__ import annotations

from tempolite_node.log.raft.entries import Kind, LogEntry, Members, decode_members, unpack


class Configurations:
    def __init__(self, index: int, members: Members) -> None:
        """index, members: of the first entry that the log keeps."""
        self._known: list[tuple[int, Members]] = [(index, members)]

    @property
    def current(self) -> Members:
        return self._known[-1][1]

    @property
    def current_index(self) -> int:
        """The entry from which on the current members hold."""
        return self._known[-1][0]

    def at(self, index: int) -> Members:
        """The members at an entry that the log keeps."""
        return next(members for since, members in reversed(self._known) if since <= index)

    def added(self, entry: LogEntry) -> None:
        if entry.command[0] == Kind.MEMBERS:
            self._known.append((entry.index, decode_members(unpack(entry.command).data)))

    def cut_from(self, index: int) -> None:
        """The entries from `index` on are gone."""
        while self._known[-1][0] >= index and len(self._known) > 1:
            self._known.pop()

    def compacted_to(self, index: int) -> None:
        """The log starts with the entry at `index` now."""
        self._known = [(index, self.at(index)), *((since, members) for since, members in self._known if since > index)]
