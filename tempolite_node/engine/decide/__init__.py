"""What each command comes to, a file per family. `decide` is the only way in; `admit` stands before it."""

from __future__ import annotations

from typing import assert_never

from tempolite_node.engine import lifecycle, trials
from tempolite_node.engine.commands import (
    AnyCommand,
    Cancel,
    ClearExecutions,
    CrashAttempt,
    DeleteExecutions,
    DrainNode,
    Enqueue,
    EnqueueBatch,
    FireTimer,
    FromAttempt,
    LoseNode,
    NoteRest,
    PlaceExecutions,
    RegisterNode,
    RemoveNode,
    ResolveCompensation,
    Resume,
    SendSignal,
    StartAttempt,
    Terminate,
)
from tempolite_node.engine.decide import attempts, clients, deletion, nodes, timers
from tempolite_node.engine.decide.nodes import admit
from tempolite_node.engine.effects import AnyOutcome
from tempolite_node.engine.work import Work

__all__ = ["admit", "decide"]


def decide(work: Work, command: AnyCommand) -> AnyOutcome:
    """Puts into `work` what the command changes, and says what it came to.

    A `Rejection` changed nothing, and a `Refused` nothing but the record of itself. Raises AssertionError when an
    invariant is broken: the batch must then not be saved.
    """
    outcome = _decide(work, command)
    if work.parents:
        lifecycle.reach_children(work, at_ms=command.at_ms)
    return outcome


def _decide(work: Work, command: AnyCommand) -> AnyOutcome:
    match command:
        case FromAttempt():
            return attempts.from_attempt(work, command)
        case StartAttempt():
            return nodes.start_attempt(work, command)
        case Enqueue():
            return clients.enqueue(work, command)
        case EnqueueBatch():
            return clients.enqueue_batch(work, command)
        case SendSignal():
            return clients.send_signal(work, command)
        case FireTimer():
            return timers.fire_timer(work, command)
        case Cancel():
            return clients.cancel(work, command)
        case Terminate():
            return clients.terminate(work, command)
        case Resume():
            return clients.resume(work, command)
        case ResolveCompensation():
            return clients.resolve_compensation(work, command)
        case ClearExecutions():
            return deletion.clear_executions(work, command)
        case DeleteExecutions():
            return deletion.delete_executions(work, command)
        case CrashAttempt():
            return nodes.crash_attempt(work, command)
        case NoteRest():
            return trials.note_rest(work, command)
        case RegisterNode():
            return nodes.register_node(work, command)
        case PlaceExecutions():
            return nodes.place_executions(work, command)
        case LoseNode():
            return nodes.lose_node(work, command)
        case DrainNode():
            return nodes.drain_node(work, command)
        case RemoveNode():
            return nodes.remove_node(work, command)
        case _:
            assert_never(command)
