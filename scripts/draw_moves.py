"""Prints docs/design/moves.md: the legal moves of executions and operations, as engine/model.py has them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tempolite_node.engine.model import EXECUTION_MOVES, FINAL, OPERATION_MOVES, OperationKind, Status

HEAD = """\
# Legal moves

Written by `scripts/generate_moves` from the tables in `tempolite_node/engine/model.py`; not edited by hand. The engine
looks every change up in them (`Work.put`, `Work.put_operation`): a move that is not here stops the node before it is
saved. `tests/unit/engine/test_moves.py` shows that a command makes each of them. What the statuses mean is said in
`tempolite_node/store/schema.sql`.
"""

EXECUTIONS = """
## Executions

The statuses of an execution that has not ended, and how it moves among them:
"""

ENDS = """
Where it may end, for good:

| from | to |
|---|---|
"""

OPERATIONS = """
## Operations

A loop is a record that is written anew: of the next attempt of a side effect, of a step or compensation that is begun
again after a crash, of a child that is enqueued again when its parent is retried. What failed, timed out, was
cancelled, refused or given up is done again in a later generation, from the start (see
[retries-and-replay.md](retries-and-replay.md)). What was given up is begun anew when it is asked for again.
"""


def main() -> None:
    print(HEAD, end="")
    print(EXECUTIONS)
    open_moves = {before: following - FINAL for before, following in EXECUTION_MOVES.items()}
    print("\n".join(diagram(open_moves, Status)))
    print(ENDS, end="")
    for status in Status:
        if following := in_order(EXECUTION_MOVES[status] & FINAL, Status):
            print(f"| {status} | {', '.join(following)} |")
    print(OPERATIONS, end="")
    for kinds in grouped():
        print(f"\n### {', '.join(kinds)}\n")
        moves = OPERATION_MOVES[kinds[0]]
        print("\n".join(diagram(moves, [status for status in moves if status is not None])))


def grouped() -> list[list[OperationKind]]:
    """The kinds that move alike, together."""
    groups: list[list[OperationKind]] = []
    for kind in OperationKind:
        alike = (group for group in groups if OPERATION_MOVES[group[0]] == OPERATION_MOVES[kind])
        if (group := next(alike, None)) is not None:
            group.append(kind)
        else:
            groups.append([kind])
    return groups


def diagram(moves: Mapping[StrEnum | None, frozenset[StrEnum]], order: Iterable[StrEnum]) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    for before in (None, *order):
        for after in in_order(moves[before], order):
            yield f"    {'[*]' if before is None else before} --> {after}"
    yield "```"


def in_order(statuses: frozenset[StrEnum], order: Iterable[StrEnum]) -> list[StrEnum]:
    return [status for status in order if status in statuses]


main()
