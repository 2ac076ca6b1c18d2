"""Which node runs an execution, and what becomes of it when that node drains, is lost, comes back or is removed."""

from __future__ import annotations

import pytest

from tempolite_node.engine.commands import AnyCommand, Batch, CompleteAttempt
from tempolite_node.engine.decide import admit, decide
from tempolite_node.engine.effects import (
    Abandon,
    Accepted,
    Admission,
    Enqueued,
    Ready,
    Reason,
    Refused,
    Rejection,
    Value,
)
from tempolite_node.engine.model import Component, OperationKind, OperationStatus, Options, Status
from tempolite_node.engine.work import Work

from .story import NODE, STEADY, Story, registration


@pytest.fixture
def two_nodes(story: Story) -> Story:
    """Both serve everything, with as many slots."""
    story.register("node-2")
    return story


def reason_of(outcome: object) -> Reason:
    assert isinstance(outcome, Rejection), outcome
    return outcome.reason


# --- the owner of a new execution


def test_new_executions_are_spread_over_the_nodes(two_nodes: Story) -> None:
    for number in range(4):
        two_nodes.enqueue(f"order-{number}")

    assert [two_nodes[f"order-{number}"].owner for number in range(4)] == [NODE, "node-2", NODE, "node-2"]


def test_a_node_with_more_slots_is_given_more(story: Story) -> None:
    story.register(slots=1)
    story.register("node-2", slots=3)

    for number in range(8):
        story.enqueue(f"order-{number}")

    owners = [story[f"order-{number}"].owner for number in range(8)]
    assert (owners.count(NODE), owners.count("node-2")) == (2, 6)


def test_of_nodes_with_the_same_load_the_first_by_id_is_taken(story: Story) -> None:
    story.register("node-0")

    story.enqueue("order-1")

    assert story["order-1"].owner == "node-0"


def test_what_waits_for_something_else_than_a_slot_is_no_load(two_nodes: Story) -> None:
    two_nodes.running("waits")
    two_nodes.receive("waits")
    two_nodes.enqueue("later", delay_ms=60_000)

    two_nodes.enqueue("order-1")

    assert [two_nodes[name].owner for name in ("waits", "later", "order-1")] == [NODE, NODE, NODE]


def test_the_load_is_that_of_the_pool(two_nodes: Story) -> None:
    two_nodes.enqueue("saga-1", component=Component.SAGA)

    two_nodes.enqueue("order-1")

    assert two_nodes["order-1"].owner == NODE


def test_a_batch_is_spread_over_the_nodes(two_nodes: Story) -> None:
    two_nodes.enqueue_batch({"execution_id": "order-1"}, {"execution_id": "order-2"})

    assert [two_nodes[name].owner for name in ("order-1", "order-2")] == [NODE, "node-2"]


def test_an_execution_goes_to_a_node_that_serves_its_handler(story: Story) -> None:
    story.register("node-2", handlers=("bill",))

    story.enqueue("bill-1", handler="bill")

    assert story["bill-1"].owner == "node-2"


def test_a_handler_that_no_node_serves_is_not_found(story: Story) -> None:
    outcome = story.enqueue("order-1", handler="unknown")

    assert outcome == Rejection(Reason.NOT_FOUND, "no node serves handler 'unknown'")


def test_a_child_may_run_on_another_node_than_its_parent(story: Story) -> None:
    story.register(handlers=("fulfil",))
    story.register("node-2", handlers=("ship",))
    story.running("order-1")

    story.child("order-1", "child-1")

    assert (story["order-1"].owner, story["child-1"].owner) == (NODE, "node-2")


def test_a_child_whose_handler_no_node_serves_is_refused(story: Story) -> None:
    story.register(handlers=("fulfil",))
    story.running("order-1")

    outcome = story.child("order-1")

    assert outcome == Refused(reason=Reason.NOT_FOUND, message="no node serves handler 'ship'")


def test_a_node_that_is_down_is_given_nothing(two_nodes: Story) -> None:
    two_nodes.lose(NODE)

    two_nodes.enqueue("order-1")

    assert two_nodes["order-1"].owner == "node-2"


def test_what_is_enqueued_while_all_nodes_are_down_waits_for_one_to_come_up(two_nodes: Story) -> None:
    two_nodes.lose(NODE)
    two_nodes.lose("node-2")

    assert isinstance(two_nodes.enqueue("order-1"), Enqueued)

    assert two_nodes["order-1"].owner == NODE
    assert reason_of(two_nodes.start("order-1")) is Reason.WRONG_STATE
    assert two_nodes.place() == []

    two_nodes.register("node-2", boot_id="run-2")

    assert two_nodes.place() == ["order-1"]
    assert [(ready.execution_id, ready.owner) for ready in two_nodes.effects_of(Ready)] == [("order-1", "node-2")]
    assert isinstance(two_nodes.start("order-1"), Accepted)


# --- its queue's limit


def test_the_limit_is_that_of_the_owners_queue(story: Story) -> None:
    story.register(queue_limit=1)
    story.register("node-2", queue_limit=1)
    story.enqueue("order-1")
    story.enqueue("order-2")

    outcome = story.enqueue("order-3")

    assert outcome == Rejection(Reason.QUEUE_FULL, "the queue of pool handler is full (1 executions) on node node-1")


def test_what_another_node_has_in_its_queue_does_not_count(story: Story) -> None:
    story.register(queue_limit=1)
    story.register("node-2")
    story.enqueue("order-1")
    story.enqueue("order-2")
    story.start("order-1")
    story.complete("order-1")

    assert isinstance(story.enqueue("order-3"), Enqueued)
    assert story["order-3"].owner == NODE


def test_what_is_moved_is_never_refused_for_a_full_queue(story: Story) -> None:
    story.enqueue("order-1")
    story.register("node-2", queue_limit=1)
    story.enqueue("order-2")
    story.lose(NODE)

    story.place()

    assert story["order-1"].owner == story["order-2"].owner == "node-2"


# --- who starts it


def test_only_its_owner_starts_it(two_nodes: Story) -> None:
    two_nodes.enqueue("order-1")

    assert reason_of(two_nodes.start("order-1", node_id="node-2")) is Reason.WRONG_STATE
    assert isinstance(two_nodes.start("order-1", node_id=NODE), Accepted)


def test_a_node_that_is_taken_for_dead_starts_nothing(story: Story) -> None:
    story.enqueue("order-1")
    story.lose(NODE)

    assert reason_of(story.start("order-1")) is Reason.WRONG_STATE


def test_a_start_that_was_asked_for_before_the_execution_moved_is_rejected(two_nodes: Story) -> None:
    two_nodes.enqueue("order-1")
    two_nodes.lose(NODE)
    two_nodes.place()

    assert reason_of(two_nodes.start("order-1", node_id=NODE)) is Reason.WRONG_STATE
    assert isinstance(two_nodes.start("order-1", node_id="node-2"), Accepted)


# --- a node that drains


def test_a_node_that_drains_is_given_nothing_new(two_nodes: Story) -> None:
    two_nodes.drain(NODE)

    two_nodes.enqueue("order-1")

    assert two_nodes["order-1"].owner == "node-2"


def test_what_waits_for_a_slot_of_a_node_that_drains_goes_elsewhere_and_what_runs_there_stays(
    two_nodes: Story,
) -> None:
    two_nodes.running("runs")
    two_nodes.enqueue("on-node-2")
    two_nodes.enqueue("waits")
    assert two_nodes["waits"].owner == NODE
    two_nodes.drain(NODE)

    assert two_nodes.place() == ["waits"]

    assert two_nodes["waits"].owner == "node-2"
    assert (two_nodes["runs"].owner, two_nodes["runs"].status) == (NODE, Status.RUNNING)
    assert two_nodes.complete("runs") == Value()


def test_a_node_that_drains_may_still_start_what_nobody_else_can(story: Story) -> None:
    story.enqueue("order-1")
    story.drain(NODE)

    assert story.place() == []
    assert isinstance(story.start("order-1"), Accepted)


def test_what_a_node_that_drains_unwinds_goes_on_elsewhere(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.receive("order-1")
    two_nodes.drain(NODE)
    two_nodes.unwind("order-1")

    two_nodes.signal("order-1")

    assert [(ready.execution_id, ready.owner) for ready in two_nodes.effects_of(Ready)] == [("order-1", "node-2")]


def test_a_retry_that_is_due_goes_to_a_node_that_takes_work(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.fail("order-1")
    two_nodes.drain(NODE)
    assert two_nodes.place() == []

    two_nodes.advance(1_000)

    assert (two_nodes["order-1"].status, two_nodes["order-1"].owner) == (Status.QUEUED, "node-2")


def test_a_suspended_execution_is_tried_with_the_code_of_another_node(two_nodes: Story) -> None:
    two_nodes.suspended("order-1")
    two_nodes.drain(NODE)

    assert two_nodes.place() == ["order-1"]

    order = two_nodes["order-1"]
    assert (order.status, order.owner, order.failure) == (Status.QUEUED, "node-2", None)


def test_a_node_that_no_longer_serves_a_handler_gives_away_what_waits_for_it(two_nodes: Story) -> None:
    two_nodes.enqueue("order-1")
    two_nodes.register(boot_id="run-2", handlers=("ship",))

    assert two_nodes.place() == ["order-1"]

    assert two_nodes["order-1"].owner == "node-2"


# --- a node that is lost


def test_what_a_lost_node_ran_is_queued_again_elsewhere_ahead_of_new_work(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    epoch = two_nodes["order-1"].epoch
    two_nodes.lose(NODE)

    assert two_nodes.place() == ["order-1"]

    order = two_nodes["order-1"]
    assert (order.status, order.owner, order.resumes, order.crashes) == (Status.QUEUED, "node-2", True, 0)
    assert order.epoch > epoch
    assert [attempt.failure.type for attempt in two_nodes.attempts("order-1")] == ["NodeLost"]
    assert [abandon.epoch for abandon in two_nodes.effects_of(Abandon)] == [epoch]


def test_what_a_lost_node_still_sends_is_stale_once_its_executions_are_placed(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    epoch = two_nodes["order-1"].epoch
    two_nodes.lose(NODE)
    two_nodes.place()

    late = two_nodes.ask("order-1", CompleteAttempt(result=b"1"), epoch=epoch)

    assert reason_of(late) is Reason.STALE_EPOCH
    two_nodes.start("order-1")
    assert reason_of(two_nodes.ask("order-1", CompleteAttempt(result=b"1"), epoch=epoch)) is Reason.STALE_EPOCH
    two_nodes.complete("order-1", b'"once"')
    assert two_nodes["order-1"].result == b'"once"'


def test_a_lost_node_has_the_last_word_while_nobody_has_taken_over(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.lose(NODE)

    assert two_nodes.complete("order-1") == Value()

    assert two_nodes.place() == []
    assert two_nodes["order-1"].status is Status.COMPLETED


def test_a_saga_that_a_lost_node_was_undoing_is_undone_elsewhere(two_nodes: Story) -> None:
    two_nodes.compensating("order-1")
    two_nodes.start("order-1")
    two_nodes.lose(NODE)

    assert two_nodes.place() == ["order-1"]

    order = two_nodes["order-1"]
    assert (order.status, order.owner, order.pool) == (Status.COMPENSATING, "node-2", Component.COMPENSATION)
    two_nodes.start("order-1")
    two_nodes.complete("order-1")
    assert two_nodes["order-1"].status is Status.COMPENSATED


def test_what_waits_on_a_lost_node_is_replayed_elsewhere_and_keeps_what_it_waits_for(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.receive("order-1")
    two_nodes.lose(NODE)
    two_nodes.place()

    two_nodes.signal("order-1", payload=b"7")
    two_nodes.start("order-1")

    assert two_nodes["order-1"].owner == "node-2"
    assert two_nodes.operation("order-1", OperationKind.SIGNAL, "approve#1").status is OperationStatus.COMPLETED


def test_what_was_unwound_stays_with_a_lost_node_until_its_wait_ends(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.receive("order-1")
    two_nodes.unwind("order-1")
    two_nodes.lose(NODE)
    assert two_nodes.place() == []
    assert two_nodes["order-1"].owner == NODE

    two_nodes.signal("order-1")

    assert (two_nodes["order-1"].status, two_nodes["order-1"].owner) == (Status.QUEUED, "node-2")


def test_a_child_that_ends_elsewhere_wakes_its_parent_where_it_runs(story: Story) -> None:
    story.register(handlers=("fulfil",))
    story.register("node-2", handlers=("ship",))
    story.running("order-1")
    story.child("order-1", "child-1")
    story.wait("order-1", "child-1")
    story.start("child-1")

    story.complete("child-1")

    assert (story["order-1"].status, story["order-1"].owner) == (Status.RUNNING, NODE)


def test_words_about_an_earlier_run_of_a_node_change_nothing(two_nodes: Story) -> None:
    assert reason_of(two_nodes.lose("node-2", boot_id="earlier")) is Reason.WRONG_STATE
    assert reason_of(two_nodes.drain("node-2", boot_id="earlier")) is Reason.WRONG_STATE

    assert two_nodes.executions.nodes()["node-2"].takes_work
    two_nodes.lose("node-2")
    assert reason_of(two_nodes.lose("node-2")) is Reason.WRONG_STATE
    assert reason_of(two_nodes.lose("nobody")) is Reason.WRONG_STATE


def test_what_nobody_else_can_run_stays_where_it_is(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.lose("node-2")
    two_nodes.lose(NODE)

    two_nodes.place("order-1", "nobody")

    assert (two_nodes["order-1"].status, two_nodes["order-1"].owner) == (Status.RUNNING, NODE)


def test_an_execution_that_its_owner_can_run_is_not_placed_elsewhere(two_nodes: Story) -> None:
    two_nodes.running("runs")
    two_nodes.enqueue("waits")
    owner = two_nodes["waits"].owner

    two_nodes.place("runs", "waits")

    assert (two_nodes["runs"].status, two_nodes["waits"].owner) == (Status.RUNNING, owner)
    assert two_nodes.effects == []


# --- a node that comes back


def test_a_node_that_comes_back_with_its_stacks_keeps_what_it_holds(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    epoch = two_nodes["order-1"].epoch
    two_nodes.lose(NODE)

    two_nodes.register(boot_id="run-1")

    assert two_nodes.place() == []
    assert (two_nodes["order-1"].status, two_nodes["order-1"].epoch) == (Status.RUNNING, epoch)
    assert two_nodes.complete("order-1") == Value()


def test_a_node_that_comes_back_late_does_not_get_back_what_was_placed_meanwhile(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    two_nodes.lose(NODE)
    two_nodes.place()

    two_nodes.register(boot_id="run-1")

    assert two_nodes.place() == []
    assert two_nodes["order-1"].owner == "node-2"


def test_a_node_that_was_started_again_has_what_it_ran_queued_again(two_nodes: Story) -> None:
    two_nodes.running("order-1")
    epoch = two_nodes["order-1"].epoch

    two_nodes.register(boot_id="run-2")

    order = two_nodes["order-1"]
    assert (order.status, order.owner, order.resumes) == (Status.QUEUED, NODE, True)
    assert order.epoch > epoch
    assert [attempt.failure.type for attempt in two_nodes.attempts("order-1")] == ["NodeRestarted"]


def test_each_start_of_a_node_is_counted_and_ends_its_drain(story: Story) -> None:
    story.drain(NODE)
    story.register(boot_id="run-1")
    first = story.executions.nodes()[NODE]

    story.register(boot_id="run-2")

    second = story.executions.nodes()[NODE]
    assert (first.incarnation, second.incarnation, second.draining) == (1, 2, False)


# --- a node that is removed


def test_what_a_removed_node_held_goes_elsewhere(two_nodes: Story) -> None:
    two_nodes.running("runs")
    two_nodes.enqueue("on-node-2")
    two_nodes.enqueue("waits")
    two_nodes.remove(NODE)

    assert sorted(two_nodes.place()) == ["runs", "waits"]

    assert {two_nodes[name].owner for name in ("runs", "waits", "on-node-2")} == {"node-2"}
    assert two_nodes["runs"].status is Status.QUEUED


def test_a_removed_node_starts_nothing(two_nodes: Story) -> None:
    two_nodes.enqueue("order-1")
    two_nodes.remove(NODE)

    assert reason_of(two_nodes.start("order-1", node_id=NODE)) is Reason.WRONG_STATE


def test_a_node_that_nobody_knows_can_not_be_removed(story: Story) -> None:
    assert story.remove("nobody") == Rejection(Reason.NOT_FOUND, "no node nobody")


def test_a_handler_that_only_a_removed_node_served_is_not_found(story: Story) -> None:
    story.register("node-2", handlers=("bill",))
    story.remove("node-2")

    assert reason_of(story.enqueue("bill-1", handler="bill")) is Reason.NOT_FOUND


def test_what_was_left_of_a_removed_node_waits_for_one_that_serves_its_handler(story: Story) -> None:
    story.register("node-2", handlers=("bill",))
    story.running("bill-1", handler="bill")
    story.remove("node-2")
    assert story.place() == []

    story.register("node-3", handlers=("bill",))

    assert story.place() == ["bill-1"]
    assert (story["bill-1"].owner, story["bill-1"].status) == ("node-3", Status.QUEUED)


# --- which batches of a node are applied


class Entries:
    """Of a log: each is admitted or not, and what is admitted is decided and saved."""

    def __init__(self, story: Story) -> None:
        self.story = story

    def apply(self, sequence: int, *commands: AnyCommand, node_id: str = NODE, boot_id: str = "run-1") -> Admission:
        story = self.story
        work = Work(story.executions)
        batch = Batch(node_id=node_id, boot_id=boot_id, sequence=sequence, at_ms=story.now_ms, commands=commands)
        admission = admit(work, batch)
        if admission is Admission.NEW:
            for command in commands:
                decide(work, command)
        story.executions.save(work, story.executions.applied_index + 1)
        return admission


@pytest.fixture
def entries(story: Story) -> Entries:
    return Entries(story)


def test_a_batch_that_the_log_has_twice_is_applied_once(entries: Entries) -> None:
    enqueue = entries.story.enqueue_command("order-1")

    assert entries.apply(1, enqueue) is Admission.NEW
    assert entries.apply(1, enqueue) is Admission.REPEATED
    assert entries.apply(2) is Admission.NEW


def test_a_batch_that_comes_after_a_later_one_of_its_node_is_not_applied(entries: Entries) -> None:
    assert entries.apply(2) is Admission.NEW
    assert entries.apply(1) is Admission.REPEATED


def test_batches_are_numbered_by_each_node_for_itself(entries: Entries) -> None:
    entries.story.register("node-2")

    assert entries.apply(5) is Admission.NEW
    assert entries.apply(1, node_id="node-2") is Admission.NEW


def test_what_an_earlier_process_of_a_node_still_sends_is_outdated(entries: Entries) -> None:
    entries.story.register(boot_id="run-2")

    assert entries.apply(7, boot_id="run-1") is Admission.OUTDATED
    assert entries.apply(1, boot_id="run-2") is Admission.NEW


def test_a_process_begins_with_its_registration_and_numbers_anew(entries: Entries) -> None:
    assert entries.apply(9) is Admission.NEW

    assert entries.apply(1, boot_id="run-2") is Admission.OUTDATED
    assert entries.apply(1, registration(boot_id="run-2"), boot_id="run-2") is Admission.NEW
    assert entries.apply(1, registration(boot_id="run-2"), boot_id="run-2") is Admission.REPEATED
    assert entries.apply(2, boot_id="run-2") is Admission.NEW


def test_a_node_that_was_removed_has_to_register_again(entries: Entries) -> None:
    entries.story.remove(NODE)

    assert entries.apply(1) is Admission.OUTDATED
    assert entries.apply(2, registration()) is Admission.NEW


def test_the_number_of_a_batch_outlives_a_restart(entries: Entries) -> None:
    entries.apply(3)

    entries.story.reopen()

    assert entries.apply(3) is Admission.REPEATED
    assert entries.apply(4) is Admission.NEW


def test_a_batch_that_was_not_applied_changes_nothing(entries: Entries) -> None:
    entries.apply(1, entries.story.enqueue_command("order-1"), boot_id="earlier")

    assert entries.story.queries.execution("order-1") is None
    assert entries.apply(1) is Admission.NEW


# --- options


def test_a_moved_execution_keeps_how_it_is_run(two_nodes: Story) -> None:
    options = Options(retry=STEADY, attempt_timeout_ms=5_000)
    two_nodes.running("order-1", options=options, priority=3)
    two_nodes.lose(NODE)
    two_nodes.place()

    two_nodes.start("order-1")

    order = two_nodes["order-1"]
    assert (order.options, order.priority, order.attempt) == (options, 3, 2)
    assert two_nodes.timers("order-1") == {"attempt": 5_000}
