"""Any commands in any order: what must be true stays true, nothing is lost, and batches make no difference.

An example is a list of moves. A move is made a command by what is stored when its turn comes: it picks one of the
executions that run, one of the timers that are set, and so on, or, if it is wild, none that there is. A failing example
is shown as the commands that it came to, in `Told`.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import given as given_any
from hypothesis import strategies as st

from tempolite_node.engine.commands import (
    AnyCommand,
    AnyRequest,
    BeginSideEffect,
    BeginStep,
    Cancel,
    CancelFromAttempt,
    ClearExecutions,
    CompleteAttempt,
    CompleteSideEffect,
    CompleteStep,
    ContinueAsNew,
    CrashAttempt,
    DeleteExecutions,
    DeletionCause,
    DeliverCancel,
    DrainNode,
    Enqueue,
    EnqueueBatch,
    EnqueueChild,
    FailAttempt,
    FailSideEffect,
    FailStep,
    FireTimer,
    FromAttempt,
    GiveUp,
    Heartbeat,
    IdConflict,
    IdReuse,
    LoseNode,
    NoteRest,
    PlaceExecutions,
    ReceiveSignal,
    RecordMarker,
    RecordRefusal,
    RemoveNode,
    Resolution,
    ResolveCompensation,
    Resume,
    SendSignal,
    SendSignalFromAttempt,
    SetSignalAside,
    Sleep,
    StartAttempt,
    SuspendAttempt,
    Terminate,
    TimedSideEffect,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.decide import decide
from tempolite_node.engine.effects import Reason
from tempolite_node.engine.model import (
    ClosePolicy,
    Component,
    Execution,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    Status,
)
from tempolite_node.engine.work import Work
from tempolite_node.store import clearing

from .invariants import Snapshot, check, check_passage, dump
from .story import HANDLERS, NODE, Story, failure, new_store, open_store, registration

T = TypeVar("T")

#: More of them, drawn anew each time, to search for what the usual ones don't find: TEMPOLITE_EXAMPLES=5000.
SEARCH = int(os.environ.get("TEMPOLITE_EXAMPLES", "0"))
profile = settings(
    max_examples=SEARCH or 100,
    derandomize=not SEARCH,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

NODES = (NODE, "node-2", "node-3")
IDS = ("a", "b", "c", "d", "e")
KEYS = ("k", "l")
WAIT_KEYS = ("k", "l", "side_effect:k > k", "step:k > k")  #: the last two: inside of other operations
NAMES = ("s", "t")
WAITS = (OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER)

# --- moves


class Move(NamedTuple):
    """What is tried next. The numbers choose among what there is."""

    kind: str
    which: int  #: execution
    wild: bool  #: goes to what is not there, or not any more
    wait_ms: int  #: since the move before it
    one: int  #: what the numbers mean is the kind's to say
    two: int
    three: int


OPTIONS = (
    Options(),
    Options(retry=RetryPolicy(maximum_attempts=1), close_policy=ClosePolicy.TERMINATE),
    Options(attempt_timeout_ms=3_000, compensation_attempt_timeout_ms=2_000, close_policy=ClosePolicy.REQUEST_CANCEL),
    Options(queue_timeout_ms=2_000, heartbeat_timeout_ms=1_500, max_crashes=1, close_policy=ClosePolicy.ABANDON),
    Options(compensation_retry=RetryPolicy(maximum_attempts=1), max_crashes=2),
)
FAILURES = (
    failure("ValueError"),
    failure("ValueError", non_retryable=True),
    failure("RetryAfter", retry_after_ms=700),
)


def _is_beside(move: Move) -> bool:
    return (move.one + move.two + move.three) % 3 == 0


def pick(values: Sequence[T], number: int) -> T:
    return values[number % len(values)]


class Moves:
    """Makes commands of moves."""

    def __init__(self, now: Snapshot, at_ms: int) -> None:
        self.now = now
        self.at_ms = at_ms
        self.everyone = list(now.executions.values())
        self.open = [execution for execution in self.everyone if not execution.closed]

    def command(self, move: Move) -> AnyCommand | None:
        """None: nothing is to happen. What could be about nothing that there is becomes a start, or an enqueue."""
        if move.kind == "nothing":
            return None
        make: Callable[[Move], AnyCommand | None] = getattr(self, f"_{move.kind}")
        return make(move) or self._start(move) or self._enqueue(move)

    def _one_of(self, executions: Sequence[Execution], move: Move) -> Execution | None:
        if move.wild:
            executions = self.everyone
        return pick(executions, move.which) if executions else None

    def _id(self, move: Move) -> str:
        found = self._one_of(self.open, move)
        return found.id if found is not None else "nobody"

    def _enqueue(self, move: Move) -> Enqueue:
        return Enqueue(
            at_ms=self.at_ms,
            execution_id=pick(IDS, move.which),
            handler="fulfil",
            component=pick((Component.SAGA, Component.HANDLER), move.one),
            arguments=b"[]" if move.three % 5 else b'"' + b"x" * 5_000 + b'"',
            options=pick(OPTIONS, move.two),
            delay_ms=pick((0, 0, 1_000), move.three),
            max_duration_ms=pick((None, None, 4_000), move.two),
            request_id=pick((None, "r1", "r2"), move.three),
            concurrency_key=pick((None, "x", "x", "y"), move.two),
            priority=pick((0, 0, 1), move.one),
            id_reuse=pick(tuple(IdReuse), move.one),
            id_conflict=pick((*IdConflict, *[IdConflict.FAIL] * 5), move.two),
        )

    def _batch(self, move: Move) -> AnyCommand:
        others = [move, move._replace(which=move.which + 1, two=move.three), move._replace(which=move.which + 2)]
        commands = tuple(self._enqueue(other) for other in others)
        return EnqueueBatch(at_ms=self.at_ms, commands=commands)

    def _signal(self, move: Move) -> AnyCommand:
        return SendSignal(
            at_ms=self.at_ms,
            execution_id=self._id(move),
            name=pick(NAMES, move.one),
            payload=b"%d" % self.at_ms,
            request_id=pick((None, "r1", "r2"), move.two),
        )

    def _cancel(self, move: Move) -> AnyCommand:
        return Cancel(at_ms=self.at_ms, execution_id=self._id(move), reason="cancelled")

    def _terminate(self, move: Move) -> AnyCommand:
        return Terminate(at_ms=self.at_ms, execution_id=self._id(move), reason="terminated")

    def _clear(self, move: Move) -> AnyCommand | None:
        ids = self._ended(move)
        cause = pick(tuple(DeletionCause), move.three)
        command = ClearExecutions(at_ms=self.at_ms, execution_ids=ids, cause=cause, in_steps=bool(move.two % 2))
        return command if ids else None

    def _delete(self, move: Move) -> AnyCommand | None:
        ids = self._ended(move)
        cause = pick(tuple(DeletionCause), move.three)
        return DeleteExecutions(at_ms=self.at_ms, execution_ids=ids, cause=cause) if ids else None

    def _ended(self, move: Move) -> tuple[str, ...]:
        """Ids of some that have ended, the latest first; in the wild, of any."""
        those = self.everyone if move.wild else [each for each in self.everyone if each.closed]
        return tuple(each.id for each in those[: 1 + move.one % 4])[::-1]

    def _resolve(self, move: Move) -> AnyCommand | None:
        stuck = [e for e in self.everyone if e.status is Status.STUCK]
        found = self._one_of(stuck, move)
        if found is None:
            return None
        return ResolveCompensation(
            at_ms=self.at_ms, execution_id=found.id, resolution=pick(tuple(Resolution), move.one)
        )

    # --- nodes

    def _register(self, move: Move) -> AnyCommand:
        """One that is new, was started again, or comes back as it was; with other handlers, maybe."""
        return registration(
            pick(NODES, move.which),
            at_ms=self.at_ms,
            boot_id=pick(("run-1", "run-1", "run-2"), move.one),
            handlers=pick((HANDLERS, HANDLERS, ("ship",)), move.two),
            slots=pick((1, 4), move.three),
            queue_limit=pick((0, 0, 3), move.three),
            concurrency_key_limit=pick((1, 2, 1, 3), move.one),
            last_alive_ms=pick((self.at_ms, None, self.at_ms - 100_000), move.two),
        )

    def _resume(self, move: Move) -> AnyCommand | None:
        """One that is suspended; in the wild, whatever there is."""
        found = self._one_of([e for e in self.everyone if move.wild or e.status is Status.SUSPENDED], move)
        return None if found is None else Resume(at_ms=self.at_ms, execution_id=found.id)

    def _rest(self, move: Move) -> AnyCommand | None:
        found = self._one_of(self._attached(), move)
        if found is None:
            return None
        return NoteRest(at_ms=self.at_ms, execution_id=found.id, epoch=found.epoch - move.wild)

    def _drain(self, move: Move) -> AnyCommand:
        node_id, boot_id = self._node(move)
        return DrainNode(at_ms=self.at_ms, node_id=node_id, boot_id=boot_id)

    def _lose(self, move: Move) -> AnyCommand:
        node_id, boot_id = self._node(move)
        return LoseNode(at_ms=self.at_ms, node_id=node_id, boot_id=boot_id)

    def _remove(self, move: Move) -> AnyCommand:
        return RemoveNode(at_ms=self.at_ms, node_id=self._node(move)[0])

    def _node(self, move: Move) -> tuple[str, str]:
        """One that is known, and its run; in the wild another one of these."""
        node_id = pick(sorted(self.now.nodes) or NODES, move.which)
        node = self.now.nodes.get(node_id)
        if node is None or move.wild:
            return pick(NODES, move.one), "unknown"
        return node_id, node.boot_id

    def _place(self, move: Move) -> AnyCommand | None:
        """What is misplaced; in the wild, whatever there is."""
        executions = self.everyone if move.wild else self.now.misplaced()
        if not executions:
            return None
        return PlaceExecutions(at_ms=self.at_ms, execution_ids=tuple(each.id for each in executions))

    def _start(self, move: Move) -> AnyCommand | None:
        found = self._one_of([e for e in self.everyone if e.ready_at is not None], move)
        if found is None:
            return None
        pool = pick(tuple(Component), move.one) if move.wild else found.pool
        node_id = pick(NODES, move.two) if move.wild else found.owner
        return StartAttempt(at_ms=self.at_ms, execution_id=found.id, node_id=node_id, pool=pool)

    def _crash(self, move: Move) -> AnyCommand | None:
        found = self._one_of(self._attached(), move)
        if found is None:
            return None
        return CrashAttempt(
            at_ms=self.at_ms,
            execution_id=found.id,
            epoch=found.epoch - move.wild,
            suspect=bool(move.one % 2),
            jitter=0.5,
        )

    def _timer(self, move: Move) -> AnyCommand | None:
        """Time passes until the timer is due; in the wild one fires that was never set."""
        if not self.now.timers:
            return None
        (row, name), due_ms = pick(sorted(self.now.timers.items(), key=lambda item: item[1]), move.which)
        return FireTimer(
            at_ms=max(self.at_ms, due_ms),
            execution_id=self.now.executions[row].id,
            name=name,
            due_ms=due_ms + move.wild,
            jitter=-0.5,
        )

    def _attached(self) -> list[Execution]:
        return [execution for execution in self.everyone if execution.attached]

    # --- what attempts ask for

    def _ask(self, move: Move, request: AnyRequest) -> AnyCommand | None:
        found = self._one_of(self._attached(), move)
        if found is None:
            return None
        return FromAttempt(
            at_ms=self.at_ms,
            execution_id=found.id,
            epoch=found.epoch - move.wild,
            jitter=0.25,
            side_effect_failures=move.three % 3 // 2,
            request=request,
        )

    def _complete(self, move: Move) -> AnyCommand | None:
        return self._ask(move, CompleteAttempt(result=b"1"))

    def _continue(self, move: Move) -> AnyCommand | None:
        found = self._one_of(self._attached(), move)
        operations = self.now.by_execution[found.row] if found is not None else []
        unseen = tuple((op.kind, op.key) for op in operations if op.signal_seq is not None)
        return self._ask(move, ContinueAsNew(arguments=b"[2]", waits=pick(((), unseen[:1]), move.one)))

    def _fail(self, move: Move) -> AnyCommand | None:
        return self._ask(move, FailAttempt(failure=pick(FAILURES, move.one), cancelled=move.two % 3 == 0))

    def _unwind(self, move: Move) -> AnyCommand | None:
        found = self._one_of(self._attached(), move)
        operations = self.now.by_execution[found.row] if found is not None else []
        waits = tuple((op.kind, op.key) for op in operations if op.closed_ms is None)
        told = pick(((), waits, waits[:1], ((OperationKind.SIDE_EFFECT, "never recorded"),)), move.one)
        timed = tuple(
            TimedSideEffect(key=key, digest=b"1", started_ms=self.at_ms, due_ms=self.at_ms + 900)
            for key in pick(((), (), ("k",), KEYS), move.two)
        )
        return self._ask(move, UnwindAttempt(waits=told, timed=timed))

    def _suspend(self, move: Move) -> AnyCommand | None:
        request = SuspendAttempt(kind=OperationKind.CHILD, key=pick(KEYS, move.one), expected="x", actual="y")
        return self._ask(move, request)

    def _child(self, move: Move) -> AnyCommand | None:
        request = EnqueueChild(
            key=pick(KEYS, move.one),
            digest=pick((b"1", b"1", b"2"), move.two),
            execution_id=pick((*IDS, f"{self.at_ms}"), move.three),
            handler="fulfil",
            component=pick((Component.SAGA, Component.HANDLER), move.two),
            arguments=b"[]",
            options=pick(OPTIONS, move.three),
            delay_ms=pick((0, 0, 1_000), move.two),
            max_duration_ms=pick((None, 5_000), move.one),
            concurrency_key=pick((None, "x"), move.three),
        )
        return self._ask(move, request)

    def _wait(self, move: Move) -> AnyCommand | None:
        target = pick(self.everyone, move.two).id if self.everyone else "nobody"
        request = WaitForExecution(
            key=pick(WAIT_KEYS, move.one),
            execution_id=target,
            timeout_ms=pick((None, None, 2_500), move.three),
            beside=_is_beside(move),
        )
        return self._ask(move, request)

    def _receive(self, move: Move) -> AnyCommand | None:
        request = ReceiveSignal(
            key=pick(WAIT_KEYS, move.one),
            name=pick(NAMES, move.two),
            timeout_ms=pick((None, None, 0, 1_500), move.three),
            beside=_is_beside(move),
        )
        return self._ask(move, request)

    def _set_aside(self, move: Move) -> AnyCommand | None:
        """A signal that was taken, if there is any, and sometimes one that was not."""
        taken = [op for op in self.now.operations.values() if op.signal_seq is not None]
        running = [op for op in taken if self.now.executions[op.execution_row].attached]
        if move.wild or not running:
            key, name = pick(WAIT_KEYS, move.one), pick(NAMES, move.two)
            return self._ask(move, SetSignalAside(key=key, name=name, error="wrong"))
        wait = pick(running, move.which)
        execution = self.now.executions[wait.execution_row]
        request = SetSignalAside(
            key=wait.key,
            name=wait.target,
            error="wrong",
            timeout_ms=pick((None, None, 0, 1_500), move.three),
            replayed=bool(move.one % 2),
        )
        return FromAttempt(
            at_ms=self.at_ms, execution_id=execution.id, epoch=execution.epoch, jitter=0.0, request=request
        )

    def _give_up(self, move: Move) -> AnyCommand | None:
        """A wait, open or over, and sometimes one that was never begun."""
        waits = [op for op in self.now.operations.values() if op.kind in WAITS]
        running = [op for op in waits if self.now.executions[op.execution_row].attached]
        if move.wild or not running:
            return self._ask(move, GiveUp(kind=pick(WAITS, move.two), key=pick(WAIT_KEYS, move.one)))
        wait = pick(running, move.which)
        execution = self.now.executions[wait.execution_row]
        request = GiveUp(kind=wait.kind, key=wait.key)
        return FromAttempt(
            at_ms=self.at_ms, execution_id=execution.id, epoch=execution.epoch, jitter=0.0, request=request
        )

    def _refusal(self, move: Move) -> AnyCommand | None:
        kind = pick((OperationKind.CHILD, OperationKind.SIGNAL_SENT), move.two)
        request = RecordRefusal(
            kind=kind, key=pick(KEYS, move.one), digest=b"1", reason=Reason.NOT_FOUND, message="no handler"
        )
        return self._ask(move, request)

    def _sleep(self, move: Move) -> AnyCommand | None:
        return self._ask(move, Sleep(key=pick(WAIT_KEYS, move.one), duration_ms=1_200, beside=_is_beside(move)))

    def _send(self, move: Move) -> AnyCommand | None:
        to = pick([None, *(e.id for e in self.everyone)], move.three)
        request = SendSignalFromAttempt(
            key=pick(KEYS, move.one), name=pick(NAMES, move.two), payload=b"2", digest=b"1", to=to
        )
        return self._ask(move, request)

    def _cancel_other(self, move: Move) -> AnyCommand | None:
        target = pick(["nobody", *(e.id for e in self.everyone)], move.three)
        request = CancelFromAttempt(
            key=pick(KEYS, move.one),
            execution_id=target,
            reason="not needed",
            digest=pick((b"1", b"1", b"2"), move.two),
        )
        return self._ask(move, request)

    def _begin_side_effect(self, move: Move) -> AnyCommand | None:
        return self._ask(move, BeginSideEffect(key=pick(KEYS, move.one), digest=pick((b"1", b"1", b"2"), move.two)))

    def _complete_side_effect(self, move: Move) -> AnyCommand | None:
        request = CompleteSideEffect(
            key=pick(KEYS, move.one), digest=b"1", result=b"%d" % self.at_ms, started_ms=self.at_ms
        )
        return self._ask(move, request)

    def _fail_side_effect(self, move: Move) -> AnyCommand | None:
        request = FailSideEffect(
            key=pick(KEYS, move.one),
            digest=b"1",
            failure=pick(FAILURES, move.two),
            retry=RetryPolicy(maximum_attempts=2),
            started_ms=self.at_ms,
            has_run=move.three % 5 == 0,
        )
        return self._ask(move, request)

    def _begin_step(self, move: Move) -> AnyCommand | None:
        request = BeginStep(
            key=pick(KEYS, move.one), target="m:S", input=b"{}", digest=pick((b"1", b"1", b"2"), move.two)
        )
        return self._ask(move, request)

    def _complete_step(self, move: Move) -> AnyCommand | None:
        """Of one that was begun, if there is any."""
        begun = [
            op
            for op in self.now.operations.values()
            if op.kind is OperationKind.STEP and op.status is OperationStatus.RUNNING
        ]
        running = [e for e in self._attached() if any(op.execution_row == e.row for op in begun)]
        if move.wild:
            return self._ask(move, CompleteStep(key=pick(KEYS, move.one), data=b"{}"))
        if not running:
            return self._begin_step(move)
        execution = pick(running, move.which)
        key = next(op.key for op in begun if op.execution_row == execution.row)
        ended: AnyRequest = CompleteStep(key=key, data=b'{"id": 1}')
        if move.two % 3 == 0:
            has_run = move.two % 2 == 0
            ended = FailStep(
                key=key,
                data=b"{}",
                failure=pick(FAILURES, move.one),
                compensate=has_run or bool(move.three % 2),
                has_run=has_run,
            )
        return FromAttempt(
            at_ms=self.at_ms, execution_id=execution.id, epoch=execution.epoch, jitter=0.0, request=ended
        )

    def _marker(self, move: Move) -> AnyCommand | None:
        key = pick((*KEYS, "cancel@wait:k"), move.two)
        return self._ask(move, RecordMarker(key=key, value=b"%d" % self.at_ms))

    def _deliver_cancel(self, move: Move) -> AnyCommand | None:
        kind = pick((OperationKind.WAIT, OperationKind.SIGNAL, OperationKind.TIMER), move.two)
        return self._ask(move, DeliverCancel(key=f"{kind}:{pick(WAIT_KEYS, move.one)}"))

    def _heartbeat(self, move: Move) -> AnyCommand | None:
        return self._ask(move, Heartbeat(details=b"1" if move.one % 2 else None))


#: How often each is drawn: what leads somewhere more often than what ends everything. Examples shrink to nothing.
FREQUENCIES = {
    "nothing": 1,
    "enqueue": 5,
    "batch": 1,
    "start": 8,
    "timer": 5,
    "wait": 5,
    "receive": 3,
    "set_aside": 2,
    "give_up": 2,
    "refusal": 1,
    "sleep": 2,
    "child": 4,
    "begin_step": 3,
    "complete_step": 4,
    "fail": 4,
    "complete": 2,
    "continue": 4,
    "unwind": 3,
    "signal": 3,
    "send": 2,
    "cancel": 3,
    "cancel_other": 2,
    "deliver_cancel": 2,
    "begin_side_effect": 1,
    "complete_side_effect": 1,
    "fail_side_effect": 3,
    "marker": 1,
    "heartbeat": 1,
    "crash": 2,
    "suspend": 1,
    "register": 3,
    "drain": 1,
    "lose": 2,
    "remove": 1,
    "place": 3,
    "resolve": 1,
    "clear": 1,
    "delete": 1,
    "resume": 1,
    "rest": 1,
    "terminate": 1,
}
#: Where nodes come and go all the time.
RESTLESS = FREQUENCIES | {"enqueue": 10, "start": 20, "register": 20, "drain": 4, "lose": 8, "remove": 4, "place": 25}

_BYTES = len(Move._fields)


def moves_by(frequencies: Mapping[str, int]) -> st.SearchStrategy[list[Move]]:
    """A move is some bytes: they are drawn faster and more evenly than a tuple of choices, and shrink as well."""
    kinds = [kind for kind, times in frequencies.items() for _ in range(times)]

    def moves(data: bytes) -> list[Move]:
        return [_move(kinds, *data[start : start + _BYTES]) for start in range(0, len(data), _BYTES)]

    return st.binary(min_size=50 * _BYTES, max_size=50 * _BYTES).map(moves)


def _move(kinds: Sequence[str], kind: int, which: int, wild: int, wait: int, one: int, two: int, three: int) -> Move:
    return Move(pick(kinds, kind), which, wild > 240, pick((0, 1, 400, 3_000), wait), one, two, three)


moves = moves_by(FREQUENCIES)
restless_moves = moves_by(RESTLESS)

# --- how they are told


@pytest.fixture(scope="module", autouse=True)
def small_steps() -> Iterator[None]:
    """What a run leaves behind is removed in several steps, though an example records little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clearing, "ROWS_MAX", 2)
        yield


@contextmanager
def new_story() -> Iterator[Story]:
    with tempfile.TemporaryDirectory() as directory:
        told = Story(new_store(Path(directory) / "store.db"))
        try:
            yield told
        finally:
            told.close()


def shown(command: AnyCommand) -> str:
    """As JSON without defaults, long payloads cut."""
    return re.sub(r"(\w{40})\w+", r"\1…", msgspec.json.encode(command).decode())


def tell(story: Story, moves: Sequence[Move]) -> list[AnyCommand]:
    """Makes the moves one by one, and looks at the whole store after each. Returns the commands they came to."""
    commands: list[AnyCommand] = []
    before = check(story.connection, story.executions)
    for move in moves:
        story.now_ms += move.wait_ms
        command = Moves(before, story.now_ms).command(move)
        if command is None:
            continue
        story.now_ms = command.at_ms
        note(shown(command))
        commands.append(command)
        story.do(command)
        after = check(story.connection, story.executions)
        check_passage(before, after)
        if isinstance(command, PlaceExecutions) and {e.id for e in before.misplaced()} <= set(command.execution_ids):
            assert after.misplaced() == [], "the leader would place them again and again"
        before = after
    return commands


def in_batches(path: Path, commands: Sequence[AnyCommand], sizes: Sequence[int], *, reopen: bool) -> Any:
    """What is stored when the commands are saved in batches of these sizes, again and again."""
    connection, executions = open_store(new_store(path))
    index = 0
    number = 0
    while index < len(commands):
        size = sizes[number % len(sizes)]
        number += 1
        work = Work(executions)
        for command in commands[index : index + size]:
            decide(work, command)
        executions.save(work, executions.applied_index + 1)
        index += size
        if reopen:
            connection.close()
            connection, executions = open_store(path)
    check(connection, executions)
    stored = dump(connection)
    connection.close()
    return stored


@profile
@given_any(moves)
def test_whatever_the_commands_what_must_be_true_stays_true_and_nothing_is_lost(moves: list[Move]) -> None:
    with new_story() as story:
        tell(story, moves)


@settings(profile, max_examples=SEARCH or 75)
@given_any(restless_moves)
def test_however_nodes_come_and_go_what_must_be_true_stays_true_and_nothing_is_lost(moves: list[Move]) -> None:
    with new_story() as story:
        tell(story, moves)


@settings(profile, max_examples=SEARCH or 50)
@given_any(st.one_of(moves, restless_moves), st.lists(st.integers(1, 12), min_size=1, max_size=4), st.booleans())
def test_the_same_commands_in_batches_of_any_size_leave_the_same_store(
    moves: list[Move], sizes: list[int], reopen: bool
) -> None:
    with new_story() as story:
        commands = tell(story, moves)

        stored = in_batches(story.path.with_name("batches.db"), [registration(), *commands], sizes, reopen=reopen)

        assert stored == dump(story.connection)
