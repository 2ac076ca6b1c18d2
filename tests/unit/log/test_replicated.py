"""How a node's commands become entries of a real log, and come back: one member on loopback, or one without the other.

The node is a simulated one, with the real driver, engine and store; Raft runs in its own thread, and what it has for
the driver is taken in rounds of the test's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tempolite_node.driver.inputs import Barrier, RunInDriver, Submit, SubmitBatch
from tempolite_node.engine.commands import AnyCommand, Batch, Cancel, Enqueue, LoseNode
from tempolite_node.engine.effects import Enqueued, Rejection
from tempolite_node.engine.formats import FORMAT
from tempolite_node.engine.model import Component, Options, Status
from tempolite_node.errors import NoQuorum, OutcomeUnknown, Overloaded, Unavailable
from tempolite_node.log.base import StateMachine
from tempolite_node.log.raft.entries import Member, RequestId
from tempolite_node.log.raft.errors import RaftBroken
from tempolite_node.log.raft.raft_log import RaftConfig
from tempolite_node.log.raft.timing import Limits, Timing
from tempolite_node.log.replicated import ReplicatedLog
from tempolite_node.store.database import open_reader
from tempolite_node.store.readers import Readers
from tempolite_node.store.snapshots import StoreSnapshots
from tests.cluster.lab import free_ports

from ..driver.simulated import HANDLERS, Settings, SimulatedNode
from ..engine.invariants import check
from ..engine.story import NODE, new_store, registration

TIMING = Timing(heartbeat_s=0.05, election_min_s=0.2, election_max_s=0.3, tick_s=0.005)
POOLS = {component: Settings(1) for component in Component}


class ReplicatedNode(SimulatedNode):
    def __init__(
        self, directory: Path, *, members: int = 1, write_timeout_s: float = 10.0, limits: Limits | None = None
    ) -> None:
        """members: of the cluster; those beside this one never run."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(members)]
        self.config = RaftConfig(
            cluster="shop",
            node_id=NODE,
            listen=addresses[0],
            directory=directory,
            members=tuple(Member(f"node-{number}", address) for number, address in enumerate(addresses, 1)),
            timing=TIMING,
            limits=limits or Limits(),
        )
        self.write_timeout_s = write_timeout_s
        self.failures: list[BaseException] = []
        self.restores = 0
        path = directory / "store.db"
        super().__init__(path if path.exists() else new_store(path), POOLS)
        self.log.start()

    def make_log(self, machine: StateMachine) -> ReplicatedLog:
        self.readers = Readers(self.path)
        self.snapshots = StoreSnapshots(self.executions, self.readers, NODE)
        self.log = ReplicatedLog(
            machine,
            self.config,
            snapshots=self.snapshots,
            boot_id=lambda: self.driver.boot_id,
            post=lambda act: self.driver.put(RunInDriver(act=act)),
            on_failure=self.failures.append,
            on_removed=lambda: None,
            on_question=lambda _peer, _question: b"",
            wall_clock_ms=lambda: self.now_ms,
            node_timeout_s=10.0,
            write_timeout_s=self.write_timeout_s,
        )
        return self.log

    def restored(self) -> None:
        self.restores += 1

    def until(self, come_true: Callable[[], Any]) -> None:
        """Rounds, each as soon as there is something for it."""
        while not come_true():
            self.driver._round()

    def outcomes(self, *commands: AnyCommand) -> list[Any]:
        """What the commands come to."""
        told: list[Any] = []
        for command in commands:
            self.driver.put(Submit(command=command, answer=told.append))
        self.until(lambda: len(told) == len(commands))
        return told

    def registered(self) -> None:
        self.until(lambda: NODE in self.executions.nodes() and self.log.idle)

    def stop(self) -> None:
        self.log.stop()
        self.readers.close()
        self.close()


def enqueue(execution_id: str, arguments: bytes = b"[]") -> Enqueue:
    return Enqueue(
        at_ms=0,
        execution_id=execution_id,
        handler=HANDLERS[0],
        component=Component.HANDLER,
        arguments=arguments,
        options=Options(),
    )


def enqueued(execution_id: str) -> Enqueued:
    return Enqueued(execution_id=execution_id, component=Component.HANDLER)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., ReplicatedNode]]:
    made: list[ReplicatedNode] = []

    def make(**fields: Any) -> ReplicatedNode:
        made.append(ReplicatedNode(tmp_path, **fields))
        return made[-1]

    yield make
    for node in made:
        node.stop()


@pytest.fixture
def node(make: Callable[..., ReplicatedNode]) -> ReplicatedNode:
    """One that has registered."""
    node = make()
    node.registered()
    return node


def entry(node: ReplicatedNode, batch: Batch, times: int = 1) -> None:
    """Has the log order it, as if it came from whichever node and process it names, and waits until it is applied."""
    ordered: list[Any] = []
    for _ in range(times):
        node.log.raft.propose(
            msgspec.msgpack.encode(batch),
            request_id=next_request(),
            timeout_s=10.0,
            on_outcome=lambda outcome: node.driver.put(RunInDriver(act=partial(ordered.append, outcome))),
        )
    node.until(lambda: len(ordered) == times)


_requests = iter(range(1, 1_000))


def next_request() -> RequestId:
    return RequestId(next(_requests).to_bytes(16, "big"))


def test_a_node_makes_itself_known_and_then_its_commands_are_answered(node: ReplicatedNode) -> None:
    before = node.executions.applied_index

    assert node.outcomes(enqueue("a")) == [enqueued("a")]

    assert node.executions.applied_index == node.log.index > before
    assert node.executions.nodes()[NODE].boot_id == node.driver.boot_id
    assert node.log.idle
    assert node.log.leads


def test_what_is_asked_before_the_node_has_made_itself_known_is_done_after_it(
    make: Callable[..., ReplicatedNode],
) -> None:
    node = make()

    assert node.outcomes(enqueue("a"), enqueue("b")) == [enqueued("a"), enqueued("b")]


def test_commands_are_decided_in_the_order_in_which_they_were_asked(node: ReplicatedNode) -> None:
    outcomes = node.outcomes(*[enqueue(f"e{number % 50}") for number in range(100)])

    assert outcomes[:50] == [enqueued(f"e{number}") for number in range(50)]
    assert all(isinstance(outcome, Rejection) for outcome in outcomes[50:])
    rows = [node.executions.execution(f"e{number}").row for number in range(50)]  # type: ignore[union-attr]
    assert rows == sorted(rows)


def test_more_than_an_entry_takes_is_several_entries(node: ReplicatedNode) -> None:
    before = node.executions.applied_index

    outcomes = node.outcomes(*[enqueue(f"e{number}", b'"' + b"x" * 400_000 + b'"') for number in range(5)])

    assert outcomes == [enqueued(f"e{number}") for number in range(5)]
    assert node.executions.applied_index >= before + 3


def test_a_command_that_is_larger_than_an_entry_of_several_has_one_of_its_own(node: ReplicatedNode) -> None:
    assert node.outcomes(enqueue("a", b'"' + b"x" * 3_000_000 + b'"'), enqueue("b")) == [enqueued("a"), enqueued("b")]


def test_all_of_a_batch_of_commands_are_answered_at_once(node: ReplicatedNode) -> None:
    told: list[Any] = []

    node.driver.put(SubmitBatch(commands=[enqueue("a"), enqueue("a"), enqueue("b")], answer=told.append))
    node.until(lambda: told)

    [[first, second, third]] = told
    assert (first, third) == (enqueued("a"), enqueued("b"))
    assert isinstance(second, Rejection)


def test_an_attempt_runs_when_its_start_is_ordered(node: ReplicatedNode) -> None:
    node.driver.put(RunInDriver(act=lambda: None))
    node.host_up()

    node.outcomes(enqueue("a"))
    node.until(lambda: "a" in node.attempts)

    started = node.executions.execution("a")
    assert started is not None
    assert (started.status, started.epoch) == (Status.RUNNING, node.attempts["a"].epoch)


# --- entries that come twice, or too late


def test_an_entry_that_the_log_has_twice_is_applied_once(node: ReplicatedNode) -> None:
    sequence = node.executions.sequence(NODE) + 1
    batch = Batch(node_id=NODE, boot_id=node.driver.boot_id, sequence=sequence, at_ms=0, commands=(enqueue("a"),))

    entry(node, batch, times=3)

    assert node.executions.last_row() == 1
    assert node.executions.sequence(NODE) == sequence
    check(node.connection, node.executions)


def test_an_entry_of_an_earlier_process_is_passed_over(node: ReplicatedNode) -> None:
    entry(node, Batch(node_id=NODE, boot_id="earlier", sequence=99, at_ms=0, commands=(enqueue("a"),)))

    assert node.executions.execution("a") is None
    assert node.outcomes(enqueue("b")) == [enqueued("b")]


def test_a_node_that_finds_another_process_in_its_place_makes_itself_known_again(node: ReplicatedNode) -> None:
    other = registration(boot_id="other", handlers=HANDLERS)
    entry(node, Batch(node_id=NODE, boot_id="other", sequence=1, at_ms=0, commands=(other,)))

    assert node.outcomes(enqueue("a")) == [enqueued("a")]

    assert node.executions.nodes()[NODE].boot_id == node.driver.boot_id


def test_what_is_under_way_when_another_process_turns_up_is_not_lost(node: ReplicatedNode) -> None:
    other = registration(boot_id="other", handlers=HANDLERS)
    batch = Batch(node_id=NODE, boot_id="other", sequence=1, at_ms=0, commands=(other,))
    node.log.raft.propose(
        msgspec.msgpack.encode(batch), request_id=next_request(), timeout_s=10.0, on_outcome=lambda _: None
    )

    assert node.outcomes(enqueue("a")) == [enqueued("a")]

    assert node.executions.nodes()[NODE].boot_id == node.driver.boot_id


def test_the_silence_of_a_process_that_another_one_has_followed_costs_nobody_anything(node: ReplicatedNode) -> None:
    first, second = (registration("node-2", boot_id=run, handlers=()) for run in ("first", "second"))
    for process in (first, second):
        entry(node, Batch(node_id="node-2", boot_id=process.boot_id, sequence=1, at_ms=0, commands=(process,)))
    node.outcomes(enqueue("a"))  # and what was ordered before is saved

    node.driver.lost("node-2", "first")
    node.outcomes(enqueue("b"))
    assert node.driver.live_boot_ids == {NODE: node.driver.boot_id, "node-2": "second"}

    node.driver.lost("node-2", "second")
    node.outcomes(enqueue("c"))
    assert node.driver.live_boot_ids == {NODE: node.driver.boot_id}


def test_what_a_node_could_not_start_while_it_was_taken_for_dead_is_started_when_it_is_back(
    node: ReplicatedNode,
) -> None:
    node.outcomes(enqueue("a"))
    other = registration("node-2", handlers=())
    lost = LoseNode(at_ms=0, node_id=NODE, boot_id=node.driver.boot_id)
    said = Batch(node_id="node-2", boot_id=other.boot_id, sequence=1, at_ms=0, commands=(other, lost))
    node.log.raft.propose(
        msgspec.msgpack.encode(said), request_id=next_request(), timeout_s=10.0, on_outcome=lambda _: None
    )

    node.host_up()  # asks for the start of `a`, behind the other node's word

    node.outcomes(enqueue("b"))
    node.until(lambda: node.attempts)
    assert node.executions.nodes()[NODE].live
    assert list(node.attempts) == ["a"]


def test_an_entry_of_a_later_version_stops_the_node(node: ReplicatedNode) -> None:
    batch = Batch(format=FORMAT + 1, node_id="node-2", boot_id="r", sequence=1, at_ms=0)

    with pytest.raises(RaftBroken, match=f"has format {FORMAT + 1}, of a later version: upgrade this node"):
        entry(node, batch)


def test_a_node_that_does_not_know_what_comes_into_use_stops_before_it_is_on_disk(node: ReplicatedNode) -> None:
    later = registration(NODE, boot_id="of a later version", format=FORMAT + 1)
    batch = Batch(node_id=NODE, boot_id=later.boot_id, sequence=1, at_ms=0, commands=(later,))
    saved = node.executions.applied_index

    message = f"the log is in format {FORMAT + 1}, and this version of node {NODE} knows up to {FORMAT}: upgrade it"
    with pytest.raises(Unavailable, match=message):
        entry(node, batch)

    assert node.executions.applied_index == saved


def test_after_a_crash_what_the_store_does_not_have_is_applied_again(
    make: Callable[..., ReplicatedNode], tmp_path: Path
) -> None:
    node = make()
    node.registered()
    node.outcomes(enqueue("a"))
    earlier = tmp_path / "earlier.db"
    node.snapshots.make(earlier)
    node.outcomes(enqueue("b"), Cancel(at_ms=0, execution_id="a"))
    node.stop()
    for left in tmp_path.glob("store.db*"):
        left.unlink()
    shutil.copy(earlier, node.path)

    again = make()
    again.until(lambda: again.executions.nodes()[NODE].boot_id == again.driver.boot_id)

    assert again.executions.execution("b") is not None
    assert again.executions.execution("a").status is Status.CANCELLED  # type: ignore[union-attr]
    assert again.executions.nodes()[NODE].incarnation == 2
    check(again.connection, again.executions)


# --- the store of another node


def test_a_node_that_takes_the_store_of_another_one_begins_anew(node: ReplicatedNode, tmp_path: Path) -> None:
    node.host_up()
    node.outcomes(enqueue("a"), enqueue("b"))
    node.until(lambda: "a" in node.attempts and node.log.idle)
    epoch, boot_id = node.attempts["a"].epoch, node.driver.boot_id
    other = tmp_path / "other.db"
    index = node.snapshots.make(other)
    told: list[Any] = []

    def install() -> None:
        node.snapshots.install(other)
        node.log.installed(index)

    node.driver.put(Submit(command=enqueue("c"), answer=told.append))
    node.driver.put(RunInDriver(act=install))
    node.until(lambda: "a" in node.attempts and node.attempts["a"].epoch > epoch)

    assert node.restores == 1
    assert [type(outcome) for outcome in told] == [OutcomeUnknown]
    assert node.driver.boot_id != boot_id
    assert node.executions.nodes()[NODE].boot_id == node.driver.boot_id
    assert node.dispatch.pools[Component.HANDLER].busy == 1
    assert node.outcomes(enqueue("d")) == [enqueued("d")]
    check(open_reader(node.path), node.executions)


# --- reads, and being current


def test_a_barrier_is_passed_when_what_was_acknowledged_is_applied(node: ReplicatedNode) -> None:
    node.outcomes(enqueue("a"))
    passed: list[Any] = []

    node.driver.put(Barrier(answer=passed.append))
    node.until(lambda: passed)

    assert passed == [None]


def test_a_barrier_that_finds_too_much_waiting_says_so_and_the_node_goes_on(tmp_path: Path) -> None:
    node = ReplicatedNode(tmp_path, limits=Limits(proposals=0))
    answered: list[Any] = []
    try:
        node.log.barrier(answered.append)
    finally:
        node.stop()

    assert [type(error) for error in answered] == [Overloaded]


def test_a_node_is_current_after_a_batch_and_becomes_so_again_when_it_has_to(node: ReplicatedNode) -> None:
    assert node.log.is_current
    node.log._current_until_s = 0.0
    assert not node.log.is_current

    node.log.renew()
    node.until(lambda: node.log.idle)

    assert node.log.is_current


def test_a_node_that_was_given_up_starts_nothing_by_a_batch_that_was_ordered_behind_that(node: ReplicatedNode) -> None:
    """Others may have what it ran, in entries that it has not applied yet."""
    node.host_up()
    node.outcomes(enqueue("a"))
    node.until(lambda: "a" in node.attempts and node.log.idle)
    attempt, other = node.attempts["a"], registration("node-2", handlers=())
    lost = LoseNode(at_ms=0, node_id=NODE, boot_id=node.driver.boot_id)
    said = Batch(node_id="node-2", boot_id=other.boot_id, sequence=1, at_ms=0, commands=(other, lost))
    node.log.raft.propose(
        msgspec.msgpack.encode(said), request_id=next_request(), timeout_s=10.0, on_outcome=lambda _: None
    )
    node.outcomes(enqueue("b"))
    assert not node.executions.nodes()[NODE].live

    node.begin_side_effect(attempt, "")

    assert attempt.frames == {"": ""}, "it waits for the log's word"
    node.until(lambda: len(attempt.frames) == 2)
    assert node.executions.nodes()[NODE].live


# --- without a majority


def test_without_a_majority_nothing_is_stored_and_whoever_asked_is_told(make: Callable[..., ReplicatedNode]) -> None:
    node = make(members=2, write_timeout_s=0.3)

    [outcome] = node.outcomes(enqueue("a"))

    assert isinstance(outcome, NoQuorum | OutcomeUnknown)
    assert node.executions.applied_index == 0


def test_without_a_majority_nobody_can_tell_what_was_acknowledged(make: Callable[..., ReplicatedNode]) -> None:
    node = make(members=2, write_timeout_s=0.3)
    passed: list[Any] = []

    node.driver.put(Barrier(answer=passed.append))
    node.until(lambda: passed)

    assert isinstance(passed[0], NoQuorum)
