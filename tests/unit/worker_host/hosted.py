"""A whole node in one process: the real driver, engine and store, and the runner of a worker host, without processes.

What a host says is a round of its own. At a kill nothing of it is heard any more, and its stacks stay where they are.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, cast

from msgspec.structs import replace

from tempolite_node.driver.inputs import HostMessages
from tempolite_node.driver.outputs import RoundOutput
from tempolite_node.engine.commands import Cancel, Enqueue, SendSignal
from tempolite_node.engine.formats import EXACT_REPLAY, FORMAT
from tempolite_node.engine.model import Component, Execution, OperationKind, Options, RetryPolicy, Status
from tempolite_node.protocol import messages
from tempolite_node.worker_host.attempt import Services
from tempolite_node.worker_host.channel import Channel
from tempolite_node.worker_host.leased_slots import LeasedSlots
from tempolite_node.worker_host.parking import Parking
from tempolite_node.worker_host.registry import Handler, Registry
from tempolite_node.worker_host.runner import Runner
from tempolite_sdk.signatures import signature_of

from ..driver.simulated import Settings, SimulatedNode
from ..engine.story import new_store

_PATIENCE_S = 20.0
ONCE = Options(retry=RetryPolicy(maximum_attempts=1))
_LEFT: list[Runner] = []  #: of killed hosts: a stack that is collected would run its cleanup code, at any time
RETRIED = Options(retry=RetryPolicy(initial_interval_ms=1, jitter=0.0))


class _Said:
    """The way from the host to the node."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[messages.FromHost] = SimpleQueue()

    def add(self, message: messages.FromHost) -> None:
        self.queue.put(message)

    def send(self, message: messages.FromHost) -> None:
        self.add(message)

    def flush(self) -> None: ...


class HostedNode(SimulatedNode):
    """Serves one handler, "h"; `serve` gives it other code, params or settings at the next host."""

    def __init__(self, path: Path, workers: int) -> None:
        super().__init__(path, {component: Settings(workers) for component in Component})
        self.parked_max = 1_000
        self.format = FORMAT  #: in which the executions were enqueued, as hosts are told
        self.begun = 0  #: attempts that were given to hosts
        self._park_clock_s = 0.0
        self._host = 0

    def serve(self, function: Callable[..., Any], params: Any = None, *, secrets: Any = (), asynchronous: bool) -> None:
        """By a new host; the one before it is killed."""
        if self._host:
            self.kill()
        spec = messages.HandlerSpec(
            name="h", target="m:h", params=json.dumps(params or {}).encode(), secret_params=tuple(secrets)
        )
        signature = signature_of(function)
        handler = Handler(
            spec=spec,
            function=function,
            signature=signature,
            component=Component.SAGA if "Saga" in str(signature.context_type) else Component.HANDLER,
            asynchronous=asynchronous,
            params=params,
        )
        self.said = _Said()
        channel = cast(Channel, self.said)
        self.parking = Parking(parked_max=self.parked_max, ttl_s=60, clock=lambda: self._park_clock_s)
        self.services = Services(
            channel=channel,
            registry=Registry([handler]),
            parking=self.parking,
            slots=LeasedSlots(lambda slots: channel.send(messages.ReturnSlots(slots=slots))),
            payload_bytes_max=1 << 20,
        )
        self.runner = Runner(self.services)
        self.stepped = ("h",) if asynchronous and self.format >= EXACT_REPLAY else ()
        self._host = self._hosts_made + 1
        self.host_up()

    def kill(self) -> None:
        self.leave()
        self.said = _Said()
        self.host_down(self._host, crashed=False)

    def leave(self) -> None:
        """The host turns no more, and keeps nothing that the process has few of."""
        _LEFT.append(self.runner)
        loop = self.runner._loop
        if loop.started:
            loop.call(partial(_stand_still, loop._started()))
        else:
            loop._selector.close()

    def unwind(self, *_: Any) -> None:
        """All that is parked."""
        self.expire()
        self.until(lambda: not any(each.attached for each in self.all_executions()))

    def expire(self) -> None:
        """All that is parked has been so for too long, and is unwound if it only waits."""
        self._park_clock_s += 1_000
        self.parking.unwind_expired()

    # --- in and out

    def publish(self, output: RoundOutput) -> None:
        self.closed += output.closed
        self.happened += output.happened
        for answer, outcome in output.answers:
            answer(outcome)
        for host, batch in output.frames.items():
            if host == self._host:
                for message in batch:
                    self.sent.append((host, message))
                    self._tell(message)
                self.runner.deliver()

    def _tell(self, message: messages.ToHost) -> None:
        match message:
            case messages.Reply():
                self.runner.reply(message)
            case messages.RunHandler() | messages.RunCompensation():
                self.begun += 1
                self.runner.start(replace(message, format=self.format))
            case messages.LeaseSlots():
                self.services.slots.leased(message.slots)
            case messages.CancelAttempt():
                self.runner.cancel(message)
            case messages.AbandonAttempt():
                self.runner.abandon(message)

    def until(self, reached: Callable[[], object]) -> None:
        """Lets node and host talk until it is so."""
        end = time.monotonic() + _PATIENCE_S
        while not reached():
            told = [(each.id, each.status, each.failure) for each in self.all_executions()]
            assert time.monotonic() < end, f"it did not come to that: {told}"
            try:
                said = self.said.queue.get(timeout=0.02)
            except Empty:
                continue
            self.round(HostMessages(host=self._host, calls=[cast(Any, said)]))

    def all_executions(self) -> list[Execution]:
        rows = range(1, self.executions.last_row() + 1)
        return [each for each in map(self.executions.execution_at, rows) if each is not None]

    def rest(self) -> None:
        """Until nothing runs: whatever has not ended waits, and its stack is parked or gone."""
        self.until(self.rests)

    def rests(self) -> bool:
        held = [each for each in self.all_executions() if each.attached]
        waiting = all(each.status is Status.WAITING for each in held)
        if not waiting or any(each.ready_at for each in self.all_executions()):
            return False
        return len(self.parking) == len(held) and self.said.queue.empty()  # a stack is parked when it has said all

    def busy(self) -> dict[str, int]:
        """Slots that are taken."""
        return {component.value: pool.busy for component, pool in self.dispatch.pools.items() if pool.busy}

    def advance(self, milliseconds: int) -> None:
        self.now_ms += milliseconds
        self.round()

    def enqueue(self, execution_id: str = "x", *, saga: bool = False, **fields: Any) -> None:
        component = Component.SAGA if saga else Component.HANDLER
        given: dict[str, Any] = {"options": ONCE, "arguments": b"[]", **fields}
        self.ask(Enqueue(at_ms=self.now_ms, execution_id=execution_id, component=component, handler="h", **given))

    def signal(self, name: str, payload: Any = None, execution_id: str = "x") -> None:
        data = json.dumps(payload).encode()
        self.ask(SendSignal(at_ms=self.now_ms, execution_id=execution_id, name=name, payload=data))

    def cancel(self, execution_id: str = "x") -> None:
        self.ask(Cancel(at_ms=self.now_ms, execution_id=execution_id, reason="enough"))

    def execution(self, execution_id: str = "x") -> Execution:
        execution = self.executions.execution(execution_id)
        assert execution is not None
        return execution

    def recorded(self, kind: OperationKind, key: str, execution_id: str = "x") -> bool:
        """Whether an operation of it has come to its end."""
        operation = self.executions.operation(self.execution(execution_id).row, kind, key)
        return operation is not None and operation.closed_ms is not None

    def result(self, execution_id: str = "x") -> Any:
        """Once it has ended."""
        self.until(lambda: self.execution(execution_id).closed)
        execution = self.execution(execution_id)
        assert execution.failure is None, execution.failure
        return json.loads(execution.result or b"null")


def _stand_still(loop: Any) -> None:
    """Of a killed host, for ever: a loop that ended would clean up."""
    for each in (loop._selector, loop._ssock, loop._csock):
        each.close()
    threading.Event().wait()


@contextmanager
def hosted(workers: int = 4) -> Iterator[HostedNode]:
    with tempfile.TemporaryDirectory() as directory:
        node = HostedNode(new_store(Path(directory, "store.db")), workers)
        yield node
        if node._host:
            node.leave()
        node.close()
