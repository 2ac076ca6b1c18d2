"""How much a round of the driver takes up: many share a commit, and none waits for all that came with it."""

from __future__ import annotations

from typing import Any

from tempolite_node.driver import Ask, AskAll, Look, Stop
from tempolite_node.engine.model import Component, Status
from tempolite_node.log.local import LocalLog

from .conftest import enqueue_command, simulated
from .simulated import SimulatedNode

MANY = 2 * LocalLog.round_max + 5


def ask_for_many(node: SimulatedNode) -> list[Any]:
    node.round()  # the node registers
    outcomes: list[Any] = []
    for number in range(MANY):
        node.driver.put(Ask(enqueue_command(node, f"e{number}"), outcomes.append))
    return outcomes


def test_of_many_commands_that_come_at_once_a_round_takes_up_the_first_and_the_next_round_goes_on() -> None:
    with simulated() as node:
        outcomes = ask_for_many(node)

        told = []
        for _ in range(3):
            node.driver._round()
            told.append(len(outcomes))

        assert told == [LocalLog.round_max, 2 * LocalLog.round_max, MANY]
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
        node.driver.put(AskAll(commands, answers.append))

        node.driver._round()
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

        assert rounds == 3
        assert len(outcomes) == MANY


def test_a_question_to_the_driver_is_not_held_up_by_what_waits_for_its_round() -> None:
    with simulated() as node:
        ask_for_many(node)
        seen: list[int] = []
        node.driver.put(Look(lambda: node.executions.counts()[Component.HANDLER, Status.QUEUED], seen.append))

        node.driver._round()

        assert seen == [LocalLog.round_max]
