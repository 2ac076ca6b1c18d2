"""Slots: who gets one, who gives it back, and that none is lost, whatever attempts, hosts and operators do."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import given as given_any
from hypothesis import strategies as st

from tempolite_node.driver.inputs import HostMessages, Submit
from tempolite_node.engine.commands import (
    BeginSideEffect,
    BeginStep,
    Cancel,
    CompleteAttempt,
    CompleteStep,
    FailAttempt,
    ReceiveSignal,
    Sleep,
    SuspendAttempt,
    Terminate,
    UnwindAttempt,
    WaitForExecution,
)
from tempolite_node.engine.model import Component, Failure, OperationKind, Status
from tempolite_node.protocol import messages

from ..engine.story import NODE, new_store, registration
from .conftest import (
    busy,
    complete,
    enqueue,
    enqueue_command,
    receive,
    saga_with_a_step,
    signal,
    simulated,
)
from .simulated import HANDLERS, Attempt, Settings, SimulatedNode

T = TypeVar("T")
POOLS = tuple(Component)

# --- who gets one


def test_an_execution_starts_in_the_round_that_enqueued_it(node: SimulatedNode) -> None:
    enqueue(node, "a")

    assert node.started == [(Component.HANDLER, "a")]
    assert busy(node) == {Component.HANDLER: 1}


def test_the_next_one_starts_in_the_round_that_ended_the_one_before(node: SimulatedNode) -> None:
    enqueue(node, "a")
    enqueue(node, "b")
    assert node.started == []

    complete(node, "a")

    assert node.started == [(Component.HANDLER, "b")]


def test_a_wait_gives_the_slot_to_the_next(node: SimulatedNode) -> None:
    enqueue(node, "a")
    enqueue(node, "b")

    receive(node, "a")

    assert node.started == [(Component.HANDLER, "b")]
    assert busy(node) == {Component.HANDLER: 1}


def test_one_that_wakes_goes_ahead_of_those_that_start(node: SimulatedNode) -> None:
    enqueue(node, "a")
    receive(node, "a")
    enqueue(node, "b")
    enqueue(node, "c", priority=1_000)
    signal(node, "a")
    assert node.attempts["a"].waits_in("")  # its answer is there, and there is no slot

    complete(node, "b")

    assert node.started == []
    assert not node.attempts["a"].waits_in("")
    complete(node, "a")
    assert node.started == [(Component.HANDLER, "c")]


def test_one_worker_is_enough_for_a_handler_that_waits_for_its_child(node: SimulatedNode) -> None:
    enqueue(node, "a")
    parent = node.attempts["a"]
    node.say(parent, "", messages.ChildRequest(key="1", digest=b"", handler="h", arguments=b"[]", execution_id="b"))
    assert node.started == []
    node.say(parent, "", WaitForExecution(key="1", execution_id="b"))
    assert node.started == [(Component.HANDLER, "b")]

    complete(node, "b")

    assert not parent.waits_in("")
    complete(node, "a")
    assert busy(node) == {}


def test_a_side_effect_takes_a_slot_of_its_own_pool_and_its_handler_gives_its_own_back(node: SimulatedNode) -> None:
    enqueue(node, "a")

    node.begin_side_effect(node.attempts["a"], "")

    assert busy(node) == {Component.SIDE_EFFECT: 1}
    node.complete_side_effect(node.attempts["a"], "1")
    assert busy(node) == {Component.HANDLER: 1}


def test_a_side_effect_waits_for_its_slot(node: SimulatedNode) -> None:
    for name in ("a", "b"):
        enqueue(node, name)
        node.begin_side_effect(node.attempts[name], "")
    assert list(node.attempts["b"].frames) == [""]

    node.complete_side_effect(node.attempts["a"], "1")

    assert list(node.attempts["b"].frames) == ["", "1"]


def test_a_side_effect_that_waits_holds_no_slot(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")

    receive(node, "a", frame="1")
    assert busy(node) == {}

    signal(node, "a")
    assert busy(node) == {Component.SIDE_EFFECT: 1}


def test_a_side_effect_that_was_given_up_in_the_queue_gets_no_slot(node: SimulatedNode) -> None:
    for name in ("a", "b"):
        enqueue(node, name)
        node.begin_side_effect(node.attempts[name], "")
    node.end(node.attempts["b"], FailAttempt(failure=Failure(type="E")))

    node.complete_side_effect(node.attempts["a"], "1")

    assert busy(node) == {Component.HANDLER: 1}


def test_the_backoff_of_a_side_effect_holds_no_slot(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")

    node.fail_side_effect(node.attempts["a"], "1", attempts=2)
    assert busy(node) == {}

    node.now_ms += 2_000
    node.round()
    assert busy(node) == {Component.SIDE_EFFECT: 1}


def test_asynchronous_code_with_two_waits_gets_its_slot_when_both_are_over(node: SimulatedNode) -> None:
    enqueue(node, "a")
    attempt = node.attempts["a"]
    node.say(attempt, "", ReceiveSignal(key="1", name="go"))
    node.say(attempt, "", Sleep(key="2", duration_ms=1_000))

    signal(node, "a")
    assert not attempt.is_open(OperationKind.SIGNAL, "1")
    assert busy(node) == {}

    node.now_ms += 1_000
    node.round()
    assert busy(node) == {Component.HANDLER: 1}


def test_asynchronous_code_that_waits_again_before_it_has_its_slot_gets_its_answer_and_no_slot(
    node: SimulatedNode,
) -> None:
    enqueue(node, "a")
    attempt = node.attempts["a"]
    node.say(attempt, "", ReceiveSignal(key="1", name="go"))
    enqueue(node, "b")
    signal(node, "a")
    assert attempt.is_open(OperationKind.SIGNAL, "1")

    node.say(attempt, "", Sleep(key="2", duration_ms=1_000))

    assert not attempt.is_open(OperationKind.SIGNAL, "1")
    complete(node, "b")
    assert busy(node) == {}


def test_a_compensation_runs_in_a_slot_of_its_pool(node: SimulatedNode) -> None:
    saga_with_a_step(node, "a")

    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E", non_retryable=True)))

    assert node.started == [(Component.COMPENSATION, "a")]
    assert busy(node) == {Component.COMPENSATION: 1}
    complete(node, "a")
    assert busy(node) == {}


def test_a_saga_that_is_cancelled_in_its_queue_is_undone_in_a_slot_of_the_other_pool(node: SimulatedNode) -> None:
    saga_with_a_step(node, "a")
    node.end(node.attempts["a"], FailAttempt(failure=Failure(type="E")))
    enqueue(node, "b", Component.SAGA)
    node.now_ms += 2_000
    node.round()
    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.COMPENSATION], "workers", 0))
    node.ask(Cancel(at_ms=node.now_ms, execution_id="a"))

    complete(node, "b")
    assert (node.started, busy(node)) == ([], {})

    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.COMPENSATION], "workers", 1))
    assert node.started == [(Component.COMPENSATION, "a")]
    complete(node, "a")
    assert busy(node) == {}


# --- pauses, rates, sizes


def test_a_paused_pool_starts_nothing_and_still_wakes(node: SimulatedNode) -> None:
    enqueue(node, "a")
    receive(node, "a")
    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.HANDLER], "paused", True))
    enqueue(node, "b")
    assert node.started == []

    signal(node, "a")
    assert not node.attempts["a"].waits_in("")
    complete(node, "a")
    assert node.started == []

    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.HANDLER], "paused", False))
    assert node.started == [(Component.HANDLER, "b")]


def test_a_paused_side_effect_pool_starts_no_side_effect(node: SimulatedNode) -> None:
    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.SIDE_EFFECT], "paused", True))
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")
    assert busy(node) == {}

    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.SIDE_EFFECT], "paused", False))

    assert busy(node) == {Component.SIDE_EFFECT: 1}


def test_a_rate_limit_holds_starts_back_until_their_time() -> None:
    pools = {component: Settings(10, rate_limit=2.0) for component in Component}
    with tempfile.TemporaryDirectory() as directory:
        node = SimulatedNode(new_store(Path(directory, "store.db")), pools)
        node.host_up()
        node.round(*(Submit(command=enqueue_command(node, f"e{number}")) for number in range(4)))
        assert len(node.started) == 2
        assert node.dispatch.rate_limited_s() == pytest.approx(0.5)

        node.now_ms += 500
        node.round()
        assert len(node.started) == 1

        receive(node, "e0")
        signal(node, "e0")
        assert not node.attempts["e0"].waits_in("")  # what wakes is not limited
        node.close()


def test_a_pool_that_is_made_larger_starts_more_at_once(node: SimulatedNode) -> None:
    for number in range(3):
        enqueue(node, f"e{number}")

    node.reconfigure(lambda: setattr(node.dispatch.pools[Component.HANDLER], "workers", 3))

    assert len(node.attempts) == 3


def test_a_queue_larger_than_the_window_is_served_to_its_end_in_its_order() -> None:
    with simulated(window_max=3) as node:
        node.host_up()
        node.round(*(Submit(command=enqueue_command(node, f"e{number:02}")) for number in range(25)))
        served = []
        while node.attempts:
            [running] = node.attempts
            served.append(running)
            complete(node, running)

    assert served == [f"e{number:02}" for number in range(25)]


# --- hosts


def test_without_a_worker_host_nothing_starts() -> None:
    with simulated() as node:
        enqueue(node, "a")
        assert (node.started, busy(node)) == ([], {})

        node.host_up()

        assert node.started == [(Component.HANDLER, "a")]


def test_a_host_that_dies_gives_back_every_slot_and_its_attempts_are_started_elsewhere(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")
    enqueue(node, "b")
    second = node.host_up()

    node.host_down(1)

    assert busy(node) == {Component.HANDLER: 1}
    assert node.attempts["a"].host < 0 or node.attempts["b"].host == second


def test_who_may_have_killed_its_host_runs_in_a_process_of_its_own(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.host_up()

    node.host_down(1)

    assert node.attempts["a"].host < 0
    complete(node, "a")
    assert busy(node) == {}


@pytest.fixture
def crashed() -> Iterator[SimulatedNode]:
    """One of six executions has killed the host of all of them. Another host is up."""
    with simulated(**{Component.HANDLER: 10}) as node:
        node.host_up()
        for name in "abcdef":
            enqueue(node, name)
        node.host_down(1)
        node.host_up()
        yield node


def test_few_of_those_that_a_crash_isolated_are_alive_at_a_time(crashed: SimulatedNode) -> None:
    assert sorted(crashed.attempts) == ["a", "b", "c", "d"]
    assert {attempt.host < 0 for attempt in crashed.attempts.values()} == {True}
    enqueue(crashed, "new")
    assert crashed.attempts["new"].host == 2, "who is no suspect waits for none of them"
    assert busy(crashed) == {Component.HANDLER: 5}

    complete(crashed, "b")
    crashed.round()

    assert sorted(crashed.attempts) == ["a", "c", "d", "e", "new"]


def test_the_place_of_a_suspect_that_was_ended_from_outside_is_the_next_ones(crashed: SimulatedNode) -> None:
    for name in "ab":
        crashed.ask(Terminate(at_ms=crashed.now_ms, execution_id=name, reason="not wanted"))
    crashed.round()

    assert sorted(crashed.attempts) == ["c", "d", "e", "f"]


def test_a_suspect_that_only_waits_is_unwound_when_another_needs_its_place(crashed: SimulatedNode) -> None:
    waiting = crashed.attempts["a"]
    receive(crashed, "a")
    assert (waiting.host, messages.Drain()) in crashed.sent

    crashed.end(waiting, UnwindAttempt())
    crashed.round()
    assert sorted(crashed.attempts) == ["b", "c", "d", "e"]

    signal(crashed, "a")
    assert "a" not in crashed.attempts, "it waits for a place as the others do"
    for name in "bcdef":
        complete(crashed, name)
        crashed.round()
    assert crashed.attempts["a"].host < 0


def test_nobody_is_unwound_while_there_is_room(crashed: SimulatedNode) -> None:
    for name in "ab":
        complete(crashed, name)
        crashed.round()
    receive(crashed, "c")

    assert not [message for _, message in crashed.sent if isinstance(message, messages.Drain)]


def test_suspects_of_a_queue_that_is_larger_than_the_window_are_found_again() -> None:
    with simulated(window_max=2, **{Component.HANDLER: 10}) as node:
        node.host_up()
        for name in "abcdef":
            enqueue(node, name)
        node.host_down(1)
        node.host_up()
        for name in "abcdef":
            complete(node, name)
            node.round()

        assert node.attempts == {}
        assert busy(node) == {}


def test_a_host_that_ends_because_its_node_stops_is_nobodys_crash(node: SimulatedNode) -> None:
    enqueue(node, "a")

    node.host_down(1, crashed=False)

    execution = node.executions.execution("a")
    assert execution is not None
    assert (execution.status, execution.crashes) == (Status.QUEUED, 0)


def test_a_handler_that_the_worker_hosts_do_not_have_waits_and_takes_no_slot(node: SimulatedNode) -> None:
    node.ask(registration(boot_id=node.driver.boot_id, handlers=("h", "unknown")))

    enqueue(node, "a", handler="unknown")

    assert (node.started, busy(node)) == ([], {})


# --- slots that are leased


@pytest.fixture
def roomy() -> Iterator[SimulatedNode]:
    """Three workers in each pool, and a worker host."""
    with simulated(**dict.fromkeys(POOLS, 3)) as node:
        node.host_up()
        yield node


def test_where_a_side_effect_ended_the_next_one_begins_without_asking(roomy: SimulatedNode) -> None:
    enqueue(roomy, "a")
    attempt = roomy.attempts["a"]
    roomy.begin_side_effect(attempt, "")
    roomy.complete_side_effect(attempt, "1")
    assert roomy.spare == {1: 1}
    roomy.sent = []

    roomy.begin_side_effect(attempt, "")

    assert (list(attempt.frames), roomy.sent) == (["", "2"], [])
    assert busy(roomy) == {Component.HANDLER: 1, Component.SIDE_EFFECT: 1}


def test_a_side_effect_that_lasts_is_counted_as_any_other(roomy: SimulatedNode) -> None:
    enqueue(roomy, "a")
    attempt = roomy.attempts["a"]
    roomy.begin_side_effect(attempt, "")
    roomy.complete_side_effect(attempt, "1")
    roomy.begin_side_effect(attempt, "")

    roomy.announce(attempt)

    assert busy(roomy) == {Component.SIDE_EFFECT: 1}
    assert roomy.dispatch.leased == 0
    roomy.complete_side_effect(attempt, "2")
    assert not attempt.waits_in("")


def test_a_leased_slot_that_nothing_uses_comes_back(roomy: SimulatedNode) -> None:
    enqueue(roomy, "a")
    roomy.begin_side_effect(roomy.attempts["a"], "")
    roomy.complete_side_effect(roomy.attempts["a"], "1")

    roomy.look_at_leased_slots(1)

    assert busy(roomy) == {Component.HANDLER: 1}


def test_no_slot_is_leased_while_somebody_waits_for_one(roomy: SimulatedNode) -> None:
    for name in ("a", "b", "c", "d"):  # the fourth one waits for a slot of the handlers
        enqueue(roomy, name)
    complete(roomy, "c")
    enqueue(roomy, "e")
    roomy.begin_side_effect(roomy.attempts["a"], "")
    enqueue(roomy, "f")

    roomy.complete_side_effect(roomy.attempts["a"], "1")

    assert +roomy.spare == {}


def test_the_last_slot_is_not_leased(node: SimulatedNode) -> None:
    enqueue(node, "a")
    node.begin_side_effect(node.attempts["a"], "")

    node.complete_side_effect(node.attempts["a"], "1")

    assert +node.spare == {}


def test_a_task_that_outlives_its_side_effect_holds_nothing(roomy: SimulatedNode) -> None:
    enqueue(roomy, "a")
    attempt = roomy.attempts["a"]
    roomy.begin_side_effect(attempt, "")
    roomy.complete_side_effect(attempt, "1")
    late = BeginSideEffect(key="1 > 1", digest=b"", fresh=True)

    call = messages.AttemptCall(execution_id="a", epoch=attempt.epoch, call=99, request=late, frame="1", leased=True)
    roomy.round(HostMessages(host=1, calls=[call]))

    assert busy(roomy) == {Component.HANDLER: 1}


# --- whatever happens


SEARCH = int(os.environ.get("TEMPOLITE_EXAMPLES", "0"))
profile = settings(
    max_examples=SEARCH or 60,
    derandomize=not SEARCH,
    database=None,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_BYTES = 4


def pick(values: Sequence[T], number: int) -> T:
    return values[number % len(values)]


def often(actions: Mapping[str, tuple[int, object]]) -> list[str]:
    """Each action as often as it is to be drawn."""
    return [action for action, (times, _) in actions.items() for _ in range(times)]


class Chaos:
    """Does what the bytes say to a node, and knows which slots must be held from what the worker hosts know."""

    def __init__(self, node: SimulatedNode) -> None:
        self.node = node
        self.enqueued = 0

    def step(self, kind: int, which: int, what: int, how: int) -> None:
        if kind == 0:
            return  # examples shrink to nothing
        node = self.node
        attempts = sorted(node.attempts.values(), key=lambda attempt: attempt.execution_id)
        if kind < 70 or not attempts:
            self._outside(kind, which, what, how)
        else:
            attempt = pick(attempts, which)
            self._inside(attempt, pick(list(attempt.frames), how), what, how)

    def _outside(self, kind: int, which: int, what: int, how: int) -> None:
        node = self.node
        names = [f"e{number}" for number in range(self.enqueued)]
        if kind < 25 or kind > 150 or not names:
            note(f"enqueue e{self.enqueued}")
            self.enqueued += 1
            component = pick((Component.HANDLER, Component.SAGA), what)
            enqueue(node, f"e{self.enqueued - 1}", component, delay_ms=pick((0, 0, 1_000), how))
            return
        name = pick(names, which)
        actions = {
            "signal": (8, lambda: signal(node, name)),
            "time": (4, lambda: self._time(pick((100, 1_000, 10_000), how))),
            "workers": (1, lambda: self._set(pick(POOLS, which), "workers", how % 3)),
            "more workers": (3, lambda: self._set(pick(POOLS, which), "workers", 1 + how % 2)),
            "pause": (1, lambda: self._set(pick(POOLS, which), "paused", True)),
            "resume": (3, lambda: self._set(pick(POOLS, which), "paused", False)),
            "cancel": (1, lambda: node.ask(Cancel(at_ms=node.now_ms, execution_id=name))),
            "terminate": (1, lambda: node.ask(Terminate(at_ms=node.now_ms, execution_id=name))),
            "host up": (1, node.host_up),
            "host down": (1, lambda: self._host_down(which)),
            "look": (4, lambda: self._look(which)),
            "late": (1, lambda: self._late(name, what)),
        }
        action = pick(often(actions), what)
        note(f"{action} {name} {which} {how}")
        actions[action][1]()

    def _time(self, milliseconds: int) -> None:
        self.node.now_ms += milliseconds
        self.node.round()

    def _set(self, component: Component, name: str, value: int) -> None:
        self.node.reconfigure(lambda: setattr(self.node.dispatch.pools[component], name, value))

    def _host_down(self, which: int) -> None:
        hosts = sorted({*self.node.hosts, *(attempt.host for attempt in self.node.attempts.values())})
        if len(hosts) > 1:
            self.node.host_down(pick(hosts, which))

    def _look(self, which: int) -> None:
        if self.node.hosts:
            self.node.look_at_leased_slots(pick(sorted(self.node.hosts), which))

    def _late(self, name: str, what: int) -> None:
        """A word from an attempt that has lost its right to run, or never had it."""
        request = pick((CompleteAttempt(result=b"0"), ReceiveSignal(key="1", name="go")), what)
        epoch = self.node.attempts[name].epoch - 1 if name in self.node.attempts else 1
        call = messages.AttemptCall(execution_id=name, epoch=epoch, call=1, request=request)
        self.node.round(HostMessages(host=1, calls=[call]))

    def _inside(self, attempt: Attempt, frame: str, what: int, how: int) -> None:
        node = self.node
        actions = {
            "receive": (6, lambda: node.say(attempt, frame, ReceiveSignal(key=attempt.key_in(frame), name="go"))),
            "sleep": (3, lambda: node.say(attempt, frame, Sleep(key=attempt.key_in(frame), duration_ms=1_500))),
            "begin side effect": (4, lambda: node.begin_side_effect(attempt, frame)),
            "end side effect": (4, lambda: frame and node.complete_side_effect(attempt, frame)),
            "fail side effect": (2, lambda: frame and node.fail_side_effect(attempt, frame, attempts=1 + how % 2)),
            "child": (2, lambda: self._child(attempt, frame)),
            "wait": (2, lambda: self._wait(attempt, frame, how)),
            "step": (2, lambda: self._step(attempt)),
            "complete": (1, lambda: node.end(attempt, CompleteAttempt(result=b"1"))),
            "fail": (2, lambda: node.end(attempt, FailAttempt(failure=Failure(type="E")))),
            "unwind": (2, lambda: node.unwind(attempt)),
            "suspend": (
                1,
                lambda: node.end(attempt, SuspendAttempt(kind=OperationKind.CHILD, key="1", expected="x", actual="y")),
            ),
        }
        action = pick(often(actions), what)
        note(f"{attempt.execution_id}/{frame}: {action}")
        actions[action][1]()

    def _child(self, attempt: Attempt, frame: str) -> None:
        name = f"e{self.enqueued}"
        self.enqueued += 1
        request = messages.ChildRequest(
            key=attempt.key_in(frame), digest=b"", handler="h", arguments=b"[]", execution_id=name
        )
        self.node.say(attempt, frame, request)

    def _wait(self, attempt: Attempt, frame: str, how: int) -> None:
        request = WaitForExecution(key=attempt.key_in(frame), execution_id=f"e{how % self.enqueued}")
        self.node.say(attempt, frame, request)

    def _step(self, attempt: Attempt) -> None:
        if attempt.pool is Component.SAGA:
            key = attempt.key_in("")
            self.node.say(attempt, "", BeginStep(key=key, target="m:S", input=b"{}", digest=b""))
            if attempt.execution_id in self.node.attempts:
                self.node.say(attempt, "", CompleteStep(key=key, data=b"{}"))

    # --- what must be true

    def check(self) -> None:
        node = self.node
        held = Counter(
            attempt.pool if frame == "" else Component.SIDE_EFFECT
            for attempt in node.attempts.values()
            for frame in attempt.frames
            if frame not in attempt.unannounced and not attempt.waits_in(frame)
        )
        leased = +node.spare
        for attempt in node.attempts.values():
            leased[attempt.host] += len(attempt.unannounced)
        assert node.dispatch.leased == leased.total()
        held[Component.SIDE_EFFECT] += leased.total()
        held = +held
        assert busy(node) == dict(held)
        for component, pool in node.dispatch.pools.items():
            waking = [due for due in pool.waking if due.frame.waking is due and not (due.run.over or due.frame.over)]
            assert not (pool.free and waking), f"{component}: a slot is free, and {waking} wait for it"
            assert not (waking and component in {pool for pool, _ in node.started}), "one that starts went ahead"
            if pool.free and not pool.paused and node.hosts and component is not Component.SIDE_EFFECT:
                queue = node.executions.ready(component, NODE, HANDLERS, 1)
                assert queue == [], f"{component}: a slot is free, and {queue[0].id} waits for it"

    def come_to_an_end(self) -> None:
        """Lets everything run out: what runs returns, time passes, and what waits for more than time is terminated."""
        node = self.node
        for component in POOLS:
            self._set(component, "paused", False)
            self._set(component, "workers", 2)
        if not node.hosts:
            node.host_up()
        for _ in range(1_000):
            for attempt in list(node.attempts.values()):
                if node.attempts.get(attempt.execution_id) is attempt:
                    node.end(attempt, CompleteAttempt(result=b"1"))
            self._time(100_000)
            for host in list(node.hosts):
                node.look_at_leased_slots(host)
            self.check()
            stays = [e for e in self._open() if not e.attached and e.ready_at is None]
            for execution in stays:
                node.ask(Terminate(at_ms=node.now_ms, execution_id=execution.id))
            if not self._open():
                break
        assert self._open() == []
        assert busy(node) == {}

    def _open(self) -> list[Any]:
        found = [self.node.executions.execution(f"e{number}") for number in range(self.enqueued)]
        return [execution for execution in found if execution is not None and not execution.closed]


@profile
@given_any(st.binary(min_size=60 * _BYTES, max_size=60 * _BYTES), st.integers(1, 3), st.sampled_from([2, 10_000]))
def test_whatever_happens_no_slot_is_lost_and_none_is_given_back_twice(data: bytes, workers: int, window: int) -> None:
    with simulated(window_max=window, **dict.fromkeys(POOLS, workers)) as node:
        node.host_up()
        chaos = Chaos(node)
        for start in range(0, len(data), _BYTES):
            chaos.step(*data[start : start + _BYTES])
            chaos.check()
        chaos.come_to_an_end()
