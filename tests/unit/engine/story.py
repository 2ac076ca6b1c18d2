"""Tells stories of the engine: each command is decided and saved in a real store, and what is stored is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import apsw

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
    LoseNode,
    NoteRest,
    PlaceExecutions,
    ReceiveSignal,
    RecordMarker,
    RecordRefusal,
    RegisterNode,
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
from tempolite_node.engine.effects import AnyEffect, AnyOutcome, Ended, Reason, Refused, Rejection
from tempolite_node.engine.formats import FORMAT
from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    Failure,
    Operation,
    OperationKind,
    OperationStatus,
    Options,
    RetryPolicy,
    ServedHandler,
    Signal,
)
from tempolite_node.engine.work import Work
from tempolite_node.store.database import open_writer
from tempolite_node.store.queries import Queries
from tempolite_node.store.rows import INBOX
from tempolite_node.store.writer import StoreWriter, claim_store

T = TypeVar("T")

START_MS = 1_700_000_000_000
NODE = "node-1"
HANDLERS = ("fulfil", "ship")
#: Without jitter, so that a story can tell its times.
STEADY = RetryPolicy(jitter=0.0)
ONCE = RetryPolicy(maximum_attempts=1)


def failure(type: str = "ValueError", **fields: Any) -> Failure:
    return Failure(type=type, **fields)


@cache
def _empty_store() -> bytes:
    """The file of a new store: to copy it takes a tenth of the time that its migrations take."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        connection, _ = open_store(path)
        connection.close()
        return path.read_bytes()


def new_store(path: Path) -> Path:
    path.write_bytes(_empty_store())
    return path


def open_store(path: Path) -> tuple[apsw.Connection, StoreWriter]:
    connection = open_writer(path)
    connection.pragma("synchronous", "off")  # no test cuts the power
    claim_store(connection, NODE)
    return connection, StoreWriter(connection)


def changes(work: Work) -> list[Any]:
    """What a unit of work would save or send: nothing but empty values, when nothing was changed."""
    return [
        work.executions,
        {row: operations for row, operations in work.operations.items() if operations},
        {row: timers for row, timers in work.timers.items() if timers},
        work.timers_cleared,
        {row: signals for row, signals in work.inbox.items() if signals},
        work.outbox,
        work.attempts,
        work.clearings,
        work.nodes,
        work.sequences,
        {key: count for key, count in work.counts.items() if count},
        {key: count for key, count in work.places.taken_by.items() if count},
        {place: count for place, count in work.places.members_by.items() if count},
        {owner: count for owner, count in work.places.waiting_by.items() if count},
        work.effects,
    ]


def _operations(work: Work) -> Iterator[Operation]:
    return (operation for changed in work.operations.values() for operation in changed.values())


def changed_nothing(outcome: AnyOutcome) -> bool:
    return isinstance(outcome, Rejection | Refused)


def registration(
    node_id: str = NODE,
    *,
    at_ms: int = START_MS,
    boot_id: str = "run-1",
    handlers: Sequence[str] = HANDLERS,
    stepped: Sequence[str] = (),
    slots: int = 10,
    queue_limit: int = 0,
    concurrency_key_limit: int = 1,
    format: int = FORMAT,
    last_alive_ms: int | None = None,
    hash_seed: int | None = None,
) -> RegisterNode:
    """Of a node with as many slots in each pool. The component of a handler is the enqueueing command's to say."""
    return RegisterNode(
        at_ms=at_ms,
        node_id=node_id,
        boot_id=boot_id,
        handlers=tuple(
            ServedHandler(
                name=name,
                component=Component.HANDLER,
                queue_limit=queue_limit,
                concurrency_key_limit=concurrency_key_limit,
                stepped=name in stepped,
            )
            for name in handlers
        ),
        slots=dict.fromkeys(Component, slots),
        format=format,
        last_alive_ms=last_alive_ms,
        hash_seed=hash_seed,
    )


class Story:
    """A node and its clock, and others where they are registered. A command is decided and saved before the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ms = START_MS
        self.effects: list[AnyEffect] = []  #: of the last command
        self._runs = 1
        self._open()
        self.register()

    def _open(self) -> None:
        self.connection, self.executions = open_store(self.path)
        self.queries = Queries(self.connection)

    def close(self) -> None:
        self.connection.close()

    def make_work(self) -> Work:
        return Work(self.executions)

    def do(self, command: AnyCommand) -> AnyOutcome:
        work = self.make_work()
        outcome = decide(work, command)
        self.effects = list(work.effects)
        if changed_nothing(outcome) and not any(op.status is OperationStatus.REFUSED for op in _operations(work)):
            assert not any(changes(work)), f"{outcome} changed something"
            assert work.last_row == self.executions.last_row()
        self.executions.save(work, self.executions.applied_index + 1)
        return outcome

    # --- what is stored

    def __getitem__(self, execution_id: str) -> Execution:
        execution = self.queries.execution(execution_id)
        assert execution is not None, f"no execution {execution_id}"
        return execution

    def operation(self, execution_id: str, kind: OperationKind, key: str) -> Operation:
        operation = self.queries.operation(execution_id, kind, key)
        assert operation is not None, f"no {kind} {key} in {execution_id}"
        return operation

    def operations(self, execution_id: str, kind: OperationKind) -> list[Operation]:
        return [op for op in self.queries.operations(self[execution_id].row, 1_000) if op.kind is kind]

    def attempts(self, execution_id: str) -> list[EndedAttempt]:
        return self.queries.attempts(self[execution_id].row)

    def timers(self, execution_id: str) -> dict[str, int]:
        """Names, and milliseconds from the start of the story."""
        sql = "SELECT name, due_ms FROM timers WHERE execution_row = ? ORDER BY name"
        return {name: due - START_MS for name, due in self.connection.execute(sql, (self[execution_id].row,))}

    def inbox(self, execution_id: str) -> list[Signal]:
        rows = self.connection.execute(f"{INBOX.select} WHERE execution_row = ?", (self[execution_id].mailbox_row,))
        return [INBOX.value(row) for row in rows]

    def outbox(self, execution_id: str) -> list[Signal]:
        return self.queries.outbox(self[execution_id].mailbox_row, "", 0, 1_000)

    def effects_of(self, type: type[T]) -> list[T]:
        """Of the last command."""
        return [effect for effect in self.effects if isinstance(effect, type)]

    # --- clients

    def enqueue(self, execution_id: str = "order-1", **fields: Any) -> AnyOutcome:
        return self.do(self.enqueue_command(execution_id, **fields))

    def enqueue_command(self, execution_id: str, **fields: Any) -> Enqueue:
        defaults: dict[str, Any] = {
            "handler": "fulfil",
            "component": Component.HANDLER,
            "arguments": b"[]",
            "options": Options(retry=STEADY),
        }
        return Enqueue(at_ms=self.now_ms, execution_id=execution_id, **(defaults | fields))

    def enqueue_batch(self, *batch: dict[str, Any]) -> AnyOutcome:
        commands = tuple(self.enqueue_command(**fields) for fields in batch)
        return self.do(EnqueueBatch(at_ms=self.now_ms, commands=commands))

    def signal(
        self, execution_id: str, name: str = "approve", payload: bytes = b"1", request_id: str | None = None
    ) -> AnyOutcome:
        return self.do(
            SendSignal(
                at_ms=self.now_ms,
                execution_id=execution_id,
                name=name,
                payload=payload,
                request_id=request_id,
                sender="client ipv4:10.0.0.7:1",
            )
        )

    def cancel(self, execution_id: str, reason: str = "changed my mind") -> AnyOutcome:
        return self.do(Cancel(at_ms=self.now_ms, execution_id=execution_id, reason=reason))

    def terminate(self, execution_id: str, reason: str = "enough") -> AnyOutcome:
        return self.do(Terminate(at_ms=self.now_ms, execution_id=execution_id, reason=reason))

    def resolve(self, execution_id: str, resolution: Resolution, request_id: str | None = None) -> AnyOutcome:
        command = ResolveCompensation(
            at_ms=self.now_ms, execution_id=execution_id, resolution=resolution, request_id=request_id
        )
        return self.do(command)

    # --- nodes

    def register(self, node_id: str = NODE, **fields: Any) -> AnyOutcome:
        """The node starts, or says again what it serves. run: another one means that it was started again."""
        return self.do(registration(node_id, at_ms=self.now_ms, **fields))

    def of_format(self, format: int) -> None:
        """From here on the node is one of an earlier version, that knows this format of the log and no later one."""
        self.remove(NODE)
        self.register(boot_id=f"of format {format}", format=format)

    def drain(self, node_id: str, *, boot_id: str = "run-1") -> AnyOutcome:
        return self.do(DrainNode(at_ms=self.now_ms, node_id=node_id, boot_id=boot_id))

    def lose(self, node_id: str, *, boot_id: str = "run-1") -> AnyOutcome:
        return self.do(LoseNode(at_ms=self.now_ms, node_id=node_id, boot_id=boot_id))

    def remove(self, node_id: str) -> AnyOutcome:
        return self.do(RemoveNode(at_ms=self.now_ms, node_id=node_id))

    def place(self, *execution_ids: str) -> list[str]:
        """What the leader does when a node has changed; all that is misplaced, unless told otherwise."""
        placed = execution_ids or tuple(self.executions.misplaced(1_000))
        self.do(PlaceExecutions(at_ms=self.now_ms, execution_ids=placed))
        return list(placed)

    def start(self, execution_id: str, pool: Component | None = None, *, node_id: str | None = None) -> AnyOutcome:
        """A slot of the pool that it waits for is free at its owner's, or at another node's."""
        found = self.queries.execution(execution_id)
        node_id = node_id or (found.owner if found else NODE)
        pool = pool or self[execution_id].pool
        return self.do(StartAttempt(at_ms=self.now_ms, execution_id=execution_id, node_id=node_id, pool=pool))

    def running(self, execution_id: str = "order-1", **fields: Any) -> str:
        """Enqueues an execution and starts it."""
        self.enqueue(execution_id, **fields)
        self.start(execution_id)
        return execution_id

    def crash(
        self, execution_id: str, *, suspect: bool = True, epoch: int | None = None, out_of_memory: bool = False
    ) -> AnyOutcome:
        return self.do(
            CrashAttempt(
                at_ms=self.now_ms,
                execution_id=execution_id,
                epoch=self[execution_id].epoch if epoch is None else epoch,
                suspect=suspect,
                jitter=0.0,
                out_of_memory=out_of_memory,
            )
        )

    def restart(self) -> None:
        """The node stops, and starts again."""
        self.reopen()
        self._runs += 1
        self.register(boot_id=f"run-{self._runs}")

    def die(self, after_ms: int = 1_000) -> None:
        """The node dies without a word, so long from now, and is started again."""
        self.now_ms += after_ms
        self.reopen()
        self._runs += 1
        self.register(boot_id=f"run-{self._runs}", last_alive_ms=self.now_ms)

    def clear(self, *execution_ids: str, in_steps: bool = False) -> AnyOutcome:
        """What ended executions recorded is deleted."""
        cause = DeletionCause.REQUESTED
        return self.do(ClearExecutions(at_ms=self.now_ms, execution_ids=execution_ids, cause=cause, in_steps=in_steps))

    def delete(self, *execution_ids: str) -> AnyOutcome:
        """Each after what is below it."""
        cause = DeletionCause.REQUESTED
        return self.do(DeleteExecutions(at_ms=self.now_ms, execution_ids=execution_ids, cause=cause))

    def resume(self, execution_id: str) -> AnyOutcome:
        return self.do(Resume(at_ms=self.now_ms, execution_id=execution_id))

    def rest(self, execution_id: str) -> AnyOutcome:
        """The driver sees that the code of an execution only waits."""
        epoch = self[execution_id].epoch
        return self.do(NoteRest(at_ms=self.now_ms, execution_id=execution_id, epoch=epoch))

    def reopen(self) -> None:
        self.close()
        self._open()

    def advance(self, milliseconds: int, *, jitter: float = 0.0) -> list[str]:
        """Lets time pass; returns the timers that fired, as "execution timer"."""
        until_ms = self.now_ms + milliseconds
        fired = []
        while (due := self.executions.due_timers(until_ms, 1)) != []:
            [(execution_id, timer)] = due
            self.now_ms = max(self.now_ms, timer.due_ms)
            fired.append(f"{execution_id} {timer.name}")
            self.fire(execution_id, timer.name, timer.due_ms, jitter=jitter)
        self.now_ms = until_ms
        return fired

    def fire(self, execution_id: str, name: str, due_ms: int, *, jitter: float = 0.0) -> AnyOutcome:
        return self.do(FireTimer(at_ms=self.now_ms, execution_id=execution_id, name=name, due_ms=due_ms, jitter=jitter))

    # --- attempts

    def ask(
        self,
        execution_id: str,
        request: AnyRequest,
        *,
        epoch: int | None = None,
        side_effect_failures: int = 0,
        jitter: float = 0.0,
    ) -> AnyOutcome:
        """What the attempt that runs now asks for. epoch: of an earlier attempt, to be late."""
        return self.do(
            FromAttempt(
                at_ms=self.now_ms,
                execution_id=execution_id,
                epoch=self[execution_id].epoch if epoch is None else epoch,
                jitter=jitter,
                side_effect_failures=side_effect_failures,
                request=request,
            )
        )

    def complete(self, execution_id: str, result: bytes | None = b'"done"') -> AnyOutcome:
        return self.ask(execution_id, CompleteAttempt(result=result))

    def continue_as_new(
        self, execution_id: str, arguments: bytes = b"[2]", *waits: tuple[OperationKind, str], **fields: Any
    ) -> AnyOutcome:
        return self.ask(execution_id, ContinueAsNew(arguments=arguments, waits=waits), **fields)

    def fail(
        self, execution_id: str, type: str = "ValueError", *, cancelled: bool = False, **fields: Any
    ) -> AnyOutcome:
        return self.ask(execution_id, FailAttempt(failure=failure(type, **fields), cancelled=cancelled))

    def retried(self, execution_id: str) -> str:
        """Fails the attempt and starts the next one, once its backoff is over."""
        self.fail(execution_id)
        due_ms = self[execution_id].due_ms
        assert due_ms is not None, f"{execution_id} is not retried"
        self.advance(due_ms - self.now_ms)
        self.start(execution_id)
        return execution_id

    def resumed(self, execution_id: str) -> str:
        """Lets the worker host die, through no fault of the attempt's, and starts it again."""
        self.crash(execution_id, suspect=False)
        self.start(execution_id)
        return execution_id

    def unwind(self, execution_id: str, *timed: TimedSideEffect) -> AnyOutcome:
        return self.ask(execution_id, UnwindAttempt(timed=timed))

    def timed(self, key: str = "quote", *, timeout_ms: int = 5_000, digest: bytes = b"d") -> TimedSideEffect:
        """A side effect that has just begun."""
        return TimedSideEffect(key=key, digest=digest, started_ms=self.now_ms, due_ms=self.now_ms + timeout_ms)

    def suspended(self, execution_id: str = "order-1", **fields: Any) -> str:
        """Enqueues an execution whose replay then meets other code."""
        self.running(execution_id, **fields)
        self.suspend(execution_id)
        return execution_id

    def suspend(self, execution_id: str) -> AnyOutcome:
        request = SuspendAttempt(kind=OperationKind.CHILD, key="ship#1", expected="ship", actual="bill")
        return self.ask(execution_id, request)

    def compensating(self, execution_id: str = "order-1", *steps: str, **fields: Any) -> str:
        """Enqueues a saga that completes its steps and then fails for good."""
        self.running(execution_id, component=Component.SAGA, **fields)
        for key in steps or ("Charge#1",):
            self.step(execution_id, key)
        self.fail(execution_id, non_retryable=True)
        return execution_id

    def stuck(self, execution_id: str = "order-1", *steps: str, **fields: Any) -> str:
        """Enqueues a saga whose last step can't be undone."""
        self.compensating(execution_id, *steps, **fields)
        self.start(execution_id)
        self.fail(execution_id, "BankClosed", non_retryable=True)
        return execution_id

    def child(
        self,
        parent_id: str,
        child_id: str = "child-1",
        *,
        key: str = "ship#1",
        digest: bytes = b"d",
        component: Component = Component.HANDLER,
        options: Options | None = None,
        side_effect_failures: int = 0,
        **fields: Any,
    ) -> AnyOutcome:
        request = EnqueueChild(
            key=key,
            digest=digest,
            execution_id=child_id,
            handler="ship",
            component=component,
            arguments=b"[]",
            options=options or Options(retry=STEADY),
            **fields,
        )
        return self.ask(parent_id, request, side_effect_failures=side_effect_failures)

    def wait(
        self, execution_id: str, target_id: str, *, key: str | None = None, timeout_ms: int | None = None
    ) -> AnyOutcome:
        request = WaitForExecution(key=key or target_id, execution_id=target_id, timeout_ms=timeout_ms)
        return self.ask(execution_id, request)

    def receive(
        self,
        execution_id: str,
        name: str = "approve",
        *,
        key: str | None = None,
        timeout_ms: int | None = None,
        side_effect_failures: int = 0,
    ) -> AnyOutcome:
        request = ReceiveSignal(key=key or f"{name}#1", name=name, timeout_ms=timeout_ms)
        return self.ask(execution_id, request, side_effect_failures=side_effect_failures)

    def set_aside(
        self,
        execution_id: str,
        name: str = "approve",
        *,
        key: str | None = None,
        error: str = "by: Expected `str`",
        timeout_ms: int | None = None,
        replayed: bool = False,
    ) -> AnyOutcome:
        """The code can't read what the wait has taken."""
        request = SetSignalAside(
            key=key or f"{name}#1", name=name, error=error, timeout_ms=timeout_ms, replayed=replayed
        )
        return self.ask(execution_id, request)

    def give_up(self, execution_id: str, kind: OperationKind, key: str) -> AnyOutcome:
        """The code does not want the wait any more."""
        return self.ask(execution_id, GiveUp(kind=kind, key=key))

    def refusal(
        self, execution_id: str, kind: OperationKind, key: str, *, digest: bytes = b"d", message: str = "no handler"
    ) -> AnyOutcome:
        """The node refuses the operation before the log is asked."""
        request = RecordRefusal(kind=kind, key=key, digest=digest, reason=Reason.NOT_FOUND, message=message)
        return self.ask(execution_id, request)

    def sleep(self, execution_id: str, duration_ms: int = 60_000, *, key: str = "sleep#1") -> AnyOutcome:
        return self.ask(execution_id, Sleep(key=key, duration_ms=duration_ms))

    def send(
        self, execution_id: str, name: str = "packed", payload: bytes = b"3", *, key: str = "packed#1", **fields: Any
    ) -> AnyOutcome:
        digest = fields.pop("digest", b"d")
        return self.ask(
            execution_id, SendSignalFromAttempt(key=key, name=name, payload=payload, digest=digest, **fields)
        )

    def cancel_from(
        self, execution_id: str, target_id: str, reason: str = "", *, key: str = "c#1", digest: bytes = b"d"
    ) -> AnyOutcome:
        return self.ask(execution_id, CancelFromAttempt(key=key, execution_id=target_id, reason=reason, digest=digest))

    def marker(self, execution_id: str, value: bytes, *, key: str = "now#1") -> AnyOutcome:
        return self.ask(execution_id, RecordMarker(key=key, value=value))

    def begin_side_effect(
        self, execution_id: str, key: str = "quote", *, digest: bytes = b"d", side_effect_failures: int = 0
    ) -> AnyOutcome:
        request = BeginSideEffect(key=key, digest=digest)
        return self.ask(execution_id, request, side_effect_failures=side_effect_failures)

    def complete_side_effect(
        self,
        execution_id: str,
        result: bytes = b"5",
        key: str = "quote",
        *,
        digest: bytes = b"d",
        side_effect_failures: int = 0,
        started_ms: int | None = None,
    ) -> AnyOutcome:
        started_ms = self.now_ms if started_ms is None else started_ms
        request = CompleteSideEffect(key=key, digest=digest, result=result, started_ms=started_ms)
        return self.ask(execution_id, request, side_effect_failures=side_effect_failures)

    def fail_side_effect(
        self,
        execution_id: str,
        key: str = "quote",
        *,
        digest: bytes = b"d",
        retry: RetryPolicy = STEADY,
        side_effect_failures: int = 0,
        started_ms: int | None = None,
        has_run: bool = False,
        **fields: Any,
    ) -> AnyOutcome:
        request = FailSideEffect(
            key=key,
            digest=digest,
            failure=failure(**fields),
            retry=retry,
            started_ms=self.now_ms if started_ms is None else started_ms,
            has_run=has_run,
        )
        return self.ask(execution_id, request, side_effect_failures=side_effect_failures)

    def begin_step(
        self, execution_id: str, key: str = "Charge#1", *, input: bytes = b"{}", digest: bytes = b"d"
    ) -> AnyOutcome:
        return self.ask(execution_id, BeginStep(key=key, target="shop:Charge", input=input, digest=digest))

    def complete_step(self, execution_id: str, key: str = "Charge#1", data: bytes = b'{"id":1}') -> AnyOutcome:
        return self.ask(execution_id, CompleteStep(key=key, data=data))

    def fail_step(
        self,
        execution_id: str,
        key: str = "Charge#1",
        *,
        data: bytes = b"{}",
        compensate: bool = False,
        has_run: bool = False,
    ) -> AnyOutcome:
        request = FailStep(key=key, data=data, failure=failure("CardDeclined"), compensate=compensate, has_run=has_run)
        return self.ask(execution_id, request)

    def step(self, execution_id: str, key: str = "Charge#1") -> None:
        """A step whose transaction runs well."""
        self.begin_step(execution_id, key)
        self.complete_step(execution_id, key)


def ended_of(answer: AnyOutcome) -> Ended:
    assert isinstance(answer, Ended)
    return answer
