"""An execution that a call is about, by its id."""

from __future__ import annotations

from tempolite_node.api.ports import Queries
from tempolite_node.api.status import Rejected
from tempolite_node.engine.effects import Reason, Rejection
from tempolite_node.engine.model import Execution


def found_by_id(queries: Queries, execution_id: str) -> Execution:
    """Rejected: there is none."""
    execution = queries.execution(execution_id)
    if execution is None:
        raise Rejected(Rejection(Reason.NOT_FOUND, f"no execution {execution_id!r}"))
    return execution
