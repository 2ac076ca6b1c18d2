"""Deletes trees of executions that have ended: reads them beside the writer, and has them deleted in small commands.

Nothing has to be remembered between two commands. A tree goes from below, its root last, so that what is left of it
after a crash is found by the next one who asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from time import monotonic

from tempolite_node.engine import formats
from tempolite_node.engine.commands import ClearExecutions, DeleteExecutions, DeletionCause
from tempolite_node.engine.effects import Deleted, Rejection
from tempolite_node.engine.model import Execution
from tempolite_node.errors import WrongState
from tempolite_node.node.driver_client import DriverClient
from tempolite_node.node.reads import Reads
from tempolite_node.node.watch import Watch
from tempolite_node.store.trees import Part
from tempolite_node.views import Consistency

_PARTS_READ = 5_000  #: of a tree at a time
_OPEN_NAMED = 5

# Of one command: so much is deleted in a few milliseconds, for which all others wait.
_EXECUTIONS_MAX = 50
_RECORDS_MAX = 400
_BYTES_MAX = 1_048_576


class Deletion:
    def __init__(self, *, reads: Reads, commands: DriverClient, watch: Watch) -> None:
        self._reads = reads
        self._commands = commands
        self._watch = watch

    async def delete(self, execution_id: str) -> bool:
        """Deletes all executions that had the id, with all below them. Whether there were any.

        WrongState: something of it has not ended, or it is part of another tree. Nothing was deleted.
        """
        runs = await self._reads.read(lambda queries: queries.trees.runs(execution_id))
        wanted = next((run for run in runs if run.id == execution_id), None)
        if wanted is None:
            return False
        if wanted.parent_row is not None:
            root = await self._reads.read(lambda queries: queries.trees.root_of(wanted), Consistency.STALE)
            if root.id != execution_id:
                raise WrongState(f"execution {execution_id} is deleted with the one above it: delete {root.id}")
        roots = [run for run in runs if run.parent_row is None or run is wanted]
        await self._refuse_if_open(execution_id, [run.row for run in roots], runs)
        kept = await self._delete_runs(roots)
        if kept:
            raise WrongState(f"a part of what is below execution {execution_id} was kept: {kept[0]}")
        return True

    async def _refuse_if_open(self, execution_id: str, rows: list[int], runs: Sequence[Execution]) -> None:
        others = [(run.id, str(run.status)) for run in runs if not run.closed]
        below = await self._reads.read(lambda queries: queries.trees.open(rows, _OPEN_NAMED), Consistency.STALE)
        going_on = list(dict.fromkeys([*others, *below]))[:_OPEN_NAMED]
        if going_on:
            named = ", ".join(f"{open_id} ({status})" for open_id, status in going_on)
            raise WrongState(f"execution {execution_id} can't be deleted before all of it has ended: {named}")
        if pair := await self.of_earlier_format(rows):
            raise WrongState(
                f"execution {pair[0]} began in an earlier version, and so did {pair[1]}, which goes on and may have "
                "waited for it: it can be deleted when all of that time have ended"
            )

    async def of_earlier_format(self, rows: list[int]) -> tuple[str, str] | None:
        return await self._reads.read(
            lambda queries: queries.trees.earlier_format(rows, formats.DELETION), Consistency.STALE
        )

    async def _delete_runs(self, runs: Sequence[Execution]) -> list[str]:
        """All of them in turn: who has the id comes last, so that whoever asks again finds what is left."""
        last = runs[-1]
        first_of_last = last.mailbox_row
        ordered = sorted(runs, key=lambda run: (run is last, run.row == first_of_last, run.mailbox is None, run.row))
        together = [run for run in ordered if run is last or run.row == first_of_last]
        cause = DeletionCause.REQUESTED
        for run in ordered:
            kept = await self.delete_tree(run.row, cause, besides=run in together)
            if kept:
                return kept
        parts = [await self._part(run.row) for run in sorted(together, key=lambda run: run is not last)]
        for part in parts:
            await self._clear_if_large(part, cause)
        return await self._ask(self._deletion(parts, cause))

    async def _part(self, row: int) -> Part:
        """Of an execution that nothing is below any more."""
        [part] = await self._reads.read(lambda queries: queries.trees.parts(row, 1), Consistency.STALE)
        return part

    async def delete_tree(
        self, row: int, cause: DeletionCause, *, besides: bool = False, pace: float = 0.0
    ) -> list[str]:
        """Returns why something of it is kept; nothing: all of it is gone. besides: leave the root itself.

        pace: rest after each command for so many times what it took.
        """
        while parts := await self._reads.read(
            lambda queries: queries.trees.parts(row, _PARTS_READ, besides=besides), Consistency.STALE
        ):
            for some in _at_a_time(parts):
                begun_s = monotonic()
                for part in some:
                    await self._clear_if_large(part, cause)
                kept = await self._ask(self._deletion(some, cause))
                if kept:
                    return kept
                if pace:
                    await asyncio.sleep(pace * (monotonic() - begun_s))
        return []

    async def _clear_if_large(self, part: Part, cause: DeletionCause) -> None:
        """Its journal goes first, in steps that a timer of it asks for."""
        if part.records <= _RECORDS_MAX and part.bytes <= _BYTES_MAX:
            return
        seen = self._watch.revision
        await self._ask(self._clearing(part, cause))
        while True:
            left = await self._reads.read(lambda queries: queries.trees.is_clearing(part.row), Consistency.STALE)
            if not left:
                return
            await self._watch.changed_after(seen)
            seen = self._watch.revision

    async def _ask(self, command: ClearExecutions | DeleteExecutions) -> list[str]:
        outcome = await self._commands.submit(command)
        if isinstance(outcome, Rejection):
            raise WrongState(outcome.message)
        assert isinstance(outcome, Deleted), f"{command} came to {outcome}"
        return list(outcome.kept)

    def _deletion(self, parts: Sequence[Part], cause: DeletionCause) -> DeleteExecutions:
        ids = tuple(part.id for part in parts)
        return DeleteExecutions(at_ms=self._commands.now_ms(), execution_ids=ids, cause=cause)

    def _clearing(self, part: Part, cause: DeletionCause) -> ClearExecutions:
        return ClearExecutions(at_ms=self._commands.now_ms(), execution_ids=(part.id,), cause=cause, in_steps=True)


def _at_a_time(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """As many as one command may delete."""
    some: list[Part] = []
    records = size = 0
    for part in parts:
        more = records + part.records > _RECORDS_MAX or size + part.bytes > _BYTES_MAX
        if some and (more or len(some) == _EXECUTIONS_MAX):
            yield some
            some, records, size = [], 0, 0
        some.append(part)
        records, size = records + part.records, size + part.bytes
    if some:
        yield some
