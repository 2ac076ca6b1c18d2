"""What worker hosts are handed to run, in pieces: a host is sent the next one once it has taken the last.

So neither a journal nor many starts at once are ever whole in this process, and a round reads and sends no more of them
than a piece for each host: those beside them wait no longer than that. What is sent is read when its turn comes, and is
as it is stored then. See docs/design/journals-in-pieces.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from tempolite_node.driver import run_messages
from tempolite_node.driver.run_messages import PIECE_BYTES, Place, Source
from tempolite_node.driver.runs import RunningAttempt
from tempolite_node.engine.effects import RunAttempt, RunCompensation
from tempolite_node.protocol import messages


class Handover:
    """An attempt that is on its way to its worker host."""

    def __init__(self, run: RunningAttempt, effect: RunAttempt | RunCompensation) -> None:
        self.run = run
        self.whole = False  #: all of it was sent
        self._effect = effect
        self._begun = False
        self._last: Place | None = None  #: of the journal, that was sent
        self._changed: list[Place] = []  #: since they were sent, or may have been

    def next(self, source: Source) -> tuple[messages.ToHost, int]:
        """A piece, and its bytes."""
        return self._go_on(source) if self._begun else self._begin(source)

    def changed(self, place: Place) -> None:
        """An operation has ended by itself. It is sent again, in the end: the later one counts."""
        self._changed.append(place)

    def _begin(self, source: Source) -> tuple[messages.ToHost, int]:
        """What is to run, with its journal if that is no more than a piece."""
        run, effect = self.run, self._effect
        execution = source.execution_at(run.row)
        assert execution is not None, f"{run.execution_id} was started and is not stored"
        assert execution.epoch == run.epoch, f"{run.execution_id}: epoch {run.epoch} -> {execution.epoch}"
        self._begun = True
        self._changed.clear()
        journal, journal_bytes = run_messages.journal(source, execution)
        self.whole = journal is not None
        message: messages.RunHandler | messages.RunCompensation
        if isinstance(effect, RunCompensation):
            message = run_messages.run_compensation(source, execution, effect.key, journal, isolated=run.host < 0)
            size = len(message.data)
        else:
            message = run_messages.run(execution, journal, isolated=run.host < 0)
            size = len(message.arguments) + len(message.heartbeat or b"")
        return message, size + journal_bytes

    def _go_on(self, source: Source) -> tuple[messages.ToHost, int]:
        run = self.run
        operations = source.operations_after(run.row, self._last, PIECE_BYTES)
        if operations:
            self._last = operations[-1].kind, operations[-1].key
        else:
            changed = (source.operation(run.row, *place) for place in self._changed)
            operations = [operation for operation in changed if operation is not None]
            self.whole = True
        records = [run_messages.record(source, operation) for operation in operations]
        part = messages.JournalPart(
            execution_id=run.execution_id, epoch=run.epoch, records=tuple(records), more=not self.whole
        )
        return part, sum(map(run_messages.bytes_of, records))


class _Line:
    """Of a host: what it is to be handed, in order."""

    def __init__(self) -> None:
        self.waiting: deque[Handover] = deque()
        self.asked = False  #: it was sent a piece, and has not said yet that it took it


class Handovers:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines: dict[int, _Line] = {}

    def add(self, handover: Handover) -> None:
        handover.run.handover = handover
        self._lines.setdefault(handover.run.host, _Line()).waiting.append(handover)

    def send_more(self, host: int) -> None:
        """The host has taken the last piece."""
        line = self._lines.get(host)
        if line is not None:
            line.asked = False

    def forget(self, host: int) -> None:
        """The host is gone."""
        self._lines.pop(host, None)

    def clear(self) -> None:
        """All that wait have lost their right to run."""
        for line in self._lines.values():
            line.waiting.clear()

    def pieces(self) -> Iterator[tuple[int, messages.ToHost]]:
        """The next piece for each host that took the last one, or all that there is if that is no more."""
        for host, line in list(self._lines.items()):
            if line.waiting and not line.asked:
                for message in self._piece(line):
                    yield host, message
            if not line.waiting and not line.asked:
                del self._lines[host]

    def _piece(self, line: _Line) -> Iterator[messages.ToHost]:
        size = 0
        while line.waiting and size < PIECE_BYTES:
            handover = line.waiting[0]
            if not handover.run.over:
                message, added = handover.next(self._source)
                size += added
                yield message
                if not handover.whole:
                    line.waiting.rotate(-1)  # what is small need not wait for the end of what is large
                    continue
            line.waiting.popleft()
            handover.run.handover = None
        if size >= PIECE_BYTES:
            line.asked = True
            yield messages.AskForMore()
