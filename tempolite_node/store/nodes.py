"""The nodes of the cluster as the store knows them: few, so they are all kept in memory too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import apsw

from tempolite_node.engine import formats
from tempolite_node.engine.model import NodeState
from tempolite_node.engine.work import Work
from tempolite_node.store.rows import NODES


class Nodes:
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        rows = connection.execute(f"{NODES.select} ORDER BY id").fetchall()
        self.all: Mapping[str, NodeState] = {node.id: node for node in map(NODES.value, rows)}
        self.format = formats.in_use(self.all.values())
        sequences: Any = connection.execute("SELECT id, sequence FROM nodes")
        self._sequences: dict[str, int] = dict(sequences)
        self.serving = lru_cache(maxsize=4_096)(self._serving)

    def _serving(self, handler: str) -> tuple[NodeState, ...]:
        return tuple(node for node in self.all.values() if node.serves(handler))

    def sequence(self, node_id: str) -> int:
        """Of the last batch that was applied of the node's process."""
        return self._sequences.get(node_id, 0)

    def write(self, work: Work) -> None:
        """To be called inside the transaction of a save."""
        connection = self._connection
        removed = [(node_id,) for node_id, node in work.nodes.items() if node is None]
        connection.executemany("DELETE FROM nodes WHERE id = ?", removed)
        NODES.upsert(connection, (node for node in work.nodes.values() if node is not None))
        sequences = ((sequence, node_id) for node_id, sequence in work.sequences.items())
        connection.executemany("UPDATE nodes SET sequence = ? WHERE id = ?", sequences)

    def saved(self, work: Work) -> None:
        """To be called when the transaction is over."""
        self._sequences.update(work.sequences)
        if work.nodes:
            changed = {**self.all, **work.nodes}
            self.all = {node_id: node for node_id, node in sorted(changed.items()) if node is not None}
            self.format = formats.in_use(self.all.values())
            self.serving.cache_clear()
