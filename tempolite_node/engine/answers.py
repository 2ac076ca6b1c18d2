"""What a wait for another execution came to: kept with that execution, or in the record of the wait.

Who waits for an execution of its own is deleted together with it, so what that ended with is kept once. One of another
tree may be deleted while the one that waited for it goes on: then its answer is in the record as well.
"""

from __future__ import annotations

import msgspec

from tempolite_node.engine import formats
from tempolite_node.engine.effects import Ended
from tempolite_node.engine.model import Execution, Operation, OperationKind, OperationStatus
from tempolite_node.engine.work import Work

ANSWERED = (OperationStatus.COMPLETED, OperationStatus.FAILED)


def ended(closed: Execution) -> Ended:
    return Ended(execution_id=closed.id, status=closed.status, result=closed.result, failure=closed.failure)


def answer_to_record(work: Work, waiting: Execution, target: Execution) -> bytes | None:
    """What the record of a wait is to have, when the target has ended; None: the answer stays with the target."""
    if target.parent_row == waiting.row or work.format < formats.DELETION:
        return None
    return msgspec.msgpack.encode(ended(target))


def recorded_answer(wait: Operation) -> Ended | None:
    """The answer that the record of a wait has itself; None: it is with the execution that was waited for."""
    if wait.kind is not OperationKind.WAIT or wait.result is None:
        return None
    return msgspec.msgpack.decode(wait.result, type=Ended)
