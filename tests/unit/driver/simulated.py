"""A node without processes: the real driver, engine and store, with worker hosts that do what they are told.

A simulated attempt is asynchronous code: each of its frames (itself, and the side effects that run inside of it) may
have several calls open. It knows what the node sent it, and nothing of the node's own state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tempolite_node.driver.calls import SignalCheck
from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.inputs import (
    HostDown,
    HostMessages,
    HostUp,
    Inputs,
    Inspect,
    Reconfigure,
    RunInDriver,
    Submit,
)
from tempolite_node.driver.outputs import Happening, RoundOutput
from tempolite_node.engine.commands import (
    AnyCommand,
    AnyRequest,
    BeginSideEffect,
    CompleteAttempt,
    CompleteSideEffect,
    EnqueueChild,
    FailAttempt,
    FailSideEffect,
    ReceiveSignal,
    Sleep,
    SuspendAttempt,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.effects import Failed, Granted
from tempolite_node.engine.model import (
    Component,
    Execution,
    Failure,
    OperationKind,
    Options,
    RetryPolicy,
    prefix_of,
)
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.log.local import LocalLog
from tempolite_node.protocol import messages

from ..engine.story import NODE, START_MS, open_store, registration

HANDLERS = ("h",)
_PARKS = {
    WaitForExecution: OperationKind.WAIT,
    ReceiveSignal: OperationKind.SIGNAL,
    Sleep: OperationKind.TIMER,
    BeginSideEffect: OperationKind.SIDE_EFFECT,
    FailSideEffect: OperationKind.SIDE_EFFECT,
}


@dataclass
class Settings:
    workers: int
    rate_limit: float = 0.0


@dataclass
class OpenCall:
    request: AnyRequest | messages.ChildRequest
    frame: str


@dataclass
class Attempt:
    """In a worker host."""

    execution_id: str
    epoch: int
    host: int
    pool: Component
    recorded: set[tuple[OperationKind, str]]
    frames: dict[str, str] = field(default_factory=lambda: {"": ""})  #: key of each that runs: key of the one around it
    unannounced: set[str] = field(default_factory=set)  #: side effects that run in leased slots
    calls: dict[int, OpenCall] = field(default_factory=dict)
    numbers: int = 0
    keys: Counter[str] = field(default_factory=Counter)

    def key_in(self, frame: str) -> str:
        """The next key of the code that runs in the frame: the same in every attempt that comes as far."""
        self.keys[frame] += 1
        prefix = prefix_of(OperationKind.SIDE_EFFECT, frame) if frame else ""
        return f"{prefix}{self.keys[frame]}"

    def waits_in(self, frame: str) -> bool:
        """For an answer, or for a side effect that runs inside of it and that the node knows of."""
        runs_inside = any(around == frame for key, around in self.frames.items() if key and key not in self.unannounced)
        return runs_inside or any(call.frame == frame for call in self.calls.values())

    def is_open(self, kind: OperationKind, key: str) -> bool:
        return any(_PARKS.get(type(c.request)) is kind and c.request.key == key for c in self.calls.values())

    def leave(self, frame: str) -> None:
        """The frame ends, with the frames and calls inside of it."""
        for inner in [key for key, around in self.frames.items() if around == frame and key != frame]:
            self.leave(inner)
        self.frames.pop(frame, None)
        for number in [number for number, call in self.calls.items() if call.frame == frame]:
            del self.calls[number]


class PromptLog(LocalLog):
    """Syncs in the driver's thread: what a round saves is let out when the round is over."""

    def when_durable(self, act: Callable[[], None], *, idle: bool) -> None:  # noqa: ARG002
        super().when_durable(act, idle=True)


class SimulatedNode:
    def __init__(self, path: Path, pools: Mapping[Component, Settings], *, window_max: int = 10_000) -> None:
        self.path = path
        self.now_ms = START_MS
        self.pools = pools
        self.window_max = window_max
        self.last_alive_ms: int | None = None  #: of the node's process before, if that died
        self.attempts: dict[str, Attempt] = {}
        self.arriving: dict[str, messages.RunHandler | messages.RunCompensation] = {}
        self.reads = True  #: hosts say when they have taken what they were sent to run
        self.hosts: set[int] = set()
        self.stepped: tuple[str, ...] = ()  #: handlers whose attempts say when they are quiet
        self.spare: Counter[int] = Counter()  #: leased slots of each host in which nothing runs
        self.started: list[tuple[Component, str]] = []  #: by the last round
        self.sent: list[tuple[int, messages.ToHost]] = []  #: by the last round
        self.closed_hosts: list[int] = []
        self.closed: list[Execution] = []  #: all that it was told of
        self.happened: list[Happening] = []  #: the same
        self._hosts_made = 0
        self.code_ends = True  #: that of attempts that are abandoned, at once
        self.replaced: list[int] = []  #: hosts that a successor was asked for
        #: Whether a signal to another execution is refused; see `SignalCheck`.
        self.checked: SignalCheck = lambda _request: None
        self.connection, self.executions = open_store(path)
        self.dispatch = Dispatch(
            self.executions,
            node_id=NODE,
            pools=pools,
            clock_s=lambda: self.now_ms / 1_000,
            window_max=window_max,
        )
        self.driver = Driver(
            node_id=NODE,
            executions=self.executions,
            dispatch=self.dispatch,
            inputs=Inputs(),
            outputs=self,
            children=self._child,
            signals=lambda request: self.checked(request),
            registration=lambda at_ms, boot_id: registration(
                at_ms=at_ms,
                boot_id=boot_id,
                handlers=HANDLERS,
                stepped=self.stepped,
                last_alive_ms=self.last_alive_ms,
                hash_seed=self.dispatch.hosts.hash_seed,
            ),
            log=self.make_log,
        )

    def make_log(self, machine: StateMachine) -> Log:
        return PromptLog(
            machine, lambda: self.now_ms, sync=self.sync, post=lambda act: self.driver.put(RunInDriver(act))
        )

    def sync(self) -> None:
        """No test cuts the power."""

    def close(self) -> None:
        self.driver.inputs.close()
        self.executions.close()

    # --- rounds

    def round(self, *inputs: Any) -> None:
        """What is put in is one batch; what comes out is with the worker hosts when it returns."""
        self.started, self.sent = [], []
        for given in inputs or (Inspect(inspect=lambda: None, answer=lambda _: None),):
            self.driver.put(given)
        self.driver._round()

    def publish(self, output: RoundOutput) -> None:
        self.closed += output.closed
        self.happened += output.happened
        for answer, outcome in output.answers:
            answer(outcome)
        for host, batch in output.frames.items():
            for message in batch:
                self.sent.append((host, message))
                self._hear(host, message)
        self.closed_hosts += output.hosts_to_close
        self.replaced += output.hosts_to_replace.keys()
        for host in output.hosts_to_close:
            self.hosts.discard(host)
            for attempt in self.attempts_of(host):
                self._forget(attempt)
            self.driver.put(HostDown(host=host, message="it is wanted no more", crashed=False))

    def restored(self) -> None:
        raise AssertionError("there is no other store")

    def removed(self) -> None:
        raise AssertionError("a node that is alone is not removed")

    def driver_failed(self, error: BaseException) -> None:
        raise error

    def ask(self, command: AnyCommand) -> None:
        self.round(Submit(command=command))

    def reconfigure(self, change: Callable[[], Any]) -> None:
        self.round(Reconfigure(reconfigure=change, answer=lambda _: None))

    # --- worker hosts

    def host_up(self, *, hash_seed: int = 0) -> int:
        self._hosts_made += 1
        self.hosts.add(self._hosts_made)
        self.round(HostUp(host=self._hosts_made, handlers=HANDLERS, stepped=self.stepped, hash_seed=hash_seed))
        return self._hosts_made

    def host_down(self, host: int, *, crashed: bool = True) -> None:
        self.hosts.discard(host)
        for attempt in self.attempts_of(host):
            self._forget(attempt)
        del self.spare[host]
        self.round(HostDown(host=host, message="it died", crashed=crashed))

    def attempts_of(self, host: int) -> list[Attempt]:
        return [attempt for attempt in self.attempts.values() if attempt.host == host]

    def _forget(self, attempt: Attempt) -> None:
        """Nothing runs of it any more: what it had of leased slots is spare again."""
        del self.attempts[attempt.execution_id]
        self.spare[attempt.host] += len(attempt.unannounced)

    def _hear(self, host: int, message: messages.ToHost) -> None:
        match message:
            case messages.RunHandler() | messages.RunCompensation() if message.more:
                self.arriving[message.execution_id] = message
            case messages.RunHandler() | messages.RunCompensation():
                self._run(host, message)
            case messages.JournalPart():
                self._arrive(host, message)
            case messages.AskForMore() if self.reads:
                self.driver.put(HostMessages(host=host, calls=[messages.SendMore()]))
            case messages.Reply():
                attempt = self.attempts.get(message.execution_id)
                if attempt is not None and attempt.epoch == message.epoch:
                    self._answered(attempt, message)
            case messages.LeaseSlots():
                self.spare[host] += message.slots
            case messages.AbandonAttempt():
                attempt = self.attempts.get(message.execution_id)
                if attempt is not None and (attempt.host, attempt.epoch) == (host, message.epoch):
                    self._forget(attempt)
                self.arriving.pop(message.execution_id, None)
                if self.code_ends:
                    self.end_code(host, message)

    def end_code(self, host: int, abandoned: messages.AbandonAttempt) -> None:
        """The code of an attempt that was abandoned has ended, which the next round is told."""
        ended = messages.CodeEnded(execution_id=abandoned.execution_id, epoch=abandoned.epoch)
        self.driver.put(HostMessages(host=host, calls=[ended]))

    def _arrive(self, host: int, part: messages.JournalPart) -> None:
        arriving = self.arriving.pop(part.execution_id)
        assert arriving.epoch == part.epoch
        arrived = replace(arriving, journal=arriving.journal + part.records, more=part.more)
        if part.more:
            self.arriving[part.execution_id] = arrived
        else:
            self._run(host, arrived)

    def _run(self, host: int, message: messages.RunHandler | messages.RunCompensation) -> None:
        assert message.execution_id not in self.attempts, f"{message.execution_id} runs twice"
        execution = self.executions.execution(message.execution_id)
        assert execution is not None
        self.started.append((execution.pool, execution.id))
        self.attempts[message.execution_id] = Attempt(
            execution_id=message.execution_id,
            epoch=message.epoch,
            host=host,
            pool=execution.pool,
            recorded={(record.kind, record.key) for record in message.journal},
        )

    def _answered(self, attempt: Attempt, reply: messages.Reply) -> None:
        call = attempt.calls.pop(reply.call, None)
        if call is None:
            return  # given up by then
        if isinstance(call.request, BeginSideEffect | FailSideEffect):
            if isinstance(reply.answer, Granted):
                attempt.frames[call.request.key] = call.frame
            elif isinstance(call.request, FailSideEffect):
                assert isinstance(reply.answer, Failed)

    # --- what attempts do

    def say(
        self,
        attempt: Attempt,
        frame: str,
        request: AnyRequest | messages.ChildRequest,
        *,
        answered: bool = True,
        leased: bool = False,
    ) -> None:
        if frame:
            self.announce(attempt)
        if attempt.execution_id not in self.attempts and answered:
            return  # it was abandoned meanwhile
        attempt.numbers += 1
        if answered:
            attempt.calls[attempt.numbers] = OpenCall(request, frame)
        self._say(attempt, frame, request, leased=leased)

    def _say(
        self, attempt: Attempt, frame: str, request: AnyRequest | messages.ChildRequest, *, leased: bool = False
    ) -> None:
        call = messages.AttemptCall(
            execution_id=attempt.execution_id,
            epoch=attempt.epoch,
            call=attempt.numbers,
            request=request,
            frame=frame,
            leased=leased,
        )
        self.round(HostMessages(host=attempt.host, calls=[call]))

    def begin_side_effect(self, attempt: Attempt, frame: str) -> None:
        key = attempt.key_in(frame)
        fresh = (OperationKind.SIDE_EFFECT, key) not in attempt.recorded
        if fresh and self.spare[attempt.host] > 0:
            self.spare[attempt.host] -= 1
            attempt.frames[key] = frame
            attempt.unannounced.add(key)
            return
        self.say(attempt, frame, BeginSideEffect(key=key, digest=b"", fresh=fresh))

    def announce(self, attempt: Attempt) -> None:
        """Tells of what runs in leased slots."""
        for key in [key for key in attempt.frames if key in attempt.unannounced]:
            if key in attempt.unannounced:
                attempt.unannounced.discard(key)
                attempt.numbers += 1
                request = BeginSideEffect(key=key, digest=b"", fresh=True)
                self._say(attempt, attempt.frames[key], request, leased=True)

    def look_at_leased_slots(self, host: int) -> None:
        """What runs is told of, and what is spare is given back."""
        for attempt in self.attempts_of(host):
            self.announce(attempt)
        spare, self.spare[host] = self.spare[host], 0
        self.round(HostMessages(host=host, calls=[messages.ReturnSlots(slots=spare)]))

    def _end_leased(self, attempt: Attempt, key: str) -> bool:
        """Whether the side effect ran without the node's knowledge; its slot goes back with the word of its end."""
        leased = key in attempt.unannounced
        attempt.unannounced.discard(key)
        return leased

    def complete_side_effect(self, attempt: Attempt, frame: str) -> None:
        around = attempt.frames[frame]
        leased = self._end_leased(attempt, frame)
        attempt.leave(frame)
        request = CompleteSideEffect(key=frame, digest=b"", result=b"1", started_ms=self.now_ms)
        self.say(attempt, around, request, leased=leased)

    def fail_side_effect(self, attempt: Attempt, frame: str, attempts: int) -> None:
        around = attempt.frames[frame]
        leased = self._end_leased(attempt, frame)
        attempt.leave(frame)
        request = FailSideEffect(
            key=frame,
            digest=b"",
            failure=Failure(type="E"),
            retry=RetryPolicy(maximum_attempts=attempts),
            started_ms=self.now_ms,
        )
        self.say(attempt, around, request, leased=leased)

    def end(self, attempt: Attempt, request: CompleteAttempt | FailAttempt | SuspendAttempt) -> None:
        self._forget(attempt)
        self.say(attempt, "", request, answered=False)

    def unwind(self, attempt: Attempt) -> None:
        """If nothing of it runs."""
        if not all(attempt.waits_in(frame) for frame in attempt.frames):
            return
        waits = tuple(
            (_PARKS[type(call.request)], call.request.key)  # type: ignore[union-attr]
            for call in attempt.calls.values()
            if type(call.request) in _PARKS
        )
        if len(waits) < len(attempt.calls):
            return
        self._forget(attempt)
        self.say(attempt, "", UnwindAttempt(waits=waits), answered=False)

    def _child(self, request: messages.ChildRequest, at_ms: int) -> EnqueueChild:  # noqa: ARG002
        return EnqueueChild(
            key=request.key,
            digest=request.digest,
            execution_id=request.execution_id or f"{request.handler}-{self.executions.last_row()}",
            handler=request.handler,
            component=Component.HANDLER,
            arguments=request.arguments,
            options=Options(),
        )
