"""The node: what happens in it, and at which commits it crashes."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, cast

import apsw

from tempolite_node.driver.dispatch import Dispatch
from tempolite_node.driver.driver import Driver
from tempolite_node.driver.inputs import HostMessages, HostUp, Inputs, Inspect, RunInDriver, Submit
from tempolite_node.driver.outputs import RoundOutput
from tempolite_node.engine.commands import (
    AnyCommand,
    Cancel,
    Enqueue,
    EnqueueChild,
    RegisterNode,
    SendSignal,
    Terminate,
)
from tempolite_node.engine.effects import AnyOutcome, Reason, Refused, Rejection
from tempolite_node.engine.formats import FORMAT
from tempolite_node.engine.model import (
    Component,
    EndedAttempt,
    Execution,
    Operation,
    Options,
    RetryPolicy,
    ServedHandler,
    Signal,
)
from tempolite_node.engine.work import Work
from tempolite_node.errors import NodeError
from tempolite_node.log.base import Log, StateMachine
from tempolite_node.log.local import LocalLog
from tempolite_node.protocol import messages
from tempolite_node.store.database import open_writer
from tempolite_node.store.queries import Queries
from tempolite_node.store.rows import INBOX
from tempolite_node.store.writer import StoreWriter, claim_store
from tempolite_node.worker_host.exact.ordering import give_order
from tempolite_node.worker_host.registry import Handler
from tempolite_sdk.signatures import signature_of

from .host import Host

NODE = "kit"
START_MS = 1_700_000_000_000
ONCE = Options(retry=RetryPolicy(maximum_attempts=1))
_ROUNDS_MAX = 10_000  #: until neither the node nor its host has anything left to do


class Crash(BaseException):
    """The process of the node ends here, as by SIGKILL."""


@cache
def _empty_store() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        connection = open_writer(path)
        claim_store(connection, NODE)
        connection.close()
        return path.read_bytes()


class _Store(StoreWriter):
    """Tells of each commit of an execution, before and after it."""

    def __init__(self, connection: apsw.Connection, at_commit: Callable[[str, Work], None]) -> None:
        super().__init__(connection)
        self._at_commit = at_commit

    def save(self, work: Work, index: int) -> None:
        counts = bool(work.executions or any(work.operations.values()))
        if counts:
            self._at_commit("before", work)
        super().save(work, index)
        if counts:
            self._at_commit("after", work)


class _Log(LocalLog):
    """Syncs in the driver's thread."""

    def when_durable(self, act: Callable[[], None], *, idle: bool) -> None:  # noqa: ARG002
        super().when_durable(act, idle=True)


class _Pool:
    rate_limit = 0.0

    def __init__(self, workers: int) -> None:
        self.workers = workers


class Node:
    """Serves functions, under their own names."""

    def __init__(
        self,
        directory: Path,
        handlers: Mapping[str, Callable[..., Any]],
        *,
        workers: int = 4,
        parked_max: int = 1_000,
        looks: bool = True,
        one_by_one: bool = False,
    ) -> None:
        """workers: of each pool. parked_max, looks: see `Host`. one_by_one: each word of the host is a round."""
        give_order()
        self.now_ms = START_MS
        self.handlers = [_handler(name, function) for name, function in handlers.items()]
        self.crashes = 0
        self.hosts: list[Host] = []  #: all that there were
        #: Called around each commit of an execution, with "before" or "after"; may raise Crash.
        self.at_commit: Callable[[str, Work], None] = lambda _moment, _work: None
        self._pools = {component: _Pool(workers) for component in Component}
        self._parked_max, self._looks, self._one_by_one = parked_max, looks, one_by_one
        self._child_numbers = itertools.count(1)
        path = directory / "store.db"
        path.write_bytes(_empty_store())
        self._connection = open_writer(path)
        self._connection.pragma("synchronous", "off")  # nobody cuts the power
        self.store = _Store(self._connection, lambda moment, work: self.at_commit(moment, work))
        self.queries = Queries(self._connection)
        self._start()
        self.round()

    # --- its processes

    @property
    def host(self) -> Host:
        return self.hosts[-1]

    def _start(self) -> None:
        self.driver = Driver(
            node_id=NODE,
            executions=self.store,
            dispatch=Dispatch(
                self.store, node_id=NODE, pools=self._pools, clock_s=lambda: self.now_ms / 1_000, window_max=10_000
            ),
            inputs=Inputs(),
            outputs=self,
            children=self._child,
            signals=lambda _request: None,
            registration=self._registration,
            log=self._make_log,
        )
        self._start_host()

    def _start_host(self) -> None:
        host = Host(len(self.hosts) + 1, self.handlers, parked_max=self._parked_max, looks=self._looks)
        self.hosts.append(host)
        names = tuple(each.spec.name for each in self.handlers)
        stepped = tuple(each.spec.name for each in self.handlers if each.asynchronous)
        self.driver.put(HostUp(host=host.number, handlers=names, stepped=stepped))

    def _make_log(self, machine: StateMachine) -> Log:
        return _Log(
            machine,
            lambda: self.now_ms,
            sync=lambda: None,
            post=lambda act: self.driver.put(RunInDriver(act)),
        )

    def _registration(self, at_ms: int, boot_id: str) -> RegisterNode:
        served = tuple(
            ServedHandler(name=each.spec.name, component=each.component, stepped=each.asynchronous)
            for each in self.handlers
        )
        slots = dict.fromkeys(Component, 10)
        return RegisterNode(at_ms=at_ms, node_id=NODE, boot_id=boot_id, handlers=served, slots=slots, format=FORMAT)

    def _child(self, request: messages.ChildRequest, at_ms: int) -> EnqueueChild | Refused:  # noqa: ARG002
        handler = next((each for each in self.handlers if each.spec.name == request.handler), None)
        if handler is None:
            return Refused(reason=Reason.NOT_FOUND, message=f"no node serves {request.handler!r}")
        return EnqueueChild(
            key=request.key,
            digest=request.digest,
            execution_id=request.execution_id or f"child-{next(self._child_numbers)}",
            handler=request.handler,
            component=handler.component,
            arguments=request.arguments,
            options=Options(retry=ONCE.retry, close_policy=request.close_policy),
            delay_ms=request.options.delay_ms or 0,
        )

    def crash(self) -> None:
        """The process ends, and its host with it; another one starts on what is saved."""
        while True:
            self.host.die()
            self.crashes += 1
            self.driver.inputs.close()
            self.store.open(self._connection)
            self._start()
            if self._survives_round():
                return

    def close(self) -> None:
        self.host.die()
        self.driver.inputs.close()
        self.store.close()
        for host in self.hosts:
            host.bury()

    # --- rounds

    def round(self, *inputs: Any) -> None:
        """One batch of the driver."""
        for given in inputs or (Inspect(inspect=lambda: None, answer=lambda _: None),):
            self.driver.put(given)
        if not self._survives_round():
            self.crash()

    def _survives_round(self) -> bool:
        try:
            self.driver._round()
        except Crash:
            return False
        return True

    def settle(self) -> None:
        """Until neither the node nor its host has anything left to do by itself."""
        for _ in range(_ROUNDS_MAX):
            said = self.host.said()
            if not said:
                self.host.look()
                said = self.host.said()
            if not said and not self._has_work:
                return
            host = self.host
            for calls in [[each] for each in said] if self._one_by_one and said else [said]:
                self._hear(host, calls)
        raise AssertionError("the node and its host do not come to rest")

    def _hear(self, host: Host, calls: Sequence[messages.FromHost]) -> None:
        if host.alive:
            self.round(*[HostMessages(host=host.number, calls=cast(Any, list(calls)))] if calls else [])

    @property
    def _has_work(self) -> bool:
        if bool(self.driver.inputs) or self.driver._holds_back:
            return True
        due_ms = self.store.next_due_ms()
        return due_ms is not None and due_ms <= self.now_ms

    # --- as the outputs of the driver

    def publish(self, output: RoundOutput) -> None:
        for answer, outcome in output.answers:
            answer(outcome)
        assert not output.hosts_to_close, "a host is alone"
        for number, batch in output.frames.items():
            if self.host.number == number and self.host.alive:
                self.host.take(batch)

    def restored(self) -> None:
        raise AssertionError("there is no other store")

    def removed(self) -> None:
        raise AssertionError("a node that is alone is not removed")

    def driver_failed(self, error: BaseException) -> None:
        raise error

    # --- clients, and the clock

    def ask(self, command: AnyCommand) -> AnyOutcome | NodeError | None:
        """What it comes to; None: the node crashed, and nobody knows."""
        outcomes: list[AnyOutcome | NodeError] = []
        self.round(Submit(command=command, answer=outcomes.append))
        return outcomes[0] if outcomes else None

    def enqueue(self, handler: str, *arguments: Any, id: str, options: Options = ONCE) -> None:
        component = next(each.component for each in self.handlers if each.spec.name == handler)
        self.ask(
            Enqueue(
                at_ms=self.now_ms,
                execution_id=id,
                request_id=id,
                component=component,
                handler=handler,
                arguments=json.dumps(arguments).encode(),
                options=options,
            )
        )

    def signal(self, id: str, name: str, payload: Any, *, request_id: str | None = None) -> bool:
        """Whether it is in the inbox, as far as is known."""
        data = json.dumps(payload).encode()
        outcome = self.ask(
            SendSignal(at_ms=self.now_ms, execution_id=id, name=name, payload=data, request_id=request_id)
        )
        return outcome is not None and not isinstance(outcome, Rejection | NodeError)

    def cancel(self, id: str, reason: str) -> None:
        self.ask(Cancel(at_ms=self.now_ms, execution_id=id, reason=reason))

    def terminate(self, id: str, reason: str) -> None:
        self.ask(Terminate(at_ms=self.now_ms, execution_id=id, reason=reason))

    @property
    def next_due_ms(self) -> int | None:
        return self.store.next_due_ms()

    def advance_to(self, due_ms: int) -> None:
        self.now_ms = max(self.now_ms, due_ms)
        self.round()

    def unwind(self) -> None:
        self.host.unwind()
        self.settle()

    # --- what is stored

    def execution(self, id: str) -> Execution:
        execution = self.store.execution(id)
        assert execution is not None, f"no execution {id}"
        return execution

    def executions(self) -> list[Execution]:
        rows = range(1, self.store.last_row() + 1)
        return [each for each in map(self.store.execution_at, rows) if each is not None]

    def operations(self, id: str) -> list[Operation]:
        return self.queries.operations(self.execution(id).row, 10_000)

    def attempts(self, id: str) -> list[EndedAttempt]:
        return self.queries.attempts(self.execution(id).row)

    def inbox(self, id: str) -> list[Signal]:
        """Signals that it was sent, whether they have been consumed or not."""
        rows = self._connection.execute(f"{INBOX.select} WHERE execution_row = ?", (self.execution(id).mailbox_row,))
        return [INBOX.value(row) for row in rows]

    def outbox(self, id: str) -> list[Signal]:
        return self.queries.outbox(self.execution(id).mailbox_row, "", 0, 10_000)


def _handler(name: str, function: Callable[..., Any]) -> Handler:
    signature = signature_of(function)
    context = signature.context_type
    told = str(context)
    return Handler(
        spec=messages.HandlerSpec(name=name, target=f"kit:{name}"),
        function=function,
        signature=signature,
        component=Component.SAGA if "Saga" in told else Component.HANDLER,
        asynchronous="Async" in told,
        params={},
    )


@contextmanager
def node(handlers: Mapping[str, Callable[..., Any]], **settings: Any) -> Iterator[Node]:
    with tempfile.TemporaryDirectory() as directory:
        started = Node(Path(directory), handlers, **settings)
        try:
            yield started
        finally:
            started.close()
