"""Publishes the output of a round: frames to worker hosts, answers to callers, wakes to those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from tempolite_node.driver.inputs import Inputs, Inspect
from tempolite_node.driver.outputs import RoundOutput
from tempolite_node.engine.model import Execution
from tempolite_node.node.execution_log import ExecutionLog
from tempolite_node.node.watch import Watch
from tempolite_node.protocol import messages
from tempolite_node.store.writer import StoreWriter
from tempolite_node.supervisor.supervisor import Supervisor


class Publisher:
    """Implements the driver's `Outputs`: its public methods are for any thread, the others for the event loop's."""

    def __init__(
        self,
        *,
        inputs: Inputs,
        executions: StoreWriter,
        supervisor: Supervisor,
        watch: Watch,
        execution_log: ExecutionLog,
        on_removed: Callable[[], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """executions: looked at in the driver's thread alone.

        on_removed, on_failed: called in any thread when the node has left its cluster, and when the driver has failed.
        """
        self._inputs = inputs
        self._executions = executions
        self._supervisor = supervisor
        self._watch = watch
        self._execution_log = execution_log
        self._on_removed = on_removed
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()

    def publish(self, output: RoundOutput) -> None:
        self._execution_log.published(output.closed, output.happened)
        rest = self._supervisor.deliver(output.frames)
        watched = self._watch.advance(closed=output.closed, signalled=output.signalled, revision=output.revision)
        if watched or output.answers or rest or output.hosts_to_close or output.hosts_to_replace:
            self._loop.call_soon_threadsafe(self._published, rest, output)

    def restored(self) -> None:
        self._loop.call_soon_threadsafe(self._look_again)

    def removed(self) -> None:
        self._on_removed()

    def driver_failed(self, error: BaseException) -> None:
        self._on_failed(error)

    # --- in the event loop

    def _published(self, frames: Mapping[int, Sequence[messages.ToHost]], output: RoundOutput) -> None:
        """frames: for hosts that are not up yet."""
        self._supervisor.use_hash_seed(output.hash_seed)
        self._supervisor.send(frames, output.hosts_to_close)
        self._supervisor.replace(output.hosts_to_replace)
        for answer, value in output.answers:
            answer(value)
        self._watch.published(closed=output.closed, signalled=output.signalled)

    def _look_again(self) -> None:
        """What is waited for may have ended while this node was behind."""
        ids = self._watch.waited_for()

        def found(executions: Sequence[Execution | None]) -> None:
            closed = [execution for execution in executions if execution is not None and execution.closed]
            self._watch.published(closed=closed, signalled=ids)

        self._inputs.put(Inspect(lambda: [self._executions.execution(each) for each in ids], found))
