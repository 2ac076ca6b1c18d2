"""The daemon of a version to come: python -m tests.cluster.next_daemon --config …

It knows one more format of the log. With that come a command, which whoever leads proposes once, and a rule: what is
enqueued is one higher in priority. Both begin when all nodes know them, as `docs/design/versions.md` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from tempolite_node.cli.main import main
from tempolite_node.driver import driver
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.pending import PendingCommand
from tempolite_node.engine import formats
from tempolite_node.engine.commands import AnyCommand, Batch, Command, Enqueue
from tempolite_node.engine.effects import Accepted, AnyOutcome
from tempolite_node.engine.work import Work
from tempolite_node.log import replicated

NEXT = formats.FORMAT + 1

log = structlog.get_logger("driver")


class Note(Command, frozen=True, kw_only=True):
    text: str


class NextBatch(Batch, frozen=True, kw_only=True):
    commands: tuple[AnyCommand | Note, ...] = ()  # type: ignore[assignment]


_decide: Callable[[Work, Any], AnyOutcome] = driver.decide
_duties = Driver._duties
_noted = False


def _next_decide(work: Work, command: AnyCommand | Note) -> AnyOutcome:
    if isinstance(command, Note):
        log.info("a note was applied", text=command.text, format=work.format)
        return Accepted()
    if isinstance(command, Enqueue) and work.format >= NEXT:
        command = msgspec.structs.replace(command, priority=command.priority + 1)
    return _decide(work, command)


def _next_duties(self: Driver) -> list[PendingCommand]:
    global _noted
    duties = _duties(self)
    if self.format >= NEXT and not _noted:
        _noted = True
        duties.append(PendingCommand(Note(at_ms=self.now_ms(), text="hello")))  # type: ignore[arg-type]
    return duties


formats.FORMAT = NEXT
replicated._decoder = msgspec.msgpack.Decoder(NextBatch)
driver.decide = _next_decide  # type: ignore[assignment]
Driver._duties = _next_duties  # type: ignore[method-assign]
main(prog_name="tempolite-node")
