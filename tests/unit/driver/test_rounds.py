"""How much a round of the driver takes up: many share a commit, and none waits for all that came with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tempolite_node.driver.inputs import Inspect, Stop, Submit, SubmitBatch
from tempolite_node.engine.commands import AnyCommand, Enqueue, FireTimer, RegisterNode
from tempolite_node.engine.decide import decide
from tempolite_node.engine.model import Component, Status
from tempolite_node.engine.work import Work

from ..engine.story import NODE, registration
from .conftest import enqueue_command, simulated
from .simulated import SimulatedNode

MANY = 261
ROUNDS = [128, 128 + 66, 128 + 66 + 33, 128 + 66 + 33 + 32, MANY]  #: of how many each round has taken the last


def proposals_of(node: SimulatedNode) -> list[AnyCommand]:
    """What the driver proposes from here on."""
    proposed: list[AnyCommand] = []
    propose = node.driver._log.propose

    def noted(commands: Sequence[AnyCommand]) -> int:
        proposed.extend(commands)
        return propose(commands)

    node.driver._log.propose = noted  # type: ignore[method-assign]
    return proposed


def ask_for_many(node: SimulatedNode) -> list[Any]:
    node.round()  # the node registers
    outcomes: list[Any] = []
    for number in range(MANY):
        node.driver.put(Submit(enqueue_command(node, f"e{number}"), outcomes.append))
    return outcomes


def test_of_many_commands_that_come_at_once_a_round_takes_up_the_first_half_and_the_next_round_goes_on() -> None:
    with simulated() as node:
        outcomes = ask_for_many(node)

        told = []
        for _ in ROUNDS:
            node.driver._round()
            told.append(len(outcomes))

        assert told == ROUNDS
        assert [outcome.execution_id for outcome in outcomes] == [f"e{number}" for number in range(MANY)]


def test_what_gets_a_slot_starts_in_the_round_that_enqueued_it() -> None:
    with simulated(handler=10) as node:
        node.host_up()
        ask_for_many(node)

        node.driver._round()

        assert node.executions.counts()[Component.HANDLER, Status.RUNNING] == 10
        assert len(node.attempts) == 10


def test_a_batch_that_takes_several_rounds_is_answered_when_all_of_it_is_saved() -> None:
    with simulated() as node:
        node.round()
        answers: list[Any] = []
        commands = [enqueue_command(node, f"e{number}") for number in range(MANY)]
        node.driver.put(SubmitBatch(commands, answers.append))

        for _ in ROUNDS[:-1]:
            node.driver._round()
        assert answers == []
        node.driver._round()

        assert [outcome.execution_id for outcome in answers[0]] == [f"e{number}" for number in range(MANY)]


def test_a_driver_that_is_to_stop_takes_up_all_that_was_asked_before() -> None:
    with simulated() as node:
        outcomes = ask_for_many(node)
        node.driver.put(Stop())

        rounds = 1
        while node.driver._round():
            rounds += 1

        assert rounds == len(ROUNDS)
        assert len(outcomes) == MANY


def test_a_question_to_the_driver_is_not_held_up_by_what_waits_for_its_round() -> None:
    with simulated() as node:
        ask_for_many(node)
        seen: list[int] = []
        node.driver.put(Inspect(lambda: node.executions.counts()[Component.HANDLER, Status.QUEUED], seen.append))

        node.driver._round()

        assert seen == ROUNDS[:1]


def test_timers_that_are_due_at_once_are_fired_once_each_and_what_is_asked_meanwhile_does_not_wait_for_all() -> None:
    with simulated() as node:
        node.round()
        commands = [enqueue_command(node, f"e{number}", delay_ms=1_000) for number in range(600)]
        enqueued: list[Any] = []
        node.driver.put(SubmitBatch(commands, enqueued.append))
        while not enqueued:
            node.driver._round()
        proposed = proposals_of(node)
        node.now_ms += 1_000
        outcomes: list[Any] = []
        node.driver.put(Submit(enqueue_command(node, "late"), outcomes.append))

        node.driver._round()
        assert len(outcomes) == 1
        while node.executions.next_due_ms() is not None:
            node.driver._round()

        assert Counter(type(command) for command in proposed) == {FireTimer: 600, Enqueue: 1}
        assert node.executions.counts()[Component.HANDLER, Status.QUEUED] == 601


def test_when_the_last_node_is_upgraded_the_others_tell_what_the_format_that_is_in_use_now_has_room_for() -> None:
    with simulated() as node:
        # given: an earlier version among the nodes, and what it would not know of was left out
        work = Work(node.executions)
        decide(work, registration("node-2", format=1))
        node.executions.save(work, node.executions.applied_index)
        node.round()
        node.ask(registration(boot_id=node.driver.boot_id, handlers=()))
        proposed = proposals_of(node)
        # when
        node.ask(registration("node-2", boot_id="upgraded"))
        node.round()
        # then
        told = [each for each in proposed if isinstance(each, RegisterNode) and each.node_id == NODE]
        assert [handler.name for each in told for handler in each.handlers] == ["h"]
        assert node.executions.nodes()[NODE].serves("h")
